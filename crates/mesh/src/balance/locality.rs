//! How much of a caller's traffic leaves its zone.

use std::time::{Duration, Instant};

/// As long as this part of a zone's endpoints is well, the zone carries all of its traffic: the rest have room for it.
const NEEDED: f64 = 1.0 / 1.4;
/// How often the measured part is reconsidered.
const TICK: Duration = Duration::from_secs(1);
/// Answers in a tick below which latency says nothing.
const ANSWERS_MIN: u32 = 5;
/// A zone is overloaded when it is this many times slower than elsewhere: what a crossing costs is well below that.
const TOLERANCE: f64 = 1.5;
/// Added to the tolerance in microseconds, because between answers of some microseconds a factor means nothing.
const SLACK_MICROS: f64 = 1_000.0;
/// Part of the traffic that moves away with one tick, for each doubling of what would be tolerated.
const STEP: f64 = 0.1;
/// Most that moves away with one tick.
const STEP_MAX: f64 = 0.5;
/// Part that comes back with one tick without overload. Slowly, because too much brings the next overload.
const RETURN: f64 = 0.02;
/// While the latency falls by more than this factor with a tick, waiting requests are being worked off: enough has
/// moved away.
const RECOVERS: f64 = 0.7;
/// Part that crosses to learn how fast it is elsewhere, while the zone has work waiting.
const EXPLORE: f64 = 0.01;
/// How long what was learned of elsewhere is believed.
const BELIEVED_FOR: Duration = Duration::from_secs(30);

/// The part of the traffic that a tier keeps for its health: `well` of `all` weight takes requests.
pub(super) fn kept_by_health(well: f64, all: f64) -> f64 {
    if all <= 0.0 { 0.0 } else { (well / all / NEEDED).min(1.0) }
}

/// Measures whether the caller's zone is slower than elsewhere, and how much should therefore spill.
#[derive(Debug)]
pub(super) struct LocalityFailover {
    part: f64,
    ticked: Instant,
    here: Mean,
    elsewhere: Mean,
    /// Latency here in the tick before, in microseconds.
    before: f64,
    /// Latency elsewhere in microseconds, and when it was learned.
    learned: Option<(f64, Instant)>,
}

#[derive(Debug, Default)]
struct Mean {
    sum: f64,
    count: u32,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    fn take(&mut self, at_least: u32) -> Option<f64> {
        let mean = (self.count >= at_least.max(1)).then(|| self.sum / f64::from(self.count));
        if mean.is_some() {
            *self = Self::default();
        }
        mean
    }
}

impl LocalityFailover {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            part: 0.0,
            ticked: now,
            here: Mean::default(),
            elsewhere: Mean::default(),
            before: 0.0,
            learned: None,
        }
    }

    /// Takes note of an answer from the caller's zone or from elsewhere.
    pub(super) fn observe(&mut self, now: Instant, here: bool, latency: Duration) {
        let mean = if here { &mut self.here } else { &mut self.elsewhere };
        mean.add(latency.as_secs_f64() * 1e6);
        if now.saturating_duration_since(self.ticked) >= TICK {
            self.ticked = now;
            self.tick(now);
        }
    }

    fn tick(&mut self, now: Instant) {
        if let Some(fresh) = self.elsewhere.take(1) {
            // Half of what was believed, because a tick may hold but a few answers.
            let micros = self.believed(now).map_or(fresh, |old| f64::midpoint(old, fresh));
            self.learned = Some((micros, now));
        }
        let tolerated = self.believed(now).map(|elsewhere| elsewhere * TOLERANCE + SLACK_MICROS);
        match (self.here.take(ANSWERS_MIN), tolerated) {
            (Some(here), Some(tolerated)) if here > tolerated => {
                if here > self.before * RECOVERS {
                    let step = STEP * (1.0 + here / tolerated).log2();
                    self.part = (self.part + step.min(STEP_MAX)).min(1.0);
                }
                self.before = here;
            }
            // When all has moved away nothing is measured here: a little that comes back finds out.
            (here, _) => {
                self.part = (self.part - RETURN).max(0.0);
                self.before = here.unwrap_or(0.0);
            }
        }
    }

    fn believed(&self, now: Instant) -> Option<f64> {
        let fresh = self.learned.filter(|(_, at)| now.saturating_duration_since(*at) < BELIEVED_FOR);
        fresh.map(|(micros, _)| micros)
    }

    /// The part of the zone's traffic that goes elsewhere. `busy` says whether requests wait in the zone: an idle
    /// caller never leaves it.
    pub(super) fn part(&self, now: Instant, busy: bool) -> f64 {
        if busy && self.believed(now).is_none() { self.part.max(EXPLORE) } else { self.part }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A second of traffic: `here` and `elsewhere` are latencies in milliseconds.
    fn second(spill: &mut LocalityFailover, now: &mut Instant, here: u32, elsewhere: Option<u32>) {
        for _ in 0..10 {
            *now += 101 * MS;
            spill.observe(*now, true, here * MS);
            if let Some(elsewhere) = elsewhere {
                spill.observe(*now, false, elsewhere * MS);
            }
        }
    }

    #[test]
    fn an_idle_caller_stays_in_its_zone_and_a_busy_one_looks_around() {
        let now = Instant::now();
        let spill = LocalityFailover::new(now);
        assert!(spill.part(now, false).abs() < f64::EPSILON);
        assert!((spill.part(now, true) - EXPLORE).abs() < f64::EPSILON);
    }

    #[test]
    fn a_slower_zone_spills_and_takes_its_traffic_back_when_it_is_well() {
        let mut now = Instant::now();
        let mut spill = LocalityFailover::new(now);
        for _ in 0..4 {
            second(&mut spill, &mut now, 50, Some(10));
        }
        assert!(spill.part(now, true) > 0.3, "{}", spill.part(now, true));
        for _ in 0..60 {
            second(&mut spill, &mut now, 11, Some(10));
        }
        assert!(spill.part(now, true).abs() < f64::EPSILON);
    }

    #[test]
    fn small_differences_do_not_spill() {
        let mut now = Instant::now();
        for (here, elsewhere) in [(12, 10), (1, 0)] {
            let mut spill = LocalityFailover::new(now);
            for _ in 0..10 {
                second(&mut spill, &mut now, here, Some(elsewhere));
            }
            assert!(spill.part(now, false).abs() < f64::EPSILON);
        }
    }

    #[test]
    fn a_zone_carries_its_traffic_until_too_few_are_well() {
        for (well, all, kept) in
            [(10.0, 10.0, 1.0), (8.0, 10.0, 1.0), (5.0, 10.0, 0.7), (0.0, 10.0, 0.0), (0.0, 0.0, 0.0)]
        {
            assert!((kept_by_health(well, all) - kept).abs() < 1e-9, "{well} of {all}");
        }
    }
}
