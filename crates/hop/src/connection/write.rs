//! From what is queued to the output, in fair turns.

use bytes::{BufMut, BytesMut};

use crate::connection::Connection;
use crate::event::Event;
use crate::frame::{MAX_PAYLOAD, StreamId, put_credit};
use crate::stream::ReceivePhase;

impl Connection {
    /// Whether [`write_into`](Self::write_into) has something to write.
    pub fn wants_write(&self) -> bool {
        !self.control.is_empty() || !self.credits.is_empty() || !self.ready.is_empty()
    }

    /// Moves queued frames to `out`: first all heads and control frames, then DATA, one frame of each
    /// stream in turn until `out` holds `limit` octets or nothing is left. At least one DATA frame is
    /// written if there is one. Returns whether more is queued.
    ///
    /// Call it only when the previous output is written out, with `out` empty: an empty buffer is
    /// swapped for the queued heads instead of copying them.
    pub fn write_into(&mut self, out: &mut BytesMut, limit: usize) -> bool {
        self.queue_credits();
        if out.is_empty() {
            out.clear();
            std::mem::swap(out, &mut self.control);
        } else {
            out.put_slice(&self.control);
            self.control.clear();
        }
        self.answers = 0;
        self.last_written = self.last_stream;
        while let Some(id) = self.ready.pop_front() {
            self.write_turn(id, out);
            if out.len() >= limit {
                break;
            }
        }
        self.wants_write()
    }

    fn write_turn(&mut self, id: u32, out: &mut BytesMut) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.scheduled = false;
        if !stream.has_more() {
            return;
        }
        let length = stream.write_turn(id, out);
        self.counters.send_queued -= length;
        if length > 0 {
            self.rates.data_sent();
        }
        if stream.has_more() {
            stream.scheduled = true;
            self.ready.push_back(id);
        }
        self.wake(id);
        self.settle(id);
    }

    /// Puts a stream in line for writing.
    pub(super) fn schedule(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if !stream.scheduled && stream.has_more() {
            stream.scheduled = true;
            self.ready.push_back(id);
        }
    }

    /// Tells a sender that found no capacity when there is some again.
    pub(super) fn wake(&mut self, id: u32) {
        let bound = self.queue_bound();
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.starved && stream.capacity(bound) > 0 {
            stream.starved = false;
            self.events.push_back(Event::Writable { stream: StreamId(id) });
        }
    }

    /// How much DATA one stream may have queued. One frame is always allowed, so that no stream waits
    /// for another one's reader.
    pub(super) fn queue_bound(&self) -> usize {
        if self.counters.send_queued > self.config.max_queue_total {
            MAX_PAYLOAD
        } else {
            self.config.max_queue
        }
    }

    fn queue_credits(&mut self) {
        for id in self.credits.drain(..) {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            let credit = std::mem::take(&mut stream.credit);
            if credit > 0 && stream.receive_phase != ReceivePhase::Ended {
                put_credit(&mut self.control, id, credit);
            }
        }
    }
}
