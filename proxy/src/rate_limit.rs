//! Limits that a service keeps for all proxies, by Envoy's `envoy.service.ratelimit.v3.RateLimitService`.
//!
//! The worker that has the request asks by itself: the question is one message of gRPC on a connection that it keeps, to
//! an endpoint that it chooses as for any other service, in mutual TLS where that is in the mesh. So nothing crosses
//! threads, and a service that hangs or fails is balanced around and ejected like any other.
//!
//! Imported by both sides.

mod ask;
#[cfg(test)]
mod tests;
mod wire;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use weft_mesh::filter::{Counted, GlobalLimit, frames};
use weft_mesh::reason::Reason;

use self::wire::{Answered, Verdict};
use crate::error::{BoxFailure, Failure};
use crate::observe::stats::GlobalLimitOutcome;
use crate::runtime::worker::Worker;
use crate::snapshot::Backend;

pub(crate) use self::wire::PATH;

/// Header fields that the service adds to a request that it lets through, and to its answer.
#[derive(Debug, Default)]
pub(crate) struct Added {
    request: HeaderMap,
    response: HeaderMap,
}

impl Added {
    /// Adds to a request.
    pub(crate) fn to_request(&self, headers: &mut HeaderMap) {
        append(&self.request, headers);
    }

    /// Adds to an answer.
    pub(crate) fn to_response(&self, headers: &mut HeaderMap) {
        append(&self.response, headers);
    }
}

fn append(fields: &HeaderMap, headers: &mut HeaderMap) {
    for (name, value) in fields {
        headers.append(name, value.clone());
    }
}

/// Asks whether a request is within a limit that a service keeps.
pub(crate) async fn admit(
    worker: &Rc<Worker>,
    limit: &GlobalLimit<Arc<Backend>>,
    request: &Counted<'_>,
) -> Result<Option<Box<Added>>, BoxFailure> {
    let descriptors = limit.descriptors.of(request);
    if descriptors.is_empty() {
        return Ok(None);
    }
    let question = wire::question(&limit.domain, &descriptors);
    let answered = ask::ask(worker, &limit.service, question, limit.timeout).await;
    let stats = &worker.shared.stats;
    match answered {
        Ok(Answered { verdict: Verdict::Over { reset }, response, .. }) => {
            stats.globally_limited(GlobalLimitOutcome::Over);
            Err(over(&limit.domain, reset, response))
        }
        Ok(Answered { verdict: Verdict::Within, request, response }) => {
            stats.globally_limited(GlobalLimitOutcome::Within);
            let added = !request.is_empty() || !response.is_empty();
            Ok(added.then(|| Box::new(Added { request, response })))
        }
        Err(problem) if limit.fail_closed => {
            stats.globally_limited(GlobalLimitOutcome::Refused);
            let detail = format!("the limit of {} could not be asked for: {problem}", limit.domain);
            Err(Failure::internal(Reason::LimitUnavailable, detail))
        }
        Err(problem) => {
            stats.globally_limited(GlobalLimitOutcome::Unanswered);
            tracing::debug!(domain = &*limit.domain, %problem, "let a request through without its limit");
            Ok(None)
        }
    }
}

fn over(domain: &str, reset: Option<Duration>, fields: HeaderMap) -> BoxFailure {
    let mut failure = Failure::internal(Reason::RateLimited, format!("over the limit of {domain}"));
    failure.retry_after = reset;
    failure.fields = (!fields.is_empty()).then(|| Box::new(fields));
    failure
}

/// A header field that a service wants added; one that cannot be is left out, as is one that frames the message.
fn field(name: &str, value: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let name = name.parse().ok().filter(|name| !frames(name))?;
    Some((name, HeaderValue::from_bytes(value).ok()?))
}
