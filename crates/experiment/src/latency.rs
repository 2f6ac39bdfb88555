//! Latency by labels: who is slower, under any drift.
//!
//! - *Slower than T*: requests slower than a limit that was fixed before the data (an upper edge of control's quantile in the warm-up,
//!   or an objective) are events of [`crate::label`]. Requests that were given up after more than T, or are still open then, count.
//! - *Omnibus*: the two-sided kernel at each of some 50 edges on requests slower than that edge, then the mean of the e-values. It
//!   sees shifts anywhere in the distribution. Lindon, Sanden & Shirikian (KDD 2022) do the same job with bands around both
//!   distribution functions.

use weft_mesh::statistics::{BUCKETS, Histogram, bounds_of};

use crate::error::Error;
use crate::evidence::Evidence;
use crate::kernel::{Concentration, binomial};
use crate::share::Share;

/// How many edges the omnibus test asks at.
const EDGES: usize = 50;

/// Counts of one stage between the edges: one more than there are edges, fastest first.
#[derive(Debug, Clone, Copy)]
pub struct Stage<'a> {
    /// The canary's share of the units that went to it or to control.
    pub share: Share,
    /// Of the canary.
    pub canary: &'a [u64],
    /// Of control.
    pub control: &'a [u64],
}

/// The evidence at each edge that requests slower than it do not fall on the arms by their shares, over all stages.
pub fn evidence_at_edges(stages: &[Stage<'_>], concentration: Concentration) -> Result<Vec<Evidence>, Error> {
    let Some(first) = stages.first() else { return Ok(Vec::new()) };
    let mut edges = vec![Evidence::NONE; first.canary.len().saturating_sub(1)];
    for stage in stages {
        for counts in [stage.canary, stage.control] {
            if counts.len() != first.canary.len() {
                return Err(Error::Length {
                    what: "buckets",
                    found: counts.len(),
                    expected: first.canary.len(),
                });
            }
        }
        let (mut slower, mut all) = (0_u64, 0_u64);
        for (index, edge) in edges.iter_mut().enumerate().rev() {
            let [one, zero] =
                [stage.canary, stage.control].map(|counts| counts.get(index + 1).copied().unwrap_or(0));
            slower = slower.saturating_add(one);
            all = all.saturating_add(one).saturating_add(zero);
            *edge = edge.and(binomial(slower, all, stage.share, concentration)?);
        }
    }
    Ok(edges)
}

/// The evidence that the arms' latencies differ anywhere.
pub fn omnibus(stages: &[Stage<'_>], concentration: Concentration) -> Result<Evidence, Error> {
    Ok(Evidence::mean(&evidence_at_edges(stages, concentration)?))
}

/// Edges for the omnibus test, by the buckets after which they lie: at equal parts of what control's warm-up counted. They must not
/// come from the data that are tested.
pub fn edges(warm_up: &Histogram) -> Vec<usize> {
    let all = warm_up.count();
    let mut edges: Vec<usize> = Vec::with_capacity(EDGES);
    let mut seen = 0_u64;
    for (bucket, count) in warm_up.buckets() {
        let before = u128::from(seen) * (EDGES as u128 + 1) / u128::from(all.max(1));
        seen = seen.saturating_add(count);
        let after = u128::from(seen) * (EDGES as u128 + 1) / u128::from(all.max(1));
        if after > before && bucket + 1 < BUCKETS {
            edges.push(bucket);
        }
    }
    edges
}

/// A histogram's counts between edges: fastest first, one more than there are edges.
pub fn between(histogram: &Histogram, edges: &[usize]) -> Vec<u64> {
    let mut counts = vec![0_u64; edges.len() + 1];
    for (bucket, count) in histogram.buckets() {
        let index = edges.partition_point(|edge| *edge < bucket);
        if let Some(slot) = counts.get_mut(index) {
            *slot = slot.saturating_add(count);
        }
    }
    counts
}

/// The limit above which a request is slow: the upper edge of control's `quantile` in the warm-up, in the histogram's unit. None
/// while nothing was counted.
pub fn limit(warm_up: &Histogram, quantile: f64) -> Option<u64> {
    let all = warm_up.count();
    let rank = ((quantile.clamp(0.0, 1.0) * all as f64).ceil() as u64).max(1);
    let mut seen = 0_u64;
    for (bucket, count) in warm_up.buckets() {
        seen = seen.saturating_add(count);
        if seen >= rank {
            return Some(bounds_of(bucket).1);
        }
    }
    None
}

/// How many requests were slower than a limit that is an edge of the histogram; requests in the bucket of another limit are not.
pub fn slower_than(histogram: &Histogram, limit: u64) -> u64 {
    let slow = histogram.buckets().filter(|(bucket, _)| bounds_of(*bucket).0 > limit);
    slow.fold(0_u64, |sum, (_, count)| sum.saturating_add(count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn histogram(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        for value in values {
            histogram.record(*value);
        }
        histogram
    }

    proptest! {
        #[test]
        fn counts_between_edges_are_all_counts(values in prop::collection::vec(0_u64..10_000_000, 0..300)) {
            let histogram = histogram(&values);
            let edges = edges(&histogram);
            prop_assert!(edges.len() <= EDGES + 1 && edges.is_sorted());
            prop_assert_eq!(between(&histogram, &edges).iter().sum::<u64>(), values.len() as u64);
        }

        #[test]
        fn slower_than_a_limit_is_exact(values in prop::collection::vec(0_u64..10_000_000, 1..300), quantile in 0.0..1.0_f64) {
            let histogram = histogram(&values);
            let limit = limit(&histogram, quantile).unwrap();
            let naive = values.iter().filter(|value| **value > limit).count() as u64;
            prop_assert_eq!(slower_than(&histogram, limit), naive);
            prop_assert!(naive as f64 <= (1.0 - quantile) * values.len() as f64 + 1e-6);
        }

        #[test]
        fn the_expected_value_is_one(n in 1_u32..8, share in 0.05..0.95_f64) {
            // `n` requests, each in the slow or the fast half by turns; whose they are is by the share.
            let stage = Share::new(share).unwrap();
            let mut mean = 0.0;
            for labels in 0_u32..1 << n {
                let (mut canary, mut control) = ([0; 3], [0; 3]);
                for request in 0..n {
                    let arm = if labels >> request & 1 == 1 { &mut canary } else { &mut control };
                    arm[request as usize % 3] += 1;
                }
                let own = labels.count_ones();
                let chance = share.powi(own.cast_signed()) * (1.0 - share).powi((n - own).cast_signed());
                let stages = [Stage { share: stage, canary: &canary, control: &control }];
                mean += chance * omnibus(&stages, Concentration::OMNIBUS).unwrap().value();
            }
            prop_assert!((mean - 1.0).abs() < 1e-9, "{}", mean);
        }
    }

    #[test]
    fn lists_of_other_lengths_are_refused() {
        let stage = Stage { share: Share::new(0.1).unwrap(), canary: &[1, 2], control: &[1] };
        assert!(omnibus(&[stage], Concentration::OMNIBUS).is_err());
        assert_eq!(omnibus(&[], Concentration::OMNIBUS).unwrap(), Evidence::NONE);
    }
}
