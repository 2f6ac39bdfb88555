//! A request from its head to the end of its answer: counted and logged once, whatever ends it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use weft_mesh::deadline::Limit;
use weft_mesh::limits::Place;
use weft_mesh::outcome;
use weft_mesh::reason::Reason;

use super::body::Body;
use super::upload::{Upload, Uploading};
use crate::access::Open;
use crate::clock::{now, since};
use crate::error::{BoxFailure, Failure, Origin};
use crate::inbound::InFlight;
use crate::outbound::Way;
use crate::shared::UnderWay;
use crate::stats::{Cause, Direction, Edge, Outcome};
use crate::upstream::service::Attempt;
use crate::worker::Worker;

/// What takes the answer's body once an upgrade is agreed to.
pub type Tunnel = Box<dyn FnOnce(Body)>;

/// A request and its answer. Dropped before the answer's end, it was cancelled by its client. It is the answer's body in the
/// end, so that all of it is moved as one pointer.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own about the request, in any combination"
)]
pub struct Exchange {
    worker: Rc<Worker>,
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
    pub place: Option<Place>,
    /// Keeps the application counted as busy until the end.
    pub in_flight: Option<InFlight>,
    /// When the answer has to have ended, and by which limit.
    pub ends: Option<(Instant, Limit)>,
    /// Takes the answer's body instead of the client.
    pub tunnel: Option<Tunnel>,
    /// Keeps a drain waiting.
    under_way: Option<UnderWay>,
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
    pub fn new(worker: &Rc<Worker>, direction: Direction) -> Box<Self> {
        Box::new(Self {
            worker: Rc::clone(worker),
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
            under_way: Some(worker.shared.enter(direction)),
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
        self.upload = upload;
        body
    }

    /// An attempt beyond the first is made at an endpoint.
    pub fn retried(&self) {
        self.way.edge(&self.worker, self.mirrored).retried();
    }

    /// This proxy answers, for a cause.
    pub fn answered_here(&mut self, cause: Cause) {
        self.cause = Some(cause);
        self.worker.shared.stats.answered(self.direction, cause);
    }

    /// This proxy answers that the request failed.
    pub fn fail(&mut self, failure: &Failure) {
        self.excused = failure.origin == Origin::Downstream;
        self.answered_here(Cause::Failed(failure.reason));
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
        self.status = Some(head.status);
        let failing = head.status.is_server_error() || (self.grpc && is_grpc_failure(&head.headers));
        self.failed = failing && !self.excused;
        if self.edge.is_none() {
            // The endpoint may be another one by the end, or its proxy have another certificate.
            self.edge = Some(self.way.edge(&self.worker, self.mirrored));
        }
        if let Some(log) = &mut self.log {
            log.answered(head.status, &head.headers);
        }
        let tunnel = self.tunnel.take();
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
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let Some(timer) = &mut self.timer else { return Poll::Pending };
                ready!(timer.as_mut().poll(cx));
                let reason = match self.ends {
                    Some((_, Limit::Attempt)) => Reason::AttemptTimeout,
                    _ => Reason::RequestTimeout,
                };
                Some(Err(Failure::upstream(reason, "the answer did not end in time")))
            }
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

    fn end(&mut self, cut_off: bool) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let cause = self.cause.or(cut_off.then_some(Cause::Cancelled));
        if !self.uncounted {
            let edge = self.edge.take().unwrap_or_else(|| self.way.edge(&self.worker, self.mirrored));
            let elapsed = since(self.began);
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
            log.end(&self.worker.shared);
        }
        self.attempt = None;
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
