//! How many connections a service may have, from all workers together, and who waits for one.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use weft_mesh::budget::RetryBudget;
use weft_mesh::limits::{Permit, Usage};
use weft_mesh::name::ServicePort;
use weft_mesh::reason::Reason;

use super::connect::CONNECT_TIMEOUT;
use crate::error::{BoxFailure, Failure};
use crate::runtime::clock::now;
use crate::snapshot::BackendPolicy;

/// What workers together do to a service: what is under way, what was tried again, and a bell for those that wait for a
/// connection. It belongs to the service's name; limits and shares are the snapshot's.
#[derive(Debug)]
pub struct ServiceUsage {
    /// The counts.
    pub counts: Usage,
    /// Requests and retries of late.
    pub retries: RetryBudget,
    freed: Notify,
}

impl ServiceUsage {
    /// Nothing is under way from any of so many workers.
    pub fn new(workers: usize) -> Self {
        Self { counts: Usage::default(), retries: RetryBudget::new(workers, now()), freed: Notify::new() }
    }
}

/// The limits of one service, as one worker applies them.
#[derive(Debug)]
pub struct CircuitBreaker {
    usage: Arc<ServiceUsage>,
    service: ServicePort,
    max_connections: Cell<u32>,
    max_pending: Cell<u32>,
    connect_timeout: Cell<Duration>,
    max_age: Cell<Option<Duration>>,
}

/// How old a connection is. Connections that were made together don't end together: each may grow a tenth older, or
/// younger, than others.
#[derive(Debug, Clone, Copy)]
pub struct Age {
    since: Instant,
    factor: f32,
}

impl Age {
    /// Of a connection that is made now; `random` is from 0 to 1.
    pub fn new(now: Instant, random: f32) -> Self {
        Self { since: now, factor: 0.9 + 0.2 * random }
    }

    /// Whether it is more than the given one.
    pub fn is_over(self, now: Instant, limit: Option<Duration>) -> bool {
        limit.is_some_and(|limit| now.saturating_duration_since(self.since) >= limit.mul_f32(self.factor))
    }
}

impl CircuitBreaker {
    /// One without limits yet.
    pub fn new(service: ServicePort, usage: Arc<ServiceUsage>) -> Rc<Self> {
        Rc::new(Self {
            usage,
            service,
            max_connections: Cell::new(0),
            max_pending: Cell::new(0),
            connect_timeout: Cell::new(CONNECT_TIMEOUT),
            max_age: Cell::new(None),
        })
    }

    /// Takes over what a policy says of connections; a limit of 0 is none.
    pub fn limit(&self, policy: &BackendPolicy) {
        if self.max_connections.replace(policy.max_connections) != policy.max_connections {
            // Whoever waits may have a place now.
            self.usage.freed.notify_waiters();
        }
        self.max_pending.set(policy.max_pending);
        self.connect_timeout.set(policy.connect_timeout);
        self.max_age.set(policy.max_connection_age);
    }

    /// Time for a TCP connection.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout.get()
    }

    /// Age at which a connection takes no new requests.
    pub fn max_age(&self) -> Option<Duration> {
        self.max_age.get()
    }

    /// What is under way to the service from all workers.
    pub fn usage(&self) -> &Usage {
        &self.usage.counts
    }

    /// Requests and retries of late, from all workers.
    pub fn retries(&self) -> &RetryBudget {
        &self.usage.retries
    }

    /// Takes the place of one connection, if there is one left.
    pub fn enter(&self) -> Option<ConnectionPermit> {
        let place = self.usage.counts.connections.enter(self.max_connections.get())?;
        Some(ConnectionPermit { place: Some(place), usage: Arc::clone(&self.usage) })
    }

    /// As [`CircuitBreaker::enter`], for what does not wait.
    pub fn enter_now(&self) -> Result<ConnectionPermit, BoxFailure> {
        self.enter().ok_or_else(|| {
            let limit = self.max_connections.get();
            let detail = format!("{} has as many connections as it may have: {limit}", self.service);
            Failure::internal(Reason::BreakerOpen, detail)
        })
    }

    /// Counts one request that waits, until the guard is dropped.
    pub fn wait(&self) -> Result<Permit, BoxFailure> {
        let limit = self.max_pending.get();
        self.usage.counts.pending.enter(limit).ok_or_else(|| {
            let detail = format!("{limit} requests already wait for a connection to {}", self.service);
            Failure::internal(Reason::Overloaded, detail)
        })
    }

    /// Ready when a connection may have been closed, on whatever worker.
    pub async fn freed(&self) {
        self.usage.freed.notified().await;
    }

    /// Whether requests wait, so that an idle connection is better closed.
    pub fn is_wanted(&self) -> bool {
        self.usage.counts.pending.taken() > 0
    }
}

/// The place of one connection, for as long as that is open.
#[derive(Debug)]
pub struct ConnectionPermit {
    place: Option<Permit>,
    usage: Arc<ServiceUsage>,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        // Given back first: whoever wakes looks for it.
        self.place = None;
        self.usage.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_differ_by_a_tenth_at_most() {
        let (now, limit) = (Instant::now(), Some(Duration::from_secs(100)));
        for (random, ends) in [(0.0, 90), (0.5, 100), (1.0, 110)] {
            let age = Age::new(now, random);
            assert!(!age.is_over(now + Duration::from_millis(ends * 1000 - 10), limit), "{random}");
            assert!(age.is_over(now + Duration::from_millis(ends * 1000 + 10), limit), "{random}");
            assert!(!age.is_over(now + Duration::from_hours(1000), None));
        }
    }
}
