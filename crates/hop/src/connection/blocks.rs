//! Heads and trailers as they arrive, in one frame or several.

use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::code::Code;
use crate::connection::{Connection, Role};
use crate::content::{Content, check_trailers};
use crate::error::{ConnectionError, HeadError};
use crate::event::{Event, Trailers};
use crate::flow::{INITIAL_WINDOW, first_credit};
use crate::frame::{FLAG_CONTINUED, FLAG_END, FrameHeader, FrameKind, MAX_PAYLOAD, StreamId};
use crate::head::{decode_informational, decode_request, decode_response, decode_trailers};
use crate::stream::{ReceivePhase, SendPhase};

/// A block whose last frame has not arrived.
#[derive(Debug)]
pub(super) struct Assembly {
    kind: FrameKind,
    stream: u32,
    block: BytesMut,
    /// The block is longer than we take; the rest is dropped as it comes.
    is_too_large: bool,
}

impl Assembly {
    pub(super) fn len(&self) -> usize {
        self.block.len()
    }

    pub(super) fn continues_with(&self, kind: FrameKind, stream: u32) -> bool {
        self.kind == kind && self.stream == stream
    }
}

impl Connection {
    /// Takes one frame of a block; with the last one the block is complete.
    pub(super) fn receive_block(
        &mut self,
        header: FrameHeader,
        payload: Bytes,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let is_last = !header.has(FLAG_CONTINUED);
        if !is_last && payload.len() < MAX_PAYLOAD {
            // Otherwise a block could be any number of frames, each of which is work.
            let rule = "only the last frame of a block may be shorter than the longest";
            return Err(ConnectionError::Protocol { kind: header.kind, stream: header.stream, rule });
        }
        if self.assembly.is_none() && is_last {
            self.head_began = None;
            return self.complete_block(header, Ok(payload), now);
        }
        let limit = self.config.max_head;
        let assembly = self.assembly.get_or_insert_with(|| Assembly {
            kind: header.kind,
            stream: header.stream,
            block: BytesMut::new(),
            is_too_large: false,
        });
        if assembly.is_too_large || assembly.block.len() + payload.len() > limit {
            assembly.is_too_large = true;
            assembly.block = BytesMut::new();
        } else {
            assembly.block.extend_from_slice(&payload);
        }
        if self.head_began.is_none() {
            self.head_began = Some((header.stream, now));
        }
        if !is_last {
            return Ok(());
        }
        self.head_began = None;
        let Some(assembly) = self.assembly.take() else { return Ok(()) };
        let block = if assembly.is_too_large {
            Err(HeadError::TooLarge { limit })
        } else {
            Ok(assembly.block.freeze())
        };
        self.complete_block(header, block, now)
    }

    fn complete_block(
        &mut self,
        header: FrameHeader,
        block: Result<Bytes, HeadError>,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        match (header.kind, self.role) {
            (FrameKind::Head, Role::Server) => self.receive_request(header, block, now),
            (FrameKind::Trailers, _) => self.receive_trailers(header, block, now),
            (FrameKind::Informational, Role::Server) => {
                let rule = "only servers send interim answers";
                Err(ConnectionError::Protocol { kind: header.kind, stream: header.stream, rule })
            }
            (_, _) => self.receive_answer(header, block, now),
        }
    }

    fn receive_request(
        &mut self,
        header: FrameHeader,
        block: Result<Bytes, HeadError>,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let id = header.stream;
        if id != self.last_stream + 1 || id == u32::MAX {
            let rule = "the identifiers of streams are consecutive";
            return Err(ConnectionError::Protocol { kind: header.kind, stream: id, rule });
        }
        self.last_stream = id;
        if self.drain.refuses(id) {
            return self.refuse(id, Code::Draining, Some(now));
        }
        if self.open >= self.config.max_streams as usize {
            return self.refuse(id, Code::Refused, Some(now));
        }
        if self.counters.receive_promised + INITIAL_WINDOW as usize > self.config.max_receive {
            // What is not consumed yet of streams that are over takes the room: not the peer's fault.
            return self.refuse(id, Code::Refused, None);
        }
        let limits = self.own_limits();
        let end = header.has(FLAG_END);
        let read = block.and_then(|block| {
            let head = decode_request(&block, limits)?;
            let content = Content::of_request(&head.parts, end)?;
            Ok((Box::new(head), content))
        });
        let (head, content) = match read {
            Ok(read) => read,
            Err(error) => {
                self.counters.blocks_refused += 1;
                self.events.push_back(Event::Refused { stream: StreamId(id), error });
                return self.refuse(id, error.code(), Some(now));
            }
        };
        let receive_phase = if end { ReceivePhase::Ended } else { ReceivePhase::Body };
        let receive = (receive_phase, first_credit(head.metadata.body_credit));
        let send = (SendPhase::Head, first_credit(head.metadata.answer_credit));
        self.insert(id, receive, send).content = content;
        self.events.push_back(Event::Request { stream: StreamId(id), head, end });
        Ok(())
    }

    /// Refuses a stream before anything was done for it. `blamed` has the time when it counts against
    /// the peer.
    fn refuse(&mut self, id: u32, code: Code, blamed: Option<Instant>) -> Result<(), ConnectionError> {
        if let Some(now) = blamed {
            self.stream_wasted(now);
        }
        self.counters.streams_refused += 1;
        crate::frame::put_reset(&mut self.control, id, code, false);
        self.answered()
    }

    fn receive_answer(
        &mut self,
        header: FrameHeader,
        block: Result<Bytes, HeadError>,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let id = header.stream;
        let limits = self.own_limits();
        let is_interim = header.kind == FrameKind::Informational;
        if is_interim && self.rates.informational(now) {
            self.counters.frames_late += 1;
            return Ok(());
        }
        let Some(state) = self.streams.get_mut(&id) else {
            self.counters.frames_late += 1;
            return Ok(());
        };
        let end = header.has(FLAG_END);
        if state.receive_phase == ReceivePhase::Unwanted {
            if end && !is_interim {
                self.end_receiving(id);
            }
            return Ok(());
        }
        if state.receive_phase != ReceivePhase::Head {
            let rule = "there is one final head, and nothing interim after it";
            return Err(ConnectionError::Protocol { kind: header.kind, stream: id, rule });
        }
        let stream = StreamId(id);
        if is_interim {
            match block.and_then(|block| decode_informational(&block, limits)) {
                Ok(head) => self.events.push_back(Event::Informational { stream, head: Box::new(head) }),
                Err(error) => return self.abort(id, error, now),
            }
            return Ok(());
        }
        let read = block.and_then(|block| {
            let head = decode_response(&block, limits)?;
            let content = Content::of_answer(state.asked, &head.parts, end)?;
            Ok((Box::new(head), content))
        });
        let (head, content) = match read {
            Ok(read) => read,
            Err(error) => return self.abort(id, error, now),
        };
        (state.receive_phase, state.content) = (ReceivePhase::Body, content);
        self.events.push_back(Event::Response { stream, head, end });
        if end {
            self.end_receiving(id);
        }
        Ok(())
    }

    fn receive_trailers(
        &mut self,
        header: FrameHeader,
        block: Result<Bytes, HeadError>,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let id = header.stream;
        let limits = self.own_limits();
        let Some(state) = self.streams.get_mut(&id) else {
            self.counters.frames_late += 1;
            return Ok(());
        };
        if state.receive_phase == ReceivePhase::Unwanted {
            self.end_receiving(id);
            return Ok(());
        }
        if state.receive_phase != ReceivePhase::Body {
            let rule = "trailers come after the head and before the end";
            return Err(ConnectionError::Protocol { kind: header.kind, stream: id, rule });
        }
        let content = state.content;
        let read = block.and_then(|block| {
            content.end()?;
            let trailers = decode_trailers(&block, limits)?;
            check_trailers(&trailers.0)?;
            Ok(trailers)
        });
        let (fields, names) = match read {
            Ok(trailers) => trailers,
            Err(error) => return self.abort(id, error, now),
        };
        let trailers = Box::new(Trailers { fields, names });
        self.events.push_back(Event::Trailers { stream: StreamId(id), trailers });
        self.end_receiving(id);
        Ok(())
    }
}
