//! Finding what was dialled: in the snapshot, or by asking the control plane.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;
use weft_mesh::protocol::Protocol;

use crate::shared::{LOOKUP_TIMEOUT, Lookup};
use crate::snapshot::Destination;
use crate::stats::LookupOutcome;
use crate::worker::Worker;

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

/// Finds the destination `name` (`host:port`); waits for the control plane where the proxy does not know it yet.
pub async fn find(worker: &Rc<Worker>, name: &str) -> Found {
    if let Some(found) = look(worker, name) {
        worker.shared.stats.looked_up(LookupOutcome::Hit);
        return found;
    }
    Box::pin(ask(worker, name)).await
}

async fn ask(worker: &Rc<Worker>, name: &str) -> Found {
    let (answered, answer) = oneshot::channel();
    let asked = worker.shared.lookups.try_send(Lookup { name: name.to_owned(), answered });
    if asked.is_ok()
        && matches!(tokio::time::timeout(LOOKUP_TIMEOUT, answer).await, Ok(Ok(())))
        && let Some(found) = look(worker, name)
    {
        worker.shared.stats.looked_up(LookupOutcome::Miss);
        return found;
    }
    worker.shared.stats.looked_up(LookupOutcome::Timeout);
    Found::Silent
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
