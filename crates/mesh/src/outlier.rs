//! Ejecting endpoints that fail: closed, ejected, half-open.
//!
//! One [`Breaker`] watches one endpoint. It is ejected after several gateway failures in a row, or when its success rate
//! over a window is low. An ejection lasts a second at first and doubles with each that follows; after it, exactly one
//! request probes the endpoint.

use std::time::{Duration, Instant};

/// When to eject, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct OutlierPolicy {
    /// Whether anything is ejected.
    pub enabled: bool,
    /// Gateway failures in a row that eject.
    pub consecutive_failures: u32,
    /// Success rate (0 to 1) under which an endpoint is ejected.
    pub success_rate: f64,
    /// Requests in the window below which the success rate says nothing.
    pub success_rate_requests: u32,
    /// The window of the success rate.
    pub window: Duration,
    /// The first ejection's time; doubles with each that follows.
    pub base_ejection: Duration,
    /// The longest ejection.
    pub max_ejection: Duration,
    /// Share (0 to 1) of the endpoints that may be ejected at once. With two or more endpoints at least one may be.
    pub max_ejected: f64,
    /// Time for a probe to end before another may begin.
    pub probe_deadline: Duration,
}

impl Default for OutlierPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            consecutive_failures: 5,
            success_rate: 0.8,
            success_rate_requests: 20,
            window: Duration::from_secs(10),
            base_ejection: Duration::from_secs(1),
            max_ejection: Duration::from_secs(60),
            max_ejected: 0.5,
            probe_deadline: Duration::from_secs(10),
        }
    }
}

impl OutlierPolicy {
    /// How many of `endpoints` may be ejected at once.
    pub fn most_ejected(&self, endpoints: usize) -> usize {
        if !self.enabled || endpoints < 2 {
            return 0;
        }
        ((endpoints as f64 * self.max_ejected.clamp(0.0, 1.0)) as usize).max(1)
    }
}

/// How an attempt ended, as far as the endpoint is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered.
    Success,
    /// It did not: no connection, a reset, a timeout, or status 502, 503 or 504.
    GatewayFailure,
    /// The caller went away or the proxy gave up for reasons of its own: says nothing about the endpoint.
    Unknown,
}

/// What an endpoint may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// Requests.
    Open,
    /// One request, to find out whether it is well again.
    Probe,
    /// Nothing.
    Ejected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Ejected { until: Instant },
    Probing { deadline: Instant },
}

/// Watches one endpoint.
#[derive(Debug)]
pub struct Breaker {
    state: State,
    in_a_row: u32,
    ejections: u32,
    window_began: Instant,
    successes: u32,
    failures: u32,
    last_ejection_ended: Option<Instant>,
}

impl Breaker {
    /// A breaker for an endpoint of which nothing is known.
    pub fn new(now: Instant) -> Self {
        Self {
            state: State::Closed,
            in_a_row: 0,
            ejections: 0,
            window_began: now,
            successes: 0,
            failures: 0,
            last_ejection_ended: None,
        }
    }

    /// What the endpoint may be used for now.
    pub fn availability(&self, now: Instant) -> Availability {
        match self.state {
            State::Closed => Availability::Open,
            State::Ejected { until } if now >= until => Availability::Probe,
            State::Ejected { .. } => Availability::Ejected,
            // A probe that never came to an end does not keep the endpoint out for ever.
            State::Probing { deadline } if now >= deadline => Availability::Probe,
            State::Probing { .. } => Availability::Ejected,
        }
    }

    /// Whether the endpoint is ejected or on probation.
    pub fn is_ejected(&self) -> bool {
        self.state != State::Closed
    }

    /// Begins the one probe that [`Availability::Probe`] allows.
    pub fn begin_probe(&mut self, now: Instant, policy: &OutlierPolicy) {
        self.state = State::Probing { deadline: now + policy.probe_deadline };
    }

    /// Takes note of an attempt that ended; `probe` says that it was the probe. `may_eject` says whether the cap leaves
    /// room. Gives whether the endpoint was ejected now.
    pub fn ended(
        &mut self,
        now: Instant,
        outcome: Outcome,
        probe: bool,
        may_eject: bool,
        policy: &OutlierPolicy,
        random: u64,
    ) -> bool {
        match self.state {
            State::Probing { .. } if probe => self.probe_ended(now, outcome, policy, random),
            // Answers to requests from before the ejection change nothing.
            State::Ejected { .. } | State::Probing { .. } => false,
            State::Closed => self.count(now, outcome, may_eject, policy, random),
        }
    }

    fn probe_ended(&mut self, now: Instant, outcome: Outcome, policy: &OutlierPolicy, random: u64) -> bool {
        match outcome {
            Outcome::Success => {
                self.close(now);
                false
            }
            // The caller of the probe went away: the next request may probe at once.
            Outcome::Unknown => {
                self.state = State::Ejected { until: now };
                false
            }
            Outcome::GatewayFailure => {
                self.eject(now, policy, random);
                true
            }
        }
    }

    fn count(
        &mut self,
        now: Instant,
        outcome: Outcome,
        may_eject: bool,
        policy: &OutlierPolicy,
        random: u64,
    ) -> bool {
        if now.duration_since(self.window_began) >= policy.window {
            self.window_began = now;
            self.successes = 0;
            self.failures = 0;
        }
        match outcome {
            Outcome::Unknown => return false,
            Outcome::Success => {
                self.in_a_row = 0;
                self.successes += 1;
                self.forgive(now, policy);
            }
            Outcome::GatewayFailure => {
                self.in_a_row += 1;
                self.failures += 1;
            }
        }
        if !policy.enabled || !may_eject || outcome == Outcome::Success {
            return false;
        }
        let total = self.successes + self.failures;
        let rate = f64::from(self.successes) / f64::from(total.max(1));
        let low = total >= policy.success_rate_requests && rate < policy.success_rate;
        if self.in_a_row >= policy.consecutive_failures || low {
            self.eject(now, policy, random);
            return true;
        }
        false
    }

    /// An endpoint that has been well for as long as the longest ejection starts anew.
    fn forgive(&mut self, now: Instant, policy: &OutlierPolicy) {
        if self.last_ejection_ended.is_some_and(|ended| now.duration_since(ended) >= policy.max_ejection) {
            self.ejections = 0;
            self.last_ejection_ended = None;
        }
    }

    fn close(&mut self, now: Instant) {
        self.state = State::Closed;
        self.in_a_row = 0;
        self.successes = 0;
        self.failures = 0;
        self.window_began = now;
        self.last_ejection_ended = Some(now);
    }

    fn eject(&mut self, now: Instant, policy: &OutlierPolicy, random: u64) {
        let doubled =
            policy.base_ejection.saturating_mul(1_u32.checked_shl(self.ejections).unwrap_or(u32::MAX));
        let time = doubled.min(policy.max_ejection);
        // 20 % either way, so that what was ejected together does not come back together.
        let share = 0.8 + 0.4 * (random >> 11) as f64 / (1_u64 << 53) as f64;
        self.state = State::Ejected { until: now + time.mul_f64(share) };
        self.ejections = (self.ejections + 1).min(31);
        self.in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: u64 = u64::MAX / 2;

    fn fail(breaker: &mut Breaker, now: Instant, times: u32) -> bool {
        let policy = OutlierPolicy::default();
        (0..times).any(|_| breaker.ended(now, Outcome::GatewayFailure, false, true, &policy, MIDDLE))
    }

    #[test]
    fn five_failures_in_a_row_eject_and_a_success_between_them_does_not() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        assert!(!fail(&mut breaker, now, 4));
        breaker.ended(now, Outcome::Success, false, true, &OutlierPolicy::default(), MIDDLE);
        assert!(!fail(&mut breaker, now, 4));
        assert!(fail(&mut breaker, now, 1));
        assert_eq!(breaker.availability(now), Availability::Ejected);
    }

    #[test]
    fn a_low_success_rate_ejects_without_failures_in_a_row() {
        let now = Instant::now();
        let policy = OutlierPolicy::default();
        let mut breaker = Breaker::new(now);
        let ejected = (0..40).any(|i| {
            let outcome = if i % 3 == 0 { Outcome::GatewayFailure } else { Outcome::Success };
            breaker.ended(now, outcome, false, true, &policy, MIDDLE)
        });
        assert!(ejected);
    }

    #[test]
    fn after_the_ejection_exactly_one_probe_is_let_through() {
        let now = Instant::now();
        let policy = OutlierPolicy::default();
        let mut breaker = Breaker::new(now);
        fail(&mut breaker, now, 5);
        let later = now + Duration::from_millis(1300);
        assert_eq!(breaker.availability(later), Availability::Probe);
        breaker.begin_probe(later, &policy);
        assert_eq!(breaker.availability(later), Availability::Ejected);
        breaker.ended(later, Outcome::Success, true, true, &policy, MIDDLE);
        assert_eq!(breaker.availability(later), Availability::Open);
    }

    #[test]
    fn a_probe_whose_caller_goes_away_makes_room_for_another() {
        let now = Instant::now();
        let policy = OutlierPolicy::default();
        let mut breaker = Breaker::new(now);
        fail(&mut breaker, now, 5);
        let later = now + Duration::from_secs(2);
        breaker.begin_probe(later, &policy);
        breaker.ended(later, Outcome::Unknown, true, true, &policy, MIDDLE);
        assert_eq!(breaker.availability(later), Availability::Probe);
    }

    #[test]
    fn a_probe_that_never_ends_is_given_up() {
        let now = Instant::now();
        let policy = OutlierPolicy::default();
        let mut breaker = Breaker::new(now);
        fail(&mut breaker, now, 5);
        let later = now + Duration::from_secs(2);
        breaker.begin_probe(later, &policy);
        assert_eq!(breaker.availability(later + policy.probe_deadline), Availability::Probe);
    }

    #[test]
    fn ejections_double_up_to_the_longest() {
        let mut now = Instant::now();
        let policy = OutlierPolicy::default();
        let mut breaker = Breaker::new(now);
        fail(&mut breaker, now, 5);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let time = Duration::from_secs(seconds);
            assert_eq!(breaker.availability(now + time.mul_f64(0.99)), Availability::Ejected, "{seconds}");
            assert_eq!(breaker.availability(now + time.mul_f64(1.01)), Availability::Probe, "{seconds}");
            now += time.mul_f64(1.01);
            breaker.begin_probe(now, &policy);
            breaker.ended(now, Outcome::GatewayFailure, true, true, &policy, MIDDLE);
        }
    }

    #[test]
    fn half_may_be_ejected_and_of_two_always_one() {
        let policy = OutlierPolicy::default();
        let most: Vec<usize> = (0..6).map(|endpoints| policy.most_ejected(endpoints)).collect();
        assert_eq!(most, [0, 0, 1, 1, 2, 2]);
    }
}
