//! Bounds that hold for any number of observations.
//!
//! They bound a sum of deviations with intrinsic time `v` (its accumulated variance) at all times at once: Howard, Ramdas, McAuliffe &
//! Sekhon (Annals of Statistics 2021). They are wider than [`crate::asymptotic`] and [`crate::label`] at every number of events
//! that an experiment meets: for users who want a proof for an absolute difference, and for comparison.

use crate::error::{Error, positive, within};
use crate::evidence::Level;
use crate::numeric::bisect;
use crate::special::gamma::{ln_gamma, ln_incomplete};
use crate::special::{normal, zeta};

/// The prior's precision at which a two-sided normal mixture is tightest at intrinsic time `v`.
fn precision(v: f64, alpha: f64) -> f64 {
    let twice = -2.0 * alpha.ln();
    v / (twice + twice.ln_1p())
}

/// Where a mixture's logarithm, which rises with the sum, reaches a threshold.
fn reach(threshold: f64, start: f64, log: impl Fn(f64) -> f64) -> f64 {
    let mut high = start;
    for _ in 0..200 {
        if log(high) > threshold {
            break;
        }
        high *= 2.0;
    }
    bisect(0.0, high, |sum| log(sum) < threshold)
}

/// A mixture tuned to be tightest at intrinsic time `v`, one-sided at `level`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuning {
    v: f64,
    level: Level,
}

impl Tuning {
    /// Tightest at intrinsic time `v` for `level`; an error unless `v` is finite and above 0 and `level` below a half.
    pub fn new(v: f64, level: Level) -> Result<Self, Error> {
        within("the level", level.get(), "below 0.5", |alpha| alpha < 0.5)?;
        Ok(Self { v: positive("the intrinsic time", v)?, level })
    }

    fn one_sided(self) -> f64 {
        precision(self.v, 2.0 * self.level.get())
    }
}

/// The two-sided normal mixture (Proposition 5): `sqrt((v + rho) ln((v + rho) / (rho alpha^2)))`.
pub fn normal_two_sided(v: f64, level: Level, tuning: Tuning) -> Result<f64, Error> {
    let v = positive("the intrinsic time", v)?;
    let rho = precision(tuning.v, tuning.level.get());
    Ok(((v + rho) * ((v / rho).ln_1p() + 2.0 * level.threshold())).sqrt())
}

/// The one-sided normal mixture (Proposition 6).
pub fn normal_one_sided(v: f64, level: Level, tuning: Tuning) -> Result<f64, Error> {
    let v = positive("the intrinsic time", v)?;
    let rho = tuning.one_sided();
    let log = |sum: f64| {
        0.5 * (4.0 * rho / (v + rho)).ln()
            + sum * sum / (2.0 * (v + rho))
            + normal::ln_cdf(sum / (v + rho).sqrt())
    };
    Ok(reach(level.threshold(), v.sqrt(), log))
}

/// The gamma-exponential mixture (Proposition 9) for sums that are sub-exponential with scale `c`, one-sided.
pub fn gamma_exponential(v: f64, level: Level, tuning: Tuning, c: f64) -> Result<f64, Error> {
    let (v, c) = (positive("the intrinsic time", v)?, positive("the scale", c)?);
    let rho = tuning.one_sided();
    let prior = rho / (c * c);
    let lead = prior * prior.ln() - ln_gamma(prior) - ln_incomplete(prior, prior).0;
    let shape = (v + rho) / (c * c);
    let log = |sum: f64| {
        let reached = (c * sum + v) / (c * c);
        lead + ln_gamma(shape) + ln_incomplete(shape, reached + prior).0 - shape * (reached + prior).ln()
            + reached
    };
    Ok(reach(level.threshold(), v.sqrt(), log))
}

/// The gamma-Poisson mixture (Proposition 10): how far a Poisson count may exceed its mean `v`, in jumps of `c`.
pub fn gamma_poisson(v: f64, level: Level, tuning: Tuning, c: f64) -> Result<f64, Error> {
    let (v, c) = (positive("the intrinsic time", v)?, positive("the size of a jump", c)?);
    let rho = tuning.one_sided();
    let prior = rho / (c * c);
    let lead = prior * prior.ln() - ln_gamma(prior) - ln_incomplete(prior, prior).1;
    let rate = (v + rho) / (c * c);
    let log = |sum: f64| {
        let shape = sum / c + rate;
        lead + ln_gamma(shape) + ln_incomplete(shape, rate).1 - shape * rate.ln() + v / (c * c)
    };
    Ok(reach(level.threshold(), v.sqrt(), log))
}

/// The shape of a stitched bound: `eta` is the ratio of epochs, `s` the exponent of what they are given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stitching {
    eta: f64,
    s: f64,
}

impl Default for Stitching {
    fn default() -> Self {
        Self { eta: 2.0, s: 1.4 }
    }
}

impl Stitching {
    /// A shape; an error unless both are finite and above 1.
    pub fn new(eta: f64, s: f64) -> Result<Self, Error> {
        let eta = within("the ratio of epochs", eta, "finite and above 1", |eta| eta > 1.0)?;
        Ok(Self { eta, s: within("the exponent", s, "finite and above 1", |s| s > 1.0)? })
    }

    fn factors(self) -> (f64, f64) {
        (
            (self.eta.powf(0.25) + self.eta.powf(-0.25)) / std::f64::consts::SQRT_2,
            f64::midpoint(self.eta.sqrt(), 1.0),
        )
    }

    /// The polynomial stitched bound (Theorem 1) from intrinsic time `least` on, for sums that are sub-gamma with scale `c`. It
    /// grows like the law of the iterated logarithm.
    pub fn bound(self, v: f64, level: Level, least: f64, c: f64) -> Result<f64, Error> {
        let least = positive("the least intrinsic time", least)?;
        let v = positive("the intrinsic time", v)?.max(least);
        let c = within("the scale", c, "finite and not below 0", |c| c >= 0.0)?;
        let (k1, k2) = self.factors();
        let l = self.s * (self.eta * v / least).ln().ln()
            + (zeta(self.s) / self.eta.ln().powf(self.s)).ln()
            + level.threshold();
        let second = k2 * c * l;
        Ok((k1 * k1 * v * l + second * second).sqrt() + second)
    }

    /// The bound of counts below quantile `p` of `t` observations, uniform over time and quantiles (double stitching; Howard &
    /// Ramdas, Bernoulli 2022, Theorem 3), tightest around `tuned`. `delta` is the distance of the grid of quantiles.
    pub fn quantile_bound(self, p: f64, t: f64, level: Level, tuned: f64, delta: f64) -> Result<f64, Error> {
        let p = within("the quantile", p, "above 0 and below 1", |p| 0.0 < p && p < 1.0)?;
        let (tuned, delta) = (positive("the tuned time", tuned)?, positive("delta", delta)?);
        let t = positive("the time", t)?.max(tuned);
        let logit = (p / (1.0 - p)).ln();
        let r = if p >= 0.5 {
            p
        } else {
            let moved = logit + 2.0 * delta * (tuned * self.eta / t).sqrt();
            (1.0 / (1.0 + (-moved).exp())).min(0.5)
        };
        let spread = r * (1.0 - r);
        let steps = (t / tuned).sqrt() * logit.abs() / (2.0 * delta) + 1.0;
        let (k1, k2) = self.factors();
        let zeta = zeta(self.s);
        let l = self.s * (self.eta * t / tuned).ln().ln()
            + self.s * steps.ln()
            + (2.0 * zeta * (2.0 * zeta + 1.0) / (level.get() * self.eta.ln().powf(self.s))).ln();
        let second = k2 * (1.0 - 2.0 * p) / 3.0 * l;
        Ok(delta * (self.eta * t * spread / tuned).sqrt()
            + (k1 * k1 * spread * t * l + second * second).sqrt()
            + second)
    }
}

/// The radius of a band around the whole distribution function of `t` observations, at all times from `least` on (Howard & Ramdas,
/// Bernoulli 2022, Theorem 2): `A sqrt((ln(1 + ln(t / least)) + C) / t)`. None before `least`.
pub fn distribution_radius(t: f64, level: Level, least: f64, a: f64) -> Result<Option<f64>, Error> {
    let least = within("the least time", least, "finite and at least 1", |least| least >= 1.0)?;
    let a = within("A", a, "finite and above 0.7072", |a| a > 0.7072)?;
    let t = positive("the time", t)?;
    Ok((t >= least).then(|| a * (((t / least).ln().ln_1p() + band_constant(a, level)) / t).sqrt()))
}

/// The smallest `C` whose error bound, at the best ratio of epochs, is within the level.
fn band_constant(a: f64, level: Level) -> f64 {
    let error = |c: f64, eta: f64| {
        let gamma = 2.0 / eta * (a - (2.0 * (eta - 1.0) / c).sqrt()).powi(2);
        if gamma <= 1.0 {
            f64::INFINITY
        } else {
            4.0 * (-gamma * c).exp() * (1.0 + 1.0 / ((gamma - 1.0) * eta.ln()))
        }
    };
    let best = |c: f64| {
        let last = bisect(1.0, 2.0 * a * a, |eta| (eta / 2.0).sqrt() + (2.0 * (eta - 1.0) / c).sqrt() < a);
        error(c, crate::numeric::maximum(1.0, last, |eta| -error(c, eta)))
    };
    let mut high = 5.0;
    while best(high) > level.get() && high < 1e9 {
        high *= 2.0;
    }
    bisect(0.0, high, |c| best(c) > level.get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bounds_rise_with_time_and_with_certainty(v in 1.0..1e6_f64, more in 1.0..10.0_f64, alpha in 0.001..0.2_f64) {
            let tuning = Tuning::new(100.0, Level::new(0.05).unwrap()).unwrap();
            let bound = |v: f64, alpha: f64| {
                let level = Level::new(alpha).unwrap();
                [
                    normal_two_sided(v, level, tuning).unwrap(),
                    normal_one_sided(v, level, tuning).unwrap(),
                    gamma_exponential(v, level, tuning, 2.0).unwrap(),
                    gamma_poisson(v, level, tuning, 1.0).unwrap(),
                    Stitching::default().bound(v, level, 1.0, 2.0).unwrap(),
                ]
            };
            let (plain, later, surer) = (bound(v, alpha), bound(v * more, alpha), bound(v, alpha / 2.0));
            for index in 0..plain.len() {
                prop_assert!(plain[index].is_finite() && plain[index] > 0.0);
                prop_assert!(later[index] >= plain[index] * (1.0 - 1e-9), "{} {:?} {:?}", index, plain, later);
                prop_assert!(surer[index] > plain[index], "{} {:?} {:?}", index, plain, surer);
            }
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        let level = Level::new(0.05).unwrap();
        assert!(Tuning::new(0.0, level).is_err() && Tuning::new(1.0, Level::new(0.6).unwrap()).is_err());
        assert!(Stitching::new(1.0, 1.4).is_err());
        assert!(distribution_radius(10.0, level, 100.0, 0.85).unwrap().is_none());
        assert!(distribution_radius(10.0, level, 1.0, 0.5).is_err());
    }
}
