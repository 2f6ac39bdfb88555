//! What comes on a connection, and whom it is given to.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use weft_hop::{Event, FRAME_COST, HeadError, INITIAL_WINDOW, Role, StreamId};
use weft_mesh::reason::Reason;

use super::{Arrival, Link, Stream};
use crate::error::{BoxFailure, Failure};
use crate::hop::driver::Output;
use crate::runtime::unread;

/// The credit that streams begin with once too much is held for others: short messages go through as ever, and more is given
/// when it is asked for.
pub(in crate::hop) const LITTLE_CREDIT: u32 = 1024 + FRAME_COST;

impl Link {
    /// Takes in what was read; gives what arrived, piece by piece, to `arrived`.
    pub(in crate::hop) fn receive(
        self: &Rc<Self>,
        input: &mut bytes::BytesMut,
        now: Instant,
        mut arrived: impl FnMut(Arrival),
    ) -> Result<(), weft_hop::ConnectionError> {
        self.silence.set(0);
        let mut inner = self.inner.borrow_mut();
        let is_short = unread::is_short();
        inner.connection.hold_back(is_short);
        let received = inner.connection.receive(input, now);
        inner.account();
        if is_short
            && inner.connection.role() == Role::Server
            && inner.connection.first_credit() == INITIAL_WINDOW
        {
            inner.connection.announce_first_credit(LITTLE_CREDIT);
        }
        drop(inner);
        self.dispatch_all(&mut arrived);
        received
    }

    fn dispatch_all(self: &Rc<Self>, arrived: &mut impl FnMut(Arrival)) {
        loop {
            let event = self.inner.borrow_mut().connection.poll_event();
            let Some(event) = event else { return };
            self.paused.set(self.paused.get() || matches!(event, Event::Flooded));
            arrived(self.dispatch(event));
        }
    }

    fn stream(&self, id: StreamId) -> Option<Rc<Stream>> {
        self.inner.borrow().streams.get(&id).cloned()
    }

    fn dispatch(self: &Rc<Self>, event: Event) -> Arrival {
        match event {
            Event::Request { stream, head, end } => {
                let reference = self.add(stream);
                if end {
                    reference.stream.finish();
                }
                reference.begins_with_little(head.metadata.body_credit.is_some());
                return Arrival::Request(head, reference, end);
            }
            Event::Response { stream, head, end } => self.to(stream, |stream| stream.put_head(head, end)),
            Event::Data { stream, data, end } => match self.stream(stream) {
                Some(receiver) => receiver.put_data(data, end),
                None => self.discard(stream, &data),
            },
            Event::Trailers { stream, trailers } => {
                self.to(stream, |stream| stream.put_trailers(trailers.fields));
            }
            Event::Flooded => return Arrival::Flooded,
            Event::Refused { stream, error } => {
                self.to(stream, |stream| stream.put_failure(malformed(&error)));
                return Arrival::Refused(error);
            }
            Event::Reset { stream, code, processed, .. } => {
                self.to(stream, |stream| stream.put_reset(code, processed));
            }
            Event::Writable { stream } => self.to(stream, Stream::wake_writer),
            Event::Settings => {
                self.announced.set(true);
                self.announcement.notify_waiters();
            }
            Event::Informational { stream, head } => self.to(stream, |stream| stream.put_interim(*head)),
            Event::Drain { .. } | Event::Pong { .. } => {}
        }
        Arrival::None
    }

    fn to(&self, id: StreamId, act: impl FnOnce(&Stream)) {
        if let Some(stream) = self.stream(id) {
            act(&stream);
        }
    }

    /// Nobody reads this stream any more; what arrives for it is counted as read, so that its credit comes back.
    fn discard(&self, id: StreamId, data: &Bytes) {
        let mut inner = self.inner.borrow_mut();
        inner.connection.consumed(id, data.len());
        inner.account();
    }

    /// Takes what is to be written, and tells the senders that have room for more by that: the peer may have nothing to
    /// say for long.
    pub(in crate::hop) fn fill(self: &Rc<Self>, output: &mut Output) {
        self.inner.borrow_mut().connection.write_into(&mut output.buffer, Output::FULL);
        self.dispatch_all(&mut |_| {});
    }
}

/// What a stream comes to whose peer sent what can't be read.
fn malformed(error: &HeadError) -> BoxFailure {
    Failure::upstream(Reason::UpstreamProtocol, format!("what came on weft/1 is malformed: {error}"))
}
