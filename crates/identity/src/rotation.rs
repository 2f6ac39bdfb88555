//! When to renew a certificate. Time and randomness are arguments.

use std::time::{Duration, SystemTime};

/// Renewal begins after this part of the life that is left when a certificate arrives.
const RENEW_AFTER: f64 = 0.5;
/// How far renewals of certificates that were issued together are spread: after a restart of everything the
/// certificate authority would otherwise be asked by everyone in the same second, half a day later.
const JITTER: f64 = 0.1;
/// The first wait after a failed renewal.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest wait, so that renewal follows soon after an outage ends.
const RETRY_MAX: Duration = Duration::from_mins(1);

/// How urgent a renewal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing to do yet.
    Fresh,
    /// Renewal has begun; the certificate is still good.
    Due,
    /// Peers refuse the certificate. Be not ready and say so, refuse new mesh connections with that reason rather
    /// than in the clear, let established ones finish, and go on asking as [`Rotation::next_attempt`] says.
    Expired,
}

/// The schedule of one certificate's renewal: at half of its life, give or take a tenth of that; then again after
/// 1 s doubling to 60 s, each give or take a tenth, until it succeeds. It never gives up.
///
/// `random` is from 0 up to, not including, 1; other values are taken as the nearest of these.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use weft_identity::{Freshness, Rotation};
///
/// let now = SystemTime::now();
/// let ends = now + Duration::from_hours(24);
/// let rotation = Rotation::new(now, ends, 0.5);
/// assert_eq!(rotation.freshness(now), Freshness::Fresh);
/// assert!(rotation.next_attempt() < ends);
/// assert_eq!(rotation.freshness(now + Duration::from_hours(14)), Freshness::Due);
/// assert_eq!(rotation.freshness(ends + Duration::from_secs(1)), Freshness::Expired);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    renew_at: SystemTime,
    next_attempt: SystemTime,
    not_after: SystemTime,
    failures: u32,
}

impl Rotation {
    /// Begins when a certificate arrives. The life counted is from `now`, not from the certificate's beginning, as
    /// that is backdated.
    pub fn new(now: SystemTime, not_after: SystemTime, random: f64) -> Self {
        let left = not_after.duration_since(now).unwrap_or_default();
        let renew_at = now.checked_add(jittered(left.mul_f64(RENEW_AFTER), random)).unwrap_or(not_after);
        Self { renew_at, next_attempt: renew_at, not_after, failures: 0 }
    }

    /// When to ask for the next certificate; a moment that has passed means at once.
    pub fn next_attempt(&self) -> SystemTime {
        self.next_attempt
    }

    /// How long to wait before that.
    pub fn wait(&self, now: SystemTime) -> Duration {
        self.next_attempt.duration_since(now).unwrap_or_default()
    }

    /// An attempt failed. While the certificate is good the next one is never after its end.
    pub fn failed(&mut self, now: SystemTime, random: f64) {
        self.failures = self.failures.saturating_add(1);
        let next = now.checked_add(retry_after(self.failures, random)).unwrap_or(now);
        self.next_attempt = if now < self.not_after { next.min(self.not_after) } else { next };
    }

    /// Attempts that failed since the certificate arrived.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// How urgent the renewal is.
    pub fn freshness(&self, now: SystemTime) -> Freshness {
        if now > self.not_after {
            Freshness::Expired
        } else if now >= self.renew_at {
            Freshness::Due
        } else {
            Freshness::Fresh
        }
    }
}

/// The wait after so many failures in a row, of which there is at least one: also for a first certificate.
pub fn retry_after(failures: u32, random: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    jittered(RETRY_FIRST.saturating_mul(1 << doublings).min(RETRY_MAX), random)
}

/// A duration give or take a tenth.
fn jittered(duration: Duration, random: f64) -> Duration {
    let random = if random.is_nan() { 0.0 } else { random.clamp(0.0, 1.0) };
    duration.mul_f64(1.0 + JITTER * (2.0 * random - 1.0))
}

#[cfg(test)]
mod tests;
