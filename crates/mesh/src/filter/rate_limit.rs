//! A limit on requests: token buckets that all workers share.

mod each;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::HeaderMap;

use self::each::Each;
use crate::Error;
use crate::affinity::KeySource;
use crate::name::Identity;

/// Requests per time, with a burst: of all requests together, or of each key. These are settings; what is left of the limit
/// is its [`Bucket`]'s. Clones share that.
#[derive(Clone, Debug)]
pub struct RateLimit {
    /// Nanoseconds in which one token comes back.
    interval: u64,
    /// Nanoseconds that a full bucket holds.
    capacity: u64,
    bucket: Arc<Bucket>,
    /// Whether there is a limit for each.
    each: bool,
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

/// What is left of a limit, by whatever settings. It belongs to the limit's name and is kept when a snapshot is replaced by
/// another, so that no change gives a new burst.
///
/// It holds one number, and one for each key: the time at which the bucket will be full again (generic cell rate algorithm,
/// ITU-T I.371). So taking a token is one compare-and-swap, and tokens come back without a timer. Under other settings a
/// bucket that was used up to a part is used up to the same part of the new time to fill it, and at most empty.
#[derive(Debug)]
pub struct Bucket {
    origin: Instant,
    full_at: AtomicU64,
    each: OnceLock<Each>,
}

impl Bucket {
    /// A full bucket.
    pub fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self { origin: now, full_at: AtomicU64::new(0), each: OnceLock::new() })
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
        Ok(Self { interval, capacity, bucket, each: false, key: None })
    }

    /// The same limit for each caller that a request is said to be of, and for each value of `key`. Requests that have
    /// neither share one.
    #[must_use]
    pub fn for_each(self, key: Option<KeySource>) -> Self {
        Self { each: true, key, ..self }
    }

    /// Takes a token for this request, as [`RateLimit::take`].
    pub fn take_for(&self, now: Instant, request: Limited<'_>) -> Result<(), Duration> {
        if !self.each {
            return self.take(now);
        }
        let key = self.key.as_ref().and_then(|key| key.key(request.headers, Some(request.source)));
        let now = self.nanos(now);
        let each = self.bucket.each.get_or_init(Each::new);
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
            let empty_until = now.saturating_add(self.capacity);
            // What other settings left owing beyond this limit's bucket is not owed under these.
            let after = full_at.clamp(now, empty_until).saturating_add(self.interval);
            let missing = after.saturating_sub(empty_until);
            if missing > 0 {
                return Err(Duration::from_nanos(missing));
            }
            match bucket.compare_exchange_weak(full_at, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(current) => full_at = current,
            }
        }
    }

    /// The most at once.
    pub fn burst(&self) -> u32 {
        u32::try_from(self.capacity / self.interval).unwrap_or(u32::MAX)
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

    #[test]
    fn other_settings_find_the_bucket_used_up_to_the_same_part() {
        let start = Instant::now();
        let bucket = Bucket::new(start);
        let limit = |requests, seconds| {
            let period = Duration::from_secs(seconds);
            RateLimit::new(requests, period, requests, Arc::clone(&bucket)).unwrap()
        };
        let taken = |limit: &RateLimit| (0..5000).filter(|_| limit.take(start).is_ok()).count();
        assert_eq!((0..5).filter(|_| limit(10, 1).take(start).is_ok()).count(), 5);
        assert_eq!(taken(&limit(100, 1)), 50, "half of it is left, whatever it is");
        assert_eq!(taken(&limit(10, 1)), 0);
        assert_eq!(taken(&limit(1, 3600)), 0, "less than one is left of one");
        assert_eq!(taken(&limit(3600, 3600)), 3599);
        let short = limit(10, 1);
        assert_eq!(short.take(start), Err(Duration::from_millis(100)), "an hour is owed to nobody any more");
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
