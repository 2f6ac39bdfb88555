//! How much happens per second, recent time counting most.

use std::time::{Duration, Instant};

/// An exponentially decayed rate: what happened one time constant ago counts for a third.
#[derive(Clone, Copy, Debug)]
pub struct DecayedRate {
    constant: f64,
    /// Decayed number of events.
    amount: f64,
    at: Instant,
}

impl DecayedRate {
    /// A rate of 0.
    pub fn new(constant: Duration, now: Instant) -> Self {
        Self { constant: constant.as_secs_f64().max(f64::MIN_POSITIVE), amount: 0.0, at: now }
    }

    /// Counts events.
    pub fn add(&mut self, now: Instant, events: u64) {
        self.amount = self.decayed(now) + events as f64;
        self.at = now.max(self.at);
    }

    /// Events per second.
    pub fn per_second(&self, now: Instant) -> f64 {
        self.decayed(now) / self.constant
    }

    fn decayed(&self, now: Instant) -> f64 {
        self.amount * (-now.saturating_duration_since(self.at).as_secs_f64() / self.constant).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_flow_has_its_rate_and_an_ended_one_fades() {
        let mut now = Instant::now();
        let mut rate = DecayedRate::new(Duration::from_secs(5), now);
        for _ in 0..5000 {
            now += Duration::from_millis(10);
            rate.add(now, 1);
        }
        assert!((rate.per_second(now) - 100.0).abs() < 1.0, "{}", rate.per_second(now));
        let later = rate.per_second(now + Duration::from_secs(5));
        assert!((36.0..37.5).contains(&later), "{later}");
    }
}
