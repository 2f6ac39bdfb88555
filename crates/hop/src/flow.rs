//! Credit: how much DATA may be under way on a stream, in both directions.

use crate::error::ConnectionError;
use crate::frame::{FrameKind, MAX_PAYLOAD};

/// The credit that each direction of each stream begins with, in octets.
///
/// It is part of the protocol and not announced, so that a client can send its first request and
/// body without waiting for SETTINGS.
pub const INITIAL_WINDOW: u32 = 64 * 1024;

/// How far a first credit below [`INITIAL_WINDOW`] grows while it is [held back](crate::Connection::hold_back), in octets:
/// enough for a full frame.
pub const HELD_BACK_WINDOW: u32 = MAX_PAYLOAD as u32 + FRAME_COST;

/// What a DATA frame costs beyond its payload, in octets.
///
/// Without it a peer could make us keep one queue entry for each octet of window; this is about what
/// an entry takes.
pub const FRAME_COST: u32 = 64;

/// The most credit that a stream can have.
pub const MAX_CREDIT: u32 = i32::MAX as u32;

/// The first credit of a direction, where less was stated than all begin with.
pub(crate) fn first_credit(stated: Option<u32>) -> u32 {
    stated.map_or(INITIAL_WINDOW, |credit| credit.min(INITIAL_WINDOW))
}

/// What `payload` octets cost when they are sent in as few frames as possible.
pub(crate) fn cost(payload: usize) -> u64 {
    payload as u64 + payload.div_ceil(MAX_PAYLOAD) as u64 * u64::from(FRAME_COST)
}

/// The largest payload whose [`cost`] is at most `credit`.
pub(crate) fn payload_within(credit: u32) -> usize {
    let full_cost = MAX_PAYLOAD as u32 + FRAME_COST;
    let full = (credit / full_cost) as usize * MAX_PAYLOAD;
    full + (credit % full_cost).saturating_sub(FRAME_COST) as usize
}

/// The credit that the peer has on one stream.
///
/// Between calls, `window == available + payload + overhead + released`: what the peer may still send, what it
/// sent and we have not consumed, and what we have consumed and not given back yet.
#[derive(Debug)]
pub(crate) struct ReceiveFlow {
    window: u32,
    available: u32,
    payload: u32,
    overhead: u32,
    released: u32,
    finished: bool,
}

impl ReceiveFlow {
    pub(crate) fn new(window: u32) -> Self {
        Self { window, available: window, payload: 0, overhead: 0, released: 0, finished: false }
    }

    /// How much the peer may make us hold.
    pub(crate) fn window(&self) -> u32 {
        self.window
    }

    /// How much has arrived and was not consumed, with the cost of its frames.
    pub(crate) fn held(&self) -> u32 {
        self.payload + self.overhead
    }

    /// Accounts for one DATA frame.
    pub(crate) fn receive(&mut self, stream: u32, length: usize) -> Result<(), ConnectionError> {
        if length == 0 {
            return Ok(());
        }
        let cost = length as u32 + FRAME_COST;
        let Some(available) = self.available.checked_sub(cost) else {
            let excess = u64::from(cost - self.available);
            return Err(ConnectionError::FlowControl { kind: FrameKind::Data, stream, excess });
        };
        self.available = available;
        self.payload += length as u32;
        self.overhead += FRAME_COST;
        Ok(())
    }

    /// Accounts for `length` octets of payload having been taken, and for their share of the cost of
    /// their frames. Returns how much less is held.
    pub(crate) fn consume(&mut self, length: usize) -> u32 {
        let length = u32::try_from(length).unwrap_or(u32::MAX).min(self.payload);
        if length == 0 {
            return 0;
        }
        let share = u64::from(self.overhead) * u64::from(length) / u64::from(self.payload);
        let share = share as u32;
        self.payload -= length;
        self.overhead -= share;
        if self.finished {
            self.window -= length + share;
        } else {
            self.released += length + share;
        }
        length + share
    }

    /// Accounts for everything having been taken. Returns how much less is held.
    pub(crate) fn consume_all(&mut self) -> u32 {
        self.consume(self.payload as usize)
    }

    /// Whether it began with less than other streams, and has not caught up with them yet. Then the reader gets more when
    /// it asks for more, not when it has taken something.
    pub(crate) fn is_small(&self) -> bool {
        self.window < INITIAL_WINDOW
    }

    /// Whether enough was consumed to tell the peer. Half a window at a time keeps the peer sending
    /// and needs few frames.
    pub(crate) fn is_due(&self) -> bool {
        !self.finished && !self.is_small() && self.released >= self.window / 2
    }

    /// By how much a small window should grow for a reader that has taken all there was and asks for more; `None`: nothing
    /// was taken yet.
    pub(crate) fn demand(&self, held_back: bool) -> Option<u32> {
        if self.finished || self.released == 0 || self.held() > 0 {
            return None;
        }
        let growth = if held_back {
            self.window.min(HELD_BACK_WINDOW.saturating_sub(self.window))
        } else {
            INITIAL_WINDOW.saturating_sub(self.window)
        };
        Some(growth)
    }

    /// By how much the window should grow: it doubles as long as the reader keeps up, which it does when
    /// at most a quarter of the window waits for it.
    pub(crate) fn growth(&self, max_window: u32) -> u32 {
        if self.held() > self.window / 4 {
            return 0;
        }
        self.window.min(max_window.saturating_sub(self.window))
    }

    /// Gives back what was consumed and widens the window by `growth`; returns the credit to announce.
    pub(crate) fn grant(&mut self, growth: u32) -> u32 {
        let credit = self.released + growth;
        self.released = 0;
        self.window += growth;
        self.available += credit;
        credit
    }

    /// The peer sends no more: keeps only what it already made us hold. Returns by how much the window shrank.
    pub(crate) fn finish(&mut self) -> u32 {
        let before = self.window;
        self.window = self.held();
        self.available = 0;
        self.released = 0;
        self.finished = true;
        before - self.window
    }
}

/// The credit that the peer gave us on one stream.
#[derive(Debug)]
pub(crate) struct SendFlow {
    /// What may still be queued.
    credit: u32,
    /// How many frames the queued octets were charged for.
    frames: u32,
}

impl SendFlow {
    pub(crate) fn new(credit: u32) -> Self {
        Self { credit, frames: 0 }
    }

    /// How many octets of payload the credit is good for.
    pub(crate) fn capacity(&self) -> usize {
        payload_within(self.credit)
    }

    /// Charges for `payload` octets about to be queued, at most [`SendFlow::capacity`].
    pub(crate) fn charge(&mut self, payload: usize) {
        let cost = u32::try_from(cost(payload)).unwrap_or(u32::MAX);
        debug_assert!(cost <= self.credit);
        self.credit = self.credit.saturating_sub(cost);
        self.frames += payload.div_ceil(MAX_PAYLOAD) as u32;
    }

    /// Notes that a frame was written. When `emptied`, the frames that were charged for and not
    /// needed, because several pieces went into one, are credited again.
    pub(crate) fn frame_written(&mut self, emptied: bool) {
        self.frames = self.frames.saturating_sub(1);
        if emptied {
            self.credit += std::mem::take(&mut self.frames) * FRAME_COST;
        }
    }

    /// Takes over credit from the peer.
    pub(crate) fn add(&mut self, stream: u32, credit: u32) -> Result<(), ConnectionError> {
        // What was charged in advance may come back, so it counts towards the most there can be.
        let total = u64::from(self.credit) + u64::from(self.frames * FRAME_COST) + u64::from(credit);
        if total > u64::from(MAX_CREDIT) {
            let excess = total - u64::from(MAX_CREDIT);
            return Err(ConnectionError::FlowControl { kind: FrameKind::Credit, stream, excess });
        }
        self.credit += credit;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_capacity_is_the_most_that_its_credit_pays_for(credit in 0..=MAX_CREDIT) {
            let payload = payload_within(credit);
            prop_assert!(cost(payload) <= u64::from(credit));
            prop_assert!(cost(payload + 1) > u64::from(credit));
        }

        #[test]
        fn credit_is_neither_made_nor_lost(
            steps in prop::collection::vec((0_usize..=MAX_PAYLOAD, 0_usize..40_000, 0_u32..100_000), 1..100),
        ) {
            let mut flow = ReceiveFlow::new(INITIAL_WINDOW);
            let mut announced = u64::from(INITIAL_WINDOW);
            let mut spent = 0;
            for (received, consumed, growth) in steps {
                if flow.receive(1, received).is_ok() && received > 0 {
                    spent += received as u64 + u64::from(FRAME_COST);
                }
                let held = flow.held();
                let freed = flow.consume(consumed);
                prop_assert_eq!(flow.held(), held - freed);
                if flow.is_due() {
                    announced += u64::from(flow.grant(growth.min(flow.growth(1 << 20))));
                }
                prop_assert_eq!(u64::from(flow.available), announced - spent);
                prop_assert_eq!(flow.window, flow.available + flow.held() + flow.released);
            }
            flow.consume_all();
            prop_assert_eq!(flow.held(), 0);
            flow.finish();
            prop_assert_eq!(flow.window(), 0);
        }

        #[test]
        fn a_small_window_grows_only_for_a_reader_that_has_taken_everything(
            first in 1_u32..INITIAL_WINDOW,
            steps in prop::collection::vec((1_usize..=MAX_PAYLOAD, any::<bool>(), any::<bool>()), 1..100),
        ) {
            let mut flow = ReceiveFlow::new(first);
            for (received, is_read, held_back) in steps {
                let received = received.min(payload_within(flow.available));
                flow.receive(1, received).unwrap();
                if is_read {
                    flow.consume_all();
                }
                let before = flow.window();
                prop_assert!(!flow.is_small() || !flow.is_due());
                if !flow.is_small() {
                    break;
                }
                match flow.demand(held_back) {
                    Some(growth) => {
                        prop_assert_eq!(flow.held(), 0);
                        flow.grant(growth);
                        prop_assert_eq!(flow.available, flow.window());
                        let most = if held_back { before.max(HELD_BACK_WINDOW) } else { INITIAL_WINDOW };
                        prop_assert!(flow.window() >= before && flow.window() <= most);
                    }
                    None => prop_assert!(flow.held() > 0 || flow.released == 0),
                }
            }
        }
    }
}
