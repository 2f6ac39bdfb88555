//! A bucket for each key, in bounded memory and without locks.

use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::quality::RandomState;

/// Keys that may be limited at once: 16 KiB.
const SLOTS: usize = 1024;
/// Places where a key may have its bucket.
const PROBES: usize = 8;

/// Buckets by key. One that is full again is as good as new and is given to the next key that wants a place; so only
/// keys seen in the last interval take room. When all of a key's places are taken it shares the bucket of another.
#[derive(Debug)]
pub(super) struct Each {
    slots: Box<[Slot]>,
    /// Seeded per process: nobody can choose a key that meets somebody else's.
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Slot {
    /// Hash of the key; 0: none yet.
    key: AtomicU64,
    full_at: AtomicU64,
}

impl Each {
    pub(super) fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| Slot::default()).collect(), hasher: RandomState::default() }
    }

    /// When the bucket of this key will be full, in nanoseconds; `now` likewise.
    pub(super) fn bucket(&self, key: impl Hash, now: u64) -> &AtomicU64 {
        let key = self.hasher.hash_one(key).max(1);
        let first = key as usize % SLOTS;
        let (wrapped, straight) = self.slots.split_at(first);
        let places = || straight.iter().chain(wrapped).take(PROBES);
        if let Some(slot) = places().find(|slot| slot.key.load(Ordering::Relaxed) == key) {
            return &slot.full_at;
        }
        for slot in places() {
            let holder = slot.key.load(Ordering::Relaxed);
            if slot.full_at.load(Ordering::Relaxed) > now {
                continue;
            }
            match slot.key.compare_exchange(holder, key, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return &slot.full_at,
                Err(other) if other == key => return &slot.full_at,
                Err(_) => {}
            }
        }
        // `first` is below the number of slots, so that there is one there.
        straight.first().map_or(&self.slots[0].full_at, |slot| &slot.full_at)
    }
}
