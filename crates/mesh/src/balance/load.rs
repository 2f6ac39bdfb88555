//! How loaded an endpoint is, as one worker sees it.

use std::time::{Duration, Instant};

/// After this time a latency has lost all but a third of its weight.
const DECAY: Duration = Duration::from_secs(10);
/// What is assumed of an endpoint that has not answered yet: little, so that it gets requests, but not nothing, so that
/// outstanding requests count and it is not flooded.
const ASSUMED_MICROS: f64 = 1_000.0;
/// How long what an endpoint reported of itself counts.
const REPORT_COUNTS_FOR: Duration = Duration::from_secs(1);

/// Latency as a peak-sensitive moving average: a slow answer counts at once, fast ones only bring it down over time.
#[derive(Debug, Clone, Copy)]
pub(super) struct PeakEwma {
    micros: f64,
    at: Instant,
}

impl PeakEwma {
    pub(super) fn new(now: Instant) -> Self {
        Self { micros: ASSUMED_MICROS, at: now }
    }

    pub(super) fn observe(&mut self, now: Instant, latency: Duration) {
        let latency = latency.as_secs_f64() * 1e6;
        if latency > self.micros {
            self.micros = latency;
        } else {
            let kept = self.kept(now);
            self.micros = self.micros * kept + latency * (1.0 - kept);
        }
        self.at = now;
    }

    /// The average as of `now`: it falls while nothing is observed, so that an endpoint that was slow is tried again.
    pub(super) fn micros(&self, now: Instant) -> f64 {
        (self.micros * self.kept(now)).max(1.0)
    }

    fn kept(&self, now: Instant) -> f64 {
        (-now.saturating_duration_since(self.at).as_secs_f64() / DECAY.as_secs_f64()).exp()
    }
}

/// What an endpoint said of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Report {
    pub(super) in_flight: u32,
    pub(super) at: Instant,
}

impl Report {
    pub(super) fn in_flight(self, now: Instant) -> Option<u32> {
        (now.saturating_duration_since(self.at) < REPORT_COUNTS_FOR).then_some(self.in_flight)
    }
}
