//! How long things took: `weft-mesh`'s log-linear histogram in a form that costs little while it is small.

use std::array;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use weft_mesh::statistics::{BUCKETS, Histogram, bucket_of};

/// Buckets that are allocated together: those of one power of two. The times of one edge fall into a few of these, so
/// that a shard takes hundreds of bytes instead of the thousands that all buckets take.
const BLOCK: usize = 16;
const BLOCKS: usize = BUCKETS.div_ceil(BLOCK);

type Block = Box<[AtomicU64; BLOCK]>;

/// A histogram of microseconds that is added to without waiting.
#[derive(Debug)]
pub(super) struct Latency {
    blocks: [OnceLock<Block>; BLOCKS],
    sum: AtomicU64,
}

impl Default for Latency {
    fn default() -> Self {
        Self { blocks: array::from_fn(|_| OnceLock::new()), sum: AtomicU64::new(0) }
    }
}

impl Latency {
    pub(super) fn record(&self, elapsed: Duration) {
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let bucket = bucket_of(micros);
        let Some(block) = self.blocks.get(bucket / BLOCK) else { return };
        let block = block.get_or_init(|| Box::new(array::from_fn(|_| AtomicU64::new(0))));
        if let Some(count) = block.get(bucket % BLOCK) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        // A time that is a clock's mistake must not turn the sum over.
        self.sum.fetch_add(micros.min(u64::from(u32::MAX)), Ordering::Relaxed);
    }

    pub(super) fn add_to(&self, total: &mut Histogram) {
        for (at, block) in self.blocks.iter().enumerate() {
            for (within, count) in block.get().into_iter().flat_map(|block| block.iter()).enumerate() {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    total.add(at * BLOCK + within, count);
                }
            }
        }
        total.add_sum(self.sum.load(Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_counts_what_the_whole_histogram_counts(
            values in prop::collection::vec(0_u64..10_000_000_000, 0..60),
        ) {
            let latency = Latency::default();
            let mut expected = Histogram::default();
            for value in &values {
                latency.record(Duration::from_micros(*value));
                expected.record((*value).min(u64::from(u32::MAX)));
            }
            let mut total = Histogram::default();
            latency.add_to(&mut total);
            prop_assert_eq!(total, expected);
        }
    }
}
