//! Quantiles of latencies, from histograms.
//!
//! At a value `x`, the number of observations up to it is binomial with probability `p` if `x` is the `p`-quantile: the kernel again
//! (Howard & Ramdas, Bernoulli 2022). Cumulative counts are exact at the edges of buckets, so it is asked there and rounded outwards:
//! the interval is valid as it stands and at most a bucket wider at each side.
//!
//! All this supposes one distribution for each arm. Under drift a single arm's quantile is that of a mixture which keeps changing; of
//! two arms that see the same drift, the difference still says something. [`crate::latency`] needs none of that.

use weft_mesh::statistics::{BUCKETS, Histogram, bounds_of};

use crate::error::{Error, within};
use crate::evidence::{Evidence, Interval, Level};
use crate::kernel::{Concentration, log_binomial};
use crate::numeric::maximum;

/// Counts of values between edges.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// The largest value of each bucket, ascending, with how many values it has.
    buckets: Vec<(f64, u64)>,
    count: u64,
}

impl Distribution {
    /// Buckets by their largest value; an error unless those are finite and ascend.
    pub fn new(buckets: Vec<(f64, u64)>) -> Result<Self, Error> {
        let mut before = f64::NEG_INFINITY;
        for (edge, _) in &buckets {
            within("an edge", *edge, "finite and above the one before", |edge| edge > before)?;
            before = *edge;
        }
        let count = buckets.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        Ok(Self { buckets, count })
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Each edge, with how many values are at most that.
    fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.buckets.iter().scan(0_u64, |sum, (edge, count)| {
            *sum = sum.saturating_add(*count);
            Some((*edge, *sum))
        })
    }
}

impl From<&Histogram> for Distribution {
    fn from(histogram: &Histogram) -> Self {
        let mut counts = vec![0_u64; BUCKETS];
        for (bucket, count) in histogram.buckets() {
            if let Some(slot) = counts.get_mut(bucket) {
                *slot = count;
            }
        }
        let last = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        let edge = |bucket: usize| bounds_of(bucket).1 as f64;
        let buckets: Vec<(f64, u64)> =
            counts.iter().take(last).enumerate().map(|(b, n)| (edge(b), *n)).collect();
        Self { buckets, count: histogram.count() }
    }
}

fn checked(p: f64) -> Result<f64, Error> {
    within("the quantile", p, "above 0 and below 1", |p| 0.0 < p && p < 1.0)
}

/// The evidence at each edge against its being the `p`-quantile.
pub fn evidence_at_edges(
    distribution: &Distribution,
    p: f64,
    concentration: Concentration,
) -> Result<Vec<Evidence>, Error> {
    let p = checked(p)?;
    let n = distribution.count as f64;
    let at = |count: u64| Evidence::from_log(log_binomial(count as f64, n, p, concentration.get()));
    Ok(distribution.cumulative().map(|(_, count)| at(count)).collect())
}

/// Where the `p`-quantile is: above the lower end, and at most the upper one. An end that nothing bounds is infinite.
pub fn interval(
    distribution: &Distribution,
    p: f64,
    concentration: Concentration,
    level: Level,
) -> Result<Interval, Error> {
    let p = checked(p)?;
    let n = distribution.count as f64;
    let excluded =
        |(_, count): &(f64, u64)| log_binomial(*count as f64, n, p, concentration.get()) >= level.threshold();
    let edges: Vec<(f64, u64)> = distribution.cumulative().collect();
    // Towards the quantile the evidence falls, and beyond it rises.
    let (below, above) = edges.split_at(edges.partition_point(|(_, count)| (*count as f64) < n * p));
    let lower = below.get(..below.partition_point(excluded)).and_then(<[_]>::last);
    let upper = above.get(above.partition_point(|edge| !excluded(edge)));
    Ok(Interval {
        lower: lower.map_or(f64::NEG_INFINITY, |(edge, _)| *edge),
        upper: upper.map_or(f64::INFINITY, |(edge, _)| *edge),
    })
}

/// The difference of the `p`-quantiles of the canary and of control, with half of the level for each.
pub fn difference(
    canary: &Distribution,
    control: &Distribution,
    p: f64,
    concentration: Concentration,
    level: Level,
) -> Result<Interval, Error> {
    let side = level.divided_by(2);
    let one = interval(canary, p, concentration, side)?;
    let zero = interval(control, p, concentration, side)?;
    Ok(Interval { lower: one.lower - zero.upper, upper: one.upper - zero.lower })
}

/// The evidence against equal `p`-quantiles of two arms (Howard & Ramdas, Theorem 5): the least, over all values, of the evidence
/// that this value is the quantile of neither.
///
/// Both arms' counts are on the same buckets. Inside a bucket the cumulative counts are not known, so each arm gets the least
/// evidence that a count between its edges can give: the minimum over edges alone would be too large. With a bucket for each
/// distinct value it is exact.
pub fn equal(one: &[u64], zero: &[u64], p: f64, concentration: Concentration) -> Result<Evidence, Error> {
    let p = checked(p)?;
    if one.len() != zero.len() {
        return Err(Error::Length { what: "buckets", found: one.len(), expected: zero.len() });
    }
    let least = |counts: &[u64]| -> Vec<f64> {
        let n: f64 = counts.iter().map(|count| *count as f64).sum();
        if n == 0.0 {
            return vec![0.0; counts.len()];
        }
        let log = |count: f64| log_binomial(count, n, p, concentration.get());
        // The logarithm is convex in the count.
        let best = maximum(0.0, n, |count| -log(count));
        let mut sum = 0.0;
        counts
            .iter()
            .map(|count| {
                let below = sum;
                sum += *count as f64;
                log(best.clamp(below, sum))
            })
            .collect()
    };
    let sums = least(one).into_iter().zip(least(zero)).map(|(one, zero)| one + zero);
    let log = sums.fold(f64::INFINITY, f64::min);
    Ok(if log.is_finite() { Evidence::from_log(log) } else { Evidence::NONE })
}

/// [`equal`] for values themselves.
pub fn equal_values(
    one: &[f64],
    zero: &[f64],
    p: f64,
    concentration: Concentration,
) -> Result<Evidence, Error> {
    let mut values: Vec<f64> = one.iter().chain(zero).copied().collect();
    for value in &values {
        crate::error::finite("a value", *value)?;
    }
    values.sort_by(f64::total_cmp);
    values.dedup();
    let counts = |arm: &[f64]| {
        let mut counts = vec![0_u64; values.len()];
        for value in arm {
            let index = values.partition_point(|other| other < value);
            if let Some(slot) = counts.get_mut(index) {
                *slot += 1;
            }
        }
        counts
    };
    equal(&counts(one), &counts(zero), p, concentration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn latencies() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec(1_u64..1_000_000, 1..300)
    }

    fn histogram(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        for value in values {
            histogram.record(*value);
        }
        histogram
    }

    proptest! {
        #[test]
        fn a_histogram_gives_an_interval_around_that_of_the_values(values in latencies(), p in 0.05..0.95_f64) {
            let level = Level::new(0.05).unwrap();
            let c = Concentration::EVENTS;
            let mut sorted = values.clone();
            sorted.sort_unstable();
            sorted.dedup();
            let exact = sorted.iter().map(|edge| {
                (*edge as f64, values.iter().filter(|value| *value == edge).count() as u64)
            }).collect();
            let exact = interval(&Distribution::new(exact).unwrap(), p, c, level).unwrap();
            let rounded = interval(&Distribution::from(&histogram(&values)), p, c, level).unwrap();
            prop_assert!(rounded.upper >= exact.upper, "{:?} {:?}", rounded, exact);
            // The quantile of the values themselves is never excluded.
            let mut all = values.clone();
            all.sort_unstable();
            let rank = ((p * all.len() as f64).ceil() as usize).clamp(1, all.len());
            let own = all[rank - 1] as f64;
            prop_assert!(rounded.lower < own && own <= rounded.upper, "{:?} {}", rounded, own);
        }

        #[test]
        fn equal_arms_are_not_found_to_differ(values in latencies(), p in 0.05..0.95_f64) {
            let values: Vec<f64> = values.iter().map(|value| *value as f64).collect();
            prop_assert!(equal_values(&values, &values, p, Concentration::EVENTS).unwrap().log() <= 1e-9);
        }

        #[test]
        fn buckets_never_give_more_evidence_than_values(one in latencies(), zero in latencies(), p in 0.05..0.95_f64) {
            let floats = |values: &[u64]| values.iter().map(|value| *value as f64).collect::<Vec<_>>();
            let exact = equal_values(&floats(&one), &floats(&zero), p, Concentration::EVENTS).unwrap().log();
            let counts = |values: &[u64]| {
                let mut counts = vec![0; BUCKETS];
                histogram(values).buckets().for_each(|(bucket, count)| counts[bucket] = count);
                counts
            };
            let rounded = equal(&counts(&one), &counts(&zero), p, Concentration::EVENTS).unwrap().log();
            prop_assert!(rounded <= exact + 1e-9, "{} {}", rounded, exact);
        }
    }

    #[test]
    fn nothing_is_bounded_by_nothing() {
        let empty = Distribution::from(&Histogram::default());
        let level = Level::new(0.05).unwrap();
        assert_eq!(interval(&empty, 0.5, Concentration::EVENTS, level).unwrap(), Interval::ALL);
        assert_eq!(equal(&[0, 0], &[0, 0], 0.5, Concentration::EVENTS).unwrap(), Evidence::NONE);
        assert!(Distribution::new(vec![(1.0, 1), (1.0, 1)]).is_err());
        assert!(interval(&empty, 1.0, Concentration::EVENTS, level).is_err());
        let huge = Distribution::new(vec![(1.0, 1_000_000_000_000), (2.0, 1_000_000_000_000)]).unwrap();
        assert_eq!(
            interval(&huge, 0.9, Concentration::EVENTS, level).unwrap(),
            Interval { lower: 1.0, upper: 2.0 }
        );
    }
}
