//! The one exponential backoff that everything uses.

use std::time::Duration;

use crate::hash::unit;

/// How a delay is drawn around its exponential step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Jitter {
    /// Anywhere between nothing and the step. Best where many callers fail at once.
    Full,
    /// The step and up to as much again: never earlier than the step.
    AtLeast,
    /// The step, plus or minus this fraction of it.
    Around(f64),
}

/// A delay that doubles with each failure up to a bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The step after the first failure.
    pub first: Duration,
    /// The longest step.
    pub longest: Duration,
    /// How the delay is drawn around the step.
    pub jitter: Jitter,
}

impl Backoff {
    /// Between the attempts of a request: 25 ms doubling to 250 ms, full jitter.
    pub const RETRY: Self =
        Self { first: Duration::from_millis(25), longest: Duration::from_millis(250), jitter: Jitter::Full };

    /// The step after `failures` earlier failures, before jitter.
    pub fn step(&self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures).filter(|factor| *factor != 0).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }

    /// The delay after `failures` earlier failures.
    pub fn delay(&self, failures: u32, random: u64) -> Duration {
        let step = self.step(failures);
        match self.jitter {
            Jitter::Full => scale(step, unit(random)),
            Jitter::AtLeast => scale(step, 1.0 + unit(random)),
            Jitter::Around(part) => scale(step, 1.0 + part * (2.0 * unit(random) - 1.0)),
        }
    }
}

/// `duration * factor` for factors of 0 and more; saturates.
pub(crate) fn scale(duration: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn steps_double_up_to_the_longest() {
        let steps: Vec<u128> = (0..6).map(|failures| Backoff::RETRY.step(failures).as_millis()).collect();
        assert_eq!(steps, [25, 50, 100, 200, 250, 250]);
        assert_eq!(Backoff::RETRY.step(u32::MAX).as_millis(), 250);
    }

    proptest! {
        #[test]
        fn delays_stay_within_their_jitter(failures in 0_u32..40, random: u64) {
            let step = Backoff::RETRY.step(failures);
            let with = |jitter| Backoff { jitter, ..Backoff::RETRY }.delay(failures, random);
            prop_assert!(with(Jitter::Full) <= step);
            prop_assert!(with(Jitter::AtLeast) >= step && with(Jitter::AtLeast) <= step * 2);
            let around = with(Jitter::Around(0.2));
            prop_assert!(around >= scale(step, 0.799) && around <= scale(step, 1.201));
        }
    }
}
