//! How many frames of a kind may still come.

use std::time::{Duration, Instant};

/// A number of frames that grows with time, and with what is useful.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u32,
    most: u32,
    per_second: u32,
    /// Since when it has not grown with time; the clock is asked only when nothing is left.
    since: Option<Instant>,
}

impl Allowance {
    pub(super) const fn new(most: u32, per_second: u32) -> Self {
        Self { left: most, most, per_second, since: None }
    }

    /// One frame came; the error is that none should have.
    pub(super) fn take(&mut self, now: &impl Fn() -> Instant) -> Result<(), ()> {
        if self.since.is_none() {
            self.since = Some(now());
        }
        if self.left == 0 {
            self.grow(now());
        }
        self.left = self.left.checked_sub(1).ok_or(())?;
        Ok(())
    }

    pub(super) fn earn(&mut self, frames: u32) {
        self.left = self.left.saturating_add(frames).min(self.most);
    }

    fn grow(&mut self, now: Instant) {
        let passed = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let frames = passed.as_secs().saturating_mul(u64::from(self.per_second));
        if frames > 0 {
            self.since = Some(now);
            self.earn(u32::try_from(frames).unwrap_or(u32::MAX));
        }
    }
}
