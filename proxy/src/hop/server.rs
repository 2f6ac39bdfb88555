//! The side that answers requests.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use http::{Request, Response, Version, header};
use http_body::Body as HttpBody;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use weft_hop::{Code, HeadError, RequestHead, RequestMetadata, ResponseMetadata, Role};
use weft_mesh::violation::Violation;

use super::body::HopBody;
use super::client::content_length;
use super::driver;
use super::link::{Arrival, Link, StreamRef};
use super::send::send_body;
use crate::error::BoxFailure;
use crate::http::body::Body;
use crate::http::informational::Informational;
use crate::http::violation_recorder::ViolationRecorder;
use crate::http::{header_case, upgrade};
use crate::runtime::clock::now;

/// How long a stream may stand still is for the caller's proxy to say, which knows the route; one that it has forgotten ends
/// after a day.
const FORGOTTEN_LOOKS: u32 = 24 * 60;

/// What a handler makes of a request: an answer, or a refusal that says whether it may be tried elsewhere.
pub type Answer = Result<(Response<Body>, ResponseMetadata), BoxFailure>;

/// Serves a connection of weft/1 until it ends. When `drain` is cancelled, takes no new requests and ends when those
/// that are under way have ended; when `close` is, those that are still on their way are for others to answer. `violations`
/// hears of what the peer does that it must not.
pub async fn serve<S, H, F>(
    stream: S,
    drain: CancellationToken,
    close: CancellationToken,
    violations: ViolationRecorder,
    handler: H,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    H: Fn(Request<Body>, RequestMetadata) -> F + 'static,
    F: Future<Output = Answer> + 'static,
{
    let link = Link::new(Role::Server, now());
    let saw = violations.clone();
    let driving = driver::drive(Rc::clone(&link), stream, move |arrival| match arrival {
        Arrival::Request(head, stream, end) => {
            let (request, metadata, interim) = request_of(head, &stream, end);
            let answering = Box::pin(handler(request, metadata));
            tokio::task::spawn_local(respond(stream, interim, answering));
        }
        Arrival::Refused(error) => saw.saw(violation_of(error)),
        Arrival::Flooded => saw.saw(Violation::RapidReset),
        Arrival::None => {}
    });
    tokio::pin!(driving);
    let mut ticks = tokio::time::interval(std::time::Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let (mut draining, mut closing) = (false, false);
    loop {
        tokio::select! {
            () = &mut driving => {
                if link.was_broken() {
                    violations.saw(Violation::Weft);
                }
                return;
            }
            () = drain.cancelled(), if !draining => {
                draining = true;
                link.drain();
            }
            () = close.cancelled(), if !closing => {
                closing = true;
                link.drain_at_once();
            }
            _ = ticks.tick() => {
                link.tick(now());
                for _ in 0..link.end_still(violations.looks().max(FORGOTTEN_LOOKS)) {
                    violations.saw(Violation::Idle);
                }
            }
        }
    }
}

/// A request as a handler takes it, with what its interim responses go through; `None`: its client can't be told any.
fn request_of(
    head: Box<RequestHead>,
    stream: &StreamRef,
    end: bool,
) -> (Request<Body>, RequestMetadata, Option<Informational>) {
    let body = if end {
        Body::Empty
    } else {
        Body::Hop(HopBody::of_request(stream.clone(), content_length(&head.parts.headers)))
    };
    let (mut request, metadata) = head.into_request(body);
    header_case::restore(request.extensions_mut());
    // Clients of other versions can't be told.
    let expects = request.headers().contains_key(header::EXPECT);
    let interim = (request.version() == Version::HTTP_11).then(|| Informational::with_names(expects));
    if let Some(interim) = &interim {
        request.extensions_mut().insert(interim.clone());
    }
    if upgrade::is_asked(&request) {
        stream.carries_tunnel();
    }
    (request, metadata, interim)
}

/// As what a head, or what follows it, counts that can't be taken.
fn violation_of(error: HeadError) -> Violation {
    match error {
        HeadError::Framing(_) => Violation::Framing,
        HeadError::TooLarge { .. } | HeadError::TooManyFields { .. } => Violation::HeadTooLarge,
        HeadError::Truncated | HeadError::Malformed(_) => Violation::Weft,
    }
}

async fn respond(
    stream: StreamRef,
    interim: Option<Informational>,
    mut answering: Pin<Box<impl Future<Output = Answer>>>,
) {
    let id = stream.id();
    let answer = std::future::poll_fn(|cx| {
        // A caller that went away has no use for the answer: what works on it is dropped.
        if stream.poll_reset(cx).is_ready() {
            return Poll::Ready(None);
        }
        let answer = answering.as_mut().poll(cx);
        while let Some(Poll::Ready(head)) = interim.as_ref().map(|interim| interim.poll_next(cx)) {
            // A head that is too long for the peer is one that it does without.
            let _ = stream.link().with(|connection| connection.send_informational(id, &head));
        }
        answer.map(Some)
    });
    let answer = answer.await;
    // What made the answer is large, and its body may take long.
    drop((answering, interim));
    match answer {
        None => {}
        Some(Ok((response, metadata))) => {
            let (parts, body) = response.into_parts();
            let end = body.is_end_stream();
            if stream.link().with(|connection| connection.send_head(id, &parts, &metadata, end)).is_err() {
                stream.link().with(|connection| connection.reset(id, Code::Internal, true));
                return;
            }
            if !end {
                // A body that breaks off resets the stream, which tells the peer all there is to tell.
                send_body(stream, body).await;
            }
        }
        Some(Err(failure)) => {
            let code = if failure.processed { Code::Internal } else { Code::Refused };
            stream.link().with(|connection| connection.reset(id, code, failure.processed));
        }
    }
}
