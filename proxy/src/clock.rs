//! The one clock of the request path: the runtime's, so that tests which pause it pause everything.

use std::time::{Duration, Instant};

/// Now.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// How long ago that was.
pub fn since(moment: Instant) -> Duration {
    now().saturating_duration_since(moment)
}
