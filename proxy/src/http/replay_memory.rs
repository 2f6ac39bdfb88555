//! How much of requests' bodies is kept for sending them again.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A longer body goes on streaming and is merely not sent again: no request fails because of what is kept.
pub const REPLAY_LIMIT: usize = 64 * 1024;

/// Bytes of bodies that a proxy keeps at once: of 512 requests whose bodies are as long as can be kept. Beyond that, bodies
/// go on streaming and are merely not sent again.
pub const REPLAY_MEMORY: usize = 512 * REPLAY_LIMIT;

/// How much is kept of all bodies together, by all workers.
#[derive(Debug)]
pub struct ReplayMemory {
    taken: AtomicUsize,
    limit: AtomicUsize,
}

impl Default for ReplayMemory {
    fn default() -> Self {
        Self { taken: AtomicUsize::new(0), limit: AtomicUsize::new(REPLAY_MEMORY) }
    }
}

impl ReplayMemory {
    /// Bytes that are kept.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Lets no more than `limit` bytes be kept from now on.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Takes room for so many bytes, if there is that much.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let fits = self.taken.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes)
            <= self.limit.load(Ordering::Relaxed);
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    /// Gives room back.
    pub(super) fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}
