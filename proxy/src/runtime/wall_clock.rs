//! The wall clock, as an argument.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Longest sleep before the wall clock is looked at again: it may be set, and it goes on while a machine sleeps, which
/// timers do not.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Tells the time of day.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

impl Clock {
    /// The operating system's.
    pub(crate) fn system() -> Self {
        Self(Arc::new(SystemTime::now))
    }

    /// One that tests drive.
    #[cfg(test)]
    pub(crate) fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub(crate) fn now(&self) -> SystemTime {
        (self.0)()
    }

    /// Waits until it is so late, or until it is worth looking again.
    pub(crate) async fn sleep(&self, until: SystemTime) {
        let left = until.duration_since(self.now()).unwrap_or_default();
        tokio::time::sleep(left.min(LOOK_EVERY)).await;
    }
}

/// A moment as RFC 3339 text, in whole seconds.
pub(crate) fn text(time: SystemTime) -> String {
    let mut stamp = prost_types::Timestamp::from(time);
    stamp.nanos = 0;
    stamp.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_in_whole_seconds() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_478_400_900);
        assert_eq!(text(time), "2026-11-24T00:00:00Z");
    }
}
