//! The mean of bounded values by bets, for comparison.
//!
//! The predictable plug-in empirical Bernstein confidence sequence (Waudby-Smith & Ramdas, JRSS-B 2023, Theorem 2): tight for
//! bounded values, but it depends on their order. So it can't be computed from merged counts, and two replicas would disagree: decisions
//! are not made by it.

use crate::error::{Error, within};
use crate::evidence::{Interval, Level};

/// The means that are not rejected after `values`, each from 0 to 1, in their order; half of the level at each side. `truncation`
/// is the largest bet, below 1.
pub fn interval(values: &[f64], level: Level, truncation: f64) -> Result<Interval, Error> {
    let truncation =
        within("the largest bet", truncation, "above 0 and below 1", |bet| 0.0 < bet && bet < 1.0)?;
    for value in values {
        within("a value", *value, "from 0 to 1", |value| (0.0..=1.0).contains(&value))?;
    }
    let side = level.divided_by(2);
    let lower = lower(values.iter().copied(), side, truncation);
    let upper = 1.0 - self::lower(values.iter().map(|value| 1.0 - value), side, truncation);
    Ok(Interval { lower, upper })
}

fn lower(values: impl Iterator<Item = f64>, level: Level, truncation: f64) -> f64 {
    let threshold = level.threshold();
    let (mut sum, mut squares) = (0.0, 0.0);
    let (mut bets, mut gains, mut costs) = (0.0, 0.0, 0.0);
    for (index, value) in values.enumerate() {
        let t = (index + 1) as f64;
        // With one imagined value of 1/2 and its variance of 1/4, both from before this value.
        let spread = (0.25 + squares) / t;
        let bet = (2.0 * threshold / (spread * t * t.ln_1p())).sqrt().min(truncation);
        let before = if index == 0 { 0.0 } else { sum / (t - 1.0) };
        bets += bet;
        gains += bet * value;
        costs += (value - before).powi(2) * (-(-bet).ln_1p() - bet);
        sum += value;
        squares += (value - (0.5 + sum) / (t + 1.0)).powi(2);
    }
    if bets == 0.0 { 0.0 } else { ((gains - threshold - costs) / bets).max(0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_interval_is_mirrored_with_the_values(values in prop::collection::vec(0.0..=1.0_f64, 0..200)) {
            let level = Level::new(0.05).unwrap();
            let mirrored: Vec<f64> = values.iter().map(|value| 1.0 - value).collect();
            let (one, other) = (interval(&values, level, 0.5).unwrap(), interval(&mirrored, level, 0.5).unwrap());
            prop_assert!((one.lower - (1.0 - other.upper)).abs() < 1e-12);
            prop_assert!(0.0 <= one.lower && one.upper <= 1.0);
        }
    }

    #[test]
    fn a_value_that_is_not_bounded_is_refused() {
        assert!(interval(&[1.1], Level::new(0.05).unwrap(), 0.5).is_err());
    }
}
