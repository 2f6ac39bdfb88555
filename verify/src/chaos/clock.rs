//! One clock for all processes.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// Time since the system's start, the same in every process.
pub(super) fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// The time of day at the system's start, by which times of day become those of this clock.
pub(super) fn start() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().saturating_sub(now())
}
