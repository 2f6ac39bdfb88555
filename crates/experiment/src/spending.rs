//! Group sequential bounds: few looks at a sample whose size is known (Lan & DeMets, Biometrika 1983).
//!
//! More power than an always-valid test where both are known: 0.90 at n against 0.69. A rollout looks every second and does not know its
//! n, so this is offered for planned analyses alone.

use crate::error::{Error, within};
use crate::evidence::Level;
use crate::numeric::{bisect, nodes};
use crate::special::normal;

/// How a level is spent over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spending {
    /// Little early: `2 - 2 Phi(z_(alpha/4) / sqrt(t))` at each side.
    OBrienFleming,
    /// Evenly: `alpha/2 ln(1 + (e - 1) t)` at each side.
    Pocock,
}

impl Spending {
    /// What is spent by both sides together at time `t`, the part of the whole sample seen: from 0 to 1.
    pub fn spent(self, t: f64, level: Level) -> Result<f64, Error> {
        let t = within("the time", t, "above 0 and at most 1", |t| 0.0 < t && t <= 1.0)?;
        Ok(match self {
            Self::OBrienFleming => 4.0 * normal::cdf(normal::quantile(level.get() / 4.0) / t.sqrt()),
            Self::Pocock => level.get() * ((std::f64::consts::E - 1.0) * t).ln_1p(),
        })
    }
}

/// Panels of the rule over which the density of those who go on is integrated.
const PANELS: u32 = 10;

/// The `|z|` that rejects at each of the looks at `times`, which ascend from above 0 to 1 at most.
pub fn bounds(spending: Spending, times: &[f64], level: Level) -> Result<Vec<f64>, Error> {
    let mut bounds = Vec::with_capacity(times.len());
    // The density of the sum at the look before, of those who have not stopped: position and weight times density.
    let mut density = vec![(0.0, 1.0)];
    let (mut before, mut spent_before) = (0.0, 0.0);
    for time in times {
        let spent = spending.spent(*time, level)?;
        within("a time", *time, "later than the one before", |time| time > before)?;
        let step = (time - before).sqrt();
        let beyond = |limit: f64| -> f64 {
            let tails = |from: f64| normal::cdf((from - limit) / step) + normal::cdf((-limit - from) / step);
            density.iter().map(|(position, weight)| weight * tails(*position)).sum()
        };
        let limit = bisect(0.0, 40.0 * time.sqrt(), |limit| beyond(limit) > spent - spent_before);
        let mut next = Vec::new();
        nodes(-limit, limit, PANELS, |position, weight| {
            let moved = |from: f64| (-0.5 * ((position - from) / step).powi(2)).exp() / step;
            let sum: f64 = density.iter().map(|(from, weight)| weight * moved(*from)).sum();
            next.push((position, weight * sum / (2.0 * std::f64::consts::PI).sqrt()));
        });
        density = next;
        bounds.push(limit / time.sqrt());
        (before, spent_before) = (*time, spent);
    }
    Ok(bounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_look_at_the_end_is_the_fixed_test() {
        let level = Level::new(0.05).unwrap();
        for spending in [Spending::OBrienFleming, Spending::Pocock] {
            let bounds = bounds(spending, &[1.0], level).unwrap();
            assert!((bounds[0] - normal::quantile(0.975)).abs() < 1e-9);
        }
    }

    #[test]
    fn times_ascend() {
        let level = Level::new(0.05).unwrap();
        assert!(bounds(Spending::Pocock, &[0.5, 0.5], level).is_err());
        assert!(bounds(Spending::Pocock, &[0.5, 1.1], level).is_err());
    }
}
