//! The label test over stages: the work-horse.
//!
//! A stage is a time during which shares did not change. Over stages with shares `rho_s`, `n_s` events in each and `K` of them the
//! canary's, the evidence against the ratio of rates `r0` is the likelihood ratio of each event with its own stage's share, under
//! a prior on the logarithm of the ratio:
//!
//! ```text
//! ln E(r0) = ln of the integral over r of (r / r0)^K prod over s ((1 - rho_s + rho_s r0) / (1 - rho_s + rho_s r))^n_s pi(dr)
//! ```
//!
//! It needs no denominators, no error rate and no stationarity; it needs the true shares (hence [`crate::mismatch`]), one event for
//! each unit of assignment, and events that are seen in both arms alike. For one stage it is Lindon & Malek's test (NeurIPS 2022)
//! with another prior; shares may change by any rule that looks at the past alone. Stages are multiplied, never pooled: pooled
//! counts of a ramp with a falling error rate are false alarms always (Simpson).
//!
//! The logarithm of the integrand is concave, so the integral is computed to ten digits at any number of events.

use std::f64::consts::{LN_2, PI};

use crate::error::{Error, positive};
use crate::evidence::{Evidence, Interval, Level};
use crate::numeric::{bisect, log_integral, log_sum_exp};
use crate::share::Share;

/// No ratio of rates is looked for beyond e^700.
const FAR: f64 = 700.0;

/// Events of one stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stage {
    /// The canary's share of the units that went to it or to control.
    pub share: Share,
    /// Events of the canary, at most one for each unit.
    pub canary: u64,
    /// Events of control.
    pub control: u64,
}

/// Which difference is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Any. The prior is centred at a ratio of 1.
    Two,
    /// The canary has more events than the null ratio says: valid for all ratios up to it.
    More,
    /// The canary has fewer events than the null ratio says: valid for all ratios from it on.
    Fewer,
}

/// What ratios are expected if there is a difference: a mixture of normal distributions of the logarithm of the ratio, halves of
/// them for one side, from the null ratio on.
#[derive(Debug, Clone, PartialEq)]
pub struct Prior(Vec<(f64, f64)>);

impl Default for Prior {
    /// 0.8 of a standard deviation of ln 2 and 0.2 of ln 32: small effects are found as early as by the first alone, and a canary
    /// that answers nothing twice as early.
    fn default() -> Self {
        Self(vec![(0.8, LN_2), (0.2, 5.0 * LN_2)])
    }
}

impl Prior {
    /// One part, whose standard deviation is `tau`; an error unless that is finite and above 0.
    pub fn single(tau: f64) -> Result<Self, Error> {
        Self::mixture(&[(1.0, tau)])
    }

    /// Parts of a weight and a standard deviation; an error unless all are finite and above 0 and weights add up to 1.
    pub fn mixture(parts: &[(f64, f64)]) -> Result<Self, Error> {
        let mut sum = 0.0;
        for (weight, tau) in parts {
            sum += positive("a part of the prior", *weight)?;
            positive("the prior's standard deviation", *tau)?;
        }
        if (sum - 1.0).abs() > 1e-9 {
            return Err(Error::Shares { sum });
        }
        Ok(Self(parts.to_vec()))
    }
}

/// One stage's part of the likelihood ratio against a null ratio.
struct Term {
    canary: f64,
    events: f64,
    /// The probability under the null that an event is the canary's.
    theta: f64,
    /// The same as odds.
    odds: f64,
}

impl Term {
    fn new(stage: &Stage, null: f64) -> Self {
        let odds = stage.share.odds() * null;
        Self {
            canary: stage.canary as f64,
            events: stage.canary as f64 + stage.control as f64,
            theta: odds / (1.0 + odds),
            odds,
        }
    }

    /// The probability that an event is the canary's at `e^d` times the null ratio.
    fn theta_at(&self, d: f64) -> f64 {
        1.0 / (1.0 + (-d).exp() / self.odds)
    }
}

struct Likelihood(Vec<Term>);

impl Likelihood {
    fn new(stages: &[Stage], null: f64) -> Self {
        Self(
            stages
                .iter()
                .filter(|stage| stage.canary > 0 || stage.control > 0)
                .map(|stage| Term::new(stage, null))
                .collect(),
        )
    }

    /// The logarithm of the likelihood ratio of `e^d` times the null ratio. Concave. By `ln_1p` and `exp_m1` since for many
    /// events only a small `d` matters.
    fn log(&self, d: f64) -> f64 {
        let term = |term: &Term| {
            let growth = if d < -1.0 {
                (term.odds * d.exp()).ln_1p() - term.odds.ln_1p()
            } else if d < 30.0 {
                (term.theta * d.exp_m1()).ln_1p()
            } else {
                term.theta.ln() + d + ((-d).exp() / term.odds).ln_1p()
            };
            term.canary * d - term.events * growth
        };
        self.0.iter().map(term).sum()
    }

    fn slope(&self, d: f64) -> f64 {
        self.0.iter().map(|term| term.canary - term.events * term.theta_at(d)).sum()
    }

    fn curvature(&self, d: f64) -> f64 {
        self.0
            .iter()
            .map(|term| (term.events, term.theta_at(d)))
            .map(|(n, theta)| n * theta * (1.0 - theta))
            .sum()
    }

    fn canary(&self) -> f64 {
        self.0.iter().map(|term| term.canary).sum()
    }

    fn events(&self) -> f64 {
        self.0.iter().map(|term| term.events).sum()
    }

    /// Where it is largest; `FAR` or `-FAR` if it has no maximum.
    fn mode(&self) -> f64 {
        if self.canary() == 0.0 {
            -FAR
        } else if self.canary() >= self.events() {
            FAR
        } else {
            bisect(-FAR, FAR, |d| self.slope(d) > 0.0)
        }
    }

    /// The logarithm of its mean under a normal distribution around `centre`, or under the half of it in `domain`.
    fn mixed(&self, centre: f64, tau: f64, domain: (f64, f64)) -> f64 {
        let precision = 1.0 / (tau * tau);
        let slope = |d: f64| self.slope(d) - (d - centre) * precision;
        let far = tau * tau * (self.events() + 1.0) + centre.abs();
        let (low, high) = (domain.0.max(-far), domain.1.min(far));
        let mode = if slope(low) <= 0.0 {
            low
        } else if slope(high) >= 0.0 {
            high
        } else {
            bisect(low, high, |d| slope(d) > 0.0)
        };
        let scale = 1.0 / (slope(mode).abs() + (self.curvature(mode) + precision).sqrt());
        let g = |d: f64| self.log(d) - 0.5 * (d - centre).powi(2) * precision;
        let halves = if domain.0 == 0.0 || domain.1 == 0.0 { LN_2 } else { 0.0 };
        log_integral(g, mode, scale, domain) + halves - tau.ln() - 0.5 * (2.0 * PI).ln()
    }
}

/// The evidence against a ratio of rates of `null` (1: no difference); an error unless that is finite and above 0.
pub fn evidence(stages: &[Stage], prior: &Prior, side: Side, null: f64) -> Result<Evidence, Error> {
    let null = positive("the null ratio", null)?;
    let likelihood = Likelihood::new(stages, null);
    if likelihood.0.is_empty() {
        return Ok(Evidence::NONE);
    }
    let (centre, domain) = match side {
        Side::Two => (-null.ln(), (f64::NEG_INFINITY, f64::INFINITY)),
        Side::More => (0.0, (0.0, f64::INFINITY)),
        Side::Fewer => (0.0, (f64::NEG_INFINITY, 0.0)),
    };
    let parts: Vec<f64> =
        prior.0.iter().map(|(weight, tau)| weight.ln() + likelihood.mixed(centre, *tau, domain)).collect();
    Ok(Evidence::from_log(log_sum_exp(parts.into_iter())))
}

/// An upper bound of [`evidence`], for any prior, at a fraction of its cost: each stage by its own best ratio on that side. Whoever looks often asks for the evidence only where this bound allows an alarm.
pub fn evidence_at_most(stages: &[Stage], side: Side, null: f64) -> Evidence {
    let bound = |stage: &Stage| {
        let (k, n) = (stage.canary as f64, stage.canary as f64 + stage.control as f64);
        let mean = n * Term::new(stage, null).theta;
        let counts = n > 0.0 && (side == Side::Two || (side == Side::More) == (k > mean));
        if counts {
            crate::special::gamma::deviance(k, mean) + crate::special::gamma::deviance(n - k, n - mean)
        } else {
            0.0
        }
    };
    Evidence::from_log(stages.iter().map(bound).sum())
}

/// The ratio of the canary's rate of events to control's, and its confidence sequence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// By maximum likelihood; none where one arm has no event.
    pub estimate: Option<f64>,
    /// The ratios that the two-sided test does not reject. It is right if the ratio is constant over the stages; the test of no
    /// difference does not need that.
    pub interval: Interval,
}

/// The confidence sequence of the ratio: the null ratios that are not rejected.
pub fn interval(stages: &[Stage], prior: &Prior, level: Level) -> Result<Ratio, Error> {
    let likelihood = Likelihood::new(stages, 1.0);
    if likelihood.0.is_empty() {
        return Ok(Ratio { estimate: None, interval: Interval { lower: 0.0, upper: f64::INFINITY } });
    }
    let mode = likelihood.mode();
    // The prior stays where it is, so that the integral is the same for every null but for the likelihood at that null.
    let limit = evidence(stages, prior, Side::Two, 1.0)?.log() - level.threshold();
    let inside = |d: f64| likelihood.log(d) > limit;
    let none = likelihood.canary() == 0.0;
    let all = likelihood.canary() >= likelihood.events();
    Ok(Ratio {
        estimate: (!none && !all).then(|| mode.exp()),
        interval: Interval {
            lower: if none { 0.0 } else { bisect(-FAR, mode, |d| !inside(d)).exp() },
            upper: if all { f64::INFINITY } else { bisect(mode, FAR, inside).exp() },
        },
    })
}

/// Whether the canary's rate is shown to be less than `1 + margin` times control's: that ratio is rejected, and the estimate lies
/// below it.
pub fn non_inferior(stages: &[Stage], prior: &Prior, margin: f64, level: Level) -> Result<bool, Error> {
    let margin = positive("the margin", margin)?;
    Ok(interval(stages, prior, level)?.interval.upper < 1.0 + margin)
}

#[cfg(test)]
mod tests;
