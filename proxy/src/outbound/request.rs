//! One request of the application: what it is for, and the answer it gets.

use std::rc::Rc;
use std::sync::Arc;

use http::{Method, Request, Response, Version, header};
use hyper::body::Incoming;
use weft_mesh::headers::remove_hop_by_hop;
use weft_mesh::reason::Reason;

use super::destination::{Found, find};
use super::{Downstream, Target, exchange, explicit};
use crate::access::Open;
use crate::error::{BoxFailure, Failure};
use crate::http::answer::{answer, is_grpc};
use crate::http::body::Body;
use crate::http::client::HttpVersion;
use crate::http::logged::Logged;
use crate::http::server::{authority, objection};
use crate::http::upgrade;
use crate::overload;
use crate::stats::Direction;
use crate::worker::Worker;

/// Port of a request that names none.
const HTTP_PORT: u16 = 80;

/// Answers one request.
pub(crate) async fn handle(
    worker: Rc<Worker>,
    downstream: Rc<Downstream>,
    request: Request<Incoming>,
) -> Response<Body> {
    let grpc = is_grpc(request.headers());
    let http1 = request.version() != Version::HTTP_2;
    let mut log = worker.shared.access.request(Direction::Outbound, downstream.source, &request);
    let mut response = match forward(&worker, &downstream, request, &mut log).await {
        Ok(response) => response,
        Err(failure) => {
            worker.shared.stats.answered(Direction::Outbound, failure.reason);
            tracing::debug!(%failure, "answered in place of the upstream");
            if let Some(log) = &mut log {
                log.failed(failure.reason);
            }
            answer(&failure, grpc)
        }
    };
    // What no upstream answered has ended here.
    if let Some(mut log) = log {
        log.answered(response.status(), response.headers());
        log.end(&worker.shared);
    }
    if http1 && worker.shared.drain.is_cancelled() {
        // The client opens its next connection elsewhere, or to the proxy that takes over.
        response.headers_mut().insert(header::CONNECTION, http::HeaderValue::from_static("close"));
    }
    response
}

async fn forward(
    worker: &Rc<Worker>,
    downstream: &Downstream,
    request: Request<Incoming>,
    log: &mut Option<Box<Open>>,
) -> Result<Response<Body>, BoxFailure> {
    if let Some(violation) = objection(&request) {
        worker.shared.stats.violated(Direction::Outbound, violation);
        return Err(Failure::downstream(violation.reason(), violation.detail()));
    }
    overload::admit_request(worker, request.uri().path())?;
    // With a protocol it is no tunnel to anywhere, but a request for an upgrade (RFC 8441).
    if request.method() == Method::CONNECT && request.extensions().get::<hyper::ext::Protocol>().is_none() {
        return explicit::connect(Rc::clone(worker), downstream, request);
    }
    let name = match &downstream.target {
        Target::Fixed(name) => Arc::clone(name),
        Target::ByAuthority => dialled_name(&request)?,
    };
    match find(worker, &name).await {
        Found::Known(destination) => {
            exchange::run(worker, downstream, &destination, Box::new(request), log).await
        }
        Found::Absent | Found::Silent => Box::pin(pass_through(worker, &name, request, log)).await,
    }
}

/// The destination that a request names: the authority of its target, or its Host field.
fn dialled_name(request: &Request<Incoming>) -> Result<Arc<str>, BoxFailure> {
    let Some(authority) = authority(request) else {
        let detail = "the request names no host: use an absolute target or a Host field";
        return Err(Failure::downstream(Reason::BadRequest, detail));
    };
    Ok(match authority.port_u16() {
        Some(_) => Arc::from(authority.as_str()),
        None => format!("{}:{HTTP_PORT}", authority.host()).into(),
    })
}

async fn pass_through(
    worker: &Rc<Worker>,
    name: &Arc<str>,
    mut request: Request<Incoming>,
    log: &mut Option<Box<Open>>,
) -> Result<Response<Body>, BoxFailure> {
    // Whoever dialled it knows what it speaks.
    let version = if request.version() == Version::HTTP_2 { HttpVersion::Http2 } else { HttpVersion::Http1 };
    let asked = upgrade::asked(&mut request);
    let (mut parts, body) = request.into_parts();
    remove_hop_by_hop(&mut parts.headers);
    let (body, tunnel) = match asked {
        None => {
            let body = Body::from(body);
            (if let Some(log) = log { log.count(body) } else { body }, None)
        }
        Some(upgrade::Asked { token, connection, extended }) => {
            upgrade::restore(&mut parts.headers, &token);
            let (body, start) = upgrade::tunnel(connection);
            (Body::Tunnel(body), Some((token, extended, start)))
        }
    };
    let client = worker.passthrough.client(name);
    let under_way = worker.shared.enter();
    let response = client.send(Box::new(Request::from_parts(parts, body)), version).await?;
    let (mut head, body) = response.into_parts();
    let mut log = log.take();
    if let Some(log) = &mut log {
        log.answered(head.status, &head.headers);
    }
    let body = Logged::over(body, log, under_way);
    if let Some((token, extended, start)) = tunnel
        && upgrade::is_agreed(head.status)
    {
        start(body);
        upgrade::agree(&mut head, &token, extended);
        return Ok(Response::from_parts(head, Body::Empty));
    }
    remove_hop_by_hop(&mut head.headers);
    Ok(Response::from_parts(head, body))
}
