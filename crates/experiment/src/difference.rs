//! Differences of two arms by stages, with the larger of two variances.
//!
//! Welch's variance alone gives up to 62 % false alarms for rare events in a small arm: that arm has not seen its own tail yet, so its
//! variance is too small exactly when its mean is too low. The variance of both arms pooled is right if they do not differ. The
//! larger of the two keeps the level (measured by `weft-verify experiments`).
//!
//! Stages are weighted by their part of all exposures of both arms, never by those of one arm, so that a ramp does not mix the
//! share of a time with what that time was like.

use crate::asymptotic::Effect;
use crate::error::{Error, finite, within};

/// How many units one arm had, with the mean and the sample variance (by n - 1) of their values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moments {
    /// How many.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Their sample variance.
    pub variance: f64,
}

/// The difference of the arms in one stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stage {
    exposures: f64,
    difference: f64,
    welch: f64,
    pooled: f64,
    /// The smaller arm's events and non-events, or observations.
    least: [u64; 2],
    others: [u64; 2],
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Proportions,
    Means,
    Groups,
}

impl Stage {
    /// Of proportions: events of units, for the canary and for control. An error where events are more than units.
    pub fn proportions(canary: (u64, u64), control: (u64, u64)) -> Result<Option<Self>, Error> {
        for (events, units) in [canary, control] {
            if events > units {
                return Err(Error::MoreThanAll { what: "the events", part: events, whole: units });
            }
        }
        if canary.1 == 0 || control.1 == 0 {
            return Ok(None);
        }
        let (n1, n0) = (canary.1 as f64, control.1 as f64);
        let spread = |events: f64, units: f64| events / units * ((units - events) / units);
        let both = spread(canary.0 as f64 + control.0 as f64, n1 + n0);
        Ok(Some(Self {
            exposures: n1 + n0,
            difference: canary.0 as f64 / n1 - control.0 as f64 / n0,
            welch: spread(canary.0 as f64, n1) / n1 + spread(control.0 as f64, n0) / n0,
            pooled: both * (1.0 / n1 + 1.0 / n0),
            least: [canary.0, canary.1 - canary.0],
            others: [control.0, control.1 - control.0],
            kind: Kind::Proportions,
        }))
    }

    /// Of means. An error where one is not finite or a variance is below 0; none where an arm has fewer than two units.
    pub fn means(canary: Moments, control: Moments) -> Result<Option<Self>, Error> {
        for arm in [canary, control] {
            finite("the mean", arm.mean)?;
            within("the variance", arm.variance, "finite and not below 0", |variance| variance >= 0.0)?;
        }
        if canary.count < 2 || control.count < 2 {
            return Ok(None);
        }
        let (n1, n0) = (canary.count as f64, control.count as f64);
        let difference = canary.mean - control.mean;
        let squares = (n1 - 1.0) * canary.variance
            + (n0 - 1.0) * control.variance
            + n1 / (n1 + n0) * n0 * difference * difference;
        Ok(Some(Self {
            exposures: n1 + n0,
            difference,
            welch: canary.variance / n1 + control.variance / n0,
            pooled: squares / (n1 + n0 - 1.0) * (1.0 / n1 + 1.0 / n0),
            least: [canary.count; 2],
            others: [control.count; 2],
            kind: Kind::Means,
        }))
    }

    /// Of an estimate whose variances come from elsewhere, such as random groups; `exposures` are those of both arms.
    pub(crate) fn given(exposures: f64, difference: f64, welch: f64, pooled: f64, groups: [u64; 2]) -> Self {
        let [least, others] = groups.map(|groups| [groups; 2]);
        Self { exposures, difference, welch, pooled, least, others, kind: Kind::Groups }
    }

    /// The canary's mean less control's.
    pub fn difference(&self) -> f64 {
        self.difference
    }
}

/// The difference over all stages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stages {
    /// The canary's mean less control's.
    pub difference: f64,
    /// Its variance by each arm's own.
    pub welch: f64,
    /// Its variance if the arms do not differ.
    pub pooled: f64,
    least: [u64; 2],
    others: [u64; 2],
    kind: Option<Kind>,
}

/// Events and non-events that each arm needs before proportions are compared.
const EVENTS: u64 = 25;
/// Observations that each arm needs before means are compared.
const OBSERVATIONS: u64 = 1_000;
/// Groups that each arm needs before their ratios are compared.
const GROUPS: u64 = 20;

impl Stages {
    /// Adds stages up. One in which an arm had no unit compares nothing, and is left out by whoever makes stages.
    pub fn of(stages: &[Stage]) -> Self {
        let all: f64 = stages.iter().map(|stage| stage.exposures).sum();
        let mut sum = Self {
            difference: 0.0,
            welch: 0.0,
            pooled: 0.0,
            least: [0; 2],
            others: [0; 2],
            kind: stages.first().map(|stage| stage.kind),
        };
        for stage in stages {
            let weight = stage.exposures / all;
            sum.difference += weight * stage.difference;
            sum.welch += weight * weight * stage.welch;
            sum.pooled += weight * weight * stage.pooled;
            for index in 0..2 {
                sum.least[index] = sum.least[index].saturating_add(stage.least[index]);
                sum.others[index] = sum.others[index].saturating_add(stage.others[index]);
            }
        }
        sum
    }

    /// The larger variance.
    pub fn variance(&self) -> f64 {
        self.welch.max(self.pooled)
    }

    /// Whether there is enough for a method that holds for many units: 25 events and 25 non-events in each arm, or 1,000
    /// observations, or 20 groups.
    pub fn is_ready(&self) -> bool {
        let needed = match self.kind {
            Some(Kind::Proportions) => EVENTS,
            Some(Kind::Means) => OBSERVATIONS,
            Some(Kind::Groups) => GROUPS,
            None => return false,
        };
        self.least.iter().chain(&self.others).all(|count| *count >= needed) && self.variance() > 0.0
    }

    /// The effect under a prior, whether or not there is enough; an error where there is no variance at all.
    pub fn effect(&self, tau: f64) -> Result<Effect, Error> {
        Effect::new(self.difference, self.variance(), tau)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arm() -> impl Strategy<Value = (u64, u64)> {
        (1_u64..10_000).prop_flat_map(|units| (0..=units, Just(units)))
    }

    fn moments(values: &[f64]) -> Moments {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Moments { count: values.len() as u64, mean, variance: squares / (n - 1.0) }
    }

    proptest! {
        #[test]
        fn the_pooled_variance_is_that_of_all_values_together(
            one in prop::collection::vec(-100.0..100.0_f64, 2..40),
            zero in prop::collection::vec(-100.0..100.0_f64, 2..40),
        ) {
            let found = Stages::of(&[Stage::means(moments(&one), moments(&zero)).unwrap().unwrap()]);
            let all: Vec<f64> = one.iter().chain(&zero).copied().collect();
            let expected = moments(&all).variance * (1.0 / one.len() as f64 + 1.0 / zero.len() as f64);
            prop_assert!((found.pooled - expected).abs() <= 1e-9 * (1.0 + expected));
        }

        #[test]
        fn stages_may_come_in_any_order(arms in prop::collection::vec((arm(), arm()), 1..6)) {
            let mut stages: Vec<Stage> =
                arms.iter().map(|(one, zero)| Stage::proportions(*one, *zero).unwrap().unwrap()).collect();
            let forth = Stages::of(&stages);
            stages.reverse();
            let back = Stages::of(&stages);
            prop_assert!((forth.difference - back.difference).abs() < 1e-12);
            prop_assert!((forth.variance() - back.variance()).abs() <= 1e-12 * forth.variance());
        }

        #[test]
        fn swapping_the_arms_turns_the_sign(one in arm(), zero in arm()) {
            let forth = Stages::of(&[Stage::proportions(one, zero).unwrap().unwrap()]);
            let back = Stages::of(&[Stage::proportions(zero, one).unwrap().unwrap()]);
            prop_assert!((forth.difference + back.difference).abs() < 1e-12);
            prop_assert!((forth.variance() - back.variance()).abs() <= 1e-12 * (1e-300 + forth.variance()));
        }
    }

    #[test]
    fn nothing_and_too_little_are_not_ready() {
        assert!(!Stages::of(&[]).is_ready());
        assert!(Stage::proportions((0, 0), (3, 10)).unwrap().is_none());
        assert!(Stage::proportions((4, 3), (3, 10)).is_err());
        let ready = |events| {
            Stages::of(&[Stage::proportions((events, 1_000), (500, 1_000)).unwrap().unwrap()]).is_ready()
        };
        assert!(!ready(24) && ready(25) && ready(975) && !ready(976));
        let huge = Stage::proportions((0, 1_000_000_000_000), (1_000_000_000_000, 1_000_000_000_000))
            .unwrap()
            .unwrap();
        assert!(Stages::of(&[huge]).effect(0.01).unwrap().evidence().log().is_finite());
    }
}
