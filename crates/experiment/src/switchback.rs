//! Switchback: where variants disturb each other (a shared cache, database or pool), whole blocks of time go to one of them.
//!
//! Blocks come in pairs, of which a hash of the experiment's salt says which half goes first; the first part of each block is left
//! out for what the one before carried over. The differences of pairs are independent, and their mean has an asymptotic confidence
//! sequence (Bojinov, Simchi-Levi & Zhao, Management Science 2023; [`crate::asymptotic`]).

use weft_mesh::hash::combine;

use crate::asymptotic::Effect;
use crate::error::{Error, finite};

/// Pairs that are needed before anything is said.
pub const PAIRS: usize = 20;

/// Whether the canary gets block `block` (time divided by the length of a block) of the experiment whose salt hashes to `salt`.
pub fn is_canary(salt: u64, block: u64) -> bool {
    let first_half = combine(salt, block / 2) & 1 == 1;
    first_half == block.is_multiple_of(2)
}

/// The mean of the differences of pairs (the canary's block less control's) with its variance; an error where one is not finite, there
/// are fewer than two, or all are the same.
pub fn effect(differences: &[f64], tau: f64) -> Result<Effect, Error> {
    if differences.len() < 2 {
        return Err(Error::Length { what: "pairs of blocks", found: differences.len(), expected: 2 });
    }
    for difference in differences {
        finite("a difference", *difference)?;
    }
    let n = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / n;
    let squares: f64 = differences.iter().map(|difference| (difference - mean).powi(2)).sum();
    Effect::new(mean, squares / (n - 1.0) / n, tau)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_pair_has_one_block_of_each(salt: u64, pair in 0_u64..u64::MAX / 2) {
            prop_assert!(is_canary(salt, pair * 2) != is_canary(salt, pair * 2 + 1));
        }
    }

    #[test]
    fn either_half_goes_first_about_as_often() {
        let first = (0..10_000).filter(|pair| is_canary(7, pair * 2)).count();
        assert!((4_700..5_300).contains(&first), "{first}");
    }
}
