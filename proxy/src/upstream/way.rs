//! Where a request goes, as far as it is known by now.

use std::rc::Rc;
use std::sync::Arc;

use crate::http::exchange::Recorder;
use crate::observe::access::Entry;
use crate::observe::stats::{Direction, Edge, EdgeKey};
use crate::snapshot::{Backend, Destination};
use crate::upstream::peer::{Peer, Sent};

/// The way of a request out of the workload. It is counted, and logged, by what is known of it when it ends.
#[derive(Debug, Default)]
pub struct Way {
    /// What it is for; `None`: nothing in the mesh, or nobody knows yet.
    pub destination: Option<Arc<Destination>>,
    /// The route that it took.
    pub route: Option<Arc<str>>,
    /// The service that the route chose.
    pub backend: Option<Arc<Backend>>,
    /// The endpoint that was asked last.
    pub peer: Option<Rc<Peer>>,
    /// How often it was sent.
    pub attempts: u32,
    /// How many of these were made beside another one.
    pub hedges: u32,
}

impl Way {
    /// It is sent to an endpoint.
    pub fn sent_to(&mut self, peer: &Rc<Peer>) {
        self.peer = Some(Rc::clone(peer));
        self.attempts += 1;
    }

    /// Where it is counted.
    pub fn edge(&self, recorder: &Recorder, mirrored: bool) -> Arc<Edge> {
        let stats = &recorder.shared.stats;
        if let (Some(destination), Some(backend), Some(peer)) = (&self.destination, &self.backend, &self.peer)
        {
            let route = self.route.as_ref();
            let sent = Sent { destination: &destination.service, backend: &backend.service, route, mirrored };
            return peer.edge(stats, &sent);
        }
        recorder.edges.edge(stats, self.key(mirrored))
    }

    /// The names under which it is counted, but for those of its endpoint.
    pub fn key(&self, mirrored: bool) -> EdgeKey {
        let outside = EdgeKey::outside(Direction::Outbound);
        EdgeKey {
            mirrored,
            destination: self.destination.as_ref().map(|destination| destination.service.clone()),
            backend: self.backend.as_ref().map(|backend| backend.service.clone()),
            route: self.route.clone().unwrap_or_else(|| Arc::clone(&outside.route)),
            ..outside
        }
    }

    /// Tells the access log.
    pub fn describe(&self, entry: &mut Entry) {
        let destination = self.destination.as_ref();
        entry.destination = destination.map(|destination| destination.service.clone());
        if let Some(route) = &self.route {
            entry.route = Arc::clone(route);
        }
        entry.backend = self.backend.as_ref().map(|backend| backend.service.clone());
        entry.attempts = (self.attempts > 0).then_some(self.attempts);
        entry.hedges = (self.hedges > 0).then_some(self.hedges);
        let Some(peer) = &self.peer else { return };
        let endpoint = peer.endpoint();
        entry.workload = Arc::clone(&endpoint.workload);
        entry.endpoint = Some(endpoint.address);
        entry.destination_identity = peer.identity();
    }
}
