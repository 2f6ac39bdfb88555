//! The limit on requests that the application works on, where it adapts to latency.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use weft_mesh::concurrency::{AdaptiveLimit, ConcurrencyPolicy};
use weft_mesh::reason::Reason;

use crate::error::{BoxFailure, Failure};

/// What one worker has found out about how much the application can work on.
#[derive(Debug, Default)]
pub(crate) struct Adaptive(RefCell<Option<AdaptiveLimit>>);

impl Adaptive {
    /// Lets one more request in, besides those in flight, if that is within the limit. What was found out under other
    /// bounds stays.
    pub(crate) fn admit(
        &self,
        policy: ConcurrencyPolicy,
        in_flight: u32,
        now: Instant,
    ) -> Result<(), BoxFailure> {
        let mut known = self.0.borrow_mut();
        let known = known.get_or_insert_with(|| AdaptiveLimit::new(policy, now));
        known.set_policy(policy);
        let limit = known.limit();
        if in_flight < limit {
            return Ok(());
        }
        let detail = format!("the application works on as many requests as it keeps up with: {limit}");
        Err(Failure::internal(Reason::Overloaded, detail))
    }

    /// Takes note of an answer, or of a wait that ended without one, with the requests in flight then.
    pub(crate) fn answered(&self, now: Instant, latency: Duration, in_flight: u32) {
        if let Some(limit) = &mut *self.0.borrow_mut() {
            limit.observe(now, latency, in_flight);
        }
    }
}
