//! Finding out what a connection is and whose, then serving it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use weft_identity::tls::{ALPN_H2, ALPN_HTTP11, ALPN_WEFT, ALPN_WEFT_TCP};
use weft_identity::{Origin, Reason as RefusalReason, Refusal, peer_identity};
use weft_mesh::protocol::{Detection, Protocol, detect};
use weft_mesh::reason::Reason;
use weft_mesh::violation::Violation;

use super::opaque::{carry, is_allowed, may_connect, opaque, refused};
use super::{Arrival, Context, Upstream, request};
use crate::error::Failure;
use crate::error::is_disconnect;
use crate::http::server::{ServerVersion, serve as serve_http};
use crate::http::violation_recorder::{ClientKind, ViolationRecorder};
use crate::observe::stats::{Cause, Direction};
use crate::outbound::{first_bytes, first_bytes_of_http};
use crate::snapshot::{InboundPort, TlsMode};
use crate::transport::caller::Caller;
use crate::transport::prefixed::{FIRST_BYTE, Prefixed, read_ahead_within};
use crate::transport::proxy_protocol::{self, Peer};
use crate::transport::server_first::{First, Lost, race};
use crate::transport::stream::Transport;
use crate::transport::unproven::Standing;
use crate::upstream::connect::{HANDSHAKE_TIMEOUT, Stream};

/// Serves one connection.
pub(crate) async fn serve<S>(
    context: Rc<Context>,
    stream: S,
    peer: SocketAddr,
    arrival: Arrival,
    mut standing: Standing,
) where
    S: Transport + Send + 'static,
{
    let _open = context.worker.shared.stats.connection(Direction::Inbound);
    let port = context.worker.with_snapshot(|snapshot| Arc::clone(snapshot.inbound.port(arrival.port)));
    let (peer, stream) = if port.announced_by.contains(peer.ip()) {
        match proxy_protocol::read(stream, peer).await {
            Ok(read) => read,
            Err(problem) => {
                context.worker.shared.stats.answered(Direction::Inbound, Cause::Failed(Reason::BadRequest));
                tracing::info!(%peer, port = arrival.port, problem, "connection without a header of the PROXY protocol");
                return;
            }
        }
    } else {
        (Peer { address: peer, announced: false }, Prefixed::untouched(stream))
    };
    if port.tls_mode == TlsMode::Disabled {
        if !standing.unproven(&context.worker.shared) {
            return;
        }
        return Box::pin(opaque(&context, stream, None, &arrival, &Caller::plain(peer))).await;
    }
    if port.tls_mode == TlsMode::Permissive && !arrival.protocol(&port).is_http() {
        return Box::pin(undeclared(&context, stream, peer, &arrival, &port, standing)).await;
    }
    let (is_tls, stream) = match read_ahead_within(stream, HANDSHAKE_TIMEOUT, is_client_hello).await {
        Ok(read) => read,
        Err(error) => {
            if !is_disconnect(&error) {
                tracing::debug!(%peer, %error, "connection lost before its first byte");
            }
            return;
        }
    };
    match (is_tls, port.tls_mode) {
        // Each way takes only the memory that it needs itself, for as long as the connection lives.
        (true, _) => Box::pin(meshed(&context, stream, peer, &arrival, &port, standing)).await,
        (false, TlsMode::Strict) => {
            let detail = "plain text, where only mesh TLS is let in";
            context.worker.shared.stats.refused(peer.address, RefusalReason::NoCertificate, &detail);
        }
        (false, _) if !standing.unproven(&context.worker.shared) => {}
        (false, _) => Box::pin(detected(&context, stream, None, &arrival, &Caller::plain(peer))).await,
    }
}

/// A record of a TLS handshake that holds a `ClientHello` begins like this (RFC 8446 sections 4 and 5.1).
fn is_client_hello(bytes: &[u8], ended: bool) -> Option<bool> {
    match detect(bytes) {
        Detection::Tls { .. } => Some(true),
        _ if bytes.first() == Some(&0x16) && !ended => (bytes.len() > 5).then_some(true),
        _ if bytes.is_empty() => None,
        _ => Some(false),
    }
}

/// What a client of a port that nothing, or no HTTP, is declared of begins with.
enum SharedAttempt {
    /// TLS of the mesh.
    Mesh,
    /// Anything else, TLS that the application itself ends among it.
    Other,
}

fn opening(bytes: &[u8], ended: bool, protocol: Protocol) -> Option<SharedAttempt> {
    match detect(bytes) {
        Detection::Tls { sni, alpn } => {
            let weft = alpn.iter().any(|offered| offered.starts_with(b"weft/"));
            // Other meshes' proxies dial addresses and so name no server; other clients name one or offer nothing.
            let peer = protocol != Protocol::Tls && sni.is_none() && !alpn.is_empty();
            Some(if weft || peer { SharedAttempt::Mesh } else { SharedAttempt::Other })
        }
        Detection::NeedMore if bytes.first() == Some(&0x16) && !ended => None,
        _ if bytes.is_empty() => None,
        _ => Some(SharedAttempt::Other),
    }
}

/// A connection to a port where the application may be the one that speaks first, and where not all TLS is the mesh's.
async fn undeclared<S>(
    context: &Rc<Context>,
    stream: S,
    peer: Peer,
    arrival: &Arrival,
    port: &Arc<InboundPort>,
    mut standing: Standing,
) where
    S: Transport + Send + 'static,
{
    let caller = Caller::plain(peer);
    let protocol = arrival.protocol(port);
    let open = async {
        let upstream = Upstream::new(context, arrival, &caller);
        if !is_allowed(context, &upstream) {
            // What it may do depends on what it asks for, or it is told why not in the protocol that it speaks.
            tokio::time::sleep(FIRST_BYTE).await;
            return Err(Failure::internal(Reason::Denied, "it asked for nothing"));
        }
        Ok((upstream.forward.connector().connect().await?, upstream))
    };
    match race(stream, |bytes, ended| opening(bytes, ended, protocol), open).await {
        Ok(First::Client(SharedAttempt::Mesh, near, far)) => {
            drop(far);
            meshed(context, near, peer, arrival, port, standing).await;
        }
        Ok(First::Client(..) | First::Server(..)) if !standing.unproven(&context.worker.shared) => {}
        Ok(First::Client(SharedAttempt::Other, near, far)) => {
            let far = far.map(|(far, _)| far);
            if protocol == Protocol::Detect {
                detected(context, near, far, arrival, &caller).await;
            } else {
                opaque(context, near, far, arrival, &caller).await;
            }
        }
        Ok(First::Server(near, far, upstream)) => {
            let _under_way = context.worker.shared.enter(Direction::Inbound);
            if may_connect(context, &upstream) {
                carry(context, &caller, &upstream, near, far).await;
            } else {
                near.abort();
            }
        }
        Err(Lost::Unreachable(failure, near)) => {
            refused(context, &Upstream::new(context, arrival, &caller), &failure, near);
        }
        Err(Lost::Broken(error)) if is_disconnect(&error) => {}
        Err(Lost::Broken(error)) => {
            tracing::debug!(%peer, %error, "connection lost before its protocol was known");
        }
    }
}

async fn meshed<S>(
    context: &Rc<Context>,
    stream: Prefixed<S>,
    peer: Peer,
    arrival: &Arrival,
    port: &Arc<InboundPort>,
    mut standing: Standing,
) where
    S: Transport + Send + 'static,
{
    let Some(tls) = context.worker.with_snapshot(|snapshot| snapshot.tls.clone()) else {
        tracing::warn!(%peer, "a connection came before this proxy had a certificate");
        return;
    };
    let accepting = Box::pin(TlsAcceptor::from(Arc::clone(&tls.server)).accept(stream));
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, accepting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            match Refusal::of_io(&error) {
                Some(refusal) if refusal.origin == Origin::Local => {
                    context.worker.shared.stats.refused(
                        peer.address,
                        refusal.reason,
                        &Refusal::explain(&error),
                    );
                }
                _ => tracing::debug!(%peer, %error, "the TLS handshake was not finished"),
            }
            return;
        }
        Err(_) => {
            tracing::debug!(%peer, "the TLS handshake took longer than {HANDSHAKE_TIMEOUT:?}");
            return;
        }
    };
    let session = stream.get_ref().1;
    let identity = match peer_identity(session.peer_certificates().unwrap_or_default()) {
        Ok(identity) => identity,
        Err(refused) => {
            context.worker.shared.stats.refused(peer.address, refused.reason(), &refused);
            return;
        }
    };
    standing.proven();
    let chain = session.peer_certificates().unwrap_or_default();
    let drain = &context.worker.shared.drain;
    let caller = context.worker.proven.caller(peer, identity, chain, tls.generation(), drain);
    let alpn = session.alpn_protocol().map(<[u8]>::to_vec);
    drop(tls);
    // Large, and handed on from one future to the next, each of which would have room for all of it.
    let stream = Box::new(stream);
    caller.serve(by_alpn(context, stream, arrival, port, &caller, alpn.as_deref())).await;
}

async fn by_alpn<S>(
    context: &Rc<Context>,
    stream: Box<TlsStream<Prefixed<S>>>,
    arrival: &Arrival,
    port: &Arc<InboundPort>,
    caller: &Caller,
    alpn: Option<&[u8]>,
) where
    S: Transport + Send + 'static,
{
    let protocol = arrival.protocol(port);
    match alpn {
        Some(ALPN_WEFT) => {
            let upstream = Upstream::new(context, arrival, caller);
            let context = Rc::clone(context);
            let drain = caller.drain(&context.worker.shared.drain);
            let close = context.worker.shared.close.clone();
            let violations = ViolationRecorder::new(&context.worker.shared, Direction::Inbound);
            let serving =
                crate::hop::server::serve(stream, drain, close, violations, move |request, metadata| {
                    request::from_hop(Rc::clone(&context.worker), Rc::clone(&upstream), request, metadata)
                });
            Box::pin(serving).await;
        }
        Some(ALPN_H2) => Box::pin(http(context, stream, ServerVersion::Http2, arrival, caller)).await,
        Some(ALPN_HTTP11) => Box::pin(http(context, stream, ServerVersion::Http1, arrival, caller)).await,
        Some(ALPN_WEFT_TCP) if !protocol.is_http() => {
            Box::pin(opaque(context, stream, None, arrival, caller)).await;
        }
        _ if matches!(protocol, Protocol::Tcp | Protocol::Tls) => {
            Box::pin(opaque(context, stream, None, arrival, caller)).await;
        }
        _ => Box::pin(detected(context, stream, None, arrival, caller)).await,
    }
}

fn is_http(context: &Context, arrival: &Arrival) -> bool {
    context.worker.with_snapshot(|snapshot| arrival.protocol(snapshot.inbound.port(arrival.port)).is_http())
}

/// Plain text, or what was in TLS of a peer that did not say what it is; `far` is open already where the client was slow.
async fn detected<S>(
    context: &Rc<Context>,
    stream: S,
    far: Option<Stream>,
    arrival: &Arrival,
    caller: &Caller,
) where
    S: Transport + Send + 'static,
{
    let is_http = is_http(context, arrival);
    let read = if is_http { first_bytes_of_http(stream).await } else { first_bytes(stream).await };
    match read {
        Ok((Some(version), stream)) => {
            drop(far);
            Box::pin(http(context, stream, version, arrival, caller)).await;
        }
        // Declared as HTTP: what is not HTTP must not reach the application past the policies on requests; the parser of
        // HTTP/1 answers what is wrong with it.
        Ok((None, stream)) if is_http => {
            drop(far);
            Box::pin(http(context, stream, ServerVersion::Http1, arrival, caller)).await;
        }
        Ok((None, stream)) => Box::pin(opaque(context, stream, far, arrival, caller)).await,
        Err(error) if is_disconnect(&error) => {}
        Err(error) => {
            tracing::debug!(peer = %caller.peer, %error, "connection lost before its protocol was known");
        }
    }
}

async fn http<S>(context: &Rc<Context>, stream: S, version: ServerVersion, arrival: &Arrival, caller: &Caller)
where
    S: Transport + Send + 'static,
{
    let upstream = Upstream::new(context, arrival, caller);
    let drain = caller.drain(&context.worker.shared.drain);
    let context = Rc::clone(context);
    let kind = if caller.identity.is_some() { ClientKind::MeshProxy } else { ClientKind::Single };
    let violations = ViolationRecorder::new(&context.worker.shared, Direction::Inbound)
        .of(kind)
        .sharing(&upstream.patience);
    let (shared, of) = (Arc::clone(&context.worker.shared), Rc::clone(&upstream));
    let refused = move |violation: Violation| {
        let mut log = shared.access.unread(Direction::Inbound, of.peer);
        if let Some(log) = &mut log {
            of.describe(&mut log.entry);
        }
        shared.refused(Direction::Inbound, violation, &of.edge, log);
    };
    let handler =
        move |request| request::from_http(Rc::clone(&context.worker), Rc::clone(&upstream), request);
    serve_http(stream, version, drain, violations, handler, refused).await;
}
