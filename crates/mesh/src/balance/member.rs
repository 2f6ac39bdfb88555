//! What a worker knows of one endpoint.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Endpoint;
use super::load::{PeakEwma, Report, Typical};
use crate::outlier::{Availability, Breaker, OutlierPolicy, ProbeNumber};

/// Share of a new endpoint at first, while it grows to its full one: nothing at all would never show that it is well.
const SLOW_START_LEAST: f64 = 0.1;

/// One endpoint, with what this worker knows of it.
#[derive(Debug)]
pub struct Member {
    endpoint: Arc<Endpoint>,
    key: u64,
    /// What is typical of the service's endpoints, shared by all of a picker's members.
    typical: Rc<Cell<Typical>>,
    pub(super) known: Rc<Known>,
}

/// Shared between the forms that an endpoint has before and after a change of its weight or health.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) in_flight: Cell<u32>,
    pub(super) latency: Cell<PeakEwma>,
    pub(super) breaker: RefCell<Breaker>,
    /// Whether it failed the last time that it was asked.
    pub(super) failing: Cell<bool>,
    /// When its turn comes next, in the time of [`RoundRobin`](super::round_robin::RoundRobin).
    pub(super) turn: Cell<Option<u64>>,
    /// The tier that it belongs to; `None` once it is no longer among the picker's members.
    pub(super) tier: Cell<Option<usize>>,
    report: Cell<Option<Report>>,
    /// When it came; `None` if it was there from the start and so has nobody to be newer than.
    since: Option<Instant>,
}

impl Member {
    pub(super) fn new(
        endpoint: Arc<Endpoint>,
        typical: Rc<Cell<Typical>>,
        now: Instant,
        first: bool,
    ) -> Self {
        let known = Known {
            in_flight: Cell::new(0),
            latency: Cell::default(),
            breaker: RefCell::new(Breaker::new(now)),
            failing: Cell::new(false),
            turn: Cell::new(None),
            tier: Cell::new(None),
            report: Cell::new(None),
            since: (!first).then_some(now),
        };
        Self { key: endpoint.key(), endpoint, typical, known: Rc::new(known) }
    }

    /// The same endpoint with another weight, health or place.
    pub(super) fn moved_to(&self, endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint, key: self.key, typical: Rc::clone(&self.typical), known: Rc::clone(&self.known) }
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// [`Endpoint::key`], computed once.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Requests of this worker that are under way to it.
    pub fn in_flight(&self) -> u32 {
        self.known.in_flight.get()
    }

    /// Whether it is ejected or on probation.
    pub fn is_ejected(&self) -> bool {
        self.known.breaker.borrow().is_ejected()
    }

    /// Whether it is ejected for taking no connection.
    pub fn is_unreachable(&self) -> bool {
        self.known.breaker.borrow().is_unreachable()
    }

    /// Until when it is ejected.
    pub fn ejected_until(&self) -> Option<Instant> {
        self.known.breaker.borrow().ejected_until()
    }

    /// Takes note of what the endpoint said of its load: requests in flight from all its callers.
    pub fn report(&self, now: Instant, in_flight: u32) {
        let latency = self.fresh_report(now).and_then(|report| report.latency);
        let own_then = self.in_flight();
        self.known.report.set(Some(Report { in_flight, latency, own_then, at: now }));
        let mut typical = self.typical.get();
        // What is in flight from others alone: the request whose answer says so is in flight, too.
        let others = in_flight.saturating_sub(own_then);
        typical.report(now, f64::from(others) / f64::from(self.endpoint.weight.max(1)));
        self.typical.set(typical);
    }

    /// Takes note of the latency that the endpoint said it answers all its callers with; call it after
    /// [`Member::report`].
    pub fn report_latency(&self, latency: Duration) {
        let report = self.known.report.get().map(|report| Report { latency: Some(latency), ..report });
        self.known.report.set(report);
    }

    fn fresh_report(&self, now: Instant) -> Option<Report> {
        self.known.report.get().filter(|report| report.is_fresh(now))
    }

    pub(super) fn begin(&self) {
        self.known.in_flight.set(self.in_flight().saturating_add(1));
    }

    pub(super) fn end(&self) {
        self.known.in_flight.set(self.in_flight().saturating_sub(1));
    }

    pub(super) fn availability(&self, now: Instant, policy: &OutlierPolicy, random: u64) -> Availability {
        self.known.breaker.borrow_mut().availability(now, policy, random)
    }

    /// Begins a probe. What made the endpoint slow may be over, so its latency is forgotten.
    pub(super) fn begin_probe(&self, now: Instant, policy: &OutlierPolicy) -> ProbeNumber {
        let mut latency = self.known.latency.get();
        latency.forget();
        self.known.latency.set(latency);
        self.known.breaker.borrow_mut().begin_probe(now, policy)
    }

    /// What part of its weight it gets: less than all while it is new.
    pub(super) fn grown(&self, now: Instant, slow_start: Duration) -> f64 {
        match self.known.since {
            Some(since) if !slow_start.is_zero() => {
                let age = now.saturating_duration_since(since).as_secs_f64();
                (age / slow_start.as_secs_f64()).clamp(SLOW_START_LEAST, 1.0)
            }
            _ => 1.0,
        }
    }

    /// Requests that wait or are worked on at the endpoint, from all callers as far as that is known.
    pub(super) fn load(&self, now: Instant) -> f64 {
        let own = f64::from(self.in_flight());
        match self.fresh_report(now) {
            // What was reported, and how this worker's part of it has changed since.
            Some(report) => own.max(f64::from(report.in_flight) + own - f64::from(report.own_then)),
            // Those that report must not look busier for it than those that don't.
            None => own + self.typical.get().in_flight(now) * f64::from(self.endpoint.weight),
        }
    }

    /// The latency to expect, in microseconds.
    pub(super) fn micros(&self, now: Instant) -> f64 {
        let own = self.known.latency.get().micros(now, self.typical.get().micros());
        let reported = self.fresh_report(now).and_then(|report| report.latency);
        reported.map_or(own, |reported| own.max(reported.as_secs_f64() * 1e6))
    }
}
