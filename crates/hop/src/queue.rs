//! The DATA that waits on one stream.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Pieces of a body in the order they were queued.
///
/// The first piece has a place of its own: most bodies are one piece at a time, and then nothing is
/// allocated.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    first: Bytes,
    rest: VecDeque<Bytes>,
    length: usize,
}

impl SendQueue {
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn push(&mut self, piece: Bytes) {
        self.length += piece.len();
        if self.first.is_empty() && self.rest.is_empty() {
            self.first = piece;
        } else if !piece.is_empty() {
            self.rest.push_back(piece);
        }
    }

    /// Copies the first `count` octets, at most [`SendQueue::len`], to `out`.
    pub(crate) fn take_into(&mut self, out: &mut BytesMut, mut count: usize) {
        debug_assert!(count <= self.length);
        self.length -= count;
        while count > 0 {
            let length = self.first.len().min(count);
            out.put_slice(&self.first[..length]);
            self.first.advance(length);
            count -= length;
            if self.first.is_empty() {
                self.first = self.rest.pop_front().unwrap_or_default();
            }
        }
    }

    /// Drops everything; returns how much it was.
    pub(crate) fn clear(&mut self) -> usize {
        let length = self.length;
        *self = Self::default();
        length
    }
}
