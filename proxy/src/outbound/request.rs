//! One request of the application: what it is for, and the answer it gets.

use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response, Version, header};
use hyper::body::Incoming;
use weft_mesh::headers::{remove_hop_by_hop, remove_proxy_credentials};

use super::destination::{Found, find};
use super::{Downstream, Target, exchange, explicit, loops};
use crate::access::Open;
use crate::error::{BoxFailure, Failure};
use crate::http::answer::{answer, is_grpc};
use crate::http::body::Body;
use crate::http::client::HttpVersion;
use crate::http::logged::Logged;
use crate::http::server::{host_from_authority, host_of_target, objection};
use crate::http::upgrade::{self, is_tunnel};
use crate::overload;
use crate::stats::Direction;
use crate::worker::Worker;

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
    mut request: Request<Incoming>,
    log: &mut Option<Box<Open>>,
) -> Result<Response<Body>, BoxFailure> {
    if let Some(violation) = objection(&request) {
        worker.shared.stats.violated(Direction::Outbound, violation);
        return Err(Failure::downstream(violation.reason(), violation.detail()));
    }
    overload::admit_request(worker, request.uri().path())?;
    loops::check(worker, &mut request)?;
    let name = match &downstream.target {
        // All of it is for the destination, CONNECT, an absolute target and the credentials for a proxy, too: it may be a
        // proxy itself.
        Target::Fixed(name) => {
            host_of_target(&mut request);
            Arc::clone(name)
        }
        Target::ByAuthority if is_tunnel(&request) => {
            return Box::pin(explicit::connect(worker, downstream, request)).await;
        }
        Target::ByAuthority => {
            let name = explicit::destination(&request)?;
            remove_proxy_credentials(request.headers_mut());
            if request.version() != Version::HTTP_2 {
                host_from_authority(&mut request);
            }
            name
        }
    };
    match find(worker, &name).await {
        Found::Known(destination) => {
            exchange::run(worker, downstream, &destination, Box::new(request), log).await
        }
        Found::Absent | Found::Silent => Box::pin(pass_through(worker, &name, request, log)).await,
    }
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
        Some(upgrade::Asked { change, connection }) => {
            change.ask(&mut parts.headers);
            let (body, start) = upgrade::tunnel(connection);
            (Body::Tunnel(body), Some((change, start)))
        }
    };
    loops::mark(&worker.shared, &mut parts);
    let client = worker.passthrough.client(name);
    let under_way = worker.shared.enter();
    let response = client.send(Box::new(Request::from_parts(parts, body)), version).await?;
    let (mut head, body) = response.into_parts();
    let mut log = log.take();
    if let Some(log) = &mut log {
        log.answered(head.status, &head.headers);
    }
    let body = Logged::over(body, log, under_way);
    if let Some((change, start)) = tunnel
        && change.is_agreed(head.status)
    {
        start(body);
        change.agree(&mut head);
        return Ok(Response::from_parts(head, Body::Empty));
    }
    remove_hop_by_hop(&mut head.headers);
    Ok(Response::from_parts(head, body))
}
