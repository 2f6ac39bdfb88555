//! What this side sends, and what it tells about what it consumed.

use bytes::{Bytes, BytesMut};
use http::{request, response};

use crate::code::Code;
use crate::connection::{Connection, Role};
use crate::content::Asked;
use crate::error::{OpenError, StreamError};
use crate::event::Trailers;
use crate::flow::{INITIAL_WINDOW, first_credit};
use crate::frame::{FLAG_END, FrameKind, StreamId, begin_block, finish_block, put_reset};
use crate::head::{encode_request, encode_response, encode_trailers};
use crate::metadata::{RequestMetadata, ResponseMetadata};
use crate::stream::{ReceivePhase, SendPhase, Stream};

/// Up to how many octets the end of a body goes along with the heads instead of waiting its turn: a
/// small answer leaves as a whole, and costs no place in the line.
const INLINE: usize = 4 * 1024;

impl Connection {
    /// Client: opens a stream with a request's head. With `end` the request has no body.
    ///
    /// [`Protocol`](crate::Protocol) and [`OriginalNames`](crate::OriginalNames) among the extensions travel along.
    pub fn open_stream(
        &mut self,
        head: &request::Parts,
        metadata: &RequestMetadata,
        end: bool,
    ) -> Result<StreamId, OpenError> {
        let id = self.check_open()?;
        let limits = self.peer_limits();
        let start = begin_block(&mut self.control);
        if let Err(error) = encode_request(&mut self.control, head, metadata, limits) {
            self.control.truncate(start);
            return Err(error.into());
        }
        finish_block(&mut self.control, start, FrameKind::Head, end_flag(end), id);
        self.last_stream = id;
        let send_phase = if end { SendPhase::Ended } else { SendPhase::Body };
        let is_taken = self.peer.first_credit.is_some();
        let receive = (ReceivePhase::Head, first_credit(metadata.answer_credit.filter(|_| is_taken)));
        let send = (send_phase, first_credit(metadata.body_credit));
        self.insert(id, receive, send).asked = Asked::of(head);
        Ok(StreamId(id))
    }

    /// The identifier of the next stream, if one may be opened.
    fn check_open(&self) -> Result<u32, OpenError> {
        if self.failure.is_some() {
            return Err(OpenError::Closed);
        }
        if self.role == Role::Server {
            return Err(OpenError::NotClient);
        }
        if self.is_draining() {
            return Err(OpenError::Draining);
        }
        let promised = self.counters.receive_promised + INITIAL_WINDOW as usize;
        if self.open >= self.stream_limit() as usize || promised > self.config.max_receive {
            return Err(OpenError::TooManyStreams { open: self.open });
        }
        if self.control.len() > self.config.max_queued_heads {
            return Err(OpenError::Congested { queued: self.control.len() });
        }
        // The greatest number announces a drain, so no stream may have it.
        let next = self.last_stream + 1;
        if next == u32::MAX { Err(OpenError::Draining) } else { Ok(next) }
    }

    /// Server: sends the final answer's head. With `end` the answer has no body.
    ///
    /// [`OriginalNames`](crate::OriginalNames) and [`Reason`](crate::Reason) among the extensions travel along.
    pub fn send_head(
        &mut self,
        stream: StreamId,
        head: &response::Parts,
        metadata: &ResponseMetadata,
        end: bool,
    ) -> Result<(), StreamError> {
        let status = head.status.as_u16();
        if (100..200).contains(&status) && status != 101 {
            return Err(StreamError::Order { stream, rule: "an interim answer is not a final one" });
        }
        self.send_answer(stream, head, metadata, FrameKind::Head, end_flag(end))?;
        if let Some(state) = self.streams.get_mut(&stream.0) {
            state.send_phase = if end { SendPhase::Ended } else { SendPhase::Body };
            state.write_stop(stream.0, &mut self.control);
        }
        self.settle(stream.0);
        Ok(())
    }

    /// Server: sends an interim answer's head (1xx, but not 101).
    pub fn send_informational(
        &mut self,
        stream: StreamId,
        head: &response::Parts,
    ) -> Result<(), StreamError> {
        if !head.status.is_informational() || head.status == http::StatusCode::SWITCHING_PROTOCOLS {
            return Err(StreamError::Order { stream, rule: "a final answer is not an interim one" });
        }
        self.send_answer(stream, head, &ResponseMetadata::default(), FrameKind::Informational, 0)
    }

    fn send_answer(
        &mut self,
        stream: StreamId,
        head: &response::Parts,
        metadata: &ResponseMetadata,
        kind: FrameKind,
        flags: u8,
    ) -> Result<(), StreamError> {
        let state = self.streams.get(&stream.0).ok_or(StreamError::NotOpen(stream))?;
        if state.send_phase != SendPhase::Head {
            let rule = "there is one final head, from the server, and nothing interim after it";
            return Err(StreamError::Order { stream, rule });
        }
        let limits = self.peer_limits();
        let start = begin_block(&mut self.control);
        if let Err(error) = encode_response(&mut self.control, head, metadata, limits) {
            self.control.truncate(start);
            return Err(StreamError::Head { stream, error });
        }
        finish_block(&mut self.control, start, kind, flags, stream.0);
        Ok(())
    }

    /// How many octets of DATA may be queued on a stream now: what its credit and the bound of its
    /// queue allow. When it is 0, an [`Event::Writable`](crate::Event::Writable) tells when it no longer is.
    /// Also 0 for a stream on which nothing may be sent any more.
    pub fn send_capacity(&mut self, stream: StreamId) -> usize {
        let bound = self.queue_bound();
        let Some(state) = self.streams.get_mut(&stream.0) else { return 0 };
        if matches!(state.send_phase, SendPhase::Ending | SendPhase::Ended) {
            return 0;
        }
        let capacity = state.capacity(bound);
        state.starved = capacity == 0;
        capacity
    }

    /// Queues a part of a body, at most [`send_capacity`](Self::send_capacity) octets: cut a longer one with
    /// `Bytes::split_to`, which copies nothing. With `end` nothing follows in this direction. An empty part
    /// without `end` is not sent.
    pub fn send_data(&mut self, stream: StreamId, data: Bytes, end: bool) -> Result<(), StreamError> {
        let bound = self.queue_bound();
        let state = body_of(self.streams.get_mut(&stream.0), stream)?;
        if !data.is_empty() {
            let (wanted, capacity) = (data.len(), state.capacity(bound));
            if wanted > capacity {
                state.starved = capacity == 0;
                return Err(StreamError::NoCapacity { stream, wanted, capacity });
            }
            state.send.charge(wanted);
            state.queue.push(data);
            self.counters.send_queued += wanted;
        }
        if end {
            state.end(None);
            self.finish_sending(stream.0);
        } else {
            self.schedule(stream.0);
        }
        Ok(())
    }

    /// Queues the fields that follow a body; nothing follows in this direction.
    pub fn send_trailers(&mut self, stream: StreamId, trailers: &Trailers) -> Result<(), StreamError> {
        let limits = self.peer_limits();
        let state = body_of(self.streams.get_mut(&stream.0), stream)?;
        let is_inline = state.queue.len() <= INLINE;
        let mut apart = BytesMut::new();
        let out = if is_inline {
            // What is queued goes first; should the trailers be refused, it has merely left early.
            let length = state.queue.len();
            if length > 0 {
                state.write_turn(stream.0, &mut self.control);
                self.counters.send_queued -= length;
                self.rates.data_sent();
            }
            &mut self.control
        } else {
            &mut apart
        };
        let start = begin_block(out);
        if let Err(error) = encode_trailers(out, &trailers.fields, trailers.names.as_ref(), limits) {
            out.truncate(start);
            return Err(StreamError::Head { stream, error });
        }
        finish_block(out, start, FrameKind::Trailers, 0, stream.0);
        if is_inline {
            state.send_phase = SendPhase::Ended;
            state.write_stop(stream.0, &mut self.control);
            self.settle(stream.0);
        } else {
            state.end(Some(apart.freeze()));
            self.schedule(stream.0);
        }
        Ok(())
    }

    /// Writes the end of a direction along with the heads when little is left, else puts it in line.
    fn finish_sending(&mut self, id: u32) {
        let Some(state) = self.streams.get_mut(&id) else { return };
        if state.queue.len() > INLINE {
            self.schedule(id);
            return;
        }
        let length = state.write_turn(id, &mut self.control);
        self.counters.send_queued -= length;
        if length > 0 {
            self.rates.data_sent();
        }
        self.settle(id);
    }

    /// Ends a stream in both directions, dropping what is queued. `processed` says whether the request may
    /// have been acted on: with `false` the peer may send it again elsewhere, whatever its method.
    /// Of a stream that is already over, what is held is released and nothing is sent.
    pub fn reset(&mut self, stream: StreamId, code: Code, processed: bool) {
        if self.remove(stream.0) {
            put_reset(&mut self.control, stream.0, code, processed);
        }
    }

    /// Nobody asks for a stream any more. What is queued still goes out if it is complete and either all was received or
    /// this is a server, whose answer is what matters; else the stream is reset as cancelled.
    pub fn release(&mut self, stream: StreamId) {
        let Some(state) = self.streams.get(&stream.0) else { return };
        let is_sent = matches!(state.send_phase, SendPhase::Ending | SendPhase::Ended);
        if is_sent && (state.receive_phase == ReceivePhase::Ended || self.role == Role::Server) {
            self.stop_receiving(stream);
        } else {
            self.reset(stream, Code::Cancelled, true);
        }
    }

    /// Gives up the rest of what the peer sends on a stream, while our own direction goes on to its end:
    /// for a server that answers without needing the whole request. Once our direction has ended, the peer
    /// is told with a RESET whose code is [`Code::NoError`].
    pub fn stop_receiving(&mut self, stream: StreamId) {
        let Some(state) = self.streams.get_mut(&stream.0) else { return };
        let released = state.receive.consume_all() as usize;
        self.counters.receive_held -= released;
        if state.receive_phase == ReceivePhase::Ended {
            self.counters.receive_promised -= released;
        } else {
            state.receive_phase = ReceivePhase::Unwanted;
            state.write_stop(stream.0, &mut self.control);
        }
        self.settle(stream.0);
    }

    /// Reports that the application took `length` octets of a stream's DATA, which gives the peer
    /// credit for more.
    pub fn consumed(&mut self, stream: StreamId, length: usize) {
        let Some(state) = self.streams.get_mut(&stream.0) else { return };
        let released = state.receive.consume(length) as usize;
        self.counters.receive_held -= released;
        if state.receive_phase == ReceivePhase::Ended {
            self.counters.receive_promised -= released;
            self.settle(stream.0);
            return;
        }
        if state.receive_phase == ReceivePhase::Unwanted || !state.receive.is_due() {
            return;
        }
        // What streams yet to come need for their first windows is not given to those that are here.
        let to_come = (self.config.max_streams as usize).saturating_sub(self.open);
        let reserved = self.counters.receive_promised + to_come * INITIAL_WINDOW as usize;
        let room = u32::try_from(self.config.max_receive.saturating_sub(reserved)).unwrap_or(u32::MAX);
        let growth = if self.held_back { 0 } else { state.receive.growth(self.config.max_window).min(room) };
        self.grant(stream, growth);
    }

    /// Reports that the application has taken all there is of a stream's DATA, and asks for more: then one that began with
    /// less credit than others gets more. Says whether this has to be called again, as it still has less.
    pub fn wanted(&mut self, stream: StreamId) -> bool {
        let Some(state) = self.streams.get_mut(&stream.0) else { return false };
        if state.receive_phase == ReceivePhase::Unwanted || !state.receive.is_small() {
            return false;
        }
        if let Some(growth) = state.receive.demand(self.held_back) {
            let room = self.config.max_receive.saturating_sub(self.counters.receive_promised);
            self.grant(stream, growth.min(u32::try_from(room).unwrap_or(u32::MAX)));
        }
        true
    }

    /// Gives back what was consumed of a stream, and `growth` more.
    fn grant(&mut self, stream: StreamId, growth: u32) {
        let Some(state) = self.streams.get_mut(&stream.0) else { return };
        self.counters.receive_promised += growth as usize;
        if state.credit == 0 {
            self.credits.push(stream.0);
        }
        state.credit += state.receive.grant(growth);
    }
}

fn end_flag(end: bool) -> u8 {
    if end { FLAG_END } else { 0 }
}

/// The stream, if it is where DATA and trailers may be sent.
fn body_of(state: Option<&mut Stream>, stream: StreamId) -> Result<&mut Stream, StreamError> {
    let state = state.ok_or(StreamError::NotOpen(stream))?;
    if !state.counted {
        return Err(StreamError::NotOpen(stream));
    }
    match state.send_phase {
        SendPhase::Body => Ok(state),
        SendPhase::Head => Err(StreamError::Order { stream, rule: "the head comes before the body" }),
        SendPhase::Ending | SendPhase::Ended => {
            Err(StreamError::Order { stream, rule: "nothing may follow the end" })
        }
    }
}
