//! Counting latencies: a log-linear histogram with a bounded relative error.
//!
//! Values are whole numbers (the proxy counts microseconds). Each power of two is divided into 16 buckets of the same
//! width, so that a bucket is at most one sixteenth of its values wide and its middle is within 3.2 % of each of them.
//! The scheme is that of `HdrHistogram` with four significant bits.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bits of a value that tell buckets of one power of two apart.
const PRECISION: u32 = 4;
const LINEAR: u64 = 1 << PRECISION;
/// Values from here on share the last bucket: 2^32 microseconds are more than an hour.
const LARGEST: u64 = (1 << 32) - 1;
/// Number of buckets.
pub const BUCKETS: usize = ((32 - PRECISION as usize) << PRECISION) + LINEAR as usize;

/// The bucket that counts `value`.
pub fn bucket_of(value: u64) -> usize {
    let value = value.min(LARGEST);
    if value < LINEAR {
        return value as usize;
    }
    let power = value.ilog2();
    let shift = power - PRECISION;
    (((shift + 1) as usize) << PRECISION) + ((value >> shift) & (LINEAR - 1)) as usize
}

/// The smallest and the largest value that `bucket` counts.
pub fn bounds_of(bucket: usize) -> (u64, u64) {
    let bucket = bucket.min(BUCKETS - 1) as u64;
    if bucket < LINEAR {
        return (bucket, bucket);
    }
    let shift = (bucket >> PRECISION) - 1;
    let low = (LINEAR + (bucket & (LINEAR - 1))) << shift;
    (low, low + (1 << shift) - 1)
}

/// Counts that one thread writes and others read.
///
/// Relaxed atomics without a lock: a reader may see a value counted whose sum is not yet added, never a torn number.
#[derive(Debug)]
pub struct AtomicHistogram {
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Default for AtomicHistogram {
    fn default() -> Self {
        Self { counts: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }
}

impl AtomicHistogram {
    /// Counts one value.
    pub fn record(&self, value: u64) {
        if let Some(count) = self.counts.get(bucket_of(value)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Adds what has been counted so far to `total`.
    pub fn add_to(&self, total: &mut Histogram) {
        for (bucket, count) in self.counts.iter().enumerate() {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                total.add(bucket, count);
            }
        }
        total.sum += self.sum.load(Ordering::Relaxed);
    }
}

/// Counts at one moment, to be added up, compared and read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// As long as the highest bucket that is not empty asks for.
    counts: Vec<u64>,
    sum: u64,
}

impl Histogram {
    /// Counts one value.
    pub fn record(&mut self, value: u64) {
        self.add(bucket_of(value), 1);
        self.sum += value;
    }

    /// Adds `count` to one bucket, without a sum; a bucket that does not exist counts as the last one.
    pub fn add(&mut self, bucket: usize, count: u64) {
        let bucket = bucket.min(BUCKETS - 1);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        if let Some(slot) = self.counts.get_mut(bucket) {
            *slot += count;
        }
    }

    /// Adds to the sum of the values.
    pub fn add_sum(&mut self, sum: u64) {
        self.sum += sum;
    }

    /// Adds all that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in other.buckets() {
            self.add(bucket, count);
        }
        self.sum += other.sum;
    }

    /// What was counted since `earlier`, which must be an earlier state of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut counts = self.counts.clone();
        for (bucket, count) in earlier.buckets() {
            if let Some(slot) = counts.get_mut(bucket) {
                *slot = slot.saturating_sub(count);
            }
        }
        Self { counts, sum: self.sum.saturating_sub(earlier.sum) }
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of the values.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The buckets that are not empty, with their counts, in ascending order.
    pub fn buckets(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.counts.iter().copied().enumerate().filter(|(_, count)| *count > 0)
    }

    /// The value below or at which the share `quantile` (0 to 1) of the values lies: the middle of its bucket. 0 when
    /// nothing was counted.
    pub fn quantile(&self, quantile: f64) -> u64 {
        let count = self.count();
        let rank = ((quantile.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        for (bucket, count) in self.buckets() {
            seen += count;
            if seen >= rank {
                let (low, high) = bounds_of(bucket);
                return u64::midpoint(low, high);
            }
        }
        0
    }

    /// How many values were at most each of `bounds` (ascending), as Prometheus' classic buckets count. A bucket that
    /// reaches beyond a bound counts for the next one.
    pub fn cumulative(&self, bounds: &[u64]) -> Vec<u64> {
        let mut totals = Vec::with_capacity(bounds.len());
        let mut buckets = self.buckets().peekable();
        let mut total = 0;
        for bound in bounds {
            while let Some((_, count)) = buckets.next_if(|(bucket, _)| bounds_of(*bucket).1 <= *bound) {
                total += count;
            }
            totals.push(total);
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_value_lies_within_its_bucket(value in 0..=LARGEST) {
            let (low, high) = bounds_of(bucket_of(value));
            prop_assert!(low <= value && value <= high);
            prop_assert!(high - low <= value / LINEAR);
        }

        #[test]
        fn quantiles_are_within_the_promised_error(
            mut values in prop::collection::vec(0..10_000_000_u64, 1..300),
            quantile in 0.0..=1.0_f64,
        ) {
            let mut histogram = Histogram::default();
            for value in &values {
                histogram.record(*value);
            }
            values.sort_unstable();
            let rank = ((quantile * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let exact = values[rank - 1] as f64;
            let found = histogram.quantile(quantile) as f64;
            prop_assert!((found - exact).abs() <= exact * 0.032 + 0.5, "{} instead of {}", found, exact);
        }

        #[test]
        fn merging_is_counting_together(
            left in prop::collection::vec(any::<u32>(), 0..50),
            right in prop::collection::vec(any::<u32>(), 0..50),
        ) {
            let count = |values: &[u32]| {
                let atomic = AtomicHistogram::default();
                for value in values {
                    atomic.record(u64::from(*value));
                }
                let mut histogram = Histogram::default();
                atomic.add_to(&mut histogram);
                histogram
            };
            let mut merged = count(&left);
            merged.merge(&count(&right));
            let together: Vec<u32> = left.iter().chain(&right).copied().collect();
            prop_assert_eq!(merged.since(&count(&left)).count(), right.len() as u64);
            prop_assert_eq!(merged, count(&together));
        }
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        for bucket in 1..BUCKETS {
            assert_eq!(bounds_of(bucket).0, bounds_of(bucket - 1).1 + 1, "bucket {bucket}");
        }
        assert_eq!(bounds_of(BUCKETS - 1).1, LARGEST);
    }

    #[test]
    fn cumulative_counts_never_promise_too_much() {
        let mut histogram = Histogram::default();
        for value in [1, 5, 100, 1000, 1_000_000] {
            histogram.record(value);
        }
        assert_eq!(histogram.cumulative(&[0, 10, 1_100, 10_000_000]), [0, 2, 4, 5]);
    }

    #[test]
    fn an_empty_histogram_has_quantile_zero() {
        assert_eq!(Histogram::default().quantile(0.99), 0);
    }
}
