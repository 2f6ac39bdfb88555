//! How many connections a service may have, from all workers together, and who waits for one.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;
use weft_mesh::limits::{Place, Usage};
use weft_mesh::name::ServicePort;
use weft_mesh::reason::Reason;

use crate::error::{BoxFailure, Failure};

/// What is under way to a service from all workers, and a bell for those that wait for a connection.
#[derive(Debug, Default)]
pub struct ServiceUsage {
    /// The counts.
    pub counts: Usage,
    freed: Notify,
}

/// The limits of one service, as one worker applies them.
#[derive(Debug)]
pub struct Room {
    usage: Arc<ServiceUsage>,
    service: ServicePort,
    max_connections: Cell<u32>,
    max_pending: Cell<u32>,
}

impl Room {
    /// Room without limits yet.
    pub fn new(service: ServicePort, usage: Arc<ServiceUsage>) -> Rc<Self> {
        Rc::new(Self { usage, service, max_connections: Cell::new(0), max_pending: Cell::new(0) })
    }

    /// Sets the most connections, and the most requests that wait for one; 0: no limit.
    pub fn limit(&self, max_connections: u32, max_pending: u32) {
        self.max_connections.set(max_connections);
        self.max_pending.set(max_pending);
    }

    /// What is under way to the service from all workers.
    pub fn usage(&self) -> &Usage {
        &self.usage.counts
    }

    /// Takes the place of one connection, if there is one left.
    pub fn enter(&self) -> Option<Held> {
        let place = self.usage.counts.connections.enter(self.max_connections.get())?;
        Some(Held { place: Some(place), usage: Arc::clone(&self.usage) })
    }

    /// As [`Room::enter`], for what does not wait.
    pub fn enter_now(&self) -> Result<Held, BoxFailure> {
        self.enter().ok_or_else(|| {
            let limit = self.max_connections.get();
            let detail = format!("{} has as many connections as it may have: {limit}", self.service);
            Failure::internal(Reason::Overloaded, detail)
        })
    }

    /// Counts one request that waits, until the guard is dropped.
    pub fn wait(&self) -> Result<Place, BoxFailure> {
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
pub struct Held {
    place: Option<Place>,
    usage: Arc<ServiceUsage>,
}

impl Drop for Held {
    fn drop(&mut self) {
        // Given back first: whoever wakes looks for it.
        self.place = None;
        self.usage.freed.notify_one();
    }
}
