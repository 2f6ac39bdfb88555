//! What a worker knows of one endpoint.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Endpoint;
use super::load::{PeakEwma, Report};
use crate::outlier::{Availability, Breaker, Outcome, OutlierPolicy};

/// One endpoint, with what this worker knows of it.
#[derive(Debug)]
pub struct Member {
    endpoint: Arc<Endpoint>,
    known: Rc<Known>,
}

/// Shared between the forms that an endpoint has before and after a change of its weight or health.
#[derive(Debug)]
struct Known {
    in_flight: Cell<u32>,
    latency: Cell<PeakEwma>,
    report: Cell<Option<Report>>,
    breaker: RefCell<Breaker>,
    since: Option<Instant>,
    seen: Cell<Instant>,
}

impl Member {
    pub(super) fn new(endpoint: Arc<Endpoint>, now: Instant, first: bool) -> Self {
        let known = Known {
            in_flight: Cell::new(0),
            latency: Cell::new(PeakEwma::new(now)),
            report: Cell::new(None),
            breaker: RefCell::new(Breaker::new(now)),
            since: (!first).then_some(now),
            seen: Cell::new(now),
        };
        Self { endpoint, known: Rc::new(known) }
    }

    pub(super) fn moved_to(&self, endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint, known: Rc::clone(&self.known) }
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Requests of this worker that are under way to it.
    pub fn in_flight(&self) -> u32 {
        self.known.in_flight.get()
    }

    /// Whether it is ejected or on probation.
    pub fn is_ejected(&self) -> bool {
        self.known.breaker.borrow().is_ejected()
    }

    /// Takes note of what the endpoint said of its load: requests in flight from all its callers.
    pub fn report(&self, now: Instant, in_flight: u32) {
        self.known.report.set(Some(Report { in_flight, at: now }));
    }

    /// Expected time of one more request, in microseconds: latency times what waits. What the endpoint reports of itself
    /// counts when it is more than this worker sees.
    pub fn cost(&self, now: Instant) -> f64 {
        let own = self.in_flight();
        let reported = self.known.report.get().and_then(|report| report.in_flight(now)).unwrap_or(0);
        self.known.seen.set(now);
        self.known.latency.get().micros(now) * (f64::from(own.max(reported)) + 1.0)
    }

    /// Its weight, less while it is new.
    pub(super) fn share(&self, slow_start: Duration) -> f64 {
        let weight = f64::from(self.endpoint.weight.max(1));
        let Some(since) = self.known.since else { return weight };
        if slow_start.is_zero() {
            return weight;
        }
        let age = self.known.seen.get().saturating_duration_since(since).as_secs_f64();
        // A tenth at first: nothing at all would never show that it is well.
        weight * (age / slow_start.as_secs_f64()).clamp(0.1, 1.0)
    }

    pub(super) fn availability(&self, now: Instant) -> Availability {
        self.known.breaker.borrow().availability(now)
    }

    pub(super) fn begin_probe(&self, now: Instant, policy: &OutlierPolicy) {
        self.known.breaker.borrow_mut().begin_probe(now, policy);
    }

    pub(super) fn begin(&self) {
        self.known.in_flight.set(self.in_flight() + 1);
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one call from one place, each argument a different kind of fact"
    )]
    pub(super) fn end(
        &self,
        now: Instant,
        outcome: Outcome,
        latency: Option<Duration>,
        probe: bool,
        may_eject: bool,
        policy: &OutlierPolicy,
        random: u64,
    ) -> bool {
        self.known.in_flight.set(self.in_flight().saturating_sub(1));
        if let Some(latency) = latency {
            let mut average = self.known.latency.get();
            average.observe(now, latency);
            self.known.latency.set(average);
        }
        self.known.breaker.borrow_mut().ended(now, outcome, probe, may_eject, policy, random)
    }
}
