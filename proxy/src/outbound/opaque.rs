//! Connections whose bytes are passed on as they are.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use weft_mesh::balance::Wish;
use weft_mesh::outlier::Outcome;
use weft_mesh::reason::Reason;

use super::destination::{Found, find};
use super::{Downstream, Target, passthrough};
use crate::clock::{now, since};
use crate::error::{BoxFailure, Failure};
use crate::snapshot::Destination;
use crate::stats::{Direction, EdgeKey};
use crate::stream::prefixed::Prefixed;
use crate::stream::relay::{Carried, relay as copy};
use crate::upstream::connect::Stream;
use crate::worker::Worker;

/// Time without a byte after which an opaque connection is given up.
pub(super) const IDLE: Duration = Duration::from_hours(1);

/// Endpoints that are tried after the first one.
const RETRIES: usize = 2;

/// Carries a connection to an endpoint of its destination.
pub(super) async fn relay<S>(worker: Rc<Worker>, near: Prefixed<S>, downstream: Rc<Downstream>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Target::Fixed(name) = &downstream.target else { return };
    let _under_way = worker.shared.enter();
    let result = match find(&worker, name).await {
        Found::Known(destination) => to_service(&worker, &destination, near).await,
        Found::Absent | Found::Silent => to_address(&worker, name, near).await,
    };
    if let Err(failure) = result {
        worker.shared.stats.answered(Direction::Outbound, failure.reason);
        tracing::info!(destination = %name, source = %downstream.source, %failure, "connection refused");
    }
}

async fn to_service<S>(
    worker: &Rc<Worker>,
    destination: &Destination,
    near: Prefixed<S>,
) -> Result<(), BoxFailure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let backend = destination.tcp_backend(fastrand::u64(..))?;
    let service = worker.service(backend);
    let tls = worker.snapshot().tls.clone();
    let mut tried = Vec::new();
    loop {
        let mut attempt = service.attempt(Wish { tried: &tried, ..Wish::default() })?;
        let began = now();
        match attempt.peer.connect_tcp(tls.as_ref()).await {
            Ok((far, identity)) => {
                attempt.answered(Outcome::Success);
                let endpoint = attempt.peer.endpoint();
                let edge = worker.shared.stats.edge(EdgeKey {
                    direction: Direction::Outbound,
                    destination: destination.service.clone(),
                    backend: backend.service.clone(),
                    route: "".into(),
                    workload: endpoint.workload.clone(),
                    version: endpoint.version.clone(),
                    peer: identity,
                });
                edge.connection_opened();
                let (carried, failed) = carry(near, far).await;
                edge.sent(carried.forth);
                edge.received(carried.back);
                edge.connection_closed(failed, since(began));
                return Ok(());
            }
            Err(failure) => {
                attempt.failed(&failure);
                tried.push(attempt.peer.endpoint().id.clone());
                // A connection that was not made has carried nothing: another endpoint may be tried, twice.
                if tried.len() > RETRIES {
                    return Err(failure);
                }
            }
        }
    }
}

async fn to_address<S>(worker: &Rc<Worker>, name: &str, near: Prefixed<S>) -> Result<(), BoxFailure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let address = passthrough::resolve(name).await?;
    if worker.is_own_address(address) {
        let detail = format!("{name} leads back to this proxy");
        return Err(Failure::downstream(Reason::BadRequest, detail));
    }
    let far = passthrough::connector(address).connect().await?;
    carry(near, far).await;
    Ok(())
}

async fn carry<S: AsyncRead + AsyncWrite + Unpin>(near: Prefixed<S>, far: Stream) -> (Carried, bool) {
    let mut carried = Carried::default();
    let result = copy(near, far, IDLE, &mut carried).await;
    (carried, result.is_err())
}
