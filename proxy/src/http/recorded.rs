//! The body of a response, whose end is what an exchange is recorded at.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use weft_mesh::deadline::Limit;
use weft_mesh::limits::Place;
use weft_mesh::outcome::{Outcome, grpc_status};
use weft_mesh::reason::Reason;

use super::body::Body;
use crate::access::Open;
use crate::clock::since;
use crate::error::{BoxFailure, Failure};
use crate::inbound::InFlight;
use crate::shared::UnderWay;
use crate::stats::Edge;
use crate::upstream::service::Attempt;

/// A request and its answer, recorded when the answer has ended or its receiver has gone.
#[derive(Debug)]
pub struct Exchange {
    /// Where it is counted.
    pub edge: Arc<Edge>,
    /// When the request's head arrived.
    pub began: Instant,
    /// The status of the answer.
    pub status: StatusCode,
    /// Whether it counts as failed.
    pub failed: bool,
    /// Whether a `grpc-status` in the trailers decides that.
    pub grpc: bool,
    /// The attempt that the answer comes from; the endpoint counts as busy until the end.
    pub attempt: Option<Attempt>,
    /// The place that the request takes among those that may be in flight.
    pub place: Option<Place>,
    /// When the answer has to have ended, and by which limit.
    pub ends: Option<(Instant, Limit)>,
    /// What the access log is to say of it.
    pub log: Option<Box<Open>>,
    /// Keeps a drain waiting.
    pub under_way: UnderWay,
}

impl Exchange {
    /// The body that records the exchange at its end.
    pub fn record(self, body: Body) -> Body {
        if body.is_end_stream() {
            self.end();
            return Body::Empty;
        }
        let ends = self.ends.map(|(ends, _)| Box::pin(tokio::time::sleep_until(ends.into())));
        Body::Recorded(Box::new(Recorded { body, exchange: Some(self), received: 0, ends, in_flight: None }))
    }

    fn end(self) {
        self.edge.request(Some(self.status), self.failed, since(self.began));
        if let Some(log) = self.log {
            log.end(self.under_way.shared());
        }
    }
}

/// Whether a `grpc-status` says that the server failed, as opposed to the request: `UNKNOWN`,
/// `DEADLINE_EXCEEDED`, `UNIMPLEMENTED`, `INTERNAL`, `UNAVAILABLE` or `DATA_LOSS`, as `OpenTelemetry` counts for servers.
pub fn is_grpc_failure(headers: &HeaderMap) -> bool {
    headers
        .get("grpc-status")
        .is_some_and(|status| matches!(status.as_bytes(), b"2" | b"4" | b"12" | b"13" | b"14" | b"15"))
}

/// A body with the exchange that it ends.
#[derive(Debug)]
pub struct Recorded {
    body: Body,
    exchange: Option<Exchange>,
    received: u64,
    ends: Option<Pin<Box<tokio::time::Sleep>>>,
    in_flight: Option<InFlight>,
}

impl Recorded {
    /// Keeps the application counted as busy until the end.
    pub fn hold(&mut self, in_flight: InFlight) {
        self.in_flight = Some(in_flight);
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxFailure>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let Some(ends) = &mut self.ends else { return Poll::Pending };
                ready!(ends.as_mut().poll(cx));
                let limit = self.exchange.as_ref().and_then(|exchange| exchange.ends).map(|(_, limit)| limit);
                let reason = match limit {
                    Some(Limit::Attempt) => Reason::AttemptTimeout,
                    _ => Reason::RequestTimeout,
                };
                Some(Err(Failure::upstream(reason, "the answer did not end in time")))
            }
        };
        match &frame {
            None => self.end(),
            Some(Ok(frame)) => {
                let data = frame.data_ref().map_or(0, Bytes::len) as u64;
                if self.received == 0
                    && data > 0
                    && let Some(attempt) =
                        self.exchange.as_mut().and_then(|exchange| exchange.attempt.as_mut())
                {
                    attempt.progressed();
                }
                self.received += data;
                if let (Some(trailers), Some(exchange)) = (frame.trailers_ref(), &mut self.exchange) {
                    exchange.failed |= exchange.grpc && is_grpc_failure(trailers);
                    if let (true, Some(code), Some(attempt)) =
                        (exchange.grpc, grpc_status(trailers), &mut exchange.attempt)
                    {
                        attempt.trailed(Outcome::of_grpc(code));
                    }
                    if let Some(log) = &mut exchange.log {
                        log.trailed(trailers);
                    }
                    self.end();
                } else if self.body.is_end_stream() {
                    self.end();
                }
            }
            Some(Err(failure)) => {
                if let Some(exchange) = &mut self.exchange {
                    exchange.failed = true;
                    if let Some(log) = &mut exchange.log {
                        log.failed(failure.reason);
                    }
                    if let Some(attempt) = &mut exchange.attempt {
                        attempt.failed(failure);
                    }
                }
                self.end();
            }
        }
        Poll::Ready(frame)
    }

    fn end(&mut self) {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.edge.received(self.received);
            if let Some(log) = &mut exchange.log {
                log.entry.bytes_sent = self.received;
            }
            self.in_flight = None;
            exchange.end();
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if let Some(log) = self.exchange.as_mut().and_then(|exchange| exchange.log.as_mut()) {
            log.entry.cut_off = !self.body.is_end_stream();
        }
        // Whoever knows the length stops at the last byte; whoever goes away earlier has still been served until then.
        self.end();
    }
}
