//! One connection of HTTP/1 or HTTP/2 that a client opened, served by a handler.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use weft_mesh::http_validation::{HeadRead, MAX_HEAD};
use weft_mesh::violation::Violation;

use super::body::Body;
use super::client::MAX_SEND_BUFFER;
use super::drive::drive;
use super::guard::{GuardedFrames, GuardedRequests, HeadTimer, Return, Signals};
use super::idle_requests::TUNNEL_LOOKS;
use super::informational::{self, Informational, WithInformational};
use super::limits::{
    HEAD_TIMEOUT, MAX_PENDING_RESETS, MAX_PENDING_RESETS_OF_PROXY, MAX_STREAMS, SMALL_WINDOW, STREAM_WINDOW,
    STREAM_WINDOW_OF_PROXY, STREAMS_IN_WINDOW,
};
use super::local::LocalExecutor;
use super::local_reply::ends_connection;
use super::upgrade::has_connection_option;
use super::violation_recorder::{ClientKind, ViolationRecorder};
use super::{expectation, header_case, idle_connection};
use crate::runtime::unread;
use crate::transport::stream::Transport;
use crate::transport::write_coalescing::Coalesced;

/// The version of HTTP on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerVersion {
    /// HTTP/1.0 and 1.1.
    Http1,
    /// HTTP/2 with prior knowledge or by ALPN.
    Http2,
}

/// Whether a connection has had a request.
#[derive(Debug, Default)]
struct Begun {
    begun: Cell<bool>,
    bell: Notify,
}

impl Begun {
    fn tell(&self) {
        if !self.begun.replace(true) {
            self.bell.notify_one();
        }
    }

    async fn wait(&self) {
        if !self.begun.get() {
            self.bell.notified().await;
        }
    }
}

/// Serves a connection until the client closes it, or `drain` is cancelled and what is under way has ended. `violations` hears
/// of what the client does that it must not, and `refused` of a request that is answered here, because it never was one whole
/// that `handler` could take.
pub async fn serve<S, H, F>(
    stream: S,
    version: ServerVersion,
    drain: CancellationToken,
    violations: ViolationRecorder,
    handler: H,
    refused: impl FnOnce(Violation),
) where
    S: Transport + Send + 'static,
    H: Fn(Request<Incoming>) -> F + 'static,
    F: Future<Output = Response<Body>> + 'static,
{
    let back = Return::default();
    // Either takes only the memory that it needs itself, for as long as the connection lives.
    let served = match version {
        ServerVersion::Http1 => Box::pin(http1(stream, drain, &violations, &back, handler)).await,
        ServerVersion::Http2 => Box::pin(http2(stream, drain, &violations, &back, handler)).await,
    };
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended with an error");
    }
    let ended = back.lock().take();
    if let Some(ended) = ended {
        if version == ServerVersion::Http1 {
            refused(ended.speech.violation());
        }
        Box::pin(ended.close()).await;
    }
}

async fn http1<S, H, F>(
    stream: S,
    drain: CancellationToken,
    violations: &ViolationRecorder,
    back: &Return<S>,
    handler: H,
) -> hyper::Result<()>
where
    S: Transport + Send + 'static,
    H: Fn(Request<Incoming>) -> F + 'static,
    F: Future<Output = Response<Body>> + 'static,
{
    let signals = Arc::<Signals>::default();
    let begun = Rc::new(Begun::default());
    let (told, heard) = (Rc::clone(&begun), Arc::clone(&signals));
    let interim = Informational::default();
    let between = interim.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        told.tell();
        let known = heard.take_head();
        let interim = complete(&mut request, &known, &interim);
        // A client of HTTP/1.0 knows no chunks.
        heard.request(is_last(&request), request.version() != Version::HTTP_11);
        if known.asks {
            request.extensions_mut().insert(heard.reset_flag());
        }
        let connect = request.method() == Method::CONNECT;
        let has_body = !request.body().is_end_stream();
        let signals = known.asks.then(|| Arc::clone(&heard));
        let body_of = Arc::clone(&heard);
        // On its way to where it is polled it is moved several times: a pointer costs less than all of it.
        let response = Box::pin(informational::after(interim, handler(request)));
        async move {
            let mut response = response.await;
            let is_tunnel = signals.is_some_and(|signals| decide(&signals, connect, response.status()));
            let ends = !is_tunnel && (body_of.is_in_body() || has_body && ends_connection(&response));
            finish(&mut response, ends);
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let stream = GuardedRequests::new(stream, &signals, violations.clone(), back);
    let stream = WithInformational::new(stream, between);
    let builder = http1_builder(&signals);
    let still = Cell::new(0);
    let look = || {
        still.set(if signals.stands_still() { still.get() + 1 } else { 0 });
        still.get() >= violations.looks()
    };
    // A connection that is new has a request on its way.
    let end = || async {
        drain.cancelled().await;
        begun.wait().await;
    };
    let served = idle_connection::serve(builder, stream, service, &signals, end, look).await;
    served.unwrap_or_else(|| {
        violations.saw(Violation::Idle);
        Ok(())
    })
}

fn http1_builder(signals: &Arc<Signals>) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(HeadTimer::new(signals, HEAD_TIMEOUT))
        .header_read_timeout(HEAD_TIMEOUT)
        // Of a client that has closed its side the guard says whether it may still wait for an answer.
        .half_close(false)
        .preserve_header_case(true)
        .auto_date_header(false)
        .max_buf_size(MAX_HEAD);
    builder
}

/// Completes what hyper has read of a request with what the guard has seen of its head. Gives what the interim responses to
/// it go through; `None`: its client does not know them.
fn complete(
    request: &mut Request<Incoming>,
    known: &HeadRead,
    interim: &Informational,
) -> Option<Informational> {
    if known.expects {
        expectation::show(request);
    }
    // A client of HTTP/1.0 does not know interim answers (RFC 9110, section 15.2).
    let interim = (request.version() == Version::HTTP_11).then(|| interim.of_request(known.expects));
    if let Some(interim) = &interim {
        request.extensions_mut().insert(interim.clone());
    }
    if let Some(names) = &known.names {
        let (names, extensions) = (header_case::original(names), request.extensions_mut());
        if known.expects {
            // hyper has read another name than the client has written.
            extensions.insert(names.clone());
            header_case::restore(extensions);
        }
        extensions.insert(names);
    }
    interim
}

/// Whether a response that has this status begins a tunnel, which the guard of the connection is told.
fn decide(signals: &Signals, connect: bool, status: StatusCode) -> bool {
    let is_tunnel = status == StatusCode::SWITCHING_PROTOCOLS || connect && status.is_success();
    signals.decide(is_tunnel);
    is_tunnel
}

/// Makes a response one of this proxy, after which the connection `ends` or goes on.
fn finish(response: &mut Response<Body>, ends: bool) {
    // That of the proxy, whatever the application speaks (RFC 9110 section 2.5); hyper goes down to its client's.
    *response.version_mut() = Version::HTTP_11;
    if ends {
        // Whoever answers by now need not want the rest, and without a reader for that the connection ends: the client is
        // told so (RFC 9112 section 9.6), rather than lose its next request.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Whether its client has said that no request follows on the connection (RFC 9112 section 9.3).
fn is_last(request: &Request<Incoming>) -> bool {
    let headers = request.headers();
    match request.version() {
        Version::HTTP_11 => has_connection_option(headers, b"close"),
        _ => !has_connection_option(headers, b"keep-alive"),
    }
}

async fn http2<S, H, F>(
    stream: S,
    drain: CancellationToken,
    violations: &ViolationRecorder,
    back: &Return<S>,
    handler: H,
) -> hyper::Result<()>
where
    S: Transport + Send + 'static,
    H: Fn(Request<Incoming>) -> F + 'static,
    F: Future<Output = Response<Body>> + 'static,
{
    let signals = Arc::<Signals>::default();
    let of_tunnels = violations.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        if request.method() == Method::CONNECT {
            of_tunnels.patience().allow(TUNNEL_LOOKS);
        }
        let response = Box::pin(handler(request));
        async move { Ok::<_, std::convert::Infallible>(response.await) }
    });
    let (window, pending_resets) = match violations.kind() {
        ClientKind::Single => (STREAM_WINDOW, MAX_PENDING_RESETS),
        ClientKind::MeshProxy => (STREAM_WINDOW_OF_PROXY, MAX_PENDING_RESETS_OF_PROXY),
    };
    // Held until the connection ends.
    let windows = unread::Windows::accepted();
    let window = windows.of_streams(window, SMALL_WINDOW);
    let stream = GuardedFrames::new(stream, &signals, violations.clone(), back);
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(window)
        .initial_connection_window_size(STREAMS_IN_WINDOW * window)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .max_header_list_size(MAX_HEAD as u32)
        .max_pending_accept_reset_streams(pending_resets)
        // Counted by rate, by the guard.
        .max_local_error_reset_streams(None)
        .auto_date_header(false)
        .enable_connect_protocol();
    let connection = builder.serve_connection(TokioIo::new(Coalesced::new(stream)), service);
    // Large, and moved into the future that drives it.
    let mut connection = Box::pin(connection);
    let look = || {
        signals.look();
        false
    };
    let served =
        drive(connection.as_mut(), http2::Connection::graceful_shutdown, drain.cancelled(), look).await;
    served.unwrap_or(Ok(()))
}
