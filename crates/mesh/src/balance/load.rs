//! How loaded an endpoint is, as one worker sees it and as the endpoint says.

use std::time::{Duration, Instant};

/// After this time a latency has lost all but a third of its weight.
const DECAY: Duration = Duration::from_secs(10);
/// How long what an endpoint reported of itself counts.
const REPORT_COUNTS_FOR: Duration = Duration::from_secs(1);
/// What is assumed before anything has answered. Only its being the same for all matters.
const FIRST_GUESS_MICROS: f64 = 1_000.0;
/// A failure counts like an answer this many times slower than is typical, so that failing fast attracts nobody, as
/// Finagle and Linkerd do.
const FAILURE_FACTOR: f64 = 4.0;

/// An average that forgets with time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Average {
    value: f64,
    at: Instant,
}

impl Average {
    /// What is left of a value's weight.
    fn kept(self, now: Instant) -> f64 {
        (-now.saturating_duration_since(self.at).as_secs_f64() / DECAY.as_secs_f64()).exp()
    }
}

/// What is typical of the endpoints of a service: what is assumed of one of which nothing is known. So a new endpoint
/// is neither flooded for seeming fast nor starved for seeming slow.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Typical {
    micros: Option<Average>,
    /// In flight from other callers per unit of weight, as endpoints report.
    in_flight: Option<Average>,
}

impl Typical {
    pub(super) fn observe(&mut self, now: Instant, latency: Duration) {
        blend(&mut self.micros, now, latency.as_secs_f64() * 1e6);
    }

    pub(super) fn report(&mut self, now: Instant, in_flight_per_weight: f64) {
        blend(&mut self.in_flight, now, in_flight_per_weight);
    }

    pub(super) fn micros(&self) -> f64 {
        self.micros.map_or(FIRST_GUESS_MICROS, |average| average.value)
    }

    /// What endpoints without a report of their own are taken to have in flight from others, per unit of weight.
    pub(super) fn in_flight(&self, now: Instant) -> f64 {
        let fresh =
            self.in_flight.filter(|average| now.saturating_duration_since(average.at) < REPORT_COUNTS_FOR);
        fresh.map_or(0.0, |average| average.value)
    }
}

/// Each value counts for at least a hundredth, so that many at one moment make an average too.
fn blend(average: &mut Option<Average>, now: Instant, value: f64) {
    *average = Some(match *average {
        None => Average { value, at: now },
        Some(old) => {
            let kept = old.kept(now).min(0.99);
            Average { value: old.value * kept + value * (1.0 - kept), at: now }
        }
    });
}

/// Latency as a peak-sensitive average: a slow answer counts at once, fast ones bring it down over time. While nothing
/// is observed it returns to what is typical, so that an endpoint that was slow is tried again.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PeakEwma(Option<Average>);

impl PeakEwma {
    pub(super) fn observe(&mut self, now: Instant, latency: Duration, typical: f64) {
        let sample = latency.as_secs_f64() * 1e6;
        let value = match self.0 {
            None => sample,
            Some(old) => {
                let (current, kept) = (self.micros(now, typical), old.kept(now));
                if sample > current { sample } else { current * kept + sample * (1.0 - kept) }
            }
        };
        self.0 = Some(Average { value, at: now });
    }

    pub(super) fn observe_failure(&mut self, now: Instant, latency: Option<Duration>, typical: f64) {
        let sample = latency.unwrap_or_default().as_secs_f64() * 1e6;
        let value = sample.max(self.micros(now, typical)).max(typical * FAILURE_FACTOR);
        self.0 = Some(Average { value, at: now });
    }

    /// What was asked for would have taken at least this long.
    pub(super) fn observe_at_least(&mut self, now: Instant, waited: Duration, typical: f64) {
        if waited.as_secs_f64() * 1e6 > self.micros(now, typical) {
            self.observe(now, waited, typical);
        }
    }

    /// What is expected of the next request, in microseconds.
    pub(super) fn micros(&self, now: Instant, typical: f64) -> f64 {
        self.0.map_or(typical, |average| typical + (average.value - typical) * average.kept(now)).max(1.0)
    }

    pub(super) fn forget(&mut self) {
        self.0 = None;
    }
}

/// What an endpoint said of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Report {
    pub(super) in_flight: u32,
    pub(super) latency: Option<Duration>,
    /// Requests of this worker that were under way then.
    pub(super) own_then: u32,
    pub(super) at: Instant,
}

impl Report {
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < REPORT_COUNTS_FOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_slow_answer_counts_at_once_and_fades_with_time() {
        let start = Instant::now();
        let mut latency = PeakEwma::default();
        assert!((latency.micros(start, 500.0) - 500.0).abs() < 1e-9, "nothing known is typical");
        latency.observe(start, MS, 1_000.0);
        latency.observe(start, 100 * MS, 1_000.0);
        assert!((latency.micros(start, 1_000.0) - 100_000.0).abs() < 1.0);
        latency.observe(start, MS, 1_000.0);
        assert!(latency.micros(start, 1_000.0) > 99_000.0, "one fast answer does not undo it");
        let later = latency.micros(start + Duration::from_secs(10), 1_000.0);
        assert!((30_000.0..45_000.0).contains(&later), "{later}");
        assert!(latency.micros(start + Duration::from_secs(200), 1_000.0) < 1_001.0);
    }

    #[test]
    fn failing_fast_is_not_being_fast() {
        let start = Instant::now();
        let mut latency = PeakEwma::default();
        latency.observe_failure(start, Some(Duration::from_micros(10)), 1_000.0);
        assert!((latency.micros(start, 1_000.0) - 4_000.0).abs() < 1.0);
    }
}
