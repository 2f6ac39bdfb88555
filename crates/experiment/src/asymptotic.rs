//! Asymptotic confidence sequences: means and absolute differences.
//!
//! For an estimate with variance `V` and a prior of standard deviation `tau` on the effect, fixed before the data:
//!
//! ```text
//! R = tau^2 / V    z = estimate / sqrt(V)    E = exp(z^2 R / (2 (R + 1))) / sqrt(R + 1)
//! interval: estimate +- sqrt(V) sqrt((1 + 1/R) ln((R + 1) / alpha^2))
//! one-sided: E = 2 exp(z^2 R / (2 (R + 1))) / sqrt(R + 1) * Phi(z sqrt(R / (R + 1)))
//! ```
//!
//! Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (Annals of Statistics 2024, arXiv 2103.06476); with a known variance it is the
//! mixture test of Johari, Koomen, Pekelis & Walsh (KDD 2017). The form with `V` is used, as the number of units is no measure of
//! information where shares change. It holds for many units alone: see [`crate::difference::Stages::is_ready`].

use std::f64::consts::LN_2;

use crate::error::{Error, finite, positive};
use crate::evidence::{Evidence, Interval, Level};
use crate::special::normal;

/// An estimate with its variance, under a prior on the effect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effect {
    estimate: f64,
    variance: f64,
    tau: f64,
}

impl Effect {
    /// An estimate with its variance; `tau` is the smallest effect that is worth acting on. An error unless all are finite and
    /// both variance and `tau` are above 0.
    pub fn new(estimate: f64, variance: f64, tau: f64) -> Result<Self, Error> {
        Ok(Self {
            estimate: finite("the estimate", estimate)?,
            variance: positive("the variance", variance)?,
            tau: positive("the prior's standard deviation", tau)?,
        })
    }

    /// The estimate.
    pub fn estimate(self) -> f64 {
        self.estimate
    }

    /// Its variance.
    pub fn variance(self) -> f64 {
        self.variance
    }

    /// The estimate in standard deviations.
    pub fn z(self) -> f64 {
        self.estimate / self.variance.sqrt()
    }

    /// `R`: how much the data say compared with the prior. The interval is tightest around 8 at level 0.05.
    pub fn information(self) -> f64 {
        (self.tau / self.variance.sqrt()).powi(2).clamp(f64::MIN_POSITIVE, f64::MAX)
    }

    /// The evidence against an effect of 0.
    pub fn evidence(self) -> Evidence {
        let part = 1.0 / (1.0 + 1.0 / self.information());
        Evidence::from_log(0.5 * self.z().powi(2) * part - 0.5 * self.information().ln_1p())
    }

    /// The evidence against an effect of at most 0.
    pub fn evidence_greater(self) -> Evidence {
        let part = 1.0 / (1.0 + 1.0 / self.information());
        let tail = normal::ln_scaled_cdf(self.z() * part.sqrt());
        Evidence::from_log(LN_2 + tail - 0.5 * self.information().ln_1p())
    }

    /// The evidence against an effect of at least 0.
    pub fn evidence_less(self) -> Evidence {
        Self { estimate: -self.estimate, ..self }.evidence_greater()
    }

    /// The same estimate against another null value.
    #[must_use]
    pub fn against(self, null: f64) -> Self {
        Self { estimate: self.estimate - null, ..self }
    }

    /// The effects that the two-sided test does not reject.
    pub fn interval(self, level: Level) -> Interval {
        let width = self.variance.sqrt() * critical(self.information(), level);
        Interval { lower: self.estimate - width, upper: self.estimate + width }
    }
}

/// How many standard deviations reject at information `R`: `sqrt((1 + 1/R) ln((R + 1) / alpha^2))`.
pub fn critical(information: f64, level: Level) -> f64 {
    ((1.0 + 1.0 / information) * (information.ln_1p() + 2.0 * level.threshold())).sqrt()
}

/// The prior's standard deviation in those of one observation at which the interval is tightest after `observations`:
/// `sqrt((2 ln(1/alpha) + ln(1 + 2 ln(1/alpha))) / n)`. For constant shares; the n-form of other tools.
pub fn tightest_at(observations: f64, level: Level) -> Result<f64, Error> {
    let twice = 2.0 * level.threshold();
    Ok(((twice + twice.ln_1p()) / positive("the number of observations", observations)?).sqrt())
}

/// The relative difference `m1 / m0 - 1` of two means above 0 with variances, by the delta method.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Relative {
    /// `m1 / m0 - 1`.
    pub estimate: f64,
    /// Its variance.
    pub variance: f64,
    /// `ln(m1 / m0)`, which intervals are made of: they exponentiate its ends.
    pub log_ratio: f64,
    /// Its variance.
    pub log_variance: f64,
}

/// The relative difference of means `one` and `zero`, each with its variance; an error unless means are above 0 and variances not
/// below.
pub fn relative(one: (f64, f64), zero: (f64, f64)) -> Result<Relative, Error> {
    let squared = |(mean, variance): (f64, f64)| -> Result<f64, Error> {
        let mean = positive("the mean", mean)?;
        let variance =
            crate::error::within("the variance", variance, "finite and not below 0", |v| v >= 0.0)?;
        finite("the squared coefficient of variation", variance / mean / mean)
    };
    let log_variance = squared(one)? + squared(zero)?;
    let ratio = one.0 / zero.0;
    Ok(Relative {
        estimate: ratio - 1.0,
        variance: ratio * ratio * log_variance,
        log_ratio: ratio.ln(),
        log_variance,
    })
}

impl Relative {
    /// The relative differences that are not rejected, with a prior of standard deviation `tau` on the logarithm of the ratio.
    pub fn interval(self, tau: f64, level: Level) -> Result<Interval, Error> {
        let Interval { lower, upper } = Effect::new(self.log_ratio, self.log_variance, tau)?.interval(level);
        Ok(Interval { lower: lower.exp_m1(), upper: upper.exp_m1() })
    }
}

/// The logarithm of the mixture likelihood ratio of Johari et al. for means of `n` observations in each arm with a known variance:
/// `sqrt(2 s2 / (2 s2 + n tau2)) exp(n^2 tau2 d^2 / (4 s2 (2 s2 + n tau2)))`.
pub fn mixture_ratio(n: f64, difference: f64, variance: f64, tau: f64) -> Result<Evidence, Error> {
    let of_difference =
        2.0 * positive("the variance", variance)? / positive("the number of observations", n)?;
    Ok(Effect::new(difference, of_difference, tau)?.evidence())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_interval_holds_what_the_test_does_not_reject(
            estimate in -5.0..5.0_f64, variance in 1e-6..10.0_f64, tau in 0.01..10.0_f64, null in -5.0..5.0_f64,
        ) {
            let level = Level::new(0.05).unwrap();
            let effect = Effect::new(estimate, variance, tau).unwrap();
            let interval = effect.interval(level);
            let edge = (interval.lower - null).abs().min((interval.upper - null).abs());
            prop_assert!(edge < 1e-9 || interval.contains(null) != effect.against(null).evidence().rejects(level));
        }

        #[test]
        fn one_sided_evidence_rises_with_the_estimate(
            estimate in -5.0..5.0_f64, more in 0.0..1.0_f64, variance in 1e-6..10.0_f64, tau in 0.01..10.0_f64,
        ) {
            let low = Effect::new(estimate, variance, tau).unwrap();
            let high = Effect::new(estimate + more, variance, tau).unwrap();
            prop_assert!(high.evidence_greater().log() >= low.evidence_greater().log() - 1e-9);
            prop_assert!((low.evidence_less().log() - Effect::new(-estimate, variance, tau).unwrap().evidence_greater().log()).abs() < 1e-12);
            // The two sides make up the two-sided test.
            let both = Evidence::mean(&[low.evidence_greater(), low.evidence_less()]).log();
            prop_assert!((both - low.evidence().log()).abs() < 1e-9 * (1.0 + both.abs()));
        }
    }

    #[test]
    fn the_expected_value_under_no_effect_is_one() {
        for (variance, tau) in [(1.0, 0.1), (0.01, 1.0), (4.0, 5.0)] {
            let mut means = [0.0, 0.0];
            crate::numeric::nodes(-150.0, 150.0, 300, |z, weight| {
                let effect = Effect::new(z * f64::sqrt(variance), variance, tau).unwrap();
                let density = -0.5 * z * z - 0.5 * (2.0 * std::f64::consts::PI).ln();
                means[0] += weight * (density + effect.evidence().log()).exp();
                means[1] += weight * (density + effect.evidence_greater().log()).exp();
            });
            assert!(means.iter().all(|mean| (mean - 1.0).abs() < 1e-9), "{means:?}");
        }
    }

    #[test]
    fn extremes_are_finite_and_no_variance_is_refused() {
        let level = Level::new(0.05).unwrap();
        for estimate in [0.0, 1e-12, 1e12, -1e12] {
            for variance in [1e-24, 1.0, 1e24] {
                let effect = Effect::new(estimate, variance, 1e-3).unwrap();
                for evidence in [effect.evidence(), effect.evidence_greater(), effect.evidence_less()] {
                    assert!(evidence.log().is_finite());
                }
                let interval = effect.interval(level);
                assert!(interval.lower.is_finite() && interval.lower <= interval.upper);
            }
        }
        assert!(Effect::new(0.0, 0.0, 1.0).is_err() && Effect::new(f64::NAN, 1.0, 1.0).is_err());
        assert!(relative((0.0, 1.0), (1.0, 1.0)).is_err() && relative((1.0, -1.0), (1.0, 1.0)).is_err());
    }
}
