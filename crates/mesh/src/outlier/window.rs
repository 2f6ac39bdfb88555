//! Successes and failures of the last seconds.

use std::time::{Duration, Instant};

/// Parts of the window: what is counted is never older than the window, nor younger by more than a tenth of it.
const SLICES: usize = 10;

#[derive(Debug, Clone, Copy, Default)]
struct Slice {
    successes: u32,
    failures: u32,
}

/// A sliding window of counts.
#[derive(Debug)]
pub(super) struct Window {
    origin: Instant,
    /// The length that was given with the last count.
    length: Option<Duration>,
    /// Number of the newest slice since the origin.
    newest: u64,
    slices: [Slice; SLICES],
}

impl Window {
    pub(super) fn new(now: Instant) -> Self {
        Self { origin: now, length: None, newest: 0, slices: [Slice::default(); SLICES] }
    }

    pub(super) fn count(&mut self, now: Instant, length: Duration, success: bool) {
        self.forget(now, length);
        if let Some(slice) = self.slices.get_mut((self.newest % SLICES as u64) as usize) {
            let counter = if success { &mut slice.successes } else { &mut slice.failures };
            *counter = counter.saturating_add(1);
        }
    }

    /// Successes, and all; as of the last count.
    pub(super) fn sums(&self) -> (u32, u32) {
        self.slices.iter().fold((0, 0), |(successes, all): (u32, u32), slice| {
            let both = slice.successes.saturating_add(slice.failures);
            (successes.saturating_add(slice.successes), all.saturating_add(both))
        })
    }

    fn forget(&mut self, now: Instant, length: Duration) {
        if self.length.replace(length).is_some_and(|before| before != length) {
            // Of slices of another length it can't be told how old they are.
            *self = Self { length: Some(length), ..Self::new(now) };
        }
        let slice = (length.as_nanos() / SLICES as u128).max(1);
        let newest = (now.saturating_duration_since(self.origin).as_nanos() / slice) as u64;
        let passed = newest.saturating_sub(self.newest).min(SLICES as u64);
        for step in 1..=passed {
            if let Some(old) = self.slices.get_mut(((self.newest + step) % SLICES as u64) as usize) {
                *old = Slice::default();
            }
        }
        // After a pause of many slices all of them were emptied above, whichever is the newest.
        self.newest = self.newest.max(newest);
    }
}
