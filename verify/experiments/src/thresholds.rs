//! Thresholds in the way of Flagger: each interval the failed part of the canary's requests of the last minute is compared with a
//! limit; failed checks add up, and so many roll back. No request at all is a failed check.

use weft_experiment::random::Random;

use crate::trial::{Trial, beside};

/// Which settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thresholds {
    pub(crate) name: &'static str,
    /// Seconds between checks.
    pub(crate) interval: usize,
    /// How many failed checks roll back.
    pub(crate) failures: u32,
}

/// What part may fail.
const LIMIT: f64 = 0.01;
/// Seconds that a check looks back.
const WINDOW: usize = 60;
/// Seconds that a rollout takes.
const SECONDS: usize = 600;

/// The canary's requests and failures of each second; requests come at random, so many on average.
pub(crate) fn seconds(random: &mut Random, per_second: f64, rate: f64) -> Vec<(u64, u64)> {
    // A binomial count of many rare ones is as good as Poisson's.
    const MANY: u64 = 1_000_000;
    (0..SECONDS)
        .map(|_| {
            let requests = random.binomial(MANY, per_second / MANY as f64);
            (requests, random.binomial(requests, rate))
        })
        .collect()
}

impl Thresholds {
    /// After how many seconds it is rolled back.
    pub(crate) fn rolled_back(self, seconds: &[(u64, u64)]) -> Option<usize> {
        let mut failed = 0;
        for second in (self.interval..=seconds.len()).step_by(self.interval) {
            let window = seconds.get(second.saturating_sub(WINDOW)..second)?;
            let (requests, failures) = window.iter().fold((0, 0), |sum, own| (sum.0 + own.0, sum.1 + own.1));
            if requests == 0 || failures as f64 > LIMIT * requests as f64 {
                failed += 1;
            }
            if failed >= self.failures {
                return Some(second);
            }
        }
        None
    }
}

/// A good canary with such thresholds, for comparison.
pub(crate) fn good(setting: &'static str, per_second: f64, all: Vec<Thresholds>) -> Trial {
    Trial {
        setting,
        methods: all.iter().map(|thresholds| beside(thresholds.name)).collect(),
        run: Box::new(move |random, alarms| {
            let seconds = seconds(random, per_second, 0.005);
            for (thresholds, alarm) in all.iter().zip(alarms) {
                *alarm = thresholds.rolled_back(&seconds).map(|second| second as f64 * per_second);
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_checks_add_up_and_none_of_them_is_forgotten() {
        let thresholds = Thresholds { name: "", interval: 60, failures: 2 };
        let minute = |failures: u64| (0..60).map(move |second| (10, if second == 0 { failures } else { 0 }));
        let seconds: Vec<_> = minute(7).chain(minute(0)).chain(minute(7)).collect();
        assert_eq!(thresholds.rolled_back(&seconds), Some(180));
        assert_eq!(thresholds.rolled_back(&seconds[..120]), None);
        let silent = [(0, 0); 120];
        assert_eq!(thresholds.rolled_back(&silent), Some(120));
    }
}
