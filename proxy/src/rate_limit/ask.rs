//! One question, over the connections that the worker keeps.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use smallvec::SmallVec;
use tokio::time::{Instant, timeout_at};
use weft_hop::RequestMetadata;
use weft_mesh::balance::PickContext;
use weft_mesh::deadline::format_grpc_timeout;
use weft_mesh::filter::LimitService;
use weft_mesh::outcome;
use weft_mesh::reason::Reason;
use weft_mesh::retry::AttemptOutcome;

use super::wire::{Answered, PATH, answer};
use crate::error::{BoxFailure, Failure};
use crate::http::body::Body;
use crate::http::client::HttpVersion;
use crate::observe::stats::{Cause, Outcome};
use crate::runtime::clock::since;
use crate::runtime::worker::Worker;
use crate::snapshot::Backend;
use crate::upstream::peer::Sent;
use crate::upstream::service::Attempt;

/// Endpoints that are asked after the first one, if that provably did not get the question.
const RETRIES: usize = 2;
/// Longest answer that is read: a code, a status for each descriptor and some header fields.
const ANSWER_MAX: usize = 64 * 1024;
/// What the edges of questions have as their route, so that no figure of a split counts them.
const ROUTE: &str = "rate-limit";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Asks the service; the error says what is wrong, for people.
pub(super) async fn ask(
    worker: &Rc<Worker>,
    service: &LimitService<Arc<Backend>>,
    question: Bytes,
    timeout: Duration,
) -> Result<Answered, String> {
    let ends = Instant::now() + timeout;
    match service {
        LimitService::Invalid(problem) => Err(problem.to_string()),
        LimitService::Backend(backend) => in_the_mesh(worker, backend, &question, ends).await,
        LimitService::Address(address) => {
            let parts = head(address, ends).ok_or_else(|| format!("{address} is no address"))?;
            let request = Box::new(Request::from_parts(parts, Body::full(question)));
            let client = worker.passthrough.client(address);
            let exchange = async { read(client.send(request, HttpVersion::Http2).await?).await };
            let read = timeout_at(ends, exchange).await.unwrap_or_else(|_| Err(late()));
            read.map_err(|failure| failure.to_string())
        }
    }
}

async fn in_the_mesh(
    worker: &Rc<Worker>,
    backend: &Arc<Backend>,
    question: &Bytes,
    ends: Instant,
) -> Result<Answered, String> {
    let name = &backend.service;
    let authority = format!("{}.{}:{}", name.service.name(), name.service.namespace(), name.port);
    let parts = head(&authority, ends).ok_or_else(|| format!("{authority} is no authority"))?;
    let service = worker.service(backend);
    let mut tried: SmallVec<[Arc<str>; 2]> = SmallVec::new();
    loop {
        let wish = PickContext { tried: &tried, ..PickContext::default() };
        let mut attempt = service.attempt(wish).map_err(|failure| failure.to_string())?;
        let began = crate::runtime::clock::now();
        let asked = one(worker, &mut attempt, backend, &parts, question);
        let asked = timeout_at(ends, asked).await.unwrap_or_else(|_| Err(late()));
        let route = ROUTE.into();
        let sent = Sent { destination: name, backend: name, route: Some(&route), mirrored: false };
        let edge = attempt.peer.edge(&worker.shared.stats, &sent);
        edge.request(&Outcome {
            status: asked.is_ok().then_some(StatusCode::OK),
            cause: asked.as_ref().err().map(|failure| Cause::Failed(failure.reason)),
            failed: asked.is_err(),
            elapsed: since(began),
        });
        let failure = match asked {
            Ok(answered) => {
                attempt.answered(outcome::Outcome::Success);
                return Ok(answered);
            }
            Err(failure) => failure,
        };
        attempt.failed(&failure);
        if failure.processed || tried.len() >= RETRIES {
            return Err(failure.to_string());
        }
        edge.retried();
        tried.push(Arc::clone(&attempt.peer.endpoint().id));
    }
}

async fn one(
    worker: &Rc<Worker>,
    attempt: &mut Attempt,
    backend: &Backend,
    parts: &http::request::Parts,
    question: &Bytes,
) -> Result<Answered, BoxFailure> {
    let metadata = RequestMetadata {
        destination: Some(weft_hop::Destination {
            service: backend.service.service.to_string().into(),
            port: backend.service.port,
        }),
        ..RequestMetadata::default()
    };
    let tls = worker.with_snapshot(|snapshot| snapshot.tls.clone());
    let body = Body::full(question.clone());
    let (response, metadata) =
        attempt.peer.send(parts, body, &metadata, HttpVersion::Http2, tls.as_ref()).await?;
    let verdict = attempt.verdict(Ok((&response, &metadata)), true);
    let reason = match verdict.happened {
        AttemptOutcome::Unreached => Reason::ConnectFailed,
        AttemptOutcome::NotProcessed => Reason::UpstreamReset,
        _ => return read(response).await,
    };
    Err(Failure::unprocessed(reason, "its proxy did not get the question to it"))
}

fn head(authority: &str, ends: Instant) -> Option<http::request::Parts> {
    let uri: Uri = format!("http://{authority}{PATH}").parse().ok()?;
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.version_mut() = http::Version::HTTP_2;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    let left = ends.saturating_duration_since(Instant::now());
    headers.insert(GRPC_TIMEOUT, HeaderValue::try_from(format_grpc_timeout(left)).ok()?);
    Some(request.into_parts().0)
}

async fn read(response: Response<Body>) -> Result<Answered, BoxFailure> {
    let (head, mut body) = response.into_parts();
    if head.status != StatusCode::OK {
        let error = head.headers.get("x-weft-error").and_then(|error| error.to_str().ok()).unwrap_or("");
        return Err(wrong(format!("it answered {} {error}", head.status.as_u16())));
    }
    let mut message = BytesMut::new();
    let mut trailers = head.headers;
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) if message.len() + data.len() > ANSWER_MAX => {
                return Err(wrong(format!("its answer is longer than {ANSWER_MAX} bytes")));
            }
            Ok(data) => message.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    match status(&trailers) {
        Some(b"0") => answer(&message).map_err(wrong),
        status => {
            let status = status.map_or("none".into(), String::from_utf8_lossy);
            Err(wrong(format!("it answered with gRPC status {status}")))
        }
    }
}

fn status(trailers: &HeaderMap) -> Option<&[u8]> {
    trailers.get(&GRPC_STATUS).map(HeaderValue::as_bytes)
}

fn wrong(detail: String) -> BoxFailure {
    Failure::upstream(Reason::UpstreamProtocol, detail)
}

fn late() -> BoxFailure {
    Failure::upstream(Reason::AttemptTimeout, "it did not answer in time")
}
