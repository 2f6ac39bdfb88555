//! Copies of requests (`HTTPRequestMirrorFilter`): sent once, answered into nothing, and never in the way of the request
//! itself.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use smallvec::SmallVec;
use weft_hop::RequestMetadata;
use weft_mesh::balance::{Hop, Wish};
use weft_mesh::filter::Filters;
use weft_mesh::name::ServicePort;
use weft_mesh::outcome::{Outcome, grpc_status};
use weft_mesh::reason::Reason;

use super::attempts::version_for;
use super::loops;
use crate::clock::{now, since};
use crate::error::{BoxFailure, Failure};
use crate::http::answer::is_grpc;
use crate::http::body::Body;
use crate::http::interim::Interim;
use crate::snapshot::Backend;
use crate::worker::Worker;

/// Time for the whole answer to a copy.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Copies that may be under way to a service without a limit of requests of its own. Those beyond are not sent: nobody waits
/// for them, and a service that answers none would else hold as many as there are requests.
const MOST: u32 = 100;
/// What the copies' edges have as their route, so that no figure of a split counts them.
const ROUTE: &str = "mirror";

/// A copy that is to be sent.
pub(super) struct Copy {
    backend: Arc<Backend>,
    parts: http::request::Parts,
}

/// What goes elsewhere, as the request is now.
pub(super) fn copies(
    filters: &Filters<Arc<Backend>>,
    parts: &http::request::Parts,
    copies: &mut SmallVec<[Copy; 1]>,
) {
    for mirror in filters.mirrors.iter().filter(|mirror| mirror.fraction.hits(fastrand::u64(..))) {
        let mut parts = parts.clone();
        // What answers a copy answers nobody.
        parts.extensions.remove::<Interim>();
        copies.push(Copy { backend: Arc::clone(&mirror.backend), parts });
    }
}

/// Sends a copy and waits for nothing.
pub(super) fn send(worker: &Rc<Worker>, destination: &ServicePort, mut copy: Copy, body: Body) {
    let (worker, destination) = (Rc::clone(worker), destination.clone());
    tokio::task::spawn_local(async move {
        let _under_way = worker.shared.enter();
        let service = worker.service(&copy.backend);
        let limit =
            if copy.backend.policy.max_requests == 0 { MOST } else { copy.backend.policy.max_requests };
        let Some(_place) = service.usage().requests.enter(limit) else {
            tracing::debug!(service = %copy.backend.service, limit, "a copy is left out: too many are under way");
            return;
        };
        let Ok(mut attempt) = service.attempt(Wish::default()) else { return };
        let tls = worker.with_snapshot(|snapshot| snapshot.tls.clone());
        let version = version_for(&copy.backend, copy.parts.version);
        if attempt.peer.endpoint().hop != Hop::Weft {
            loops::mark(&worker.shared, &mut copy.parts);
        }
        let metadata = RequestMetadata {
            destination: Some(weft_hop::Destination {
                service: service.label(),
                port: copy.backend.service.port,
            }),
            ..RequestMetadata::default()
        };
        let began = now();
        let (peer, grpc) = (Rc::clone(&attempt.peer), is_grpc(&copy.parts.headers));
        let exchange = async {
            let (response, answered) = peer.send(&copy.parts, body, &metadata, version, tls.as_ref()).await?;
            attempt.head(&response, &answered, grpc);
            let status = response.status();
            let mut body = response.into_body();
            while let Some(frame) = body.frame().await {
                if let Some(code) = frame?.trailers_ref().filter(|_| grpc).and_then(grpc_status) {
                    attempt.trailed(Outcome::of_grpc(code));
                }
            }
            Ok::<_, BoxFailure>(status)
        };
        let ended = tokio::time::timeout(TIMEOUT, exchange).await;
        let ended = ended.unwrap_or_else(|_| {
            Err(Failure::upstream(Reason::RequestTimeout, "a copy was not answered in time"))
        });
        if let Err(failure) = &ended {
            attempt.failed(failure);
        }
        let status = ended.ok();
        let failed = status.is_none_or(|status| status.is_server_error());
        let edge =
            attempt.peer.edge(&worker.shared.stats, &destination, &copy.backend.service, &ROUTE.into());
        edge.request(status, failed, since(began));
    });
}
