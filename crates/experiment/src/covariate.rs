//! Variance reduction by a covariate from before the exposure: CUPED (Deng, Xu, Kohavi & Walker, WSDM 2013).
//!
//! `Y' = Y - theta (X - mean X)` with `theta` = within-arm covariance over within-arm variance of X has the same difference of means
//! and less variance. In a mesh, X is the same metric of the same random group ([`crate::groups`]) in a time without a difference
//! before the start, with the experiment's salt.

use crate::error::{Error, finite};

/// An arm's values with their covariates.
#[derive(Debug, Clone, Copy)]
pub struct Arm<'a> {
    /// What is measured.
    pub values: &'a [f64],
    /// What was measured of the same unit before.
    pub before: &'a [f64],
}

/// The adjusted difference of means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adjusted {
    /// How much of a covariate's deviation is taken off.
    pub theta: f64,
    /// The adjusted mean of the canary.
    pub canary: f64,
    /// The adjusted mean of control.
    pub control: f64,
    /// The variance of the difference of the two (Welch).
    pub variance: f64,
}

impl Adjusted {
    /// The canary's adjusted mean less control's.
    pub fn difference(&self) -> f64 {
        self.canary - self.control
    }
}

/// The adjusted difference; an error unless each value has its covariate, all are finite and each arm has two units.
pub fn adjust(canary: Arm<'_>, control: Arm<'_>) -> Result<Adjusted, Error> {
    let (mut variance, mut covariance, mut before, mut units) = (0.0, 0.0, 0.0, 0.0);
    for arm in [canary, control] {
        if arm.values.len() != arm.before.len() {
            return Err(Error::Length {
                what: "covariates",
                found: arm.before.len(),
                expected: arm.values.len(),
            });
        }
        if arm.values.len() < 2 {
            return Err(Error::Length { what: "units of an arm", found: arm.values.len(), expected: 2 });
        }
        for value in arm.values.iter().chain(arm.before) {
            finite("a value", *value)?;
        }
        let (y, x) = (mean(arm.values), mean(arm.before));
        for (value, covariate) in arm.values.iter().zip(arm.before) {
            covariance += (value - y) * (covariate - x);
            variance += (covariate - x).powi(2);
        }
        before += arm.before.iter().sum::<f64>();
        units += arm.before.len() as f64;
    }
    // A covariate that never varies says nothing.
    let theta = if variance > 0.0 { covariance / variance } else { 0.0 };
    let centre = before / units;
    let adjusted = |arm: Arm<'_>| -> (f64, f64) {
        let values: Vec<f64> = arm
            .values
            .iter()
            .zip(arm.before)
            .map(|(value, covariate)| value - theta * (covariate - centre))
            .collect();
        let (mean, n) = (mean(&values), values.len() as f64);
        (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0) / n)
    };
    let ((canary, one), (control, zero)) = (adjusted(canary), adjusted(control));
    Ok(Adjusted { theta, canary, control, variance: one + zero })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_constant_covariate_changes_nothing(values in prop::collection::vec(-10.0..10.0_f64, 4..40)) {
            let (one, zero) = values.split_at(values.len() / 2);
            let same = vec![3.0; values.len()];
            let found = adjust(
                Arm { values: one, before: &same[..one.len()] },
                Arm { values: zero, before: &same[..zero.len()] },
            ).unwrap();
            prop_assert!(found.theta == 0.0 && (found.difference() - (mean(one) - mean(zero))).abs() < 1e-9);
        }
    }
}
