//! Ejecting endpoints that fail: closed, ejected, probing.
//!
//! One [`Breaker`] watches one endpoint, for HTTP and TCP alike. It ejects at once where nothing takes a connection, after
//! several other failures in a row, or when the success rate over a window is low. An ejection lasts a second at first and
//! doubles with each that follows; after it exactly one request probes the endpoint. When all are ejected they are asked all
//! the same, the least recently failed first, and who answers is back at once.

mod window;

use std::time::{Duration, Instant};

use self::window::Window;
use crate::backoff::{Backoff, Jitter};
use crate::outcome::Outcome;

/// When to eject, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct OutlierPolicy {
    /// Whether anything is ejected.
    pub enabled: bool,
    /// Gateway failures in a row that eject.
    pub consecutive_failures: u32,
    /// Failures of any kind in a row that eject: status 5xx, and those of gRPC that stand for one.
    pub consecutive_5xx: u32,
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
    /// Share (0 to 1) of the endpoints that may be ejected at once. With two or more endpoints at least one may be. Those
    /// that take no connection are ejected beyond it: leaving them in would spare the others nothing.
    pub max_ejected: f64,
    /// Time that a probe has for its answer. A probe without one fails.
    pub probe_deadline: Duration,
}

impl Default for OutlierPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            consecutive_failures: 5,
            consecutive_5xx: 10,
            success_rate: 0.8,
            success_rate_requests: 20,
            window: Duration::from_secs(10),
            base_ejection: Duration::from_secs(1),
            max_ejection: Duration::from_mins(1),
            max_ejected: 0.5,
            probe_deadline: Duration::from_secs(10),
        }
    }
}

impl OutlierPolicy {
    /// How many of `endpoints` may be ejected at once.
    pub fn most_ejected(&self, endpoints: usize) -> usize {
        if !self.enabled || endpoints < 2 || self.max_ejected <= 0.0 {
            return 0;
        }
        ((endpoints as f64 * self.max_ejected.min(1.0)) as usize).max(1)
    }

    /// 20 % either way, so that what was ejected together does not come back together.
    fn backoff(&self) -> Backoff {
        Backoff { first: self.base_ejection, longest: self.max_ejection, jitter: Jitter::Around(0.2) }
    }
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

/// What changed for the number of endpoints that are ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// The endpoint was ejected; it was not before.
    Ejected,
    /// The endpoint takes requests again.
    Returned,
}

/// The number of a probe, by which a late answer to an earlier one is told apart.
pub type ProbeNumber = u32;

/// What an attempt was for its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// One among many.
    Ordinary,
    /// The one that finds out whether an ejected endpoint is well again.
    Probe(ProbeNumber),
    /// Sent to an ejected endpoint, as all are.
    LastResort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Ejected { until: Instant },
    Probing { number: ProbeNumber, deadline: Instant },
}

/// Watches one endpoint.
#[derive(Debug)]
pub struct Breaker {
    state: State,
    gateway_failures_in_a_row: u32,
    failures_in_a_row: u32,
    /// Whether what ejected it was that nothing takes a connection.
    unreachable: bool,
    /// When it failed last, or was asked although it was ejected.
    failed: Option<Instant>,
    /// Ejections without a long healthy time between them: what the next one's length depends on.
    ejections: u32,
    returned: Option<Instant>,
    probes: ProbeNumber,
    window: Window,
}

impl Breaker {
    /// A breaker for an endpoint of which nothing is known.
    pub fn new(now: Instant) -> Self {
        Self {
            state: State::Closed,
            gateway_failures_in_a_row: 0,
            failures_in_a_row: 0,
            unreachable: false,
            failed: None,
            ejections: 0,
            returned: None,
            probes: 0,
            window: Window::new(now),
        }
    }

    /// What the endpoint may be used for now. A probe whose deadline has passed fails here, which is why this needs
    /// the policy and a random number: the endpoint is ejected anew.
    pub fn availability(&mut self, now: Instant, policy: &OutlierPolicy, random: u64) -> Availability {
        match self.state {
            State::Closed => Availability::Open,
            State::Ejected { until } if now >= until => Availability::Probe,
            State::Ejected { .. } => Availability::Ejected,
            State::Probing { deadline, .. } => {
                if now >= deadline {
                    self.eject(now, policy, random);
                }
                Availability::Ejected
            }
        }
    }

    /// Whether the endpoint is ejected, or on probation after it.
    pub fn is_ejected(&self) -> bool {
        self.state != State::Closed
    }

    /// Until when the endpoint is ejected; `None` if it is not, or has begun a probe.
    pub fn ejected_until(&self) -> Option<Instant> {
        match self.state {
            State::Ejected { until } => Some(until),
            State::Closed | State::Probing { .. } => None,
        }
    }

    /// Whether it is ejected for taking no connection.
    pub fn is_unreachable(&self) -> bool {
        self.unreachable && self.is_ejected()
    }

    /// Whether it failed the last time that it was asked.
    pub fn is_failing(&self) -> bool {
        self.failures_in_a_row > 0 || self.is_ejected()
    }

    /// In which order ejected endpoints are asked when there is no other: those that nobody waits for first, then the least
    /// recently failed.
    pub fn last_resort_order(&self) -> (bool, Option<Instant>) {
        (matches!(self.state, State::Probing { .. }), self.failed)
    }

    /// Takes note that it is asked although it is ejected: the next one to be asked so is another.
    pub fn asked_as_last_resort(&mut self, now: Instant) {
        self.failed = Some(now);
    }

    /// Lets an ejection end now, so that a probe finds out how the endpoint is.
    pub fn hasten(&mut self, now: Instant) {
        if let State::Ejected { until } = &mut self.state {
            *until = now.min(*until);
        }
    }

    /// Begins the one probe that [`Availability::Probe`] allows.
    pub fn begin_probe(&mut self, now: Instant, policy: &OutlierPolicy) -> ProbeNumber {
        self.probes = self.probes.wrapping_add(1);
        self.state = State::Probing { number: self.probes, deadline: now + policy.probe_deadline };
        self.probes
    }

    /// Takes note of how an attempt ended. `may_eject` says whether this may leave the endpoint ejected, as far as the others
    /// matter ([`OutlierPolicy::max_ejected`]).
    pub fn ended(
        &mut self,
        now: Instant,
        outcome: Outcome,
        role: Role,
        may_eject: bool,
        policy: &OutlierPolicy,
        random: u64,
    ) -> Change {
        if outcome.is_failure() {
            self.failed = Some(now);
        }
        match (self.state, role) {
            (State::Closed, _) => self.count(now, outcome, may_eject, policy, random),
            (State::Probing { number, .. }, Role::Probe(probe)) if probe == number => {
                self.probe_ended(now, outcome, may_eject, policy, random)
            }
            (State::Ejected { .. }, Role::LastResort)
                if matches!(outcome, Outcome::Success | Outcome::Refused) =>
            {
                self.release(now);
                Change::Returned
            }
            // Answers to requests from before the ejection change nothing.
            (State::Ejected { .. } | State::Probing { .. }, _) => Change::None,
        }
    }

    /// Lets the endpoint take requests again whatever is known of it: the set has become so small that it is needed.
    pub fn release(&mut self, now: Instant) {
        self.state = State::Closed;
        self.gateway_failures_in_a_row = 0;
        self.failures_in_a_row = 0;
        self.unreachable = false;
        self.window = Window::new(now);
        self.returned = Some(now);
    }

    fn probe_ended(
        &mut self,
        now: Instant,
        outcome: Outcome,
        may_eject: bool,
        policy: &OutlierPolicy,
        random: u64,
    ) -> Change {
        match outcome {
            // The caller of the probe went away: the next request may probe at once.
            Outcome::Unknown => {
                self.state = State::Ejected { until: now };
                Change::None
            }
            outcome if outcome.is_failure() && may_eject => {
                self.unreachable = outcome == Outcome::Unreachable;
                self.eject(now, policy, random);
                Change::None
            }
            // It is well, or needed.
            _ => {
                self.release(now);
                Change::Returned
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
    ) -> Change {
        match outcome {
            Outcome::Unknown => return Change::None,
            Outcome::Success | Outcome::Refused => {
                (self.gateway_failures_in_a_row, self.failures_in_a_row) = (0, 0);
                self.window.count(now, policy.window, true);
                self.forgive(now, policy);
                return Change::None;
            }
            // It answers, which is what the success rate is about: where every endpoint fails a part of its requests, as
            // when something behind them is down, leaving out half of them helps nobody.
            Outcome::ServerError => {
                self.gateway_failures_in_a_row = 0;
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
                self.window.count(now, policy.window, true);
            }
            Outcome::GatewayFailure | Outcome::Unreachable => {
                self.gateway_failures_in_a_row = self.gateway_failures_in_a_row.saturating_add(1);
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
                self.window.count(now, policy.window, false);
            }
        }
        let unreachable = outcome == Outcome::Unreachable;
        let outlier = unreachable
            || self.gateway_failures_in_a_row >= policy.consecutive_failures
            || self.failures_in_a_row >= policy.consecutive_5xx
            || (outcome == Outcome::GatewayFailure && self.has_low_success_rate(policy));
        if !(policy.enabled && may_eject && outlier) {
            return Change::None;
        }
        self.unreachable = unreachable;
        self.eject(now, policy, random);
        Change::Ejected
    }

    fn has_low_success_rate(&self, policy: &OutlierPolicy) -> bool {
        let (successes, total) = self.window.sums();
        total >= policy.success_rate_requests && f64::from(successes) < policy.success_rate * f64::from(total)
    }

    /// An endpoint that has been well for as long as the longest ejection starts anew.
    fn forgive(&mut self, now: Instant, policy: &OutlierPolicy) {
        if self.returned.is_some_and(|at| now.saturating_duration_since(at) >= policy.max_ejection) {
            self.ejections = 0;
            self.returned = None;
        }
    }

    fn eject(&mut self, now: Instant, policy: &OutlierPolicy, random: u64) {
        self.state = State::Ejected { until: now + policy.backoff().delay(self.ejections, random) };
        self.ejections = self.ejections.saturating_add(1);
        (self.gateway_failures_in_a_row, self.failures_in_a_row) = (0, 0);
    }
}

#[cfg(test)]
mod tests;
