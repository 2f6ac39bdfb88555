//! One request of the application: what it is for, and the answer it gets.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response, Version, header};
use hyper::body::Incoming;
use weft_mesh::headers::{may_be_forwarded, remove_hop_by_hop, remove_proxy_credentials};

use super::destination::{Found, find, known};
use super::{Downstream, Target, exchange, explicit, loops};
use crate::error::{BoxFailure, Failure};
use crate::http::authority::objection;
use crate::http::body::Body;
use crate::http::client::HttpVersion;
use crate::http::exchange::{Exchange, unless_still};
use crate::http::local_reply::{answer, answer_to_last, is_grpc};
use crate::http::upgrade::{self, Upgrading, is_tunnel};
use crate::observe::stats::{Cause, Direction};
use crate::runtime::overload;
use crate::runtime::worker::Worker;
use crate::snapshot::Destination;
use weft_mesh::http_validation::{host_from_authority, host_of_target};

/// Answers one request.
pub(crate) async fn handle(
    worker: Rc<Worker>,
    downstream: Rc<Downstream>,
    request: Request<Incoming>,
) -> Response<Body> {
    let http1 = request.version() != Version::HTTP_2;
    let mut exchange = Exchange::new(&worker.recorder, Direction::Outbound);
    exchange.grpc = is_grpc(request.headers());
    exchange.log = worker.shared.access.request(Direction::Outbound, downstream.source, &request);
    let key = exchange.watch(&downstream.patience);
    let forwarded = {
        let forwarding = pin!(forward(&worker, &downstream, request, &mut exchange));
        unless_still(&worker.recorder, Direction::Outbound, key, forwarding).await
    };
    let response = match forwarded {
        Ok(response) => response,
        Err(failure) => {
            exchange.fail(&failure);
            tracing::debug!(%failure, "answered in place of the upstream");
            answer(&failure, exchange.grpc)
        }
    };
    let mut response = exchange.answer(response);
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
    exchange: &mut Exchange,
) -> Result<Response<Body>, BoxFailure> {
    if let Err(failure) = admit(worker, &mut request) {
        exchange.way.destination = asked_for(worker, downstream, &request);
        return Err(failure);
    }
    if !may_be_forwarded(&mut request) {
        exchange.way.destination = asked_for(worker, downstream, &request);
        exchange.answered_here(Cause::MaxForwards);
        return Ok(answer_to_last(request.method()));
    }
    let name = match &downstream.target {
        // All of it is for the destination, CONNECT, an absolute target and the credentials for a proxy, too: it may be a
        // proxy itself.
        Target::Fixed(name) => {
            host_of_target(&mut request);
            Arc::clone(name)
        }
        Target::ByAuthority if is_tunnel(&request) => {
            let answered = Box::pin(explicit::connect(worker, downstream, request)).await;
            if answered.as_ref().err().is_none_or(|failure| !failure.is_of_client()) {
                // What comes through is counted, and so is a connection that was not made.
                exchange.leave_uncounted();
            }
            return answered;
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
    match find(worker, downstream, &name).await {
        Found::Known(destination) => {
            exchange::run(worker, downstream, &destination, Box::new(request), exchange).await
        }
        Found::Absent | Found::Silent => Box::pin(pass_through(worker, &name, request, exchange)).await,
    }
}

/// What a request is counted at that goes nowhere: what it is for, as far as that is known without waiting.
fn asked_for(
    worker: &Worker,
    downstream: &Downstream,
    request: &Request<Incoming>,
) -> Option<Arc<Destination>> {
    let named = || explicit::destination(request).ok();
    let name = downstream.target.name().map_or_else(named, |name| Some(name.into()));
    name.and_then(|name| known(worker, &name))
}

/// Refuses what is no request that anybody should get, and what is to be shed.
fn admit(worker: &Rc<Worker>, request: &mut Request<Incoming>) -> Result<(), BoxFailure> {
    if let Some(violation) = objection(request) {
        worker.shared.stats.violated(Direction::Outbound, violation);
        return Err(Failure::downstream(violation.reason(), violation.detail()));
    }
    overload::admit_request(&worker.watch, &worker.shared.stats, request.uri().path())?;
    loops::check(worker, request)
}

async fn pass_through(
    worker: &Rc<Worker>,
    name: &Arc<str>,
    mut request: Request<Incoming>,
    exchange: &mut Exchange,
) -> Result<Response<Body>, BoxFailure> {
    // Whoever dialled it knows what it speaks.
    let version = if request.version() == Version::HTTP_2 { HttpVersion::Http2 } else { HttpVersion::Http1 };
    let asked = upgrade::asked(&mut request);
    let (mut parts, body) = request.into_parts();
    remove_hop_by_hop(&mut parts.headers);
    let (body, tunnel) = match asked {
        None => (Body::from(body), None),
        Some(upgrade::Asked { change, connection }) => {
            exchange.allow_tunnel();
            change.ask(&mut parts.headers);
            let content = change.content(body);
            let (body, start) = upgrade::tunnel(connection);
            (Upgrading::body(content, body), Some((change, start)))
        }
    };
    loops::mark(&worker.shared, &mut parts);
    let client = worker.passthrough.client(name);
    let body = exchange.upload(body);
    let mut response = client.send(Box::new(Request::from_parts(parts, body)), version).await?;
    if let Some((change, start)) = tunnel
        && change.is_agreed(response.status())
    {
        exchange.tunnel = Some(Box::new(start));
        return Ok(change.agreed(response));
    }
    remove_hop_by_hop(response.headers_mut());
    Ok(response)
}
