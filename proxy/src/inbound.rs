//! What arrives at the workload: from a connection of a peer's proxy, or a plain one, to the application.
//!
//! May import everything but `control` and `start`; imported by `start` alone.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weft_mesh::forwarded::client_certificate;
use weft_mesh::name::{Identity, ServiceName, ServicePort};
use weft_mesh::protocol::Protocol;

use crate::config::Offer;
use crate::http::client::Client;
use crate::http::idle_requests::Patience;
use crate::observe::access::Entry;
use crate::observe::stats::{Direction, Edge, EdgeKey, Security};
use crate::runtime::worker::Worker;
use crate::snapshot::InboundPort;
use crate::transport::caller::Caller;
use crate::transport::internal_listener::{InternalConnection, internal_listener};
use crate::transport::own_listeners::OwnListeners;
use crate::transport::unproven::{Standing, UnprovenConnections};
use crate::transport::{listener, socket};
use crate::upstream::application::{Application, Applications};
use crate::upstream::local::Local;

pub(crate) mod connection;
mod opaque;
pub(crate) mod request;
mod revocation;

use revocation::OpaqueConnections;

/// What the inbound side of a worker has.
#[derive(Debug)]
pub struct Context {
    /// The worker that it is a side of.
    pub worker: Rc<Worker>,
    strangers: Rc<UnprovenConnections>,
    live: OpaqueConnections,
    applications: Applications,
}

impl Context {
    /// A side without connections.
    pub fn new(worker: Rc<Worker>) -> Rc<Self> {
        let (strangers, live, applications) = Default::default();
        Rc::new(Self { worker, strangers, live, applications })
    }

    /// Closes idle connections to the application, and those of peers that are let in no longer. To be called about every second.
    pub fn sweep(&self, now: Instant) {
        let shared = &self.worker.shared;
        self.live.sweep(&self.worker.snapshot().inbound, &shared.stats);
        self.applications.sweep(now, shared);
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
    context: &Rc<Context>,
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
    accept(context, listener, stop, move |_, _| Some(arrival.clone()));
}

/// Serves the listener that the kernel redirects inbound connections to.
pub fn listen_transparent(context: &Rc<Context>, listener: TcpListener, stop: CancellationToken) {
    let shared = Arc::clone(&context.worker.shared);
    accept(context, listener, stop, move |stream, peer| match socket::original_destination(stream) {
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
pub fn listen_own(context: &Rc<Context>, stop: CancellationToken) {
    let (internal_listener, mut entering) = internal_listener();
    if context.worker.internal_listener.set(internal_listener).is_err() {
        return;
    }
    let context = Rc::clone(context);
    tokio::task::spawn_local(stop.run_until_cancelled_owned(async move {
        while let Some(InternalConnection { stream, destination }) = entering.recv().await {
            let arrival = Arrival {
                service: "".into(),
                port: destination.port(),
                application: Local::exactly(destination),
                protocol: None,
            };
            // A caller within the workload has its address, and no port of its own.
            let peer = SocketAddr::new(destination.ip(), 0);
            let standing = Standing::default();
            tokio::task::spawn_local(connection::serve(Rc::clone(&context), stream, peer, arrival, standing));
        }
    }));
}

fn accept(
    context: &Rc<Context>,
    listener: TcpListener,
    stop: CancellationToken,
    arrival: impl Fn(&TcpStream, SocketAddr) -> Option<Arrival> + 'static,
) {
    let context = Rc::clone(context);
    tokio::task::spawn_local(async move {
        let defers = || context.worker.shared.overload.defers_connections();
        let enter = || context.worker.shared.place(Direction::Inbound);
        listener::accept(listener, stop.cancelled_owned(), defers, enter, |stream, peer| {
            if let Some(arrival) = arrival(stream.tcp(), peer) {
                let strangers = &context.strangers;
                let stranger = strangers
                    .enter(context.worker.shared.connections.strangers(context.worker.shared.workers));
                let number = stranger.number();
                let standing = Standing::of(stranger, Arc::clone(stream.places()));
                let serving = connection::serve(Rc::clone(&context), stream, peer, arrival, standing);
                strangers.served_by(number, tokio::task::spawn_local(serving).abort_handle());
            }
        })
        .await;
    });
}

impl Upstream {
    fn new(context: &Context, arrival: &Arrival, caller: &Caller) -> Rc<Self> {
        let worker = &context.worker;
        let (peer, identity) = (caller.peer.address, caller.identity.clone());
        let service = ServicePort::new(service_name(worker, arrival), arrival.port);
        let edge = worker.recorder.edges.edge(&worker.shared.stats, edge_key(&service, identity.as_ref()));
        let application = context.applications.at(arrival.application, &worker.own);
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
        worker.recorder.edges.edge(&worker.shared.stats, key)
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
