//! Connections of HTTP/2 to one address: as many as the streams need that the peer takes on one.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderValue, Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Notify;
use tokio::time::Instant;
use weft_mesh::headers::remove_hop_by_hop;
use weft_mesh::reason::Reason;

use super::failures::{broken, unsent};
use super::{Client, MAX_HEAD, PooledBody};
use crate::error::{BoxFailure, Failure};
use crate::http::authority::authority_from_host;
use crate::http::body::Body;
use crate::http::informational::Informational;
use crate::http::local::LocalExecutor;
use crate::http::upgrade;
use crate::runtime::clock::now;
use crate::runtime::unread::{self, Part};
use crate::upstream::circuit_breaker::Age;
use crate::upstream::connect::Stream;

/// Streams on one connection before another is opened, where the peer would allow more.
const STREAMS_PER_CONNECTION: usize = 100;
/// Windows of HTTP/2. The connection's is that of all streams together: they are of many callers, and what one of them does
/// not read takes nothing away from the others. That of a stream is what the server may send ahead of a caller, and what is
/// held for one that does not read: on one machine, where nearly all of them are, more makes nothing faster.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The window of a stream on connections that are opened, and used, while too much is held for readers that do not take it.
/// It is that of a connection for its whole life: the library has no other way.
const SMALL_WINDOW: u32 = 2 * 1024;
/// What is held of a stream, on its way out, whose peer opens windows and does not read.
pub(in crate::http) const MAX_SEND_BUFFER: usize = 64 * 1024;
/// What stands for the peer's limit of streams until it has said one; no limit that it can say is as large.
const UNKNOWN: usize = usize::MAX - 1;
/// Time for the peer to say its limit of streams, which is the first thing it sends. After that it is taken to have
/// none.
const SETTINGS_TIMEOUT: Duration = Duration::from_secs(1);
/// Silence, with requests under way, after which the peer is asked whether it is still there. Servers of gRPC take
/// asking more often than every five minutes for an attack and close the connection.
const PING_AFTER: Duration = Duration::from_secs(310);
/// Time for the answer to that.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// One connection.
#[derive(Debug, Clone)]
pub(super) struct Multiplexed {
    sender: http2::SendRequest<Body>,
    state: Rc<State>,
}

#[derive(Debug)]
struct State {
    streams: Cell<usize>,
    used: Cell<Instant>,
    age: Age,
    /// How many streams the peer takes, or [`UNKNOWN`].
    limit: Cell<usize>,
    /// What a server may send ahead on each stream.
    window: u32,
    /// Whether it takes extended CONNECTs; known when that is.
    takes_connect: Cell<bool>,
    /// Rings when that is known, or never will be.
    settled: Notify,
}

impl Client {
    pub(super) async fn send_http2(
        self: &Rc<Self>,
        request: Box<Request<Body>>,
    ) -> Result<Response<Body>, BoxFailure> {
        if upgrade::is_tunnel(&request) {
            return Box::pin(self.open_tunnel(request)).await;
        }
        if let Some(token) = upgrade::token(request.headers()) {
            return Box::pin(self.upgrade_by_connect(request, token)).await;
        }
        self.exchange_http2(request)
            .await
            .map(|(response, stream)| response.map(|body| PooledBody::http2(body, stream)))
    }

    async fn exchange_http2(
        self: &Rc<Self>,
        mut request: Box<Request<Body>>,
    ) -> Result<(Response<Incoming>, OpenStream), BoxFailure> {
        // An authority belongs to every request of HTTP/2; from HTTP/1 it comes in the Host field.
        authority_from_host(&mut request, || self.connector.authority());
        *request.version_mut() = Version::HTTP_2;
        loop {
            let (mut connection, reused) = match self.usable() {
                Some(connection) => (connection, true),
                None => Box::pin(self.connect_http2()).await?,
            };
            let stream = OpenStream::new(&connection.state);
            if let Some(interim) = request.extensions().get::<Informational>() {
                // hyper gives no interim answers of servers of HTTP/2. A final one is heard at any time.
                interim.go_on();
            }
            match connection.sender.try_send_request(*request).await {
                Ok(response) => return Ok((response, stream)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if reused => *request = unsent,
                    Some(_) => return Err(unsent(&error.into_error())),
                    None => return Err(broken(&error.into_error())),
                },
            }
        }
    }

    /// Asks for a tunnel to a host that the request names (RFC 9113 section 8.5).
    async fn open_tunnel(
        self: &Rc<Self>,
        mut request: Box<Request<Body>>,
    ) -> Result<Response<Body>, BoxFailure> {
        let from_near = std::mem::take(request.body_mut());
        let (response, stream) = self.exchange_http2(request).await?;
        if !response.status().is_success() {
            return Ok(response.map(|body| PooledBody::http2(body, stream)));
        }
        let (from_far, mut head) = joined(response, stream, from_near);
        super::unframe(&mut head.headers);
        Ok(Response::from_parts(head, Body::Tunnel(from_far)))
    }

    /// Asks by an extended CONNECT for the upgrade that a request of HTTP/1.1 asks for (RFC 8441), where the server takes
    /// that.
    ///
    /// Where it does not, there is no upgrade (RFC 9113, section 8.6): a WebSocket's client can do nothing without and is
    /// told so, and others go on as if they had not asked, which every client has to expect (RFC 9110, section 7.8).
    async fn upgrade_by_connect(
        self: &Rc<Self>,
        mut request: Box<Request<Body>>,
        token: HeaderValue,
    ) -> Result<Response<Body>, BoxFailure> {
        let connection = match self.usable() {
            Some(connection) => connection,
            None => self.connect_http2().await?.0,
        };
        let _ = tokio::time::timeout(SETTINGS_TIMEOUT, connection.settled()).await;
        let from_near = std::mem::take(request.body_mut());
        let (content, from_near) = upgrade::split(from_near, upgrade::announced(request.headers()));
        // An extended CONNECT has no place for content.
        if !connection.state.takes_connect.get() || !content.is_end_stream() {
            *request.body_mut() = content;
            if request.body().is_end_stream() && token.as_bytes().eq_ignore_ascii_case(b"websocket") {
                let detail = "it speaks HTTP/2 and does not take WebSockets on that (SETTINGS_ENABLE_CONNECT_PROTOCOL); \
                              declare the port of its WebSockets as http";
                return Err(Failure::upstream(Reason::UpstreamProtocol, detail));
            }
            remove_hop_by_hop(request.headers_mut());
            let (response, stream) = self.exchange_http2(request).await?;
            return Ok(response.map(|body| PooledBody::http2(body, stream)));
        }
        let key = upgrade::ask_by_connect(&mut request, &token)?;
        let (response, stream) = self.exchange_http2(request).await?;
        if !response.status().is_success() {
            return Ok(response.map(|body| PooledBody::http2(body, stream)));
        }
        let (from_far, mut head) = joined(response, stream, from_near);
        upgrade::agreed_by_connect(&mut head, &token, key.as_ref());
        Ok(Response::from_parts(head, Body::Tunnel(from_far)))
    }

    /// A connection that takes one more stream.
    fn usable(&self) -> Option<Multiplexed> {
        let mut connections = self.multiplexed.borrow_mut();
        connections.retain(|connection| !connection.sender.is_closed());
        let window = stream_window();
        let usable = |connection: &&Multiplexed| connection.state.window == window && connection.has_room();
        connections.iter().find(usable).cloned()
    }

    fn least_loaded(&self) -> Option<Multiplexed> {
        self.multiplexed.borrow().iter().min_by_key(|connection| connection.state.streams.get()).cloned()
    }

    /// A connection that takes one more stream, and whether it has been in use before.
    pub(super) async fn connect_http2(self: &Rc<Self>) -> Result<(Multiplexed, bool), BoxFailure> {
        let mut opened: Option<Multiplexed> = None;
        loop {
            if let Some(connection) = self.usable() {
                let reused = !opened.is_some_and(|opened| opened.is_same(&connection));
                return Ok((connection, reused));
            }
            let unsettled =
                self.multiplexed.borrow().iter().find(|connection| !connection.is_settled()).cloned();
            if let Some(connection) = unsettled {
                connection.settle().await;
                continue;
            }
            // Others have taken the streams of the connection that was opened, or it is gone again; or meanwhile another window
            // would be chosen.
            if let Some(connection) =
                opened.filter(|connection| connection.is_closed() || connection.has_room())
            {
                return Ok((connection, false));
            }
            let is_full = self.connector.breaker().is_some_and(|breaker| breaker.enter().is_none());
            if let (true, Some(connection)) = (is_full, self.least_loaded()) {
                // There may be no other: its streams wait for each other instead.
                return Ok((connection, true));
            }
            let own = Rc::clone(self);
            opened = Some(self.opening.join(|| async move { own.open_http2().await }).await?);
        }
    }

    async fn open_http2(&self) -> Result<Multiplexed, BoxFailure> {
        let held = self.connector.breaker().map(|breaker| breaker.enter_now()).transpose()?;
        let mut stream = self.connector.connect_in(held).await?;
        let window = stream_window();
        let heard = Arc::new(Notify::new());
        stream.ring_when_read(Arc::clone(&heard));
        let (sender, connection) = http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .initial_max_send_streams(UNKNOWN)
            .initial_stream_window_size(window)
            .initial_connection_window_size(STREAMS_PER_CONNECTION as u32 * window)
            .max_send_buf_size(MAX_SEND_BUFFER)
            .max_header_list_size(MAX_HEAD as u32)
            // What still comes for streams that callers have given up is no mistake of the server's; the library would count
            // it for the whole life of a connection, and end that with everybody's streams.
            .max_local_error_reset_streams(None)
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Failure::unprocessed(Reason::ConnectFailed, error.to_string()))?;
        let state = Rc::new(State {
            streams: Cell::new(0),
            used: Cell::new(Instant::now()),
            age: Age::new(now(), fastrand::f32()),
            limit: Cell::new(UNKNOWN),
            window,
            takes_connect: Cell::new(false),
            settled: Notify::new(),
        });
        tokio::task::spawn_local(drive(connection, Rc::clone(&state), heard));
        let connection = Multiplexed { sender, state };
        self.multiplexed.borrow_mut().push(connection.clone());
        Ok(connection)
    }
}

/// Carries what the near side sends to a stream that has become a tunnel; gives what comes back, and the answer's head.
fn joined(
    mut response: Response<Incoming>,
    stream: OpenStream,
    from_near: Body,
) -> (upgrade::TunnelBody, http::response::Parts) {
    let (mut from_far, start) = upgrade::tunnel(upgrade::Upgrade::of_response(&mut response));
    from_far.hold(Box::new(stream));
    start(from_near);
    (from_far, response.into_parts().0)
}

impl Multiplexed {
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// For how long it has had no stream; `None` while it has one.
    pub(super) fn unused(&self, now: Instant) -> Option<Duration> {
        (self.state.streams.get() == 0).then(|| now.duration_since(self.state.used.get()))
    }

    pub(super) fn age(&self) -> Age {
        self.state.age
    }

    fn has_room(&self) -> bool {
        let streams = self.state.streams.get();
        // A peer that takes none for now gets one nevertheless, which waits until it does.
        streams == 0 || streams < self.limit()
    }

    fn limit(&self) -> usize {
        match self.state.limit.get() {
            UNKNOWN => 1,
            limit => limit.min(STREAMS_PER_CONNECTION),
        }
    }

    /// Whether there is nothing more to learn of how many streams the peer takes.
    fn is_settled(&self) -> bool {
        self.state.limit.get() != UNKNOWN || self.sender.is_closed()
    }

    /// Whether the peer speaks HTTP/2 at all, which its SETTINGS show.
    pub(super) async fn is_spoken(&self) -> bool {
        let _ = tokio::time::timeout(SETTINGS_TIMEOUT, self.settled()).await;
        self.state.limit.get() != UNKNOWN
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.state, &other.state)
    }

    async fn settled(&self) {
        while !self.is_settled() {
            self.state.settled.notified().await;
        }
    }

    /// Waits for the peer to say how many streams it takes.
    async fn settle(&self) {
        if tokio::time::timeout(SETTINGS_TIMEOUT, self.settled()).await.is_err() {
            self.state.limit.set(usize::MAX);
        }
    }
}

/// Drives a connection to its end, and keeps what its peer says of streams up to date.
///
/// The frames are read by a task of hyper's own, and nothing wakes this one for a SETTINGS frame: until the first has
/// come, `heard` does. Later ones are noticed with the next request.
async fn drive(
    mut connection: http2::Connection<TokioIo<Stream>, Body, LocalExecutor>,
    state: Rc<State>,
    heard: Arc<Notify>,
) {
    let mut ring = Box::pin(heard.notified());
    poll_fn(|cx| {
        // What goes wrong is told to the requests that it happens to.
        let ended = Pin::new(&mut connection).poll(cx).is_ready();
        let limit = connection.current_max_send_streams();
        if limit != UNKNOWN {
            state.limit.set(limit);
            state.takes_connect.set(connection.is_extended_connect_protocol_enabled());
        } else if !ended && state.limit.get() == UNKNOWN {
            while ring.as_mut().poll(cx).is_ready() {
                ring.set(heard.notified());
            }
            return Poll::Pending;
        }
        state.settled.notify_waiters();
        if ended { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// The window of streams that begin now.
fn stream_window() -> u32 {
    if unread::is_short() { SMALL_WINDOW } else { STREAM_WINDOW }
}

/// Counts one stream of an HTTP/2 connection until it is dropped, and what its server may send ahead.
#[derive(Debug)]
pub(super) struct OpenStream {
    state: Rc<State>,
    _promised: Part,
}

impl OpenStream {
    fn new(state: &Rc<State>) -> Self {
        state.streams.set(state.streams.get() + 1);
        Self { state: Rc::clone(state), _promised: Part::promised(state.window as usize) }
    }

    /// What the server may send ahead.
    pub(super) fn window(&self) -> usize {
        self.state.window as usize
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.state.streams.set(self.state.streams.get() - 1);
        self.state.used.set(Instant::now());
    }
}
