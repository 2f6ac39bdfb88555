//! The end of a request on which nothing has moved for too long.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use http::Response;
use weft_mesh::reason::Reason;
use weft_mesh::violation::Violation;

use super::Recorder;
use crate::error::{BoxFailure, Failure};
use crate::http::body::Body;
use crate::observe::stats::Direction;

/// What a request is answered on which nothing has moved for too long: if it is its content that did not come, it was its
/// client that stopped (RFC 9110, section 15.5.9).
pub(super) fn stood_still(recorder: &Recorder, direction: Direction, key: usize) -> BoxFailure {
    if recorder.waiting.is_for_client(key) {
        recorder.shared.stats.violated(direction, Violation::Idle);
        return Failure::downstream(Violation::Idle.reason(), Violation::Idle.detail());
    }
    let detail = "nothing moved for too long; see timeouts.streamIdle and --stream-idle-timeout";
    Failure::upstream(Reason::IdleTimeout, detail)
}

/// How `forwarding` a request ends, which [`Exchange::watch`](super::Exchange::watch) has given a key; it fails once nothing has moved for too long.
pub async fn unless_still(
    recorder: &Recorder,
    direction: Direction,
    key: usize,
    mut forwarding: Pin<&mut impl Future<Output = Result<Response<Body>, BoxFailure>>>,
) -> Result<Response<Body>, BoxFailure> {
    std::future::poll_fn(|cx| match forwarding.as_mut().poll(cx) {
        Poll::Pending => {
            recorder.waiting.poll_over(key, cx).map(|()| Err(stood_still(recorder, direction, key)))
        }
        forwarded @ Poll::Ready(_) => forwarded,
    })
    .await
}
