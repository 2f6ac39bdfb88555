//! Copies of requests (`HTTPRequestMirrorFilter`): sent once, answered into nothing, and never in the way of the request
//! itself.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use http_body_util::BodyExt as _;
use smallvec::SmallVec;
use weft_hop::RequestMetadata;
use weft_mesh::balance::{PickContext, TunnelProtocol};
use weft_mesh::deadline::Limit;
use weft_mesh::filter::Filters;
use weft_mesh::reason::Reason;

use super::attempts::{answered_by_proxy, version_for};
use super::loops;
use crate::error::{BoxFailure, Failure};
use crate::http::body::Body;
use crate::http::exchange::Exchange;
use crate::http::informational::Informational;
use crate::http::local_reply::is_grpc;
use crate::observe::stats::{Cause, Direction};
use crate::runtime::worker::Worker;
use crate::snapshot::Backend;
use crate::upstream::way::Way;

/// Time for the whole answer to a copy.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Copies that may be under way to a service without a limit of requests of its own. Those beyond are not sent: nobody waits
/// for them, and a service that answers none would else hold as many as there are requests.
const MOST: u32 = 100;

/// A copy that is to be sent.
pub(super) struct Copy {
    backend: Arc<Backend>,
    parts: http::request::Parts,
}

/// Copies of one request.
pub(super) type Copies = SmallVec<[Copy; 1]>;

/// What goes elsewhere, as the request is now.
pub(super) fn copies(filters: &Filters<Arc<Backend>>, parts: &http::request::Parts, copies: &mut Copies) {
    for mirror in filters.mirrors.iter().filter(|mirror| mirror.fraction.hits(fastrand::u64(..))) {
        let mut parts = parts.clone();
        // What answers a copy answers nobody.
        parts.extensions.remove::<Informational>();
        copies.push(Copy { backend: Arc::clone(&mirror.backend), parts });
    }
}

/// Sends a copy of a request that goes `way`, and waits for nothing.
pub(super) fn send(worker: &Rc<Worker>, way: &Way, copy: Copy, body: Body) {
    let Copy { backend, mut parts } = copy;
    let limit = if backend.policy.max_requests == 0 { MOST } else { backend.policy.max_requests };
    let Some(place) = worker.service(&backend).usage().requests.enter(limit) else {
        worker.shared.stats.unmirrored();
        tracing::debug!(service = %backend.service, limit, "a copy is left out: too many are under way");
        return;
    };
    let mut exchange = Exchange::new(&worker.recorder, Direction::Outbound);
    exchange.mirrored = true;
    exchange.place = Some(place);
    exchange.grpc = is_grpc(&parts.headers);
    exchange.way = Way {
        destination: way.destination.clone(),
        route: way.route.clone(),
        backend: Some(Arc::clone(&backend)),
        ..Way::default()
    };
    exchange.ends = Some((exchange.began + TIMEOUT, Limit::Request));
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        match sent(&worker, &backend, &mut parts, body, &mut exchange).await {
            Ok(response) => {
                let mut body = exchange.answer(response).into_body();
                while let Some(Ok(_)) = body.frame().await {}
            }
            Err(failure) => exchange.unanswered(&failure),
        }
    });
}

async fn sent(
    worker: &Rc<Worker>,
    backend: &Arc<Backend>,
    parts: &mut http::request::Parts,
    body: Body,
    exchange: &mut Exchange,
) -> Result<Response<Body>, BoxFailure> {
    let service = worker.service(backend);
    let mut attempt = service.attempt(PickContext::default())?;
    exchange.way.sent_to(&attempt.peer);
    if attempt.peer.endpoint().hop != TunnelProtocol::Weft {
        loops::mark(&worker.shared, parts);
    }
    let tls = worker.with_snapshot(|snapshot| snapshot.tls.clone());
    let metadata = RequestMetadata {
        destination: Some(weft_hop::Destination { service: service.label(), port: backend.service.port }),
        mirrored: true,
        ..RequestMetadata::default()
    };
    let version = version_for(backend, parts.version);
    let sending = attempt.peer.send(parts, body, &metadata, version, tls.as_ref());
    let ended = tokio::time::timeout(TIMEOUT, sending).await.unwrap_or_else(|_| {
        Err(Failure::upstream(Reason::RequestTimeout, "a copy was not answered in time"))
    });
    let (response, metadata) = ended.inspect_err(|failure| attempt.failed(failure))?;
    attempt.head(&response, &metadata, exchange.grpc);
    exchange.cause = answered_by_proxy(&attempt, &response, &metadata).map(Cause::Failed);
    exchange.attempt = Some(attempt);
    Ok(response)
}
