//! One connection of HTTP/1 or HTTP/2 that a client opened, served by a handler.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, Uri, Version, header};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::body::Body;
use super::interim::{self, Interim, Interposed};
use super::local::LocalExecutor;
use super::patience::watch;
use crate::stream::gathered::Gathered;

/// Time for a request's head to arrive, from its first octet on.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest request head.
const MAX_HEAD: usize = 64 * 1024;
/// Streams of one HTTP/2 connection.
const MAX_STREAMS: u32 = 1000;
/// Windows of HTTP/2: of a stream, and four times that for the connection.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * STREAM_WINDOW;
/// Streams that the client may reset before they are served: rapid resets (CVE-2023-44487) end the connection.
const MAX_PENDING_RESETS: usize = 50;

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

/// Serves a connection until the client closes it, or `drain` is cancelled and what is under way has ended.
pub async fn serve<S, H, F>(stream: S, version: ServerVersion, drain: CancellationToken, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>) -> F + 'static,
    F: Future<Output = Response<Body>> + 'static,
{
    let begun = Rc::new(Begun::default());
    let told = Rc::clone(&begun);
    // hyper has no way to send interim answers on HTTP/2.
    let interim = (version == ServerVersion::Http1).then(Interim::default);
    let between = interim.clone().unwrap_or_default();
    let service = service_fn(move |mut request: Request<Incoming>| {
        told.tell();
        // A client of HTTP/1.0 does not know them (RFC 9110, section 15.2).
        let interim = interim.clone().filter(|_| request.version() == Version::HTTP_11);
        if let Some(interim) = &interim {
            request.extensions_mut().insert(interim.clone());
        }
        // On its way to where it is polled it is moved several times: a pointer costs less than all of it.
        let response = Box::pin(interim::after(interim, handler(request)));
        async move { Ok::<_, std::convert::Infallible>(response.await) }
    });
    let served = match version {
        ServerVersion::Http1 => {
            let (stream, timer) = watch(Interposed::new(stream, between), HEAD_TIMEOUT);
            let connection = http1::Builder::new()
                .timer(timer)
                .header_read_timeout(HEAD_TIMEOUT)
                .half_close(true)
                .preserve_header_case(true)
                .auto_date_header(false)
                .max_buf_size(MAX_HEAD)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            let mut connection = pin!(connection);
            tokio::select! {
                served = connection.as_mut() => served,
                // A connection that is new has a request on its way.
                () = async { drain.cancelled().await; begun.wait().await } => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
        ServerVersion::Http2 => {
            let mut builder = http2::Builder::new(LocalExecutor);
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(MAX_STREAMS)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_header_list_size(MAX_HEAD as u32)
                .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
                .auto_date_header(false)
                .enable_connect_protocol();
            let mut connection = pin!(builder.serve_connection(TokioIo::new(Gathered::new(stream)), service));
            tokio::select! {
                served = connection.as_mut() => served,
                () = drain.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended with an error");
    }
}

/// The host and port that a request is for: the authority of its target, or its Host field.
pub fn authority<B>(request: &Request<B>) -> Option<Authority> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.clone());
    }
    Authority::try_from(request.headers().get(header::HOST)?.as_bytes()).ok()
}

/// Makes the target of a request that goes to HTTP/2 absolute, with the authority that its Host field names
/// (RFC 9113 section 8.3.1). A client of HTTP/1.0 may name none: then it is the other one.
pub fn authority_from_host<B>(request: &mut Request<B>, otherwise: impl FnOnce() -> Option<Authority>) {
    if request.uri().authority().is_some() {
        return;
    }
    let Some(authority) = authority(request).or_else(otherwise) else { return };
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority);
    parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request.headers_mut().remove(header::HOST);
}

/// Makes the target of a request that goes to HTTP/1 the path alone, with the authority in its Host field
/// (RFC 9112 section 3.2.1).
pub fn host_from_authority<B>(request: &mut Request<B>) {
    let Some(authority) = request.uri().authority() else { return };
    if request.method() == http::Method::CONNECT {
        return;
    }
    if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
        request.headers_mut().insert(header::HOST, host);
    }
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
}

/// Makes one field of a request's cookies, which HTTP/2 may send one by one and HTTP/1 may not (RFC 9113 section 8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let values: Vec<_> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&values.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// Whether an error of a socket only says that the peer went away.
pub fn is_disconnect(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
            | io::ErrorKind::UnexpectedEof
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_moves_between_target_and_host() {
        let mut request = Request::get("/a?b=c").header("host", "reviews:9080").body(()).unwrap();
        authority_from_host(&mut request, || None);
        assert_eq!(request.uri(), "http://reviews:9080/a?b=c");
        assert!(request.headers().get("host").is_none());
        host_from_authority(&mut request);
        assert_eq!(request.uri(), "/a?b=c");
        assert_eq!(request.headers()["host"], "reviews:9080");
    }
}
