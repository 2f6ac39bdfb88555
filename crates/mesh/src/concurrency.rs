//! Adaptive concurrency: how many requests to have in flight, found from how latency answers to it.
//!
//! While latency stays near what it is without waiting, the limit grows slowly; when latency rises, requests have
//! begun to wait somewhere, and the limit shrinks in proportion (a gradient limit). What latency is without waiting can't
//! be seen while requests wait, so now and then the limit is halved for a moment to measure it.

use std::time::{Duration, Instant};

/// Bounds of a limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConcurrencyPolicy {
    /// The limit never goes below this.
    pub least: u32,
    /// The limit never goes above this.
    pub most: u32,
    /// The limit at first.
    pub first: u32,
    /// How many times the latency without waiting an answer may take before the limit shrinks.
    pub tolerance: f64,
}

impl Default for ConcurrencyPolicy {
    fn default() -> Self {
        Self { least: 4, most: 10_000, first: 20, tolerance: 1.5 }
    }
}

impl ConcurrencyPolicy {
    /// The part of one of `workers` that share the requests evenly, each with a limit of its own.
    #[must_use]
    pub fn share(self, workers: u32) -> Self {
        let part = |requests: u32| requests.div_ceil(workers.max(1)).max(1);
        Self { least: part(self.least), most: part(self.most), first: part(self.first), ..self }
    }
}

/// Answers after which the limit is reconsidered, at least.
const SAMPLES: u32 = 10;
/// Time after which the limit is reconsidered, at least.
const WINDOW: Duration = Duration::from_millis(100);
/// Weight of a new limit beside the old one.
const SMOOTHING: f64 = 0.2;
/// Time between two measurements of the latency without waiting.
const MEASURE_EVERY: Duration = Duration::from_secs(30);
/// Part of the limit that is left while measuring.
const MEASURE_AT: f64 = 0.5;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Adapting {
        measured: Instant,
    },
    /// The limit is halved, but answers to what was sent before still come.
    Settling,
    Measuring,
}

/// A limit that adapts.
#[derive(Clone, Debug)]
pub struct AdaptiveLimit {
    policy: ConcurrencyPolicy,
    limit: f64,
    phase: Phase,
    /// Mean latency without waiting, in seconds.
    unhindered: Option<f64>,
    window_began: Instant,
    sum: f64,
    samples: u32,
    most_in_flight: u32,
}

impl AdaptiveLimit {
    /// A limit at its first value.
    pub fn new(policy: ConcurrencyPolicy, now: Instant) -> Self {
        Self {
            policy,
            limit: f64::from(policy.first),
            phase: Phase::Adapting { measured: now },
            unhindered: None,
            window_began: now,
            sum: 0.0,
            samples: 0,
            most_in_flight: 0,
        }
    }

    /// Takes over other bounds; what was found out stays.
    pub fn set_policy(&mut self, policy: ConcurrencyPolicy) {
        if self.policy != policy {
            self.policy = policy;
            self.limit = self.limit.clamp(f64::from(policy.least), f64::from(policy.most));
        }
    }

    /// How many requests may be in flight.
    pub fn limit(&self) -> u32 {
        let part = if matches!(self.phase, Phase::Adapting { .. }) { 1.0 } else { MEASURE_AT };
        ((self.limit * part) as u32).max(self.policy.least)
    }

    /// Takes note of an answer: how long it took, and how many requests were in flight when it came.
    pub fn observe(&mut self, now: Instant, latency: Duration, in_flight: u32) {
        self.sum += latency.as_secs_f64();
        self.samples += 1;
        self.most_in_flight = self.most_in_flight.max(in_flight);
        if self.samples >= SAMPLES && now.saturating_duration_since(self.window_began) >= WINDOW {
            self.reconsider(now);
            self.window_began = now;
            (self.sum, self.samples, self.most_in_flight) = (0.0, 0, 0);
        }
    }

    fn reconsider(&mut self, now: Instant) {
        let mean = self.sum / f64::from(self.samples);
        match self.phase {
            Phase::Settling => self.phase = Phase::Measuring,
            Phase::Measuring => {
                self.unhindered = Some(mean);
                self.phase = Phase::Adapting { measured: now };
            }
            Phase::Adapting { measured } => {
                self.adapt(mean);
                if now.saturating_duration_since(measured) >= MEASURE_EVERY {
                    self.phase = Phase::Settling;
                }
            }
        }
    }

    fn adapt(&mut self, mean: f64) {
        let unhindered = self.unhindered.map_or(mean, |least| least.min(mean));
        self.unhindered = Some(unhindered);
        // A limit that is not used up is not what holds anything back: growing it would mean nothing.
        if f64::from(self.most_in_flight) < self.limit / 2.0 {
            return;
        }
        let gradient = (self.policy.tolerance * unhindered / mean.max(f64::MIN_POSITIVE)).clamp(0.5, 1.0);
        let wanted = self.limit * gradient + self.limit.sqrt();
        self.limit += (wanted - self.limit) * SMOOTHING;
        self.limit = self.limit.clamp(f64::from(self.policy.least), f64::from(self.policy.most));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that works on `slots` requests at once, 10 ms each, kept as full as the limit allows.
    fn saturate(slots: u32, rounds: usize) -> AdaptiveLimit {
        let mut now = Instant::now();
        let mut limit = AdaptiveLimit::new(ConcurrencyPolicy::default(), now);
        for _ in 0..rounds {
            let in_flight = limit.limit();
            let waits = f64::from(in_flight) / f64::from(slots);
            now += Duration::from_millis(10).mul_f64(1.0 / f64::from(slots.min(in_flight)));
            limit.observe(now, Duration::from_millis(10).mul_f64(waits.max(1.0)), in_flight);
        }
        limit
    }

    #[test]
    fn the_limit_finds_what_a_server_can_work_on() {
        for slots in [10, 100] {
            let limit = saturate(slots, 400_000).limit();
            assert!((slots..slots * 3).contains(&limit), "{limit} for {slots}");
        }
    }

    #[test]
    fn a_limit_that_is_not_used_does_not_grow() {
        let mut now = Instant::now();
        let mut limit = AdaptiveLimit::new(ConcurrencyPolicy::default(), now);
        for _ in 0..10_000 {
            now += Duration::from_millis(20);
            limit.observe(now, Duration::from_millis(10), 1);
        }
        assert_eq!(limit.limit(), 20);
    }

    #[test]
    fn other_bounds_leave_what_was_found_out() {
        let mut limit = saturate(10, 100_000);
        let found = limit.limit();
        limit.set_policy(ConcurrencyPolicy { tolerance: 2.0, ..ConcurrencyPolicy::default() });
        assert_eq!(limit.limit(), found);
        limit.set_policy(ConcurrencyPolicy { most: 5, ..ConcurrencyPolicy::default() });
        assert_eq!(limit.limit(), 5);
        limit.set_policy(ConcurrencyPolicy { least: 50, ..ConcurrencyPolicy::default() });
        assert_eq!(limit.limit(), 50);
    }

    #[test]
    fn the_limit_stays_within_its_bounds() {
        let mut now = Instant::now();
        let policy = ConcurrencyPolicy { least: 5, most: 30, first: 20, tolerance: 1.5 };
        let mut limit = AdaptiveLimit::new(policy, now);
        for round in 0..10_000_u64 {
            now += Duration::from_millis(20);
            limit.observe(now, Duration::from_millis(10 + round), limit.limit());
            assert!((5..=30).contains(&limit.limit()));
        }
    }
}
