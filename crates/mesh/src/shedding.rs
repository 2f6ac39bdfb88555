//! Shedding load before the machine dies of it.
//!
//! What is measured (memory in use, how long work waits for its turn) is a pressure. Up to a point nothing is shed; from
//! there on a part of what is new, which grows with the pressure, until everything is. Once begun, shedding ends only when
//! the pressure is well below the point where it began, so that it does not begin and end with every measurement.

use std::time::Duration;

use crate::Error;
use crate::hash::unit;

/// Shedding ends when the pressure has fallen below where it begins by this part of the way from there to all.
const REST: f64 = 0.25;

/// From which pressure on load is shed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShedPolicy {
    begin: f64,
    full: f64,
}

impl ShedPolicy {
    /// Sheds a part from `begin` on, and everything from `full` on.
    pub fn new(begin: f64, full: f64) -> Result<Self, Error> {
        if begin > 0.0 && begin < full && full.is_finite() {
            return Ok(Self { begin, full });
        }
        let value = format!("{begin} to {full}");
        Err(Error::invalid(
            "pressure for shedding",
            value,
            "write more than 0, and more for all than for some",
        ))
    }

    /// The pressure below which shedding ends; half of where it begins at least, so that there is such a pressure.
    fn rest(&self) -> f64 {
        (self.begin - REST * (self.full - self.begin)).max(self.begin / 2.0)
    }
}

/// Sheds by one kind of pressure.
#[derive(Clone, Copy, Debug)]
pub struct Shedder {
    policy: ShedPolicy,
    shedding: bool,
}

impl Shedder {
    /// Nothing is shed yet.
    pub fn new(policy: ShedPolicy) -> Self {
        Self { policy, shedding: false }
    }

    /// Takes note of the pressure; gives the part of what is new to shed, from 0 to 1.
    pub fn part(&mut self, pressure: f64) -> f64 {
        let ShedPolicy { begin, full } = self.policy;
        let rest = self.policy.rest();
        self.shedding = pressure >= if self.shedding { rest } else { begin };
        if self.shedding { ((pressure - rest) / (full - rest)).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// Whether one that is new is among the part that is shed.
pub fn is_shed(part: f64, random: u64) -> bool {
    part > 0.0 && unit(random) < part
}

/// Delays that are looked at together: a single one is a hiccup, of which nobody would die.
const SAMPLES: usize = 5;

/// How long work waits however lucky it is: the least of the last few delays (compare `CoDel`, RFC 8289 section 3.2).
#[derive(Clone, Copy, Debug, Default)]
pub struct StandingDelay {
    samples: [Duration; SAMPLES],
    next: usize,
}

impl StandingDelay {
    /// Takes note of a delay; gives the least of the last ones.
    pub fn sample(&mut self, delay: Duration) -> Duration {
        if let Some(oldest) = self.samples.get_mut(self.next % SAMPLES) {
            *oldest = delay;
        }
        self.next = (self.next + 1) % SAMPLES;
        self.samples.iter().copied().min().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shedder() -> Shedder {
        Shedder::new(ShedPolicy::new(100.0, 200.0).unwrap())
    }

    #[test]
    fn the_part_grows_from_where_it_begins_to_everything() {
        let mut shedder = shedder();
        let parts: Vec<u64> = [99.0, 100.0, 145.0, 200.0, 900.0]
            .into_iter()
            .map(|pressure| (shedder.part(pressure) * 1000.0).round() as u64)
            .collect();
        assert_eq!(parts, [0, 200, 560, 1000, 1000]);
    }

    #[test]
    fn shedding_ends_well_below_where_it_begins() {
        let mut shedder = shedder();
        assert!(shedder.part(95.0) <= 0.0);
        assert!(shedder.part(110.0) > 0.0);
        assert!(shedder.part(95.0) > 0.0);
        assert!(shedder.part(74.0) <= 0.0);
        assert!(shedder.part(95.0) <= 0.0);
    }

    #[test]
    fn a_hiccup_is_no_standing_delay() {
        let mut delay = StandingDelay::default();
        let ms = Duration::from_millis;
        for hiccup in [1, 900, 1, 900, 900, 900, 900] {
            assert!(delay.sample(ms(hiccup)) <= ms(1));
        }
        assert_eq!(delay.sample(ms(800)), ms(800));
        assert_eq!(delay.sample(ms(2)), ms(2), "one that got through at once shows that nothing stands");
    }

    #[test]
    fn thresholds_that_make_no_sense_are_refused() {
        for (begin, full) in [(0.0, 1.0), (2.0, 1.0), (1.0, 1.0), (1.0, f64::INFINITY), (f64::NAN, 1.0)] {
            assert!(ShedPolicy::new(begin, full).is_err(), "{begin} {full}");
        }
    }

    #[test]
    fn the_share_that_is_shed_is_the_part() {
        let mut draws = crate::hash::Draws::new(1);
        for (part, expected) in [(0.0, 0.0), (0.1, 1e4), (0.5, 5e4), (0.9, 9e4), (1.0, 1e5)] {
            let shed = (0..100_000).filter(|_| is_shed(part, draws.next())).count() as f64;
            let sigma = (1e5 * part * (1.0 - part)).sqrt();
            assert!((shed - expected).abs() <= 4.0 * sigma, "{part}: {shed}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_shed_below_rest_everything_at_full_and_more_with_more_pressure(
            pressures in prop::collection::vec(0.0_f64..300.0, 1..60),
        ) {
            let mut shedder = shedder();
            let mut before: Option<(f64, f64)> = None;
            for pressure in pressures {
                let was_shedding = shedder.shedding;
                let part = shedder.part(pressure);
                prop_assert!((0.0..=1.0).contains(&part));
                prop_assert!(pressure >= 75.0 || part <= 0.0);
                prop_assert!(pressure < 200.0 || part >= 1.0);
                prop_assert!(pressure < 100.0 || part > 0.0);
                if let Some((earlier, part_then)) = before && was_shedding && pressure >= earlier {
                    prop_assert!(part >= part_then);
                }
                before = Some((pressure, part));
            }
        }

        #[test]
        fn the_standing_delay_is_the_least_of_the_last_five(delays in prop::collection::vec(0_u64..1000, 5..40)) {
            let mut standing = StandingDelay::default();
            for (index, delay) in delays.iter().enumerate() {
                let least = standing.sample(Duration::from_millis(*delay));
                if index >= 4 {
                    let naive = delays[index - 4..=index].iter().min().copied().unwrap();
                    prop_assert_eq!(least, Duration::from_millis(naive));
                }
            }
        }
    }
}
