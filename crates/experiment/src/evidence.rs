//! E-values, the levels they are judged at, and intervals.
//!
//! An e-value has an expected value of at most 1 if the null hypothesis is true, at any time that one chooses to look (Ville
//! 1939). So the chance that it ever reaches `1 / alpha` is at most `alpha`, and `1 / max E` is a p-value at every look
//! (Johari, Koomen, Pekelis & Walsh, KDD 2017).

use crate::error::{Error, within};
use crate::numeric::log_sum_exp;

/// The chance of a false alarm that is accepted: above 0, below 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Level(f64);

impl Level {
    /// A level; an error unless 0 < `alpha` < 1.
    pub fn new(alpha: f64) -> Result<Self, Error> {
        within("the level", alpha, "above 0 and below 1", |alpha| 0.0 < alpha && alpha < 1.0).map(Self)
    }

    /// The chance itself.
    pub fn get(self) -> f64 {
        self.0
    }

    /// The natural logarithm of the e-value that rejects: `ln(1 / alpha)`.
    pub fn threshold(self) -> f64 {
        -self.0.ln()
    }

    /// What each of `tests` gets so that all together keep to this level (Bonferroni): none counts as one.
    #[must_use]
    pub fn divided_by(self, tests: usize) -> Self {
        Self((self.0 / tests.max(1) as f64).max(f64::MIN_POSITIVE))
    }
}

/// An e-value by its natural logarithm, which is finite.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Evidence(f64);

impl Evidence {
    /// No evidence: an e-value of 1.
    pub const NONE: Self = Self(0.0);

    /// The e-value whose natural logarithm is `log`; what is beyond the range of finite numbers is at its end, and what is
    /// no number is no evidence.
    pub fn from_log(log: f64) -> Self {
        if log.is_nan() { Self::NONE } else { Self(log.clamp(f64::MIN, f64::MAX)) }
    }

    /// The natural logarithm.
    pub fn log(self) -> f64 {
        self.0
    }

    /// The e-value, at most the largest finite number.
    pub fn value(self) -> f64 {
        self.0.exp().min(f64::MAX)
    }

    /// The p-value of this look alone: `min(1, 1 / E)`. See [`Running`] for one that holds at all looks.
    pub fn p(self) -> f64 {
        (-self.0).exp().min(1.0)
    }

    /// Whether the null hypothesis is rejected.
    pub fn rejects(self, level: Level) -> bool {
        self.0 >= level.threshold()
    }

    /// Evidence of independent stages, each of which starts anew: a product of such e-values is one.
    #[must_use]
    pub fn and(self, next: Self) -> Self {
        Self::from_log(self.0 + next.0)
    }

    /// The mean of e-values, which is one whatever their dependence. None at all are no evidence.
    pub fn mean(all: &[Self]) -> Self {
        if all.is_empty() {
            return Self::NONE;
        }
        Self::from_log(log_sum_exp(all.iter().map(|evidence| evidence.0)) - (all.len() as f64).ln())
    }
}

/// The largest evidence so far, which is what an always-valid p-value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Running {
    largest: Evidence,
}

impl Running {
    /// Goes on from the largest evidence of earlier looks.
    pub fn from_largest(largest: Evidence) -> Self {
        Self { largest: if largest > Evidence::NONE { largest } else { Evidence::NONE } }
    }

    /// Takes a look into account.
    pub fn observe(&mut self, evidence: Evidence) {
        if evidence > self.largest {
            self.largest = evidence;
        }
    }

    /// The largest evidence of all looks, at least an e-value of 1.
    pub fn largest(self) -> Evidence {
        self.largest
    }

    /// The p-value that holds at any look: it never rises.
    pub fn p(self) -> f64 {
        self.largest.p()
    }
}

/// Values that are not rejected. An end may be infinite where nothing bounds it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
}

impl Interval {
    /// All numbers.
    pub const ALL: Self = Self { lower: f64::NEG_INFINITY, upper: f64::INFINITY };

    /// Whether `value` is not rejected.
    pub fn contains(self, value: f64) -> bool {
        self.lower <= value && value <= self.upper
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_p_value_never_rises_and_is_that_of_the_largest(logs in prop::collection::vec(-50.0..50.0_f64, 1..50)) {
            let mut running = Running::default();
            let mut before = 1.0;
            for log in &logs {
                running.observe(Evidence::from_log(*log));
                prop_assert!(running.p() <= before);
                before = running.p();
            }
            let largest = logs.iter().copied().fold(0.0, f64::max);
            prop_assert!((running.p() - (-largest).exp()).abs() < 1e-12);
        }

        #[test]
        fn the_mean_is_between_the_smallest_and_the_largest(logs in prop::collection::vec(-700.0..700.0_f64, 1..20)) {
            let mean = Evidence::mean(&logs.iter().map(|log| Evidence::from_log(*log)).collect::<Vec<_>>()).log();
            let (least, most) = logs.iter().fold((f64::MAX, f64::MIN), |(l, m), x| (l.min(*x), m.max(*x)));
            prop_assert!(least - 1e-9 <= mean && mean <= most + 1e-9);
        }
    }

    #[test]
    fn what_is_no_number_is_no_evidence() {
        assert_eq!(Evidence::from_log(f64::NAN), Evidence::NONE);
        assert!(Evidence::from_log(f64::INFINITY).log().is_finite());
        assert!(Evidence::from_log(f64::INFINITY).value().is_finite());
        assert!(Level::new(f64::NAN).is_err() && Level::new(0.0).is_err() && Level::new(1.0).is_err());
    }
}
