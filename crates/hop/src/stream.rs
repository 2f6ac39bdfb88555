//! One stream: how far each direction has come, its credit and its queue.

use bytes::{BufMut, Bytes, BytesMut};

use crate::code::Code;
use crate::content::{Asked, Content};
use crate::flow::{ReceiveFlow, SendFlow};
use crate::frame::{FLAG_END, FrameKind};
use crate::frame::{MAX_PAYLOAD, put_data, put_header, put_reset};
use crate::queue::SendQueue;

/// How far the peer's direction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReceivePhase {
    /// The final head has not arrived.
    Head,
    /// The head has arrived; DATA or trailers may follow.
    Body,
    /// Nobody wants what still arrives.
    Unwanted,
    /// Nothing follows.
    Ended,
}

/// How far our own direction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendPhase {
    /// The final head was not sent.
    Head,
    /// The head was sent; DATA or trailers may follow.
    Body,
    /// The end is queued behind DATA.
    Ending,
    /// Nothing follows.
    Ended,
}

/// A stream that is open, or whose last octets were not consumed yet.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) receive: ReceiveFlow,
    pub(crate) receive_phase: ReceivePhase,
    /// Client: what the request asked for.
    pub(crate) asked: Asked,
    /// What the peer's head said of the DATA behind it.
    pub(crate) content: Content,
    /// Credit that was granted and not written yet.
    pub(crate) credit: u32,
    pub(crate) send: SendFlow,
    pub(crate) send_phase: SendPhase,
    pub(crate) queue: SendQueue,
    /// Frames of trailers, to be written behind the queue.
    trailers: Option<Bytes>,
    /// The stream stands in line for writing.
    pub(crate) scheduled: bool,
    /// The sender found no capacity and waits for [`Event::Writable`](crate::Event::Writable).
    pub(crate) starved: bool,
    /// The stream counts towards those that are open.
    pub(crate) counted: bool,
}

impl Stream {
    /// A stream whose request was just sent or received, with the first credit of both directions.
    pub(crate) fn new(
        (receive_phase, receive_credit): (ReceivePhase, u32),
        (send_phase, send_credit): (SendPhase, u32),
    ) -> Self {
        Self {
            receive: ReceiveFlow::new(receive_credit),
            receive_phase,
            asked: Asked::Content,
            content: Content::UNKNOWN,
            credit: 0,
            send: SendFlow::new(send_credit),
            send_phase,
            queue: SendQueue::default(),
            trailers: None,
            scheduled: false,
            starved: false,
            counted: true,
        }
    }

    /// Whether both directions have come to their end.
    pub(crate) fn is_over(&self) -> bool {
        self.receive_phase == ReceivePhase::Ended && self.send_phase == SendPhase::Ended
    }

    /// How many octets may be queued when a stream may have `bound` of them waiting.
    pub(crate) fn capacity(&self, bound: usize) -> usize {
        self.send.capacity().min(bound.saturating_sub(self.queue.len()))
    }

    /// Queues the end, behind `trailers` if there are any.
    pub(crate) fn end(&mut self, trailers: Option<Bytes>) {
        self.trailers = trailers;
        self.send_phase = SendPhase::Ending;
    }

    /// Writes one DATA frame, and what ends the direction if that is next. Returns how many octets left
    /// the queue.
    pub(crate) fn write_turn(&mut self, id: u32, out: &mut BytesMut) -> usize {
        let length = self.queue.len().min(MAX_PAYLOAD);
        let emptied = length == self.queue.len();
        let ends = emptied && self.send_phase == SendPhase::Ending;
        let ends_here = ends && self.trailers.is_none();
        if length > 0 {
            let flags = if ends_here { FLAG_END } else { 0 };
            put_header(out, length, FrameKind::Data, flags, id);
            self.queue.take_into(out, length);
            self.send.frame_written(emptied);
        } else if ends_here {
            put_data(out, id, &[], true);
        }
        if ends {
            if let Some(trailers) = self.trailers.take() {
                out.put_slice(&trailers);
            }
            self.send_phase = SendPhase::Ended;
            self.write_stop(id, out);
        }
        length
    }

    /// Tells the peer that nothing more is needed from it, once our own direction has ended.
    pub(crate) fn write_stop(&mut self, id: u32, out: &mut BytesMut) {
        if self.receive_phase == ReceivePhase::Unwanted && self.send_phase == SendPhase::Ended {
            put_reset(out, id, Code::NoError, true);
            self.receive_phase = ReceivePhase::Ended;
        }
    }

    /// Whether another turn would write something.
    pub(crate) fn has_more(&self) -> bool {
        self.queue.len() > 0 || self.send_phase == SendPhase::Ending
    }
}
