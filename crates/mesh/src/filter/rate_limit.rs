//! A limit on requests: a token bucket that all workers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Error;

/// Requests per time, with a burst. Clones share one bucket.
#[derive(Clone, Debug)]
pub struct RateLimit {
    /// Nanoseconds in which one token comes back.
    interval: u64,
    /// Nanoseconds that a full bucket holds.
    capacity: u64,
    bucket: Arc<Bucket>,
}

/// What is left of a limit. Keep it when a snapshot is replaced by one with the same limit, so that the change does
/// not give a new burst.
///
/// It holds one number: the time at which the bucket will be full again (generic cell rate algorithm, ITU-T I.371).
/// So taking a token is one compare-and-swap, and tokens come back without a timer.
#[derive(Debug)]
pub struct Bucket {
    origin: Instant,
    full_at: AtomicU64,
}

impl Bucket {
    /// A full bucket.
    pub fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self { origin: now, full_at: AtomicU64::new(0) })
    }
}

impl RateLimit {
    /// `requests` per `period`, and at most `burst` at once (at least 1).
    pub fn new(requests: u32, period: Duration, burst: u32, bucket: Arc<Bucket>) -> Result<Self, Error> {
        let interval = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX) / u64::from(requests.max(1));
        if requests == 0 || interval == 0 || period > Duration::from_hours(24) {
            return Err(Error::invalid(
                "rate limit",
                format!("{requests} per {period:?}"),
                "allow at least 1 request per 24 h and at most 1 per nanosecond",
            ));
        }
        Ok(Self { interval, capacity: interval.saturating_mul(u64::from(burst.max(1))), bucket })
    }

    /// Takes a token, or says after how long there will be one: the value of `retry-after`, rounded up to seconds.
    pub fn take(&self, now: Instant) -> Result<(), Duration> {
        let now = now.saturating_duration_since(self.bucket.origin).as_nanos() as u64;
        let mut full_at = self.bucket.full_at.load(Ordering::Relaxed);
        loop {
            let after = full_at.max(now).saturating_add(self.interval);
            let missing = after.saturating_sub(now.saturating_add(self.capacity));
            if missing > 0 {
                return Err(Duration::from_nanos(missing));
            }
            match self.bucket.full_at.compare_exchange_weak(
                full_at,
                after,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(current) => full_at = current,
            }
        }
    }

    /// The bucket, to be kept for the next snapshot.
    pub fn bucket(&self) -> &Arc<Bucket> {
        &self.bucket
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_is_taken_at_once_and_comes_back_with_time() {
        let start = Instant::now();
        let limit = RateLimit::new(10, Duration::from_secs(1), 3, Bucket::new(start)).unwrap();
        assert_eq!((0..5).filter(|_| limit.take(start).is_ok()).count(), 3);
        assert_eq!(limit.take(start), Err(Duration::from_millis(100)));
        let later = start + Duration::from_millis(250);
        assert_eq!((0..5).filter(|_| limit.take(later).is_ok()).count(), 2);
    }

    #[test]
    fn impossible_limits_are_refused() {
        let bucket = Bucket::new(Instant::now());
        assert!(RateLimit::new(0, Duration::from_secs(1), 1, bucket.clone()).is_err());
        assert!(RateLimit::new(1, Duration::ZERO, 1, bucket).is_err());
    }

    proptest! {
        #[test]
        fn takes_agree_with_a_bucket_of_tokens(
            rate in 1_u32..50, burst in 1_u32..10, gaps in prop::collection::vec(0_u64..300, 1..60),
        ) {
            let start = Instant::now();
            // A period that the rate divides, so that the naive form can count in whole nanoseconds.
            let period = Duration::from_millis(10) * rate;
            let limit = RateLimit::new(rate, period, burst, Bucket::new(start)).unwrap();
            let (mut now, mut tokens) = (start, u64::from(burst) * 10);
            for gap in gaps {
                now += Duration::from_millis(gap);
                tokens = (tokens + gap).min(u64::from(burst) * 10);
                let naive = tokens >= 10;
                if naive {
                    tokens -= 10;
                }
                prop_assert_eq!(limit.take(now).is_ok(), naive);
            }
        }
    }
}
