//! Connections whose bytes are passed on as they are.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use weft_mesh::backoff::Backoff;
use weft_mesh::balance::PickContext;
use weft_mesh::name::Identity;
use weft_mesh::outcome::Outcome;
use weft_mesh::protocol::{Detection, detect};
use weft_mesh::reason::Reason;
use weft_mesh::retry::{AttemptOutcome, UNPROCESSED_RETRIES};

use super::destination::{Found, peek};
use super::{Downstream, Target};
use crate::error::{BoxFailure, Failure};
use crate::observe::stats::{Cause, Direction, Edge, EdgeKey, LookupOutcome, Security};
use crate::runtime::clock::{now, since};
use crate::runtime::overload;
use crate::runtime::worker::Worker;
use crate::snapshot::{Destination, Tls};
use crate::transport::caller::Caller;
use crate::transport::prefixed::{Prefixed, read_ahead};
use crate::transport::proxy_protocol::Peer;
use crate::transport::relay::{Carried, Ended, relay as copy};
use crate::transport::stream::Transport;
use crate::upstream::connect::Stream;
use crate::upstream::service::Attempt;
use crate::upstream::way::Way;

/// Time without a byte after which an opaque connection is given up.
pub(super) const IDLE: Duration = Duration::from_hours(1);

/// What is told of a connection that is carried: while it lasts it counts for the balancer, at its end for its edge.
#[derive(Debug)]
pub(super) struct Permit {
    edge: Arc<Edge>,
    way: Way,
    to: Reached,
}

/// A connection to where another one is meant to go, and what is told of it; of what is outside the mesh, nothing.
pub(super) type Opened = (Stream, Permit);

/// What a connection begins with, where its route may depend on that.
#[derive(Debug)]
pub(super) enum Opening {
    /// Nothing has been read.
    Unread,
    /// TLS, asking for a server of this name.
    Tls(Option<String>),
    /// Anything else.
    Other,
}

fn opening(bytes: &[u8], ended: bool) -> Option<Opening> {
    match detect(bytes) {
        Detection::Tls { sni, .. } => Some(Opening::Tls(sni)),
        Detection::NeedMore if !ended => None,
        _ if bytes.is_empty() => None,
        _ => Some(Opening::Other),
    }
}

/// Whether the server name that a connection asks for decides where it goes.
pub(super) async fn is_routed_by_name(worker: &Rc<Worker>, downstream: &Downstream) -> bool {
    let Target::Fixed(name) = &downstream.target else { return false };
    matches!(peek(worker, downstream, name).await, Found::Known(destination) if !destination.tls.is_empty())
}

/// Carries a connection to an endpoint of its destination.
pub(super) async fn relay<S>(worker: Rc<Worker>, near: S, downstream: Rc<Downstream>)
where
    S: Transport,
{
    let (opening, near) = if is_routed_by_name(&worker, &downstream).await {
        match read_ahead(near, opening).await {
            Ok(read) => read,
            Err(error) => {
                tracing::debug!(%error, "connection lost before it was known what it asks for");
                return;
            }
        }
    } else {
        (Opening::Unread, Prefixed::untouched(near))
    };
    // What is being connected is under way, too.
    let _under_way = worker.shared.enter(Direction::Outbound);
    match open(&worker, &downstream, &opening).await {
        Ok((far, place)) => carry(&worker, &downstream, near, far, place).await,
        Err(failure) => refused(&worker, &downstream, &failure, near),
    }
}

/// Rejects a connection that is not carried anywhere, and counts it. Its client is to see that nobody took it (Gateway
/// API, `TCPRouteRule.backendRefs`), rather than a peer that had nothing to say.
pub(super) fn refused<S: Transport>(worker: &Worker, downstream: &Downstream, failure: &Failure, near: S) {
    near.abort();
    drop(near);
    count_lookup(worker, downstream);
    worker.shared.stats.answered(Direction::Outbound, Cause::Failed(failure.reason));
    if let Some(mut log) = worker.shared.access.connection(Direction::Outbound, downstream.source) {
        log.entry.authority = downstream.target.name().map(str::to_owned);
        log.failed(failure.reason);
        log.end(&worker.shared);
    }
    tracing::info!(target = ?downstream.target, source = %downstream.source, %failure, "connection refused");
}

/// Counts the one look-up of a connection that is carried, or refused.
pub(super) fn count_lookup(worker: &Worker, downstream: &Downstream) {
    if downstream.target.name().is_some() {
        worker.shared.stats.looked_up(downstream.looked_up.take().unwrap_or(LookupOutcome::Hit));
    }
}

/// Connects to where a connection is meant to go: an endpoint of its destination, or an address outside the mesh. A failure
/// is counted at its destination.
pub(super) async fn open(
    worker: &Rc<Worker>,
    downstream: &Downstream,
    opening: &Opening,
) -> Result<Opened, BoxFailure> {
    let mut way = Way::default();
    match reach(worker, downstream, opening, &mut way).await {
        Ok((far, to)) => {
            let edge = worker.recorder.edges.edge(&worker.shared.stats, key(&way, to.security.clone()));
            Ok((far, Permit { edge, way, to }))
        }
        Err(failure) => {
            let edge = worker.recorder.edges.edge(&worker.shared.stats, key(&way, Security::Unknown));
            edge.connection_refused(Cause::Failed(failure.reason), failure.counts());
            Err(failure)
        }
    }
}

fn key(way: &Way, security: Security) -> EdgeKey {
    let mut key = EdgeKey { security, ..way.key(false) };
    if let Some(peer) = &way.peer {
        key.workload = Arc::clone(&peer.endpoint().workload);
        key.version = Arc::clone(&peer.endpoint().version);
    }
    key
}

/// What there is to know of the other end of a connection.
#[derive(Debug)]
struct Reached {
    /// The endpoint counts as busy for as long; `None`: it is out of the mesh.
    _attempt: Option<Attempt>,
    security: Security,
    /// What it proved who it is by; `None` in plain text.
    proof: Option<Caller>,
}

async fn reach(
    worker: &Rc<Worker>,
    downstream: &Downstream,
    opening: &Opening,
    way: &mut Way,
) -> Result<(Stream, Reached), BoxFailure> {
    overload::admit(&worker.watch, &worker.shared.stats)?;
    let Target::Fixed(name) = &downstream.target else {
        let detail = "the connection is not HTTP, and nothing else says where it is meant to go";
        return Err(Failure::downstream(Reason::BadRequest, detail));
    };
    match peek(worker, downstream, name).await {
        Found::Known(destination) => {
            way.destination = Some(Arc::clone(&destination));
            to_service(worker, &destination, opening, downstream.source, way).await
        }
        Found::Absent | Found::Silent => {
            let far = worker.passthrough.connector(name).connect().await?;
            Ok((far, Reached { _attempt: None, security: Security::Unknown, proof: None }))
        }
    }
}

async fn to_service(
    worker: &Rc<Worker>,
    destination: &Destination,
    opening: &Opening,
    source: SocketAddr,
    way: &mut Way,
) -> Result<(Stream, Reached), BoxFailure> {
    let random = fastrand::u64(..);
    let backend = match opening {
        Opening::Tls(server_name) if !destination.tls.is_empty() => {
            let (backend, route) = destination.tls_backend(server_name.as_deref(), random)?;
            way.route = Some(Arc::clone(route));
            backend
        }
        _ => destination.tcp_backend(random)?,
    };
    way.backend = Some(Arc::clone(backend));
    let service = worker.service(backend);
    let tls = worker.snapshot().tls.clone();
    let (mut tried, mut retries) = (Vec::new(), 0);
    loop {
        let mut attempt = service.attempt(PickContext { tried: &tried, ..PickContext::default() })?;
        way.sent_to(&attempt.peer);
        match attempt.peer.connect_tcp(tls.as_ref(), source, backend.policy.announce).await {
            Ok((far, identity)) => {
                attempt.answered(Outcome::Success);
                let address = attempt.peer.endpoint().address;
                let proof = proof(worker, tls.as_ref(), identity.as_ref(), &far, address);
                let security = Security::proven(identity);
                return Ok((far, Reached { _attempt: Some(attempt), security, proof }));
            }
            Err(failure) => {
                attempt.failed(&failure);
                tried.push(attempt.peer.endpoint().id.clone());
                // A connection that was not made has carried nothing: whoever is believed well may be tried, and whoever is
                // left as often as for a request.
                if service.has_untried(&tried) {
                    continue;
                }
                if failure.verdict().happened == AttemptOutcome::Over || retries >= UNPROCESSED_RETRIES {
                    return Err(failure);
                }
                tokio::time::sleep(Backoff::RETRY.delay(retries, fastrand::u64(..))).await;
                retries += 1;
            }
        }
    }
}

/// What the other end of a connection proved who it is by, to be asked again when whom to believe changes.
fn proof(
    worker: &Worker,
    tls: Option<&Arc<Tls>>,
    identity: Option<&Identity>,
    far: &Stream,
    address: SocketAddr,
) -> Option<Caller> {
    let (tls, identity, chain) = (tls?, identity?.clone(), far.peer_certificates()?);
    let peer = Peer { address, announced: false };
    Some(worker.proven.caller(peer, identity, chain, tls.generation(), &worker.shared.drain))
}

/// Carries bytes both ways until both sides have ended, or who is at the far one is believed no longer.
pub(super) async fn carry<S, F>(worker: &Worker, downstream: &Downstream, near: S, far: F, place: Permit)
where
    S: Transport,
    F: Transport,
{
    let _under_way = worker.shared.enter(Direction::Outbound);
    let began = now();
    count_lookup(worker, downstream);
    let Permit { edge, way, .. } = &place;
    edge.connection_opened();
    let mut log = worker.shared.access.connection(Direction::Outbound, downstream.source);
    if let Some(log) = &mut log {
        log.entry.authority = downstream.target.name().map(str::to_owned);
        way.describe(&mut log.entry);
        log.entry.attempts = None;
    }
    let mut carried = Carried::default();
    let proof = place.to.proof.as_ref();
    let disbelieved = async {
        match proof {
            Some(proof) => proof.disbelieved().await,
            None => std::future::pending().await,
        }
    };
    let ended = copy(near, far, IDLE, &worker.pipes, &mut carried, disbelieved).await;
    let cause = matches!(ended, Err(Ended::Cut)).then_some(Cause::Failed(Reason::Denied));
    let failed = ended.is_err();
    edge.sent(carried.forth);
    edge.received(carried.back);
    edge.connection_closed(cause, failed, since(began));
    if let Some(mut log) = log {
        log.relayed(&carried, failed);
        log.ended(cause, failed);
        log.end(&worker.shared);
    }
}
