//! What leaves the workload: from a connection that its application opened to an endpoint of what it dialled.
//!
//! May import everything but `inbound`, `control` and `start`; imported by `start`, which listens, and by `inbound` for what comes first on a connection.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::AsyncRead;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use weft_mesh::protocol::{Detection, Protocol, detect};
use weft_mesh::proxy_protocol::Senders;
use weft_mesh::violation::Violation;

use crate::error::is_disconnect;
use crate::http::idle_requests::Patience;
use crate::http::limits::HEAD_TIMEOUT;
use crate::http::server::{ServerVersion, serve};
use crate::http::violation_recorder::ViolationRecorder;
use crate::observe::stats::{Direction, EdgeKey, LookupOutcome};
use crate::runtime::shared::Shared;
use crate::runtime::worker::Worker;
use crate::transport::limit::Accepted;
use crate::transport::prefixed::{Prefixed, read_ahead, read_ahead_within};
use crate::transport::proxy_protocol;
use crate::transport::server_first::{First, Lost, race, race_with};
use crate::transport::stream::Transport;
use crate::transport::{listener, own_listeners, socket};

pub(crate) mod attempts;
pub mod destination;
pub(crate) mod exchange;
mod explicit;
mod loops;
mod mirror;
mod opaque;
pub(crate) mod request;
mod session;

/// What the requests of a connection are for.
#[derive(Debug, Clone)]
pub enum Target {
    /// This destination, whatever the requests say.
    Fixed(Arc<str>),
    /// What each request names.
    ByAuthority,
}

impl Target {
    /// The destination, where the connection itself says it.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Fixed(name) => Some(name),
            Self::ByAuthority => None,
        }
    }
}

/// A connection of the application.
#[derive(Debug)]
pub struct Downstream {
    /// What its requests are for.
    pub target: Target,
    /// Who opened it.
    pub source: SocketAddr,
    /// For how long its requests may stand still.
    patience: Arc<Patience>,
    /// How its destination was looked up when it came, where nothing was counted by then.
    looked_up: Cell<Option<LookupOutcome>>,
}

impl Downstream {
    /// A connection that has just come.
    pub fn new(target: Target, source: SocketAddr) -> Self {
        Self { target, source, patience: Arc::default(), looked_up: Cell::default() }
    }
}

/// Serves the explicit listener: an HTTP proxy, which also takes requests by their authority. It sends them in the
/// workload's name, and so serves only its network namespace.
///
/// Connections of those in `announced_by` begin with a header of the PROXY protocol.
pub fn listen_explicit(
    worker: &Rc<Worker>,
    listener: TcpListener,
    announced_by: &Arc<Senders>,
    stop: CancellationToken,
) {
    let shared = Arc::clone(&worker.shared);
    let (worker, announced_by) = (Rc::clone(worker), Arc::clone(announced_by));
    accept(&shared, listener, stop, move |stream, source| {
        let (worker, announced_by) = (Rc::clone(&worker), Arc::clone(&announced_by));
        async move {
            let Some(stream) = opened_here(&worker, stream, source) else { return };
            let Some((source, stream)) = begin(stream, source, &announced_by).await else { return };
            let downstream = Rc::new(Downstream::new(Target::ByAuthority, source));
            connection(worker, stream, downstream, Protocol::Http1).await;
        }
    });
}

/// Serves a local listener that stands for one destination; `announced_by` as for the explicit one.
pub fn listen_local(
    worker: &Rc<Worker>,
    listener: TcpListener,
    destination: Arc<str>,
    announced_by: &Arc<Senders>,
    stop: CancellationToken,
) {
    let shared = Arc::clone(&worker.shared);
    let (worker, announced_by) = (Rc::clone(worker), Arc::clone(announced_by));
    accept(&shared, listener, stop, move |stream, source| {
        let (worker, announced_by) = (Rc::clone(&worker), Arc::clone(&announced_by));
        let target = Target::Fixed(Arc::clone(&destination));
        async move {
            // Whoever reaches the port may use it, and leaves places to what the workload opens itself.
            let is_own = own_listeners::is_opened_here(stream.tcp(), source);
            if !is_own && !stream.places().take_unproven(&worker.shared.connections) {
                worker.shared.stats.refused_connection(Direction::Outbound);
                return stream.abort();
            }
            let Some((source, stream)) = begin(stream, source, &announced_by).await else { return };
            dialled(worker, stream, Rc::new(Downstream::new(target, source))).await;
        }
    });
}

/// The connection, if it was opened in the proxy's network namespace; others are reset.
fn opened_here(worker: &Worker, stream: Accepted, source: SocketAddr) -> Option<Accepted> {
    if own_listeners::is_opened_here(stream.tcp(), source) {
        return Some(stream);
    }
    worker.shared.refused_foreign(source);
    stream.abort();
    None
}

/// Who opened a connection, and what it says itself: a load balancer speaks of another one first.
async fn begin(
    stream: Accepted,
    source: SocketAddr,
    announced_by: &Senders,
) -> Option<(SocketAddr, Prefixed<Accepted>)> {
    if !announced_by.contains(source.ip()) {
        return Some((source, Prefixed::untouched(stream)));
    }
    match proxy_protocol::read(stream, source).await {
        Ok((peer, stream)) => Some((peer.address, stream)),
        Err(problem) => {
            tracing::info!(%source, problem, "connection without a header of the PROXY protocol");
            None
        }
    }
}

/// Serves the listener that the kernel redirects outbound connections to. What is opened to the listener itself is served
/// as by the explicit one: whatever the listener's address, it may be reached from elsewhere.
pub fn listen_transparent(worker: &Rc<Worker>, listener: TcpListener, stop: CancellationToken) {
    let shared = Arc::clone(&worker.shared);
    let worker = Rc::clone(worker);
    accept(&shared, listener, stop, move |stream, source| {
        let worker = Rc::clone(&worker);
        async move {
            match socket::original_destination(stream.tcp()) {
                Ok(Some(original))
                    if worker.shared.redirection.arrived(Direction::Outbound, original, source) => {}
                Ok(Some(original)) => {
                    let stream = Prefixed::untouched(stream);
                    let target = Target::Fixed(original.to_string().into());
                    dialled(worker, stream, Rc::new(Downstream::new(target, source))).await;
                }
                // Opened to this listener on purpose: there is only what the requests say.
                Ok(None) => {
                    let Some(stream) = opened_here(&worker, stream, source) else { return };
                    let stream = Prefixed::untouched(stream);
                    let downstream = Rc::new(Downstream::new(Target::ByAuthority, source));
                    connection(worker, stream, downstream, Protocol::Http1).await;
                }
                Err(error) => {
                    tracing::warn!(%source, %error, "cannot tell where a connection was meant to go");
                }
            }
        }
    });
}

fn accept<F>(
    shared: &Arc<Shared>,
    listener: TcpListener,
    stop: CancellationToken,
    mut handle: impl FnMut(Accepted, SocketAddr) -> F + 'static,
) where
    F: Future<Output = ()> + 'static,
{
    let shared = Arc::clone(shared);
    tokio::task::spawn_local(async move {
        let stopped = stop.clone();
        let defers = || shared.overload.defers_connections();
        let enter = || shared.place(Direction::Outbound);
        let accepting =
            listener::accept(listener, stopped.cancelled_owned(), defers, enter, |stream, source| {
                tokio::task::spawn_local(handle(stream, source));
            });
        accepting.await;
    });
}

/// A connection whose destination is known: its protocol is that of the destination, and only where nothing is
/// declared the first bytes decide.
pub(crate) async fn dialled<S>(worker: Rc<Worker>, stream: S, downstream: Rc<Downstream>)
where
    S: Transport + Send + 'static,
{
    let Target::Fixed(name) = &downstream.target else { return };
    let protocol = Box::pin(destination::peek(&worker, &downstream, name)).await.protocol();
    connection(worker, stream, downstream, protocol).await;
}

/// A connection of which it is known, or declared, what is spoken on it.
pub(crate) async fn connection<S>(
    worker: Rc<Worker>,
    stream: S,
    downstream: Rc<Downstream>,
    protocol: Protocol,
) where
    S: Transport + Send + 'static,
{
    let _open = worker.shared.stats.connection(Direction::Outbound);
    // Each way takes only the memory that it needs itself, for as long as the connection lives.
    match protocol {
        Protocol::Tcp | Protocol::Tls => Box::pin(opaque::relay(worker, stream, downstream)).await,
        Protocol::Detect => Box::pin(undeclared(worker, stream, downstream, None)).await,
        Protocol::Http1 | Protocol::Http2 | Protocol::Grpc => match first_bytes_of_http(stream).await {
            // Declared as HTTP: what is not HTTP/2 is left to the parser of HTTP/1, which answers what is wrong with it.
            Ok((version, stream)) => {
                let version = version.unwrap_or(ServerVersion::Http1);
                Box::pin(http(worker, stream, version, downstream)).await;
            }
            Err(error) if is_disconnect(&error) => {}
            Err(error) => tracing::debug!(%error, "connection lost before its first request"),
        },
    }
}

/// A connection of which nothing is known: whoever speaks first tells. Where it leads to may be connected to already.
async fn undeclared<S>(
    worker: Rc<Worker>,
    stream: S,
    downstream: Rc<Downstream>,
    opened: Option<opaque::Opened>,
) where
    S: Transport + Send + 'static,
{
    let raced = match opened {
        Some(far) => race_with(stream, version, far).await,
        None => race(stream, version, opaque::open(&worker, &downstream, &opaque::Opening::Unread)).await,
    };
    match raced {
        Ok(First::Client(Some(version), near, far)) => {
            drop(far);
            http(worker, near, version, downstream).await;
        }
        Ok(First::Client(None, near, far)) => match far {
            // What was opened before the client spoke may be the wrong place.
            Some((far, place)) if !opaque::is_routed_by_name(&worker, &downstream).await => {
                opaque::carry(&worker, &downstream, near, far, place).await;
            }
            _ => opaque::relay(worker, near, downstream).await,
        },
        Ok(First::Server(near, far, place)) => opaque::carry(&worker, &downstream, near, far, place).await,
        Err(Lost::Unreachable(failure, near)) => opaque::refused(&worker, &downstream, &failure, near),
        Err(Lost::Broken(error)) if is_disconnect(&error) => {}
        Err(Lost::Broken(error)) => {
            tracing::debug!(%error, "connection lost before its protocol was known");
        }
    }
}

/// The version of HTTP that a client speaks, or `None` for anything else.
pub(crate) async fn first_bytes<S>(stream: S) -> std::io::Result<(Option<ServerVersion>, Prefixed<S>)>
where
    S: AsyncRead + Unpin,
{
    read_ahead(stream, version).await
}

/// As [`first_bytes`], where HTTP is declared: who stops in the middle of what tells is not waited for.
pub(crate) async fn first_bytes_of_http<S>(stream: S) -> std::io::Result<(Option<ServerVersion>, Prefixed<S>)>
where
    S: AsyncRead + Unpin,
{
    read_ahead_within(stream, HEAD_TIMEOUT, version).await
}

#[expect(clippy::option_option, reason = "undecided, no HTTP, or a version of it")]
fn version(bytes: &[u8], ended: bool) -> Option<Option<ServerVersion>> {
    match detect(bytes) {
        Detection::Http1 => Some(Some(ServerVersion::Http1)),
        Detection::Http2 => Some(Some(ServerVersion::Http2)),
        Detection::NeedMore if !ended => None,
        _ if bytes.is_empty() => None,
        _ => Some(None),
    }
}

async fn http<S>(worker: Rc<Worker>, stream: Prefixed<S>, version: ServerVersion, downstream: Rc<Downstream>)
where
    S: Transport + Send + 'static,
{
    let drain = worker.shared.drain.clone();
    let violations =
        ViolationRecorder::new(&worker.shared, Direction::Outbound).sharing(&downstream.patience);
    let (of, source) = (Rc::clone(&worker), downstream.source);
    let refused = move |violation: Violation| {
        let log = of.shared.access.unread(Direction::Outbound, source);
        let edge = of.recorder.edges.edge(&of.shared.stats, EdgeKey::outside(Direction::Outbound));
        of.shared.refused(Direction::Outbound, violation, &edge, log);
    };
    let handler = move |request| request::handle(Rc::clone(&worker), Rc::clone(&downstream), request);
    serve(stream, version, drain, violations, handler, refused).await;
}
