//! The one clock of the request path: the runtime's, so that tests which pause it pause everything.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Time between two lines of the log about what whoever likes can cause at will.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// Now.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// How long ago that was.
pub fn since(moment: Instant) -> Duration {
    now().saturating_duration_since(moment)
}

/// Lets one line of the log through a minute.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// Whether it is time for a line, which then is said.
    pub fn is_due(&self) -> bool {
        let Some(mut told) = self.0.try_lock() else { return false };
        let due = told.is_none_or(|told| since(told) >= TELL_EVERY);
        if due {
            *told = Some(now());
        }
        due
    }
}
