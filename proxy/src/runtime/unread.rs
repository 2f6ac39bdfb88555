//! How many octets this worker holds for readers that do not take them, and may be made to hold.
//!
//! A reader that stops is stopped itself, stream by stream, so that it takes nothing away from others; but there are any
//! number of streams. Once too much is held, those that begin from then on get little until their readers ask for more: the
//! rest stays where it comes from. Nothing here is shared with other workers, and each has its part of what the process may
//! hold.

use std::cell::Cell;

/// Above this, in octets, what is held for readers that do not take it is too much.
const HELD: usize = 2 * 1024 * 1024;
/// Above this, in octets, what peers may send unasked, before it is known whether anybody reads it, is too much.
const PROMISED: usize = 16 * 1024 * 1024;
/// The least part of a worker, where there are many: what a few streams need.
const LEAST_HELD: usize = 256 * 1024;
const LEAST_PROMISED: usize = 4 * 1024 * 1024;

/// Connections of HTTP/2 that a worker has accepted whose streams have whole windows. That of one application, and those of a
/// few, are; with any number of them, what all of their streams may hold would have no bound worth the name.
const WHOLE_WINDOWS: usize = 8;

thread_local! {
    static BUDGET: Budget = const { Budget::new() };
}

/// What one worker holds.
struct Budget {
    held: Cell<usize>,
    promised: Cell<usize>,
    most_held: Cell<usize>,
    most_promised: Cell<usize>,
    connections: Cell<usize>,
}

impl Budget {
    const fn new() -> Self {
        Self {
            held: Cell::new(0),
            promised: Cell::new(0),
            most_held: Cell::new(HELD),
            most_promised: Cell::new(PROMISED),
            connections: Cell::new(0),
        }
    }

    fn change(&self, held: isize, promised: isize) {
        self.held.set(self.held.get().saturating_add_signed(held));
        self.promised.set(self.promised.get().saturating_add_signed(promised));
    }
}

/// Gives this thread its part of the process's budget, as one of so many workers.
pub fn divide(workers: usize) {
    let workers = workers.max(1);
    BUDGET.with(|budget| {
        budget.most_held.set((HELD / workers).max(LEAST_HELD));
        budget.most_promised.set((PROMISED / workers).max(LEAST_PROMISED));
    });
}

/// Whether too much is held, or promised, for streams that begin now to get as much as usual.
pub fn is_short() -> bool {
    BUDGET.with(|budget| {
        budget.held.get() > budget.most_held.get() || budget.promised.get() > budget.most_promised.get()
    })
}

/// What one connection or stream has part in that; given back when it is dropped.
#[derive(Debug, Default)]
pub struct Part {
    held: Cell<usize>,
    promised: Cell<usize>,
}

impl Part {
    /// The part of a stream whose peer may send this much unasked.
    pub fn promised(octets: usize) -> Self {
        let part = Self::default();
        part.set(0, octets);
        part
    }

    /// The part of a stream that holds this much, as its reader has stopped.
    pub fn held(octets: usize) -> Self {
        let part = Self::default();
        part.set(octets, 0);
        part
    }

    /// Now it holds this much, and its peer may have it hold that much in all.
    pub fn set(&self, held: usize, promised: usize) {
        let held_before = self.held.replace(held);
        let promised_before = self.promised.replace(promised);
        if held_before == held && promised_before == promised {
            return;
        }
        BUDGET.with(|budget| {
            budget.change(
                held.wrapping_sub(held_before).cast_signed(),
                promised.wrapping_sub(promised_before).cast_signed(),
            );
        });
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.set(0, 0);
    }
}

/// An accepted connection of HTTP/2, whose windows stay for its whole life what they were at its beginning.
#[derive(Debug)]
pub struct Windows {
    others: usize,
}

impl Windows {
    /// Those of a connection that was just accepted.
    pub fn accepted() -> Self {
        BUDGET.with(|budget| {
            let others = budget.connections.get();
            budget.connections.set(others + 1);
            Self { others }
        })
    }

    /// The window of its streams, where it is usually `whole`: a quarter of that for a connection beside many, and `small` while
    /// too much is held.
    pub fn of_streams(&self, whole: u32, small: u32) -> u32 {
        match self.others {
            _ if is_short() => small,
            ..WHOLE_WINDOWS => whole,
            _ => whole / 4,
        }
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        BUDGET.with(|budget| budget.connections.set(budget.connections.get() - 1));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_given_back_counts_no_more() {
        assert!(!is_short());
        let stopped: Vec<_> = (0..=HELD / 1000).map(|_| Part::held(1000)).collect();
        assert!(is_short());
        drop(stopped);
        assert!(!is_short());
        let promised = Part::promised(PROMISED + 1);
        assert!(is_short());
        promised.set(0, PROMISED);
        assert!(!is_short());
    }

    #[test]
    fn one_of_many_workers_has_its_part_of_the_whole() {
        divide(4);
        let part = Part::default();
        part.set(HELD / 4, PROMISED / 4);
        assert!(!is_short());
        part.set(HELD / 4 + 1, 0);
        assert!(is_short());
        divide(1000);
        part.set(LEAST_HELD, LEAST_PROMISED);
        assert!(!is_short(), "each can hold what a few streams need");
    }

    #[test]
    fn connections_beside_many_have_smaller_windows() {
        let few: Vec<_> = (0..WHOLE_WINDOWS).map(|_| Windows::accepted()).collect();
        assert!(few.iter().all(|windows| windows.of_streams(64, 8) == 64));
        assert_eq!(Windows::accepted().of_streams(64, 8), 16);
        drop(few);
        let next = Windows::accepted();
        assert_eq!(next.of_streams(64, 8), 64);
        let _held = Part::held(HELD + 1);
        assert_eq!(next.of_streams(64, 8), 8);
    }

    proptest! {
        #[test]
        fn the_whole_is_the_sum_of_its_parts(
            steps in prop::collection::vec((0_usize..8, 0_usize..1 << 20, 0_usize..1 << 22), 1..100),
        ) {
            let parts: Vec<_> = (0..8).map(|_| Part::default()).collect();
            let mut naive = [(0, 0); 8];
            for (at, held, promised) in steps {
                parts[at].set(held, promised);
                naive[at] = (held, promised);
                let held: usize = naive.iter().map(|part| part.0).sum();
                let promised: usize = naive.iter().map(|part| part.1).sum();
                prop_assert_eq!(is_short(), held > HELD || promised > PROMISED);
            }
            drop(parts);
            prop_assert!(!is_short());
        }
    }
}
