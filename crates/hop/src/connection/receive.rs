//! What the peer sends, frame by frame.

use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};

use crate::code::Code;
use crate::connection::{Connection, Role};
use crate::error::ConnectionError;
use crate::event::{Event, Origin};
use crate::frame::{FLAG_ACK, FLAG_END, FrameHeader, FrameKind, HEADER_LEN, StreamId, put_ping};
use crate::limits::Rated;
use crate::stream::{ReceivePhase, SendPhase};

/// Up to how many octets DATA is copied when the reader is behind: a small piece that is kept should not
/// keep the whole receive buffer that it arrived in.
const COPY_BELOW: usize = 4 * 1024;

/// How many answers to the peer's frames may wait for writing. A peer that reads never comes near.
const MAX_ANSWERS: u32 = 10_000;

impl Connection {
    /// Takes all whole frames from the front of `input`; what is left there is the beginning of the
    /// next one and has to be passed again with more behind it.
    ///
    /// An error ends the connection, and is returned again by later calls.
    pub fn receive(&mut self, input: &mut BytesMut, now: Instant) -> Result<(), ConnectionError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        match self.receive_frames(input, now) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.fail(error)),
        }
    }

    fn receive_frames(&mut self, input: &mut BytesMut, now: Instant) -> Result<(), ConnectionError> {
        while let Some(header) = FrameHeader::peek(input)? {
            if input.len() < HEADER_LEN + header.length {
                // A head that trickles in is as costly as one in many frames.
                if header.kind.is_block() && self.head_began.is_none() {
                    self.head_began = Some((header.stream, now));
                }
                break;
            }
            input.advance(HEADER_LEN);
            self.counters.frames_received += 1;
            self.check_place(header)?;
            match header.kind {
                FrameKind::Head | FrameKind::Informational | FrameKind::Trailers => {
                    let payload = input.split_to(header.length).freeze();
                    self.receive_block(header, payload, now)?;
                }
                FrameKind::Data => {
                    let payload = input.split_to(header.length).freeze();
                    self.receive_data(header, payload, now)?;
                }
                _ => {
                    let payload = input.get(..header.length).unwrap_or_default();
                    self.receive_control(header, payload, now)?;
                    input.advance(header.length);
                }
            }
        }
        Ok(())
    }

    /// Checks what holds for every frame whatever it carries.
    fn check_place(&self, header: FrameHeader) -> Result<(), ConnectionError> {
        let FrameHeader { kind, stream, .. } = header;
        let broken = |rule| Err(ConnectionError::Protocol { kind, stream, rule });
        if !self.peer_announced && kind != FrameKind::Settings {
            return broken("SETTINGS come first");
        }
        if let Some(assembly) = &self.assembly
            && !assembly.continues_with(kind, stream)
        {
            return broken("nothing may come between the frames of a block");
        }
        match kind {
            FrameKind::Settings | FrameKind::Ping | FrameKind::Drain if stream != 0 => {
                broken("it concerns the connection, not a stream")
            }
            FrameKind::Unknown(_) | FrameKind::Settings | FrameKind::Ping | FrameKind::Drain => Ok(()),
            _ if stream == 0 => broken("it concerns a stream, not the connection"),
            FrameKind::Head if self.role == Role::Server => Ok(()),
            _ if stream > self.last_stream => broken("the stream was never opened"),
            _ => Ok(()),
        }
    }

    fn receive_data(
        &mut self,
        header: FrameHeader,
        data: Bytes,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let id = header.stream;
        let end = header.has(FLAG_END);
        if data.is_empty() && !end {
            return self.rates.count(Rated::EmptyData, now);
        }
        let Some(state) = self.streams.get_mut(&id) else {
            self.counters.frames_late += 1;
            return Ok(());
        };
        if !matches!(state.receive_phase, ReceivePhase::Body | ReceivePhase::Unwanted) {
            let rule = "DATA comes after the head and before the end";
            return Err(ConnectionError::Protocol { kind: header.kind, stream: id, rule });
        }
        if state.receive_phase == ReceivePhase::Body
            && let Err(error) = state.content.arrive(data.len(), end)
        {
            return self.abort(id, error, now);
        }
        let held = state.receive.held();
        state.receive.receive(id, data.len())?;
        if state.receive_phase == ReceivePhase::Unwanted {
            state.receive.consume_all();
        } else {
            self.counters.receive_held += (state.receive.held() - held) as usize;
            let is_kept = (held > 0 || state.receive.is_small()) && data.len() < COPY_BELOW;
            let data = if is_kept { Bytes::copy_from_slice(&data) } else { data };
            self.events.push_back(Event::Data { stream: StreamId(id), data, end });
        }
        if end {
            self.end_receiving(id);
        }
        Ok(())
    }

    /// The peer's direction of a stream has ended.
    pub(super) fn end_receiving(&mut self, id: u32) {
        let Some(state) = self.streams.get_mut(&id) else { return };
        state.receive_phase = ReceivePhase::Ended;
        self.counters.receive_promised -= state.receive.finish() as usize;
        self.settle(id);
    }

    fn receive_control(
        &mut self,
        header: FrameHeader,
        mut payload: &[u8],
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let minimum = match header.kind {
            FrameKind::Credit => 4,
            FrameKind::Reset => 3,
            FrameKind::Ping => 8,
            FrameKind::Drain => 6,
            _ => 0,
        };
        if payload.len() < minimum {
            return Err(ConnectionError::FrameTooShort { kind: header.kind, length: payload.len() });
        }
        match header.kind {
            FrameKind::Settings => {
                self.rates.count(Rated::Settings, now)?;
                self.peer.apply(payload)?;
                self.peer_announced = true;
                self.events.push_back(Event::Settings);
            }
            FrameKind::Credit => self.receive_credit(header.stream, payload.get_u32(), now)?,
            FrameKind::Reset => {
                let code = Code::from_u16(payload.get_u16());
                // Only a plain 0 promises that nothing was done.
                let processed = payload.get_u8() != 0;
                self.receive_reset(header.stream, code, processed, now);
            }
            FrameKind::Ping => {
                let token = payload.get_u64();
                if !header.has(FLAG_ACK) {
                    self.rates.count(Rated::Ping, now)?;
                    put_ping(&mut self.control, token, true);
                    self.answered()?;
                } else if !self.receive_pong(token) {
                    self.rates.count(Rated::Ping, now)?;
                }
            }
            FrameKind::Drain => {
                self.rates.count(Rated::Settings, now)?;
                let last = payload.get_u32();
                self.receive_drain(last, Code::from_u16(payload.get_u16()));
            }
            _ => {
                self.counters.frames_unknown += 1;
                self.rates.count(Rated::Unknown, now)?;
            }
        }
        Ok(())
    }

    fn receive_credit(&mut self, id: u32, credit: u32, now: Instant) -> Result<(), ConnectionError> {
        self.rates.count(Rated::Credit, now)?;
        let Some(state) = self.streams.get_mut(&id) else {
            self.counters.frames_late += 1;
            return Ok(());
        };
        state.send.add(id, credit)?;
        self.wake(id);
        Ok(())
    }

    fn receive_reset(&mut self, id: u32, code: Code, processed: bool, now: Instant) {
        // A server may reset each stream once, as its answer; a client that does wastes our work.
        if self.role == Role::Server || !self.streams.contains_key(&id) {
            self.stream_wasted(now);
        }
        let Some(state) = self.streams.get_mut(&id) else {
            self.counters.frames_late += 1;
            return;
        };
        if !state.counted {
            return;
        }
        if code == Code::NoError && state.receive_phase == ReceivePhase::Ended {
            // All that was received stays good; only our own direction is over.
            self.counters.send_queued -= state.queue.clear();
            state.send_phase = SendPhase::Ended;
            self.settle(id);
        } else {
            self.remove(id);
        }
        let stream = StreamId(id);
        self.events.push_back(Event::Reset { stream, code, processed, by: Origin::Peer });
    }

    /// Notes that an answer to one of the peer's frames was queued.
    pub(super) fn answered(&mut self) -> Result<(), ConnectionError> {
        self.answers += 1;
        if self.answers > MAX_ANSWERS {
            return Err(ConnectionError::PeerDoesNotRead { waiting: self.answers });
        }
        Ok(())
    }
}
