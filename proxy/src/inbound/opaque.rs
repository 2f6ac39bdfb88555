//! Opaque connections that arrive: admitted once, then carried both ways until they end or are let in no longer.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use weft_mesh::reason::Reason;

use super::{Arrival, Context, Upstream, revocation};
use crate::error::Failure;
use crate::observe::stats::{AuthorizationOutcome, Cause, Direction};
use crate::runtime::clock::{now, since};
use crate::runtime::overload;
use crate::transport::caller::Caller;
use crate::transport::relay::{Carried, Ended, relay};
use crate::transport::stream::Transport;
use crate::upstream::connect::Stream;

/// Time without a byte after which an opaque connection is given up.
const IDLE: Duration = Duration::from_hours(1);

/// Serves a connection whose bytes are carried as they are; `far` is open already where the client was slow.
pub(super) async fn opaque<S>(
    context: &Rc<Context>,
    near: S,
    far: Option<Stream>,
    arrival: &Arrival,
    caller: &Caller,
) where
    S: Transport,
{
    let upstream = Upstream::new(context, arrival, caller);
    if !may_connect(context, &upstream) {
        return near.abort();
    }
    if let Err(failure) = overload::admit(&context.worker.watch, &context.worker.shared.stats) {
        return refused(context, &upstream, &failure, near);
    }
    let _under_way = context.worker.shared.enter(Direction::Inbound);
    let far = match far {
        Some(far) => Ok(far),
        None => upstream.forward.connector().connect().await,
    };
    match far {
        Ok(far) => carry(context, caller, &upstream, near, far).await,
        Err(failure) => refused(context, &upstream, &failure, near),
    }
}

/// Rejects a connection that is not carried anywhere, and counts it. Its client sees that nobody took it.
pub(super) fn refused<S: Transport>(context: &Context, upstream: &Upstream, failure: &Failure, near: S) {
    near.abort();
    drop(near);
    count_refused(context, upstream, failure.reason, failure.counts());
    tracing::info!(peer = %upstream.peer, %failure, "connection refused");
}

/// Whether a caller may connect, which is counted.
pub(super) fn may_connect(context: &Context, upstream: &Upstream) -> bool {
    if is_allowed(context, upstream) {
        context.worker.shared.stats.authorized(AuthorizationOutcome::Allowed);
        return true;
    }
    context.worker.shared.stats.authorized(AuthorizationOutcome::Denied);
    count_refused(context, upstream, Reason::Denied, false);
    tracing::info!(peer = %upstream.peer, port = upstream.port, "connection denied by policy");
    false
}

/// Whether policies let a caller connect.
pub(super) fn is_allowed(context: &Context, upstream: &Upstream) -> bool {
    context.worker.with_snapshot(|snapshot| revocation::is_allowed(&snapshot.inbound, upstream))
}

/// Carries bytes both ways until both sides have ended, or the caller is let in no longer: of bytes that nothing is known
/// of, no moment is better than another.
pub(super) async fn carry<S, F>(context: &Context, caller: &Caller, upstream: &Rc<Upstream>, near: S, far: F)
where
    S: Transport,
    F: Transport,
{
    let began = now();
    upstream.edge.connection_opened();
    let mut log = context.worker.shared.access.connection(Direction::Inbound, upstream.peer);
    if let Some(log) = &mut log {
        upstream.describe(&mut log.entry);
    }
    let mut carried = Carried::default();
    let policies = context.worker.with_snapshot(|snapshot| Arc::clone(&snapshot.inbound));
    let admitted = context.admit(upstream, policies);
    let cut = async {
        tokio::select! {
            () = caller.disbelieved() => {}
            () = admitted.banned() => {}
        }
    };
    let ended = relay(near, far, IDLE, &context.worker.pipes, &mut carried, cut).await;
    let cause = matches!(ended, Err(Ended::Cut)).then_some(Cause::Failed(Reason::Denied));
    let failed = ended.is_err();
    upstream.edge.sent(carried.forth);
    upstream.edge.received(carried.back);
    upstream.edge.connection_closed(cause, failed, since(began));
    if let Some(mut log) = log {
        log.relayed(&carried, failed);
        log.ended(cause, failed);
        log.end(&context.worker.shared);
    }
}

/// Counts, and logs, a connection that is not carried anywhere.
fn count_refused(context: &Context, upstream: &Upstream, reason: Reason, failed: bool) {
    let cause = Cause::Failed(reason);
    context.worker.shared.stats.answered(Direction::Inbound, cause);
    upstream.edge.connection_refused(cause, failed);
    let Some(mut log) = context.worker.shared.access.connection(Direction::Inbound, upstream.peer) else {
        return;
    };
    upstream.describe(&mut log.entry);
    log.failed(reason);
    log.end(&context.worker.shared);
}
