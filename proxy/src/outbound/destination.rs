//! Finding what was dialled: in the snapshot, or by asking the control plane.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;
use weft_mesh::protocol::Protocol;

use super::Downstream;
use crate::observe::stats::LookupOutcome;
use crate::runtime::shared::{LOOKUP_TIMEOUT, Lookup};
use crate::runtime::worker::Worker;
use crate::snapshot::Destination;

/// What is known of a destination.
#[derive(Debug, Clone)]
pub enum Found {
    /// It is in the mesh.
    Known(Arc<Destination>),
    /// The mesh has none of that name: the request goes where its name says.
    Absent,
    /// The control plane did not say in time: likewise.
    Silent,
}

impl Found {
    /// What is spoken to it.
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Known(destination) => destination.protocol,
            Self::Absent => Protocol::Detect,
            // Nothing is known: bytes are passed on as they are.
            Self::Silent => Protocol::Tcp,
        }
    }
}

/// Finds the destination `name` (`host:port`) of a request or a connection, which is counted; waits for the control plane
/// where the proxy does not know it yet.
pub async fn find(worker: &Rc<Worker>, downstream: &Downstream, name: &str) -> Found {
    let (found, outcome) = look_up(worker, name).await;
    // What was found out when the connection came is what it was then.
    let outcome = downstream.looked_up.take().unwrap_or(outcome);
    worker.shared.stats.looked_up(outcome);
    found
}

/// Looks at what a connection is for before it is known whether it is to be counted as one, or its requests are.
pub async fn peek(worker: &Rc<Worker>, downstream: &Downstream, name: &str) -> Found {
    let (found, outcome) = look_up(worker, name).await;
    if outcome != LookupOutcome::Hit {
        downstream.looked_up.set(Some(outcome));
    }
    found
}

async fn look_up(worker: &Rc<Worker>, name: &str) -> (Found, LookupOutcome) {
    match look(worker, name) {
        Some(Found::Absent) => (Found::Absent, LookupOutcome::Absent),
        Some(found) => (found, LookupOutcome::Hit),
        None => Box::pin(ask(worker, name)).await,
    }
}

async fn ask(worker: &Rc<Worker>, name: &str) -> (Found, LookupOutcome) {
    let (answered, answer) = oneshot::channel();
    if worker.shared.lookups.try_send(Lookup { name: name.to_owned(), answered }).is_err() {
        return (Found::Silent, LookupOutcome::Full);
    }
    match tokio::time::timeout(LOOKUP_TIMEOUT, answer).await {
        Ok(Ok(())) => match look(worker, name) {
            Some(Found::Absent) => (Found::Absent, LookupOutcome::Absent),
            Some(found) => (found, LookupOutcome::Miss),
            None => (Found::Silent, LookupOutcome::Timeout),
        },
        // Nobody is asked for so many.
        Ok(Err(_)) => (Found::Silent, LookupOutcome::Full),
        Err(_) => (Found::Silent, LookupOutcome::Timeout),
    }
}

/// A destination that the proxy knows already.
pub fn known(worker: &Worker, name: &str) -> Option<Arc<Destination>> {
    match look(worker, name) {
        Some(Found::Known(destination)) => Some(destination),
        _ => None,
    }
}

fn look(worker: &Worker, name: &str) -> Option<Found> {
    worker.with_snapshot(|snapshot| {
        Some(match snapshot.destinations.get(name)? {
            Some(destination) => {
                destination.used.store(worker.seconds(), Ordering::Relaxed);
                Found::Known(Arc::clone(destination))
            }
            None => Found::Absent,
        })
    })
}
