//! CONNECT on the explicit listener (RFC 9110 section 9.3.6): a tunnel to a destination.

use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use weft_mesh::reason::Reason;

use super::{Downstream, Target, dialled};
use crate::error::{BoxFailure, Failure};
use crate::http::body::Body;
use crate::worker::Worker;

/// Answers CONNECT and serves what comes through the tunnel as a connection to the destination that it names.
pub(super) fn connect(
    worker: Rc<Worker>,
    downstream: &Downstream,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, BoxFailure> {
    let Some(authority) = request.uri().authority() else {
        return Err(Failure::downstream(Reason::BadRequest, "CONNECT needs HOST:PORT as its target"));
    };
    if authority.port_u16().is_none() {
        let detail = format!("CONNECT needs HOST:PORT as its target, {authority} has no port");
        return Err(Failure::downstream(Reason::BadRequest, detail));
    }
    let target = Target::Fixed(Arc::from(authority.as_str()));
    let source = downstream.source;
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::task::spawn_local(async move {
        match upgrade.await {
            Ok(upgraded) => {
                dialled(worker, TokioIo::new(upgraded), Rc::new(Downstream { target, source })).await;
            }
            Err(error) => tracing::debug!(%error, "a tunnel was agreed but did not come about"),
        }
    });
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::OK;
    Ok(response)
}
