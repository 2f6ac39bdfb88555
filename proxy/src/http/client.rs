//! Connections of HTTP/1 and HTTP/2 to one address, shared by the requests of one worker.
//!
//! hyper-util's pools have no idle time, no cap and only one HTTP/2 connection for each key, so this is our own.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use weft_mesh::http_validation::{AnswerNames, MAX_FIELDS};
use weft_mesh::reason::Reason;

use super::body::Body;
use super::informational::Informational;
use super::{header_case, upgrade};
use crate::error::{BoxFailure, Failure};
use crate::observe::stats::{Retirement, Stats};
use crate::runtime::clock::now;
use crate::transport::stream::ResetFlag;
use crate::upstream::circuit_breaker::{Age, ConnectionPermit};
use crate::upstream::connect::Connector;
use crate::upstream::shared_attempt::SharedAttempt;

mod failures;
mod head;
mod idle;
mod multiplexed;
mod pooled_body;
mod protocol_probe;

use failures::{broken, is_lost, outlived, unsent};
use head::{copy_without_body, frame, refuse_ambiguous, unframe};
use idle::{IdleConnections, State};
pub(super) use multiplexed::MAX_SEND_BUFFER;
use multiplexed::Multiplexed;
pub use pooled_body::PooledBody;
use protocol_probe::ProtocolProbe;

/// Largest head of HTTP/1 that is read; hyper's own limit is several times that.
const MAX_HEAD: usize = 64 * 1024;

/// The version of HTTP that an application speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1, or 1.0 as the request says.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// HTTP/2 if it speaks that, else HTTP/1.1: not declared, and to be found out.
    Either,
    /// HTTP/1.1 unless it has shown to speak HTTP/2 alone: not declared, and asked by HTTP/1.
    LikelyHttp1,
}

/// Connections to one address.
#[derive(Debug)]
pub struct Client {
    connector: Connector,
    idle: IdleConnections,
    multiplexed: RefCell<Vec<Multiplexed>>,
    /// Requests that wait for a connection of HTTP/1 to come back.
    waiters: Rc<Cell<usize>>,
    returned: Notify,
    /// The connection of HTTP/2 that is being opened.
    opening: SharedAttempt<Multiplexed>,
    spoken: ProtocolProbe,
}

/// How a request can be sent.
enum Way {
    Kept(Sender, State),
    New(Option<ConnectionPermit>),
}

/// Counts one request that waits.
struct Waiter(Rc<Cell<usize>>);

impl Waiter {
    fn new(waiters: &Rc<Cell<usize>>) -> Self {
        waiters.set(waiters.get() + 1);
        Self(Rc::clone(waiters))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A connection of HTTP/1.
#[derive(Debug)]
pub struct Sender {
    inner: http1::SendRequest<Body>,
    age: Age,
    /// Whether the peer spoke HTTP/2 at once.
    greeted: Arc<AtomicBool>,
    /// Reads the names of answers' fields.
    names: Arc<Mutex<AnswerNames>>,
    /// Has the connection end by a reset.
    reset: ResetFlag,
    /// Idle time after which no request may go on it, where its server has said when it closes it.
    kept_for: Option<Duration>,
}

impl Client {
    /// How many connections it keeps for requests to come.
    pub fn kept(&self) -> usize {
        self.idle.len() + self.multiplexed.borrow().len()
    }

    /// A client without any connection yet.
    pub fn new(connector: Connector) -> Rc<Self> {
        Rc::new(Self {
            connector,
            idle: IdleConnections::default(),
            multiplexed: RefCell::default(),
            waiters: Rc::default(),
            returned: Notify::new(),
            opening: SharedAttempt::default(),
            spoken: ProtocolProbe::default(),
        })
    }

    /// How the address is reached.
    pub fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Sends one request in the given version and waits for the head of its response.
    ///
    /// A kept connection that turns out to be closed before the request was written is replaced by a new one. The
    /// request is boxed because it is handed on several times.
    pub async fn send(
        self: &Rc<Self>,
        request: Box<Request<Body>>,
        version: HttpVersion,
    ) -> Result<Response<Body>, BoxFailure> {
        match version {
            HttpVersion::LikelyHttp1 if !self.spoken.is_http1() => Box::pin(self.send_likely(request)).await,
            HttpVersion::Http1 | HttpVersion::LikelyHttp1 => self.send_http1(request, version).await,
            HttpVersion::Http2 => self.send_http2(request).await,
            HttpVersion::Either => Box::pin(self.send_either(request)).await,
        }
    }

    /// Sends a request that may ask for an upgrade or a tunnel: then its body is, behind its content, what goes to the far
    /// side once that agrees, and the body of the answer is what comes back.
    async fn send_http1(
        self: &Rc<Self>,
        mut request: Box<Request<Body>>,
        version: HttpVersion,
    ) -> Result<Response<Body>, BoxFailure> {
        let tunnel = upgrade::is_tunnel(&request);
        if !tunnel && upgrade::token(request.headers()).is_none() {
            let response = self.exchange_http1(request, version).await?;
            if upgrade::is_agreed(response.status()) {
                let detail = "the application changes to another protocol, for which nobody asked";
                return Err(Failure::upstream(Reason::UpstreamProtocol, detail));
            }
            return Ok(response);
        }
        let from_near = std::mem::take(request.body_mut());
        let (content, from_near) = upgrade::split(from_near, upgrade::announced(request.headers()));
        *request.body_mut() = content;
        let mut response = self.exchange_http1(request, version).await?;
        if upgrade::is_agreed(response.status()) || tunnel && response.status().is_success() {
            if tunnel {
                unframe(response.headers_mut());
            }
            let (from_far, start) = upgrade::tunnel(upgrade::Upgrade::of_response(&mut response));
            start(from_near);
            *response.body_mut() = Body::Tunnel(from_far);
        }
        Ok(response)
    }

    async fn exchange_http1(
        self: &Rc<Self>,
        mut request: Box<Request<Body>>,
        version: HttpVersion,
    ) -> Result<Response<Body>, BoxFailure> {
        frame(&mut request)?;
        let names_go_on = Informational::listen(&mut request);
        let may_repeat = request.method().is_idempotent();
        let is_tunnel = upgrade::is_tunnel(&request);
        // Whether it may go on a connection that is just being closed: then it is sent once more from here.
        let mut repeatable = may_repeat && request.body().is_end_stream();
        loop {
            let (mut sender, reused, old) = match self.way(repeatable).await? {
                Way::Kept(sender, state) => (sender, true, state.old),
                // Rare and large: what every request carries along stays small.
                Way::New(held) => (Box::pin(self.connect_http1(held)).await?, false, false),
            };
            let copy = old.then(|| copy_without_body(&request));
            if names_go_on {
                sender.names.lock().await_head();
            }
            match sender.inner.try_send_request(*request).await {
                Ok(mut response) => {
                    refuse_ambiguous(response.headers())?;
                    sender.answered(response.headers());
                    if upgrade::is_agreed(response.status()) || is_tunnel {
                        response.extensions_mut().insert(sender.reset.clone());
                    }
                    if names_go_on && let Some(names) = sender.names.lock().take() {
                        response.extensions_mut().insert(header_case::original(&names));
                    }
                    return Ok(self.leased(response, sender));
                }
                // What comes instead of an answer from a server of HTTP/2 says that it understood nothing.
                Err(_) if sender.greeted.load(Ordering::Relaxed) => {
                    return Err(self.greeted_in_http2(version));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if reused => *request = unsent,
                    Some(_) => return Err(unsent(&error.into_error())),
                    None => {
                        let error = error.into_error();
                        // Closed for being idle, most likely, while the request was on its way.
                        let was_idle = reused && may_repeat && is_lost(&error);
                        match copy.filter(|_| was_idle) {
                            Some(copy) => (*request, repeatable) = (copy, false),
                            None if was_idle => return Err(outlived(&error)),
                            None => return Err(broken(&error)),
                        }
                    }
                },
            }
        }
    }

    /// A kept connection, or the place for a new one; waits where the service has as many as it may have.
    async fn way(&self, repeatable: bool) -> Result<Way, BoxFailure> {
        loop {
            let way = match self.free_way(repeatable) {
                Some(way) => way,
                None => Box::pin(self.wait_for_way(repeatable)).await?,
            };
            if let Way::Kept(sender, State { unseen: true, .. }) = &way {
                // The kernel is asked what has come before this goes on, and whoever reads from the connection is woken.
                tokio::task::yield_now().await;
                if sender.inner.is_closed() {
                    continue;
                }
            }
            return Ok(way);
        }
    }

    fn free_way(&self, repeatable: bool) -> Option<Way> {
        if let Some((sender, state)) = self.idle.take(repeatable) {
            return Some(Way::Kept(sender, state));
        }
        let Some(breaker) = self.connector.breaker() else { return Some(Way::New(None)) };
        breaker.enter().map(|held| Way::New(Some(held)))
    }

    async fn wait_for_way(&self, repeatable: bool) -> Result<Way, BoxFailure> {
        let Some(breaker) = self.connector.breaker() else { return Ok(Way::New(None)) };
        let _waiting = (breaker.wait()?, Waiter::new(&self.waiters));
        loop {
            tokio::select! {
                () = self.returned.notified() => {}
                () = breaker.freed() => {}
            }
            if let Some(way) = self.free_way(repeatable) {
                return Ok(way);
            }
        }
    }

    async fn connect_http1(&self, held: Option<ConnectionPermit>) -> Result<Sender, BoxFailure> {
        let mut stream = self.connector.connect_in(held).await?;
        let greeted = Arc::new(AtomicBool::new(false));
        stream.tell_greeting(Arc::clone(&greeted));
        let names = Arc::<Mutex<AnswerNames>>::default();
        stream.show_names(Arc::clone(&names));
        let reset = ResetFlag::default();
        stream.reset_by(reset.clone());
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(true)
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_FIELDS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Failure::unprocessed(Reason::ConnectFailed, error.to_string()))?;
        tokio::task::spawn_local(async move {
            // What goes wrong is told to the request that it happens to.
            let _ = connection.with_upgrades().await;
        });
        Ok(Sender {
            inner: sender,
            age: Age::new(now(), fastrand::f32()),
            greeted,
            names,
            reset,
            kept_for: None,
        })
    }

    fn leased(self: &Rc<Self>, response: Response<Incoming>, sender: Sender) -> Response<Body> {
        let client = Rc::clone(self);
        response.map(|body| PooledBody::http1(body, client, sender))
    }

    /// The age at which a connection takes no new requests.
    fn max_age(&self) -> Option<Duration> {
        self.connector.breaker().and_then(|breaker| breaker.max_age())
    }

    fn give_back(&self, sender: Sender) {
        // The clock is looked at once for all that asks.
        let now = Instant::now();
        if sender.inner.is_closed() || sender.age.is_over(now.into_std(), self.max_age()) {
            return;
        }
        if self.waiters.get() == 0 && self.connector.breaker().is_some_and(|breaker| breaker.is_wanted()) {
            // Who waits does so for another endpoint or on another worker, and is helped only by its end.
            return;
        }
        self.idle.put(sender, now);
        if self.waiters.get() > 0 {
            self.returned.notify_one();
        }
    }

    /// Closes connections that have not been used for `idle`, and takes those out of use that are too old; says whether
    /// any is left.
    pub fn sweep(&self, now: Instant, idle: Duration, stats: &Stats) -> bool {
        let wanted =
            self.waiters.get() == 0 && self.connector.breaker().is_some_and(|breaker| breaker.is_wanted());
        let idle = if wanted { Duration::ZERO } else { idle };
        let max_age = self.max_age();
        let is_kept = |unused: Option<Duration>, age: Age| {
            let cause = if age.is_over(now.into_std(), max_age) {
                Retirement::Age
            } else if unused.is_some_and(|unused| unused >= idle) {
                Retirement::Idle
            } else {
                return true;
            };
            stats.retired(cause);
            false
        };
        self.idle.sweep(now, |sender, unused| {
            is_kept(Some(if sender.is_given_up(unused) { idle } else { unused }), sender.age)
        });
        let mut multiplexed = self.multiplexed.borrow_mut();
        // What is under way on a connection goes on without being kept here.
        multiplexed.retain(|connection| {
            !connection.is_closed() && is_kept(connection.unused(now), connection.age())
        });
        let any = self.idle.len() > 0 || !multiplexed.is_empty();
        if !any {
            self.spoken.forget(now, idle);
        }
        any
    }
}
