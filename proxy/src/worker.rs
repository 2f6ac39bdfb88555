//! A worker: one thread, one runtime, and all that the connections on it use.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::Cache;
use tokio::runtime::{Builder, LocalOptions};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use weft_mesh::name::ServicePort;

use crate::clock::now;
use crate::http::quiet::Waiting;
use crate::inbound::Inbound;
use crate::outbound::Passthrough;
use crate::overload::Watch;
use crate::shared::Shared;
use crate::snapshot::{Backend, Snapshot};
use crate::start::Listeners;
use crate::stats::KeptEdges;
use crate::stream::door::Door;
use crate::stream::own::OwnListeners;
use crate::stream::relay::Pipes;
use crate::upstream::service::Service;
use crate::{descriptors, inbound, outbound, unread};

/// How often idle connections are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

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
    pub watch: Watch,
    /// What the inbound side keeps: connections to the application.
    pub inbound: Inbound,
    /// The way to the inbound side for requests to the own workload, where connections are redirected.
    pub door: OnceCell<Door>,
    /// The requests that clients wait for, so that those on which nothing moves are found.
    pub waiting: Waiting,
    /// Where what this worker carries is counted.
    pub edges: KeptEdges,
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
            inbound: Inbound::default(),
            door: OnceCell::new(),
            waiting: Waiting::default(),
            edges: KeptEdges::default(),
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
            service.update(self);
            return Rc::clone(service);
        }
        let service = Service::new(self, backend);
        self.services.borrow_mut().insert(backend.service.clone(), Rc::clone(&service));
        service
    }

    /// Seconds since the worker began.
    pub fn seconds(&self) -> u64 {
        self.began.elapsed().as_secs()
    }

    /// Closes connections that are idle or out of use. To be called about every second.
    pub(crate) fn sweep(&self, now: Instant) {
        let tls = self.with_snapshot(|snapshot| snapshot.tls.clone());
        let generation = tls.as_ref().map(|tls| tls.number);
        self.services.borrow_mut().retain(|_, service| {
            // Also while no request comes: some may wait for what the snapshot allows.
            service.update(self);
            service.sweep(now, generation)
        });
        self.waiting.sweep(now);
        self.inbound.sweep(now, &self.snapshot(), &self.shared);
        self.passthrough.sweep(now, &self.shared.stats);
        self.edges.sweep(now.into_std());
        self.shared.stats.sweep(now.into_std());
    }
}

/// Starts a worker; it ends when `stop` is cancelled.
pub fn spawn(
    number: usize,
    shared: Arc<Shared>,
    listeners: Arc<Listeners>,
    stop: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("weft-worker-{number}")).spawn(move || {
        let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "a worker cannot start");
                return;
            }
        };
        unread::divide(shared.workers);
        runtime.block_on(run(Worker::new(shared, listeners.own.clone()), listeners, stop));
    })
}

async fn run(worker: Rc<Worker>, listeners: Arc<Listeners>, stop: CancellationToken) {
    if let Err(error) = listen(&worker, &listeners, &stop) {
        tracing::error!(%error, "a worker cannot listen");
        return;
    }
    let mut sweeps = tokio::time::interval(SWEEP_EVERY);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            now = sweeps.tick() => worker.sweep(now),
        }
    }
}

fn listen(worker: &Rc<Worker>, listeners: &Listeners, stop: &CancellationToken) -> io::Result<()> {
    if let Some(bound) = &listeners.outbound {
        outbound::listen_explicit(worker, bound.listener()?, &listeners.announced_by, stop.clone());
    }
    for (upstream, bound) in &listeners.upstreams {
        let (destination, announced_by) = (upstream.destination.as_str().into(), &listeners.announced_by);
        outbound::listen_local(worker, bound.listener()?, destination, announced_by, stop.clone());
    }
    if let Some(bound) = &listeners.transparent_outbound {
        outbound::listen_transparent(worker, bound.listener()?, stop.clone());
    }
    // What comes at the very end finds nobody, which its sender knows to have had no effect.
    let close = &worker.shared.close;
    let offers = listeners.offers.iter().map(|(_, bound)| bound.address());
    let all = OwnListeners::new(listeners.own.iter().copied().chain(offers));
    for (offer, bound) in &listeners.offers {
        inbound::listen_offer(worker, bound.listener()?, offer, &all, close.clone());
    }
    if let Some(bound) = &listeners.transparent_inbound {
        inbound::listen_transparent(worker, bound.listener()?, close.clone());
        inbound::listen_own(worker, close.clone());
    }
    Ok(())
}
