//! Going out of use without losing a request.

use crate::code::Code;
use crate::connection::{Connection, Role};
use crate::event::{Event, Origin};
use crate::frame::{StreamId, put_drain, put_ping};

/// Names no stream as unprocessed: a drain begins, and streams that are already under way are still
/// taken.
const ANNOUNCEMENT: u32 = u32::MAX;

/// How far a drain has come.
#[derive(Debug, Default)]
pub(super) struct DrainState {
    announced: bool,
    /// The PING that follows the announcement: when it comes back, the peer has read both.
    ping: Option<u64>,
    /// The last stream that we process.
    last: Option<u32>,
    received: bool,
}

impl DrainState {
    pub(super) fn is_begun(&self) -> bool {
        self.announced || self.received
    }

    /// Whether a stream comes after the last one that is processed.
    pub(super) fn refuses(&self, stream: u32) -> bool {
        self.last.is_some_and(|last| stream > last)
    }

    fn is_settled(&self) -> bool {
        self.received || self.last.is_some()
    }
}

impl Connection {
    /// Takes the connection out of use: open streams go on to their end, then
    /// [`is_drained`](Self::is_drained) holds.
    ///
    /// A server first announces it and goes on taking streams for one round trip, so that requests
    /// which are already under way need no retry; later ones are refused, unprocessed.
    pub fn drain(&mut self) {
        if self.drain.announced || self.failure.is_some() {
            return;
        }
        self.drain.announced = true;
        if self.role == Role::Client {
            self.drain.last = Some(0);
            put_drain(&mut self.control, 0, Code::NoError);
            return;
        }
        put_drain(&mut self.control, ANNOUNCEMENT, Code::NoError);
        self.drain.ping = Some(self.queue_ping());
    }

    /// The same without the round trip, by a server that is about to end: what it has not received yet is not processed.
    pub fn drain_at_once(&mut self) {
        self.drain();
        if self.role == Role::Server && self.failure.is_none() && self.drain.last.is_none() {
            self.drain.last = Some(self.last_stream);
            put_drain(&mut self.control, self.last_stream, Code::NoError);
        }
    }

    /// Whether either side has begun to drain the connection: it takes no new streams.
    pub fn is_draining(&self) -> bool {
        self.drain.is_begun()
    }

    /// Whether the connection is drained and idle: close it.
    pub fn is_drained(&self) -> bool {
        self.drain.is_settled() && self.open == 0 && self.events.is_empty() && !self.wants_write()
    }

    /// Asks the peer for a [`Event::Pong`], whose token is returned here.
    pub fn ping(&mut self) -> u64 {
        self.queue_ping()
    }

    fn queue_ping(&mut self) -> u64 {
        self.pings_sent += 1;
        if self.failure.is_none() {
            self.pings_open += 1;
            put_ping(&mut self.control, self.pings_sent, false);
        }
        self.pings_sent
    }

    /// Handles the answer to a PING. Returns whether one was asked for.
    pub(super) fn receive_pong(&mut self, token: u64) -> bool {
        if self.pings_open == 0 {
            return false;
        }
        self.pings_open -= 1;
        if self.drain.ping == Some(token) {
            self.drain.ping = None;
            if self.drain.last.is_none() {
                self.drain.last = Some(self.last_stream);
                put_drain(&mut self.control, self.last_stream, Code::NoError);
            }
        } else {
            self.events.push_back(Event::Pong { token });
        }
        true
    }

    /// Handles the peer's DRAIN: what it did not process is over, and safe to send elsewhere.
    pub(super) fn receive_drain(&mut self, last: u32, code: Code) {
        self.drain.received = true;
        if self.role == Role::Client {
            let mut unprocessed: Vec<u32> = self.streams.keys().copied().filter(|id| *id > last).collect();
            unprocessed.sort_unstable();
            for id in unprocessed {
                if self.remove(id) {
                    let (stream, code) = (StreamId(id), Code::Draining);
                    self.events.push_back(Event::Reset { stream, code, processed: false, by: Origin::Peer });
                }
            }
        }
        self.events.push_back(Event::Drain { code });
    }
}
