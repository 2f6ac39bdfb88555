//! Sample ratio mismatch: are variants chosen by their shares?
//!
//! The Dirichlet-multinomial test of [`crate::kernel`] on exposures (of requests where each is assigned by itself, of units where
//! they stick), by stages, each of which starts anew. It holds at every look, where a chi-square test at 0.05 that is looked at 300
//! times has 47 % false alarms (Lindon & Malek, NeurIPS 2022). An experiment whose ratio is wrong says nothing about its variants.

use crate::error::Error;
use crate::evidence::Evidence;
use crate::kernel::{Concentration, multinomial};
use crate::share::Shares;

/// Exposures of one stage.
#[derive(Debug, Clone, Copy)]
pub struct Stage<'a> {
    /// What was seen, by variant.
    pub counts: &'a [u64],
    /// What was due.
    pub shares: &'a Shares,
}

/// The evidence that exposures do not follow their shares.
///
/// An error where lists differ in length. An exposure of a variant without a share is the largest evidence that there is.
pub fn evidence<'a>(
    stages: impl IntoIterator<Item = Stage<'a>>,
    concentration: Concentration,
) -> Result<Evidence, Error> {
    let mut sum = Evidence::NONE;
    for stage in stages {
        sum = sum.and(multinomial(stage.counts, stage.shares, concentration)?);
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stages_may_come_in_any_order(
            counts in prop::collection::vec((0_u64..100_000, 0_u64..100_000, 0_u64..100_000, 1_u32..100), 1..6),
        ) {
            let shares: Vec<Shares> =
                counts.iter().map(|(.., weight)| Shares::of_weights(&[100, *weight, 7]).unwrap()).collect();
            let counts: Vec<[u64; 3]> = counts.iter().map(|(a, b, c, _)| [*a, *b, *c]).collect();
            let stages: Vec<Stage<'_>> =
                counts.iter().zip(&shares).map(|(counts, shares)| Stage { counts, shares }).collect();
            let forth = evidence(stages.iter().copied(), Concentration::RATIO).unwrap().log();
            let back = evidence(stages.iter().rev().copied(), Concentration::RATIO).unwrap().log();
            prop_assert!((forth - back).abs() <= 1e-9 * (1.0 + forth.abs()));
        }
    }

    #[test]
    fn a_percent_too_much_is_found_and_none_is_not() {
        let shares = Shares::new(&[0.9, 0.1]).unwrap();
        let at = |counts: &[u64]| {
            evidence([Stage { counts, shares: &shares }], Concentration::RATIO).unwrap().log()
        };
        assert!(at(&[890_000, 110_000]) > 100.0);
        assert!(at(&[900_000, 100_000]) < 0.0);
        assert!(at(&[0, 0]) == 0.0);
    }
}
