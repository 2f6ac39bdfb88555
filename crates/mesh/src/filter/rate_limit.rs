//! A limit on requests: token buckets that all workers share.

mod each;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderMap;

use self::each::Each;
use crate::Error;
use crate::affinity::KeySource;
use crate::name::Identity;

/// Requests per time, with a burst: of all requests together, or of each key. Clones share their buckets.
#[derive(Clone, Debug)]
pub struct RateLimit {
    /// Nanoseconds in which one token comes back.
    interval: u64,
    /// Nanoseconds that a full bucket holds.
    capacity: u64,
    bucket: Arc<Bucket>,
    each: Option<Arc<Each>>,
    key: Option<KeySource>,
}

/// The limit, for people.
impl std::fmt::Display for RateLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let requests = self.capacity / self.interval.max(1);
        write!(f, "{requests} requests in {:?}", std::time::Duration::from_nanos(self.capacity))?;
        match &self.key {
            Some(key) => write!(f, ", for each {key:?}"),
            None => Ok(()),
        }
    }
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

/// Whose request it is, for limits of each caller or key.
#[derive(Clone, Copy, Debug)]
pub struct Limited<'a> {
    /// The identity that the caller proved, where limits are for each.
    pub identity: Option<&'a Identity>,
    /// Its header.
    pub headers: &'a HeaderMap,
    /// The client's address.
    pub source: IpAddr,
}

impl RateLimit {
    /// `requests` per `period`, and at most `burst` at once (at least 1), of all requests together.
    pub fn new(requests: u32, period: Duration, burst: u32, bucket: Arc<Bucket>) -> Result<Self, Error> {
        let interval = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX) / u64::from(requests.max(1));
        if requests == 0 || interval == 0 || period > Duration::from_hours(24) {
            return Err(Error::invalid(
                "rate limit",
                format!("{requests} per {period:?}"),
                "allow at least 1 request per 24 h and at most 1 per nanosecond",
            ));
        }
        let capacity = interval.saturating_mul(u64::from(burst.max(1)));
        Ok(Self { interval, capacity, bucket, each: None, key: None })
    }

    /// The same limit for each caller that a request is said to be of, and for each value of `key`. Requests that have
    /// neither share one.
    #[must_use]
    pub fn for_each(self, key: Option<KeySource>) -> Self {
        Self { each: Some(Arc::new(Each::new())), key, ..self }
    }

    /// Takes a token for this request, as [`RateLimit::take`].
    pub fn take_for(&self, now: Instant, request: Limited<'_>) -> Result<(), Duration> {
        let Some(each) = &self.each else { return self.take(now) };
        let key = self.key.as_ref().and_then(|key| key.key(request.headers, Some(request.source)));
        let now = self.nanos(now);
        self.take_from(each.bucket((request.identity, key), now), now)
    }

    /// Takes a token, or says after how long there will be one: the value of `retry-after`, rounded up to seconds.
    pub fn take(&self, now: Instant) -> Result<(), Duration> {
        self.take_from(&self.bucket.full_at, self.nanos(now))
    }

    fn nanos(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.bucket.origin).as_nanos() as u64
    }

    fn take_from(&self, bucket: &AtomicU64, now: u64) -> Result<(), Duration> {
        let mut full_at = bucket.load(Ordering::Relaxed);
        loop {
            let after = full_at.max(now).saturating_add(self.interval);
            let missing = after.saturating_sub(now.saturating_add(self.capacity));
            if missing > 0 {
                return Err(Duration::from_nanos(missing));
            }
            match bucket.compare_exchange_weak(full_at, after, Ordering::Relaxed, Ordering::Relaxed) {
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

    fn by_user(user: &str) -> HeaderMap {
        [(http::HeaderName::from_static("x-user"), user.parse().unwrap())].into_iter().collect()
    }

    fn limit_by_user(requests: u32, start: Instant) -> RateLimit {
        let key = KeySource::Header(http::HeaderName::from_static("x-user"));
        RateLimit::new(requests, Duration::from_secs(1), requests, Bucket::new(start))
            .unwrap()
            .for_each(Some(key))
    }

    #[test]
    fn identities_and_keys_have_limits_of_their_own() {
        let start = Instant::now();
        let limit = limit_by_user(2, start);
        let [web, cart]: [Identity; 2] =
            ["web", "cart"].map(|name| format!("spiffe://mesh.test/ns/shop/sa/{name}").parse().unwrap());
        let (ann, bob) = (by_user("ann"), by_user("bob"));
        let source = IpAddr::from([10, 0, 0, 1]);
        for identity in [None, Some(&web), Some(&cart)] {
            for headers in [&ann, &bob, &HeaderMap::new()] {
                let taken =
                    (0..5).filter(|_| limit.take_for(start, Limited { identity, headers, source }).is_ok());
                assert_eq!(taken.count(), 2, "{identity:?} {headers:?}");
            }
        }
    }

    #[test]
    fn more_keys_than_there_is_room_for_get_no_more_than_theirs() {
        let start = Instant::now();
        let limit = limit_by_user(2, start);
        let source = IpAddr::from([10, 0, 0, 1]);
        let mut denied_at_once = 0;
        for user in 0..5000 {
            let headers = by_user(&user.to_string());
            let taken = (0..3)
                .filter(|_| {
                    limit.take_for(start, Limited { identity: None, headers: &headers, source }).is_ok()
                })
                .count();
            assert!(taken <= 2);
            denied_at_once += usize::from(taken == 0);
        }
        assert!(denied_at_once > 0, "memory is bounded");
        let later = start + Duration::from_secs(2);
        let headers = by_user("late");
        assert!(limit.take_for(later, Limited { identity: None, headers: &headers, source }).is_ok());
    }

    proptest! {
        #[test]
        fn a_limit_for_each_key_agrees_with_a_limit_for_each(
            takes in prop::collection::vec((0_u64..400, 0_u8..6), 1..80),
        ) {
            let start = Instant::now();
            let keyed = limit_by_user(3, start);
            let mut naive = std::collections::BTreeMap::new();
            let mut now = start;
            for (gap, user) in takes {
                now += Duration::from_millis(gap);
                let own = naive.entry(user).or_insert_with(|| {
                    RateLimit::new(3, Duration::from_secs(1), 3, Bucket::new(start)).unwrap()
                });
                let headers = by_user(&user.to_string());
                let source = IpAddr::from([10, 0, 0, 1]);
                let request = Limited { identity: None, headers: &headers, source };
                prop_assert_eq!(keyed.take_for(now, request), own.take(now));
            }
        }

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
