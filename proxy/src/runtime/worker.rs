//! A worker: one thread, one runtime, and all that the connections on it use.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::Cache;
use tokio::time::Instant;
use weft_mesh::name::ServicePort;

use crate::http::exchange::Recorder;
use crate::http::idle_requests::Waiting;
use crate::observe::stats::KeptEdges;
use crate::runtime::clock::now;
use crate::runtime::descriptors;
use crate::runtime::overload::Watch;
use crate::runtime::shared::Shared;
use crate::snapshot::{Backend, Snapshot};
use crate::transport::caller::Proven;
use crate::transport::internal_listener::InternalListener;
use crate::transport::own_listeners::OwnListeners;
use crate::transport::relay::Pipes;
use crate::upstream::passthrough::Passthrough;
use crate::upstream::service::{Service, ServiceContext};

/// What all connections of one worker share.
#[derive(Debug)]
pub struct Worker {
    /// What this worker shares with the other threads.
    pub shared: Arc<Shared>,
    /// Where the proxy listens itself, and leads nobody.
    pub own: OwnListeners,
    /// Connections to what is outside the mesh.
    pub passthrough: Passthrough,
    /// How late its timers are.
    pub watch: Rc<Watch>,
    /// The peers that proved who they are.
    pub(crate) proven: Proven,
    /// The way to the inbound side for requests to the own workload, where connections are redirected.
    pub internal_listener: OnceCell<InternalListener>,
    /// What its exchanges are recorded with.
    pub recorder: Rc<Recorder>,
    /// Through which the kernel moves bytes between plain connections.
    pub pipes: Pipes,
    /// Which of the workers it is, from 0.
    pub number: usize,
    snapshot: RefCell<Cache<Arc<arc_swap::ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    services: RefCell<HashMap<ServicePort, Rc<Service>, foldhash::fast::RandomState>>,
    began: std::time::Instant,
}

impl Worker {
    /// A worker without connections; `own` is where its proxy listens, but for the ports that the workload offers.
    pub fn new(shared: Arc<Shared>, own: Vec<SocketAddr>) -> Rc<Self> {
        let own = OwnListeners::new(own);
        Rc::new(Self {
            passthrough: Passthrough::new(own.clone()),
            own,
            began: now(),
            number: shared.number_of_worker(),
            watch: Watch::new(&shared.overload),
            proven: Proven::default(),
            internal_listener: OnceCell::new(),
            recorder: Rc::new(Recorder {
                shared: Arc::clone(&shared),
                waiting: Waiting::default(),
                edges: KeptEdges::default(),
            }),
            pipes: Pipes::at_most(descriptors::pipes(descriptors::limit(), shared.workers)),
            snapshot: RefCell::new(Cache::new(Arc::clone(&shared.snapshot))),
            services: RefCell::default(),
            shared,
        })
    }

    /// The snapshot in force. A request keeps what it takes from one to its end.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(self.snapshot.borrow_mut().load())
    }

    /// Looks at the snapshot in force without taking hold of it.
    pub fn with_snapshot<R>(&self, see: impl FnOnce(&Snapshot) -> R) -> R {
        see(self.snapshot.borrow_mut().load())
    }

    /// What this worker knows of a service: its endpoints' state and the connections to them.
    pub fn service(self: &Rc<Self>, backend: &Arc<Backend>) -> Rc<Service> {
        if let Some(service) = self.services.borrow().get(&backend.service) {
            self.with_snapshot(|snapshot| service.update(snapshot));
            return Rc::clone(service);
        }
        let context = ServiceContext {
            shared: &self.shared,
            internal_listener: self.internal_listener.get(),
            own: &self.own,
        };
        let service = self.with_snapshot(|snapshot| Service::new(&context, backend, snapshot));
        self.services.borrow_mut().insert(backend.service.clone(), Rc::clone(&service));
        service
    }

    /// Seconds since the worker began.
    pub fn seconds(&self) -> u64 {
        self.began.elapsed().as_secs()
    }

    /// Closes connections that are idle or out of use. To be called about every second.
    pub(crate) fn sweep(&self, now: Instant) {
        let snapshot = self.snapshot();
        let generation = snapshot.tls.as_ref().map(|tls| tls.number);
        self.services.borrow_mut().retain(|_, service| {
            // Also while no request comes: some may wait for what the snapshot allows.
            service.update(&snapshot);
            service.sweep(now, generation)
        });
        if let Some(tls) = &snapshot.tls {
            self.proven.sweep(tls.generation(), SystemTime::now(), &self.shared.stats);
        }
        self.recorder.waiting.sweep(now);
        self.passthrough.sweep(now, &self.shared.stats);
        self.recorder.edges.sweep(now.into_std());
        self.shared.stats.sweep(now.into_std());
    }
}
