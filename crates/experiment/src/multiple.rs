//! Several metrics at once.
//!
//! - Any of several alarms: [`crate::evidence::Level::divided_by`] (Bonferroni), valid under any dependence.
//! - One alarm that something is wrong: the mean of the e-values ([`crate::evidence::Evidence::mean`]).
//! - All of several safe: each at the full level (intersection-union, Berger 1982); a correction here only costs power.
//! - An exploratory list: e-BH (Wang & Ramdas, JRSS-B 2022), never for metrics that decide.
//! - p-values of others: calibrators (Vovk & Wang, Annals of Statistics 2021). One from a test that is not sequential stays valid only
//!   for the look that it was planned for.

use crate::error::{Error, within};
use crate::evidence::{Evidence, Level};

/// Which of several hypotheses are rejected so that the expected part of false ones among them is at most the level, under any
/// dependence: the `k` largest for the largest `k` with `E_(k) >= K / (alpha k)`. By index, ascending.
pub fn e_bh(all: &[Evidence], level: Level) -> Vec<usize> {
    let mut order: Vec<usize> = (0..all.len()).collect();
    let log = |index: &usize| all.get(*index).map_or(f64::MIN, |evidence| evidence.log());
    order.sort_by(|one, other| log(other).total_cmp(&log(one)));
    let enough = |rank: usize, index: &usize| {
        log(index) >= (all.len() as f64 / (rank + 1) as f64).ln() + level.threshold()
    };
    let rejected = order
        .iter()
        .enumerate()
        .rev()
        .find(|(rank, index)| enough(*rank, index))
        .map_or(0, |(rank, _)| rank + 1);
    order.truncate(rejected);
    order.sort_unstable();
    order
}

/// Which are rejected if any false rejection is an error (Bonferroni). By index, ascending.
pub fn bonferroni(all: &[Evidence], level: Level) -> Vec<usize> {
    let each = level.divided_by(all.len());
    all.iter().enumerate().filter(|(_, evidence)| evidence.rejects(each)).map(|(index, _)| index).collect()
}

fn p_value(p: f64) -> Result<f64, Error> {
    within("the p-value", p, "above 0 and at most 1", |p| 0.0 < p && p <= 1.0)
}

/// An e-value from a p-value: `1 / (2 sqrt(p))`.
pub fn calibrate_half(p: f64) -> Result<Evidence, Error> {
    Ok(Evidence::from_log(-(2.0_f64.ln()) - 0.5 * p_value(p)?.ln()))
}

/// An e-value from a p-value: `(1 - p + p ln p) / (p ln^2 p)`, the mean over all calibrators `kappa p^(kappa - 1)`.
pub fn calibrate_integral(p: f64) -> Result<Evidence, Error> {
    let log = p_value(p)?.ln();
    // Near 1 the quotient is 0/0, and its series is 1/2 - ln(p)/6.
    let value = if log > -1e-4 { 0.5 - log / 6.0 } else { (1.0 - p + p * log) / (p * log * log) };
    Ok(Evidence::from_log(value.ln()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn e_bh_rejects_what_the_definition_does(logs in prop::collection::vec(-2.0..12.0_f64, 0..12)) {
            let level = Level::new(0.05).unwrap();
            let all: Vec<Evidence> = logs.iter().map(|log| Evidence::from_log(*log)).collect();
            let mut best = Vec::new();
            for k in 1..=logs.len() {
                let bound = (logs.len() as f64 / (0.05 * k as f64)).ln();
                let over: Vec<usize> = (0..logs.len()).filter(|index| logs[*index] >= bound).collect();
                if over.len() >= k {
                    best = over;
                }
            }
            prop_assert_eq!(e_bh(&all, level), best);
            prop_assert!(bonferroni(&all, level).iter().all(|index| e_bh(&all, level).contains(index)));
        }
    }

    #[test]
    fn calibrated_p_values_have_an_expected_value_of_at_most_one() {
        for calibrate in [calibrate_half, calibrate_integral] {
            let mut mean = 0.0;
            // Over the logarithm of p, since e-values are large where p is small.
            crate::numeric::nodes(-60.0, 0.0, 200, |log, weight| {
                mean += weight * log.exp() * calibrate(log.exp()).unwrap().value();
            });
            assert!((0.9..=1.0 + 1e-6).contains(&mean), "{mean}");
        }
        assert!(calibrate_half(0.0).is_err() && calibrate_integral(1.5).is_err());
        assert!((calibrate_integral(1.0).unwrap().value() - 0.5).abs() < 1e-9);
    }
}
