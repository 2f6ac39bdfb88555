//! Requests that come around, and the marks by which they are known ([`weft_mesh::via`]).

use http::{Request, request};
use weft_mesh::reason::Reason;
use weft_mesh::route::RequestParts;
use weft_mesh::via::{X_WEFT_VIA, is_forwarded};

use crate::error::{BoxFailure, Failure};
use crate::runtime::shared::Shared;
use crate::runtime::worker::Worker;

/// Refuses a request that this proxy has sent before. One that somebody else has sent on gets a mark.
pub(super) fn check<B>(worker: &Worker, request: &mut Request<B>) -> Result<(), BoxFailure> {
    if !is_forwarded(request.headers()) {
        return Ok(());
    }
    let parts = RequestParts::new(request.method(), request.uri(), request.headers());
    let checked = worker.with_snapshot(|snapshot| {
        worker.shared.marks.check(&parts, snapshot.tls.as_ref().map(|tls| tls.identity()))
    });
    match checked {
        Ok(()) => {
            if let Some(field) = worker.shared.marks.field(&parts) {
                request.headers_mut().append(X_WEFT_VIA, field);
            }
            Ok(())
        }
        Err(problem) => Err(Failure::downstream(Reason::LoopDetected, problem.detail())),
    }
}

/// Marks a request that goes to where no sidecar tells the application that it comes from one.
pub(super) fn mark(shared: &Shared, parts: &mut request::Parts) {
    let request::Parts { method, uri, headers, .. } = parts;
    if let Some(field) = shared.marks.field(&RequestParts::new(method, uri, headers)) {
        headers.append(X_WEFT_VIA, field);
    }
}
