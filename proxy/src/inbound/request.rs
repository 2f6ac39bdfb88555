//! One request that arrives: authorization, limits, the application's answer.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, Version};
use hyper::body::Incoming;
use weft_hop::{RequestMetadata, ResponseMarks, ResponseMetadata};
use weft_mesh::authorization::{Call, HttpCall};
use weft_mesh::filter::{Counted, GlobalLimit, Limited};
use weft_mesh::forwarded::set_client_certificate;
use weft_mesh::headers::{may_be_forwarded, remove_hop_by_hop};
use weft_mesh::outcome::{Outcome, grpc_status};
use weft_mesh::protocol::Protocol;
use weft_mesh::reason::Reason;
use weft_mesh::violation::Violation;

use super::Upstream;
use crate::error::{BoxFailure, Failure};
use crate::hop::server::Answer;
use crate::http::authority::objection;
use crate::http::body::Body;
use crate::http::client::HttpVersion;
use crate::http::deadline;
use crate::http::exchange::{Exchange, unless_still};
use crate::http::local_reply::{answer, answer_to_last, is_grpc};
use crate::http::upgrade::{self, Upgrading};
use crate::observe::stats::{AuthorizationOutcome, Cause, Direction};
use crate::rate_limit::{self, Added};
use crate::runtime::clock::{now, since};
use crate::runtime::overload;
use crate::runtime::worker::Worker;
use crate::snapshot::{Backend, InboundPort};
use weft_mesh::http_validation::host_of_target;

/// Who sent a request, and through whom it came: the nearest is the last (what all proxies take it for).
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Answers a request that came on weft/1. What the proxy answers itself lacks the mark that the application processed
/// the request, unless it may have.
pub(crate) async fn from_hop(
    worker: Rc<Worker>,
    upstream: Rc<Upstream>,
    mut request: Request<Body>,
    metadata: RequestMetadata,
) -> Answer {
    let mut exchange = begin(&worker, &upstream, &request, metadata.mirrored);
    if request.extensions().get::<weft_hop::Protocol>().is_some() {
        // No proxy sends one: it has made it the upgrade of HTTP/1.1 that it stands for.
        worker.shared.stats.violated(Direction::Inbound, Violation::RequestLine);
        let detail = "an extended CONNECT on weft/1; it is sent as the upgrade that it stands for";
        let failure = Failure::downstream(Violation::RequestLine.reason(), detail);
        exchange.fail(&failure);
        return Err(failure);
    }
    // The peer's proxy has removed what is for one connection alone, if it is what it should be.
    let asks = request.headers().contains_key(http::header::UPGRADE);
    let upgrade = if asks { upgrade::token(request.headers()) } else { None };
    if asks && upgrade.is_none() {
        // It does not go on as one that asks for another protocol, so nothing that is behind its content goes anywhere.
        let length = upgrade::announced(request.headers());
        if length > 0 {
            let body = std::mem::take(request.body_mut());
            *request.body_mut() = upgrade::split(body, length).0;
        }
    }
    remove_hop_by_hop(request.headers_mut());
    if let Some(token) = upgrade {
        upgrade::restore(request.headers_mut(), &token);
    }
    let forwarded = forward(&worker, &upstream, Box::new(request), &metadata, &mut exchange).await;
    let (response, marks) = match forwarded {
        Ok(response) => (response, ResponseMarks::PROCESSED),
        Err(failure) => {
            exchange.fail(&failure);
            let processed =
                if failure.processed { ResponseMarks::PROCESSED } else { ResponseMarks::default() };
            (answer(&failure, exchange.grpc), processed.with(ResponseMarks::LOCAL_REPLY))
        }
    };
    let response = exchange.answer(response);
    let load = Some(upstream.application.load.report());
    Ok((response, ResponseMetadata { load, marks, ..ResponseMetadata::default() }))
}

/// Answers a request of a peer that is not Weft, or of none.
pub(crate) async fn from_http(
    worker: Rc<Worker>,
    upstream: Rc<Upstream>,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let http1 = request.version() != Version::HTTP_2;
    let upgrade = upgrade::asked(&mut request);
    let (mut parts, body) = request.into_parts();
    remove_hop_by_hop(&mut parts.headers);
    let (start, body) = match upgrade {
        None => (None, Body::from(body)),
        Some(upgrade::Asked { change, connection }) => {
            change.ask(&mut parts.headers);
            let content = change.content(body);
            let (body, start) = upgrade::tunnel(connection);
            (Some((change, start)), Upgrading::body(content, body))
        }
    };
    let request = Request::from_parts(parts, body);
    let mut exchange = begin(&worker, &upstream, &request, false);
    let key = exchange.watch(&upstream.patience);
    if start.is_some() {
        exchange.allow_tunnel();
    }
    let metadata = RequestMetadata::default();
    let forwarded = {
        let forwarding = pin!(forward(&worker, &upstream, Box::new(request), &metadata, &mut exchange));
        unless_still(&worker.recorder, Direction::Inbound, key, forwarding).await
    };
    let response = match forwarded {
        Ok(response) => match start {
            Some((change, start)) if change.is_agreed(response.status()) => {
                exchange.tunnel = Some(Box::new(start));
                change.agreed(response)
            }
            _ => response,
        },
        Err(failure) => {
            exchange.fail(&failure);
            answer(&failure, exchange.grpc)
        }
    };
    let mut response = exchange.answer(response);
    if http1 && worker.shared.drain.is_cancelled() {
        response.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn forward(
    worker: &Rc<Worker>,
    upstream: &Rc<Upstream>,
    mut request: Box<Request<Body>>,
    metadata: &RequestMetadata,
    exchange: &mut Exchange,
) -> Result<Response<Body>, BoxFailure> {
    let began = exchange.began;
    overload::admit_request(&worker.watch, &worker.shared.stats, request.uri().path())?;
    let port = worker.with_snapshot(|snapshot| Arc::clone(snapshot.inbound.port(upstream.port)));
    if let Some(violation) = objection(&request) {
        worker.shared.stats.violated(Direction::Inbound, violation);
        return Err(Failure::downstream(violation.reason(), violation.detail()));
    }
    host_of_target(&mut request);
    unify_path(worker, &port, &mut request)?;
    authorize(worker, upstream, &port, &request)?;
    if !may_be_forwarded(&mut request) {
        exchange.answered_here(Cause::MaxForwards);
        return Ok(answer_to_last(request.method()));
    }
    limit_rate(upstream, &port, &request, began)?;
    let added = match &port.global_limit {
        Some(limit) => Box::pin(asked(worker, upstream, limit, &mut request)).await?,
        None => None,
    };
    let application = &upstream.application;
    if let Some(policy) = port.concurrency {
        let workers = u32::try_from(worker.shared.workers).unwrap_or(u32::MAX);
        application.adaptive.admit(policy.share(workers), application.load.in_flight(), began)?;
    }
    let left = tell_application(upstream, request.headers_mut(), metadata);
    let version = version_for(upstream.protocol.unwrap_or(port.protocol), request.version());
    let body = std::mem::take(request.body_mut());
    *request.body_mut() = exchange.upload(body);
    exchange.in_flight = Some(upstream.application.load.enter());
    let sending = pin!(upstream.forward.send(request, version));
    let sent = match left {
        None => sending.await,
        // The caller gives up then, so that an answer would have no reader.
        Some(left) => tokio::time::timeout(left, sending)
            .await
            .unwrap_or_else(|_| Err(Failure::upstream(Reason::RequestTimeout, "the caller's time is over"))),
    };
    if port.concurrency.is_some() && says_how_long_it_takes(&sent, exchange.grpc) {
        application.adaptive.answered(now(), since(began), application.load.in_flight());
    }
    let mut response = sent?;
    upstream.application.load.answered(since(began));
    if !upgrade::is_agreed(response.status()) {
        remove_hop_by_hop(response.headers_mut());
    }
    if let Some(added) = added {
        added.to_response(response.headers_mut());
    }
    Ok(response)
}

/// Refuses what exceeds the limit that the port has by itself.
fn limit_rate(
    upstream: &Upstream,
    port: &InboundPort,
    request: &Request<Body>,
    began: Instant,
) -> Result<(), BoxFailure> {
    let Some(limit) = &port.rate_limit else { return Ok(()) };
    let identity = upstream.identity.as_ref();
    let caller = Limited { identity, headers: request.headers(), source: upstream.peer.ip() };
    limit.take_for(began, caller).map_err(|wait| {
        let detail = format!("more requests than the workload takes of its caller; wait {wait:?}");
        Failure::limited(wait, detail)
    })
}

/// Writes into a request's headers who sent it and how much time is left for it, which is returned; `None`: nobody has
/// said.
fn tell_application(
    upstream: &Upstream,
    headers: &mut HeaderMap,
    metadata: &RequestMetadata,
) -> Option<Duration> {
    set_client_certificate(headers, upstream.client.as_ref());
    if let Some(address) = &upstream.forwarded_for {
        headers.append(X_FORWARDED_FOR, address.clone());
    }
    let left = match metadata.deadline_micros {
        Some(micros) => Some(Duration::from_micros(micros)),
        None => deadline::told(headers),
    };
    if let Some(left) = left {
        deadline::tell(headers, left);
    }
    left
}

/// Whether the time that an attempt took says how long the application takes. What failed without waiting for it says
/// nothing of it, nor does an answer that took less than what was asked for would have.
fn says_how_long_it_takes(sent: &Result<Response<Body>, BoxFailure>, grpc: bool) -> bool {
    match sent {
        Ok(response) => answered_in_earnest(response, grpc),
        Err(failure) => failure.reason == Reason::RequestTimeout,
    }
}

/// Whether an answer took as long as what was asked for takes, as far as its head says.
fn answered_in_earnest(response: &Response<Body>, grpc: bool) -> bool {
    let code = if grpc { grpc_status(response.headers()) } else { None };
    let outcome = code.map_or_else(|| Outcome::of_status(response.status()), Outcome::of_grpc);
    outcome == Outcome::Success
}

/// Asks the service that keeps a limit, unless the question would be for a question: that service may be behind the same
/// policy as all others.
async fn asked(
    worker: &Rc<Worker>,
    upstream: &Upstream,
    limit: &GlobalLimit<Arc<Backend>>,
    request: &mut Request<Body>,
) -> Result<Option<Box<Added>>, BoxFailure> {
    if request.uri().path() == rate_limit::PATH {
        return Ok(None);
    }
    let identity = upstream.identity.as_ref();
    let limited = Limited { identity, headers: request.headers(), source: upstream.peer.ip() };
    let counted = Counted { limited, method: request.method(), path: request.uri().path() };
    let added = rate_limit::admit(worker, limit, &counted).await?;
    if let Some(added) = &added {
        added.to_request(request.headers_mut());
    }
    Ok(added)
}

/// A request of a connection whose peer is known.
fn begin(worker: &Rc<Worker>, upstream: &Upstream, request: &Request<Body>, mirrored: bool) -> Box<Exchange> {
    let mut exchange = Exchange::new(&worker.recorder, Direction::Inbound);
    exchange.grpc = is_grpc(request.headers());
    exchange.mirrored = mirrored;
    if mirrored {
        exchange.count_at(&upstream.edge_of_copies(worker));
    } else {
        exchange.count_at(&upstream.edge);
    }
    exchange.log = worker.shared.access.request(Direction::Inbound, upstream.peer, request);
    if let Some(log) = &mut exchange.log {
        upstream.describe(&mut log.entry);
    }
    exchange
}

/// Makes of a path that servers may read in several ways what the port's mode wants.
fn unify_path(worker: &Worker, port: &InboundPort, request: &mut Request<Body>) -> Result<(), BoxFailure> {
    let forwarded = port.authorization.path_mode().forwarded(request.uri().path());
    let refuse = |detail: String| {
        worker.shared.stats.violated(Direction::Inbound, Violation::Path);
        Err(Failure::downstream(Violation::Path.reason(), detail))
    };
    let path = match forwarded {
        Ok(None) => return Ok(()),
        Ok(Some(path)) => path,
        Err(ambiguous) => return refuse(ambiguous.to_string()),
    };
    let target = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = match target.parse() {
        Ok(target) => Some(target),
        Err(error) => return refuse(format!("the path has no normal form: {error}")),
    };
    match Uri::from_parts(parts) {
        Ok(uri) => *request.uri_mut() = uri,
        Err(error) => return refuse(format!("the path has no normal form: {error}")),
    }
    Ok(())
}

fn authorize(
    worker: &Worker,
    upstream: &Upstream,
    port: &InboundPort,
    request: &Request<Body>,
) -> Result<(), BoxFailure> {
    let call = Call {
        identity: upstream.identity.as_ref(),
        source: upstream.peer.ip(),
        port: upstream.port,
        http: Some(HttpCall { method: request.method(), path: request.uri().path() }),
    };
    if port.authorization.audit(&call).next().is_some() {
        worker.shared.stats.authorized(AuthorizationOutcome::Audited);
    }
    if port.authorization.decide(&call).allowed {
        worker.shared.stats.authorized(AuthorizationOutcome::Allowed);
        return Ok(());
    }
    worker.shared.stats.authorized(AuthorizationOutcome::Denied);
    let caller = upstream
        .identity
        .as_ref()
        .map_or_else(|| "a caller without identity".to_owned(), ToString::to_string);
    Err(Failure::internal(
        Reason::Denied,
        format!("{caller} may not {} {}", request.method(), request.uri().path()),
    ))
}

fn version_for(spoken: Protocol, sent: Version) -> HttpVersion {
    match spoken {
        Protocol::Http1 => HttpVersion::Http1,
        Protocol::Http2 | Protocol::Grpc => HttpVersion::Http2,
        _ if sent == Version::HTTP_2 => HttpVersion::Either,
        _ => HttpVersion::LikelyHttp1,
    }
}
