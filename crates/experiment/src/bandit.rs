//! Thompson sampling: shares that follow success.
//!
//! Each arm has a beta posterior; its share is its probability to be the best, but at least a floor. Each change of shares is a stage.
//! Bandits earn; they do not measure: pooled means are biased low (Nie, Tian, Taylor & Zou, AISTATS 2018), and a test at the end rejects
//! too often. [`crate::label`] over stages is valid under any predictable shares.

use crate::error::{Error, within};
use crate::numeric::{log_integral, maximum};
use crate::special::beta::ln_regularised;
use crate::special::gamma::ln_beta;

/// Successes and failures of one arm, in the present stage's reckoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arm {
    /// How many units succeeded.
    pub successes: u64,
    /// How many did not.
    pub failures: u64,
}

impl Arm {
    /// The posterior under a uniform prior.
    fn posterior(self) -> (f64, f64) {
        (self.successes as f64 + 1.0, self.failures as f64 + 1.0)
    }
}

/// The probability of each arm that its rate is the highest. They add up to 1.
pub fn probabilities(arms: &[Arm]) -> Vec<f64> {
    let best: Vec<f64> = (0..arms.len()).map(|index| best(arms, index)).collect();
    let sum: f64 = best.iter().sum();
    best.iter().map(|probability| probability / sum).collect()
}

/// The integral of an arm's density times all others' distribution functions, over the logit of the rate, in which all of them are
/// log-concave.
fn best(arms: &[Arm], index: usize) -> f64 {
    /// Rates beyond this logit are no rates: e^-200.
    const FAR: f64 = 200.0;
    let Some(own) = arms.get(index) else { return 0.0 };
    let (a, b) = own.posterior();
    let others: Vec<(f64, f64)> = arms
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != index)
        .map(|(_, arm)| arm.posterior())
        .collect();
    let log = |logit: f64| {
        let rate = 1.0 / (1.0 + (-logit).exp());
        let density = -a * (-logit).exp().ln_1p() - b * logit.exp().ln_1p() - ln_beta(a, b);
        density + others.iter().map(|(a, b)| ln_regularised(*a, *b, rate)).sum::<f64>()
    };
    let mode = maximum(-FAR, FAR, log);
    let scale = (1.0 / a + 1.0 / b).sqrt();
    log_integral(log, mode, scale, (-FAR, FAR)).exp().min(1.0)
}

/// The shares that follow: probabilities to be the best, with at least `floor` for each arm. An error unless arms, two at least, have
/// room for their floors.
pub fn shares(arms: &[Arm], floor: f64) -> Result<Vec<f64>, Error> {
    if arms.len() < 2 {
        return Err(Error::Length { what: "arms", found: arms.len(), expected: 2 });
    }
    let least = 1.0 / arms.len() as f64;
    let floor = within("the least share", floor, "not below 0, and at most an equal share", |floor| {
        (0.0..=least).contains(&floor)
    })?;
    let above: Vec<f64> =
        probabilities(arms).iter().map(|probability| (probability - floor).max(0.0)).collect();
    let sum: f64 = above.iter().sum();
    let room = 1.0 - floor * arms.len() as f64;
    Ok(above.iter().map(|part| if sum > 0.0 { floor + room * part / sum } else { least }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arms() -> impl Strategy<Value = Vec<Arm>> {
        prop::collection::vec(
            (0_u64..1_000, 0_u64..10_000).prop_map(|(successes, failures)| Arm { successes, failures }),
            2..5,
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn probabilities_add_up_before_they_are_made_to(arms in arms()) {
            let sum: f64 = (0..arms.len()).map(|index| best(&arms, index)).sum();
            prop_assert!((sum - 1.0).abs() < 1e-6, "{}", sum);
        }

        #[test]
        fn shares_keep_their_floor_and_add_up(arms in arms()) {
            let shares = shares(&arms, 0.05).unwrap();
            prop_assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            prop_assert!(shares.iter().all(|share| *share >= 0.05 - 1e-12));
        }

        #[test]
        fn more_successes_are_never_worse(arms in arms(), more in 1_u64..100) {
            let mut better = arms.clone();
            better[0].successes += more;
            prop_assert!(probabilities(&better)[0] >= probabilities(&arms)[0] - 1e-9);
        }
    }

    #[test]
    fn extremes_are_finite() {
        let arm = |successes, failures| Arm { successes, failures };
        let far = probabilities(&[arm(0, 1_000_000_000_000), arm(1_000_000_000_000, 0)]);
        assert!(far[0] < 1e-9 && far[1] > 1.0 - 1e-9, "{far:?}");
        assert!(shares(&[arm(0, 0), arm(0, 0), arm(0, 0)], 0.5).is_err());
        let even = shares(&[arm(0, 0), arm(0, 0)], 0.5).unwrap();
        assert!((even[0] - 0.5).abs() < 1e-12);
    }
}
