//! Finding out what a connection is and whose, then serving it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use weft_hop::RequestMetadata;
use weft_identity::tls::{ALPN_H2, ALPN_HTTP11, ALPN_WEFT, ALPN_WEFT_TCP};
use weft_identity::{Origin, Reason as RefusalReason, Refusal, peer_identity};
use weft_mesh::authorization::Call;
use weft_mesh::name::Identity;
use weft_mesh::protocol::{Detection, Protocol, detect};

use super::{Arrival, Upstream, request};
use crate::clock::{now, since};
use crate::http::server::{ServerVersion, is_disconnect, serve as serve_http};
use crate::outbound::first_bytes;
use crate::snapshot::{InboundPort, Tls, TlsMode};
use crate::stats::{AuthorizationOutcome, Direction};
use crate::stream::prefixed::{Prefixed, read_ahead};
use crate::stream::relay::{Carried, relay};
use crate::upstream::connect::{HANDSHAKE_TIMEOUT, Stream};
use crate::worker::Worker;

/// Time without a byte after which an opaque connection is given up.
const IDLE: Duration = Duration::from_hours(1);

/// Serves one connection.
pub(crate) async fn serve<S>(worker: Rc<Worker>, stream: S, peer: SocketAddr, arrival: Arrival)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _open = worker.shared.stats.connection(Direction::Inbound);
    let port = worker.with_snapshot(|snapshot| Arc::clone(snapshot.inbound.port(arrival.port)));
    if port.tls_mode == TlsMode::Disabled {
        return opaque(&worker, Prefixed::new(bytes::Bytes::new(), stream), &arrival, peer, None).await;
    }
    let (is_tls, stream) = match read_ahead(stream, is_client_hello).await {
        Ok(read) => read,
        Err(error) => {
            if !is_disconnect(&error) {
                tracing::debug!(%peer, %error, "connection lost before its first byte");
            }
            return;
        }
    };
    match (is_tls && port.protocol != Protocol::Tls, port.tls_mode) {
        (true, _) => {
            let Some(tls) = worker.with_snapshot(|snapshot| snapshot.tls.clone()) else {
                tracing::warn!(%peer, "a connection came before this proxy had a certificate");
                return;
            };
            meshed(&worker, stream, peer, &arrival, &port, &tls).await;
        }
        (false, TlsMode::Strict) => {
            let detail = "plain text, where only mesh TLS is let in";
            worker.shared.stats.refused(peer, RefusalReason::NoCertificate, &detail);
        }
        (false, _) => plain(&worker, stream, peer, &arrival, &port).await,
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

async fn meshed<S>(
    worker: &Rc<Worker>,
    stream: Prefixed<S>,
    peer: SocketAddr,
    arrival: &Arrival,
    port: &Arc<InboundPort>,
    tls: &Arc<Tls>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let accepting = TlsAcceptor::from(Arc::clone(&tls.server)).accept(stream);
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, accepting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            match Refusal::of_io(&error) {
                Some(refusal) if refusal.origin == Origin::Local => {
                    worker.shared.stats.refused(peer, refusal.reason, &Refusal::explain(&error));
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
            worker.shared.stats.refused(peer, refused.reason(), &refused);
            return;
        }
    };
    let alpn = session.alpn_protocol().map(<[u8]>::to_vec);
    by_alpn(worker, stream, peer, arrival, port, identity, alpn.as_deref()).await;
}

async fn by_alpn<S>(
    worker: &Rc<Worker>,
    stream: TlsStream<Prefixed<S>>,
    peer: SocketAddr,
    arrival: &Arrival,
    port: &Arc<InboundPort>,
    identity: Identity,
    alpn: Option<&[u8]>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match alpn {
        Some(ALPN_WEFT) => {
            let upstream = Upstream::new(worker, arrival, peer, Some(identity));
            let worker = Rc::clone(worker);
            let drain = worker.shared.drain.clone();
            crate::hop::server::serve(stream, drain, move |request, metadata| {
                request::from_hop(Rc::clone(&worker), Rc::clone(&upstream), request, metadata)
            })
            .await;
        }
        Some(ALPN_H2) => http(worker, stream, ServerVersion::Http2, arrival, peer, Some(identity)).await,
        Some(ALPN_HTTP11) => http(worker, stream, ServerVersion::Http1, arrival, peer, Some(identity)).await,
        Some(ALPN_WEFT_TCP) => opaque(worker, stream, arrival, peer, Some(identity)).await,
        _ if matches!(port.protocol, Protocol::Tcp | Protocol::Tls) => {
            opaque(worker, stream, arrival, peer, Some(identity)).await;
        }
        _ => detected(worker, stream, arrival, peer, Some(identity)).await,
    }
}

async fn plain<S>(
    worker: &Rc<Worker>,
    stream: Prefixed<S>,
    peer: SocketAddr,
    arrival: &Arrival,
    port: &Arc<InboundPort>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if matches!(port.protocol, Protocol::Tcp | Protocol::Tls) {
        return opaque(worker, stream, arrival, peer, None).await;
    }
    detected(worker, stream, arrival, peer, None).await;
}

async fn detected<S>(
    worker: &Rc<Worker>,
    stream: S,
    arrival: &Arrival,
    peer: SocketAddr,
    identity: Option<Identity>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match first_bytes(stream).await {
        Ok((Some(version), stream)) => http(worker, stream, version, arrival, peer, identity).await,
        Ok((None, stream)) => opaque(worker, stream, arrival, peer, identity).await,
        Err(error) if is_disconnect(&error) => {}
        Err(error) => tracing::debug!(%peer, %error, "connection lost before its protocol was known"),
    }
}

async fn http<S>(
    worker: &Rc<Worker>,
    stream: S,
    version: ServerVersion,
    arrival: &Arrival,
    peer: SocketAddr,
    identity: Option<Identity>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let upstream = Upstream::new(worker, arrival, peer, identity);
    let drain = worker.shared.drain.clone();
    let worker = Rc::clone(worker);
    serve_http(stream, version, drain, move |request| {
        request::from_http(Rc::clone(&worker), Rc::clone(&upstream), request)
    })
    .await;
}

async fn opaque<S>(
    worker: &Rc<Worker>,
    near: S,
    arrival: &Arrival,
    peer: SocketAddr,
    identity: Option<Identity>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let upstream = Upstream::new(worker, arrival, peer, identity);
    if !may_connect(worker, &upstream) {
        return;
    }
    let _under_way = worker.shared.enter();
    let far = match upstream.application.client.connector().connect().await {
        Ok(far) => far,
        Err(failure) => {
            worker.shared.stats.answered(Direction::Inbound, failure.reason);
            tracing::info!(%peer, %failure, "connection refused");
            return;
        }
    };
    carry(&upstream, near, far).await;
}

fn may_connect(worker: &Worker, upstream: &Upstream) -> bool {
    let port = worker.with_snapshot(|snapshot| Arc::clone(snapshot.inbound.port(upstream.port)));
    let call = Call {
        identity: upstream.identity.as_ref(),
        source: upstream.peer.ip(),
        port: upstream.port,
        http: None,
    };
    if port.authorization.decide(&call).allowed {
        worker.shared.stats.authorized(AuthorizationOutcome::Allowed);
        return true;
    }
    worker.shared.stats.authorized(AuthorizationOutcome::Denied);
    tracing::info!(peer = %upstream.peer, port = upstream.port, "connection denied by policy");
    false
}

async fn carry<S: AsyncRead + AsyncWrite + Unpin>(upstream: &Upstream, near: S, far: Stream) {
    let began = now();
    upstream.edge.connection_opened();
    let mut carried = Carried::default();
    let result = relay(near, far, IDLE, &mut carried).await;
    upstream.edge.sent(carried.forth);
    upstream.edge.received(carried.back);
    upstream.edge.connection_closed(result.is_err(), since(began));
}

/// What a request of a peer that is not Weft says beside itself: nothing.
pub(super) fn no_metadata() -> RequestMetadata {
    RequestMetadata::default()
}
