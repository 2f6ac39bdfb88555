//! A request from its head to the end of its answer: counted and logged once, whatever ends it.

mod stillness;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use weft_mesh::deadline::Limit;
use weft_mesh::limits::Permit;
use weft_mesh::outcome;
use weft_mesh::reason::Reason;

use super::body::Body;
use super::idle_requests::{Patience, TUNNEL_LOOKS, Waiting};
use super::upload::{Upload, Uploading};
use crate::error::{BoxFailure, Failure};
use crate::observe::access::Open;
use crate::observe::stats::{Cause, Direction, Edge, KeptEdges, Outcome};
use crate::runtime::clock::now;
use crate::runtime::shared::{Shared, UnderWay, looks};
use crate::upstream::load::InFlight;
use crate::upstream::service::Attempt;
use crate::upstream::way::Way;

use self::stillness::stood_still;
pub use self::stillness::unless_still;

/// What takes the answer's body once an upgrade is agreed to.
pub type Tunnel = Box<dyn FnOnce(Body)>;

/// What the exchanges of one worker are recorded with.
#[derive(Debug)]
pub struct Recorder {
    /// What the worker shares with the other threads.
    pub shared: Arc<Shared>,
    /// The requests that clients wait for, so that those on which nothing moves are found.
    pub waiting: Waiting,
    /// Where what the worker carries is counted.
    pub edges: KeptEdges,
}

/// A request and its answer. Dropped before the answer's end, it was cancelled by its client. It is the answer's body in the
/// end, so that all of it is moved as one pointer.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own about the request, in any combination"
)]
pub struct Exchange {
    recorder: Rc<Recorder>,
    direction: Direction,
    /// When the request's head arrived.
    pub began: Instant,
    /// Where the request goes.
    pub way: Way,
    /// What the access log is to say of it.
    pub log: Option<Box<Open>>,
    /// Whether a `grpc-status` says if the answer is a failure.
    pub grpc: bool,
    /// Whether it is a copy, whose answer nobody gets.
    pub mirrored: bool,
    /// Why what the client gets is not the destination's whole answer, where a proxy or a filter gave it.
    pub cause: Option<Cause>,
    /// The attempt that the answer comes from; the endpoint counts as busy until the end.
    pub attempt: Option<Attempt>,
    /// The place that the request takes among those that may be in flight.
    pub place: Option<Permit>,
    /// Keeps the application counted as busy until the end.
    pub in_flight: Option<InFlight>,
    /// When the answer has to have ended, and by which limit.
    pub ends: Option<(Instant, Limit)>,
    /// Takes the answer's body instead of the client.
    pub tunnel: Option<Tunnel>,
    /// Keeps a drain waiting.
    under_way: Option<UnderWay>,
    /// Where it is looked at whether anything moves, while its client waits for it here.
    waiting: Option<usize>,
    edge: Option<Arc<Edge>>,
    upload: Option<Rc<Upload>>,
    status: Option<StatusCode>,
    failed: bool,
    /// The client's own doing, which is nobody else's failure.
    excused: bool,
    /// What goes through it is counted instead.
    uncounted: bool,
    ended: bool,
    body: Body,
    received: u64,
    /// Length of the answer's body, where it is known.
    length: Option<u64>,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("way", &self.way)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl Exchange {
    /// A request whose head has arrived.
    pub fn new(recorder: &Rc<Recorder>, direction: Direction) -> Box<Self> {
        Box::new(Self {
            recorder: Rc::clone(recorder),
            direction,
            began: now(),
            way: Way::default(),
            log: None,
            grpc: false,
            mirrored: false,
            cause: None,
            attempt: None,
            place: None,
            in_flight: None,
            ends: None,
            tunnel: None,
            under_way: Some(recorder.shared.enter(direction)),
            waiting: None,
            edge: None,
            upload: None,
            status: None,
            failed: false,
            excused: false,
            uncounted: false,
            ended: false,
            body: Body::Empty,
            received: 0,
            length: None,
            timer: None,
        })
    }

    /// Has it counted at this edge, whatever its way.
    pub fn count_at(&mut self, edge: &Arc<Edge>) {
        self.edge = Some(Arc::clone(edge));
    }

    /// Does not count it itself: what goes through it is.
    pub fn leave_uncounted(&mut self) {
        self.uncounted = true;
    }

    /// Counts the bytes of the request's body as they come.
    pub fn upload(&mut self, body: Body) -> Body {
        let (body, upload) = Uploading::over(body);
        if let (Some(key), Some(upload)) = (self.waiting, &upload) {
            self.recorder.waiting.uploads(key, upload);
        }
        self.upload = upload;
        body
    }

    /// Has it given up once nothing moves for as long as the proxy is set to, unless [`Exchange::allow_quiet`] says otherwise.
    /// `patience` is that of the connection that it came on.
    pub fn watch(&mut self, patience: &Arc<Patience>) -> usize {
        let key = self.recorder.waiting.enter(self.recorder.shared.stream_looks(), patience);
        self.waiting = Some(key);
        key
    }

    /// Has it given up after this time without anything that moves; never if it is zero.
    pub fn allow_quiet(&self, idle: Option<Duration>) {
        if let (Some(key), Some(idle)) = (self.waiting, idle) {
            self.recorder.waiting.allow(key, looks(idle));
        }
    }

    /// It may become a tunnel, on which nothing may move for longer.
    pub fn allow_tunnel(&self) {
        if let Some(key) = self.waiting {
            self.recorder.waiting.allow(key, self.recorder.shared.stream_looks().max(TUNNEL_LOOKS));
        }
    }

    /// An attempt beyond the first is made at an endpoint.
    pub fn retried(&self) {
        self.way.edge(&self.recorder, self.mirrored).retried();
    }

    /// This proxy answers, for a cause.
    pub fn answered_here(&mut self, cause: Cause) {
        self.cause = Some(cause);
        self.recorder.shared.stats.answered(self.direction, cause);
    }

    /// This proxy answers that the request failed. A client that went away while it was sending gets no answer.
    pub fn fail(&mut self, failure: &Failure) {
        self.excused = failure.is_of_client();
        if self.excused && self.upload.as_ref().is_some_and(|upload| upload.has_departed()) {
            self.cause = Some(Cause::Cancelled);
        } else {
            self.answered_here(Cause::Failed(failure.reason));
        }
    }

    /// The copy got no answer.
    pub fn unanswered(mut self: Box<Self>, failure: &Failure) {
        self.cause = Some(Cause::Failed(failure.reason));
        self.failed = true;
        self.end(false);
    }

    /// The answer that the client gets; the exchange ends with its body.
    pub fn answer(mut self: Box<Self>, response: Response<Body>) -> Response<Body> {
        let (head, body) = response.into_parts();
        let is_got = self.cause != Some(Cause::Cancelled);
        self.status = is_got.then_some(head.status);
        let failing = head.status.is_server_error() || (self.grpc && is_grpc_failure(&head.headers));
        self.failed = failing && !self.excused;
        if self.edge.is_none() {
            // The endpoint may be another one by the end, or its proxy have another certificate.
            self.edge = Some(self.way.edge(&self.recorder, self.mirrored));
        }
        if let Some(log) = self.log.as_mut().filter(|_| is_got) {
            log.answered(head.status, &head.headers);
        }
        let tunnel = self.tunnel.take();
        if let Some(key) = self.waiting {
            self.recorder.waiting.moved(key);
            if tunnel.is_some() {
                // A tunnel knows itself when nothing moves.
                self.recorder.waiting.leave(key);
                self.waiting = None;
            }
        }
        let body = self.record(body);
        let body = match tunnel {
            None => body,
            Some(start) => {
                start(body);
                Body::Empty
            }
        };
        Response::from_parts(head, body)
    }

    pub(super) fn ahead(&self) -> usize {
        self.body.ahead()
    }

    fn record(mut self: Box<Self>, body: Body) -> Body {
        if body.is_end_stream() {
            self.end(false);
            return Body::Empty;
        }
        self.length = body.size_hint().exact();
        self.body = body;
        self.timer = self.ends.map(|(ends, _)| Box::pin(tokio::time::sleep_until(ends.into())));
        Body::Recorded(self)
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxFailure>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                if let Some(key) = self.waiting {
                    self.recorder.waiting.moved(key);
                }
                frame
            }
            Poll::Pending => Some(Err(ready!(self.poll_late(cx)))),
        };
        match &frame {
            None => self.end(false),
            Some(Ok(frame)) => {
                let data = frame.data_ref().map_or(0, Bytes::len) as u64;
                if self.received == 0
                    && data > 0
                    && let Some(attempt) = &mut self.attempt
                {
                    attempt.progressed();
                }
                self.received += data;
                if let Some(trailers) = frame.trailers_ref() {
                    self.failed |= self.grpc && is_grpc_failure(trailers);
                    if let (true, Some(code), Some(attempt)) =
                        (self.grpc, outcome::grpc_status(trailers), &mut self.attempt)
                    {
                        attempt.trailed(outcome::Outcome::of_grpc(code));
                    }
                    if let Some(log) = &mut self.log {
                        log.trailed(trailers);
                    }
                    self.end(false);
                } else if self.body.is_end_stream() {
                    self.end(false);
                }
            }
            Some(Err(failure)) => {
                self.failed = true;
                self.cause = Some(Cause::Failed(failure.reason));
                if let Some(attempt) = &mut self.attempt {
                    attempt.failed(failure);
                }
                self.end(false);
            }
        }
        Poll::Ready(frame)
    }

    /// Ready with a failure if it takes too long until more of the answer comes.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<BoxFailure> {
        if let Some(timer) = &mut self.timer
            && timer.as_mut().poll(cx).is_ready()
        {
            let reason = match self.ends {
                Some((_, Limit::Attempt)) => Reason::AttemptTimeout,
                _ => Reason::RequestTimeout,
            };
            return Poll::Ready(Failure::upstream(reason, "the answer did not end in time"));
        }
        let Some(key) = self.waiting else { return Poll::Pending };
        self.recorder.waiting.poll_over(key, cx).map(|()| stood_still(&self.recorder, self.direction, key))
    }

    fn end(&mut self, cut_off: bool) {
        if let Some(key) = self.waiting.take() {
            self.recorder.waiting.leave(key);
        }
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let cause = self.cause.or(cut_off.then_some(Cause::Cancelled));
        let now = now();
        if !self.uncounted {
            let edge = self.edge.take().unwrap_or_else(|| self.way.edge(&self.recorder, self.mirrored));
            let elapsed = now.saturating_duration_since(self.began);
            edge.request(&Outcome { status: self.status, cause, failed: self.failed, elapsed });
            edge.received(self.received);
            if let Some(upload) = &self.upload {
                upload.settle(&edge);
            }
        }
        if let Some(mut log) = self.log.take() {
            if self.direction == Direction::Outbound {
                self.way.describe(&mut log.entry);
            }
            log.entry.mirrored = self.mirrored;
            log.entry.bytes_received = self.upload.as_ref().map_or(0, |upload| upload.bytes());
            log.entry.bytes_sent = self.received;
            log.ended(cause, self.failed);
            log.end(&self.recorder.shared);
        }
        if let Some(attempt) = self.attempt.take() {
            attempt.end(now);
        }
        self.place = None;
        self.in_flight = None;
        self.under_way = None;
    }

    /// Whether the client has got all of the answer: whoever knows its length stops at the last byte.
    fn is_whole(&self) -> bool {
        self.status.is_some()
            && (self.body.is_end_stream() || self.length.is_some_and(|length| self.received >= length))
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.end(!self.is_whole());
    }
}

/// Whether a `grpc-status` says that the server failed, as opposed to the request: `UNKNOWN`,
/// `DEADLINE_EXCEEDED`, `UNIMPLEMENTED`, `INTERNAL`, `UNAVAILABLE` or `DATA_LOSS`, as `OpenTelemetry` counts for servers.
pub fn is_grpc_failure(headers: &HeaderMap) -> bool {
    headers
        .get("grpc-status")
        .is_some_and(|status| matches!(status.as_bytes(), b"2" | b"4" | b"12" | b"13" | b"14" | b"15"))
}
