//! What arrives at the workload: from a connection of a peer's proxy, or a plain one, to the application.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderValue;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weft_mesh::forwarded::client_certificate;
use weft_mesh::name::{Identity, ServiceName, ServicePort};
use weft_mesh::protocol::Protocol;

use crate::access::Entry;
use crate::config::Offer;
use crate::http::client::Client;
use crate::http::quiet::Patience;
use crate::shared::Shared;
use crate::snapshot::{InboundPort, Snapshot};
use crate::stats::{Direction, Edge, EdgeKey, Security};
use crate::stream::door::{Entering, door};
use crate::stream::own::OwnListeners;
use crate::stream::strangers::{Standing, Strangers};
use crate::stream::{listener, socket};
use crate::upstream::connect::Connector;
use crate::upstream::local::Local;
use crate::worker::Worker;

mod adaptive;
pub(crate) mod caller;
pub(crate) mod connection;
mod live;
mod load;
pub(crate) mod request;

use adaptive::Adaptive;
use caller::{Caller, Proven};
use live::Live;
pub use load::{InFlight, Load};

/// The applications that this worker forwards to.
#[derive(Debug, Default)]
pub struct Inbound {
    strangers: Rc<Strangers>,
    pub(crate) proven: Proven,
    live: Live,
    applications: RefCell<HashMap<Local, Rc<Application>>>,
}

/// One port of the application: the connections to it, and how loaded it is.
#[derive(Debug)]
pub struct Application {
    client: Rc<Client>,
    load: Load,
    adaptive: Adaptive,
}

impl Inbound {
    fn application(&self, local: Local, own: &OwnListeners) -> Rc<Application> {
        let mut applications = self.applications.borrow_mut();
        let application = applications.entry(local).or_insert_with(|| {
            let client = Client::new(Connector::application(local, own));
            Rc::new(Application { client, load: Load::default(), adaptive: Adaptive::default() })
        });
        Rc::clone(application)
    }

    /// Closes idle connections to the application, and those of peers that are believed, or let in, no longer.
    pub fn sweep(&self, now: Instant, snapshot: &Snapshot, shared: &Shared) {
        let (stats, idle) = (&shared.stats, shared.application_idle());
        if let Some(tls) = &snapshot.tls {
            self.proven.sweep(tls.generation(), SystemTime::now(), stats);
        }
        self.live.sweep(&snapshot.inbound, stats);
        // A redirected connection is to whatever port its peer likes: what nobody uses is not kept.
        self.applications.borrow_mut().retain(|_, application| {
            application.client.sweep(now, idle, stats) || Rc::strong_count(application) > 1
        });
    }
}

/// A connection of a peer, once it is known whose it is.
#[derive(Debug)]
pub(crate) struct Upstream {
    application: Rc<Application>,
    /// The connections to the application: those that are shared, or some of its own where they begin with its address.
    forward: Rc<Client>,
    /// Port that policies are for: that of the service.
    port: u16,
    peer: SocketAddr,
    /// What the peer proved to be; `None` in plain text.
    identity: Option<Identity>,
    /// What applications are told of the peer.
    client: Option<HeaderValue>,
    /// Its address, where requests would else only tell that of a load balancer.
    forwarded_for: Option<HeaderValue>,
    edge: Arc<Edge>,
    /// What the connection is for.
    service: ServicePort,
    /// What is spoken, where the listener says so.
    protocol: Option<Protocol>,
    /// For how long its requests may stand still.
    patience: Arc<Patience>,
}

/// What a listener knows of the connections that arrive at it.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) service: Arc<str>,
    pub(crate) port: u16,
    pub(crate) application: Local,
    /// What is spoken, where the listener is of one offer alone: services of one workload may have the same port number and
    /// different applications. `None`: what the control plane says of the port.
    pub(crate) protocol: Option<Protocol>,
}

impl Arrival {
    /// What is spoken on connections to a port.
    fn protocol(&self, port: &InboundPort) -> Protocol {
        self.protocol.unwrap_or(port.protocol)
    }
}

/// Serves the inbound listener of a port that the workload offers.
///
/// `all` are all of the proxy's listeners, none of which is the application.
pub fn listen_offer(
    worker: &Rc<Worker>,
    listener: TcpListener,
    offer: &Offer,
    all: &OwnListeners,
    stop: CancellationToken,
) {
    let arrival = Arrival {
        service: offer.services.first().map_or("", String::as_str).into(),
        port: offer.port,
        application: Local::or_other_loopback(offer.application, all),
        protocol: Some(offer.protocol),
    };
    accept(worker, listener, stop, move |_, _| Some(arrival.clone()));
}

/// Serves the listener that the kernel redirects inbound connections to.
pub fn listen_transparent(worker: &Rc<Worker>, listener: TcpListener, stop: CancellationToken) {
    let shared = Arc::clone(&worker.shared);
    accept(worker, listener, stop, move |stream, peer| match socket::original_destination(stream) {
        Ok(Some(original)) if shared.redirection.arrived(Direction::Inbound, original, peer) => None,
        Ok(Some(original)) => {
            let application = Local::exactly(original);
            Some(Arrival { service: "".into(), port: original.port(), application, protocol: None })
        }
        Ok(None) => {
            tracing::warn!(%peer, "a connection came to the inbound listener itself; it is for redirected ones");
            None
        }
        Err(error) => {
            tracing::warn!(%peer, %error, "cannot tell where a connection was meant to go");
            None
        }
    });
}

/// Serves what the workload sends to itself.
pub fn listen_own(worker: &Rc<Worker>, stop: CancellationToken) {
    let (door, mut entering) = door();
    if worker.door.set(door).is_err() {
        return;
    }
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(stop.run_until_cancelled_owned(async move {
        while let Some(Entering { stream, destination }) = entering.recv().await {
            let arrival = Arrival {
                service: "".into(),
                port: destination.port(),
                application: Local::exactly(destination),
                protocol: None,
            };
            // A caller within the workload has its address, and no port of its own.
            let peer = SocketAddr::new(destination.ip(), 0);
            let standing = Standing::default();
            tokio::task::spawn_local(connection::serve(Rc::clone(&worker), stream, peer, arrival, standing));
        }
    }));
}

fn accept(
    worker: &Rc<Worker>,
    listener: TcpListener,
    stop: CancellationToken,
    arrival: impl Fn(&TcpStream, SocketAddr) -> Option<Arrival> + 'static,
) {
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        let defers = || worker.shared.overload.defers_connections();
        let enter = || worker.shared.place(Direction::Inbound);
        listener::accept(listener, stop.cancelled_owned(), defers, enter, |stream, peer| {
            if let Some(arrival) = arrival(stream.tcp(), peer) {
                let strangers = &worker.inbound.strangers;
                let stranger = strangers.enter(worker.shared.connections.strangers(worker.shared.workers));
                let number = stranger.number();
                let standing = Standing::of(stranger, Arc::clone(stream.places()));
                let serving = connection::serve(Rc::clone(&worker), stream, peer, arrival, standing);
                strangers.served_by(number, tokio::task::spawn_local(serving).abort_handle());
            }
        })
        .await;
    });
}

impl Upstream {
    fn new(worker: &Worker, arrival: &Arrival, caller: &Caller) -> Rc<Self> {
        let (peer, identity) = (caller.peer.address, caller.identity.clone());
        let service = ServicePort::new(service_name(worker, arrival), arrival.port);
        let edge = worker.edges.edge(&worker.shared.stats, edge_key(&service, identity.as_ref()));
        let application = worker.inbound.application(arrival.application, &worker.own);
        let own = worker.with_snapshot(|snapshot| snapshot.tls.as_ref().map(|tls| tls.identity().clone()));
        let client = own.zip(identity.as_ref()).and_then(|(own, peer)| client_certificate(&own, peer, None));
        let announce = worker.with_snapshot(|snapshot| snapshot.inbound.port(arrival.port).announce);
        let forward = match announce {
            None => Rc::clone(&application.client),
            Some(version) => Client::new(application.client.connector().clone().announcing(version, peer)),
        };
        let forwarded_for =
            caller.peer.announced.then(|| HeaderValue::try_from(peer.ip().to_string()).ok()).flatten();
        Rc::new(Self {
            application,
            forward,
            port: arrival.port,
            peer,
            identity,
            client,
            forwarded_for,
            edge,
            service,
            protocol: arrival.protocol,
            patience: Arc::default(),
        })
    }

    /// Where copies of requests are counted.
    fn edge_of_copies(&self, worker: &Worker) -> Arc<Edge> {
        let key = EdgeKey { mirrored: true, ..edge_key(&self.service, self.identity.as_ref()) };
        worker.edges.edge(&worker.shared.stats, key)
    }

    /// Tells the access log whose connection it is and what for.
    fn describe(&self, entry: &mut Entry) {
        entry.source_identity.clone_from(&self.identity);
        entry.destination = Some(self.service.clone());
    }
}

fn edge_key(service: &ServicePort, peer: Option<&Identity>) -> EdgeKey {
    EdgeKey {
        destination: Some(service.clone()),
        backend: Some(service.clone()),
        security: Security::proven(peer.cloned()),
        ..EdgeKey::outside(Direction::Inbound)
    }
}

/// The service that connections of a listener are for; a redirected one is for the workload as such.
fn service_name(worker: &Worker, arrival: &Arrival) -> ServiceName {
    let own = worker.with_snapshot(|snapshot| {
        let tls = snapshot.tls.as_ref()?;
        let identity = tls.identity();
        let name = if arrival.service.is_empty() { identity.service_account() } else { &arrival.service };
        ServiceName::new(identity.namespace(), name).ok()
    });
    own.unwrap_or_else(|| ServiceName::new("default", "unknown").expect("both are valid names"))
}
