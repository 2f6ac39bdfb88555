//! The frame: eight octets that say what follows, then the payload.

use bytes::{Buf, BufMut, BytesMut};

use crate::code::Code;
use crate::error::ConnectionError;

/// The number of octets of a frame's header.
pub const HEADER_LEN: usize = 8;

/// The longest payload of a frame, in octets.
///
/// Small enough that a frame of a large body delays a small answer by one TLS record at most.
pub const MAX_PAYLOAD: usize = 16 * 1024;

/// HEAD, DATA: nothing follows in this direction.
pub(crate) const FLAG_END: u8 = 0x01;
/// HEAD, INFORMATIONAL, TRAILERS: the next frame continues this block.
pub(crate) const FLAG_CONTINUED: u8 = 0x02;
/// PING: this answers one.
pub(crate) const FLAG_ACK: u8 = 0x01;

/// What a stream is called on its connection: 1 for the first one the client opens, then 2, 3 ...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub(crate) u32);

impl StreamId {
    /// The number that stands on the wire.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Limits of the sender; the first frame in each direction.
    Settings,
    /// The head of a request or of the final answer.
    Head,
    /// The head of an interim answer (1xx).
    Informational,
    /// A part of a body, or of an upgraded connection.
    Data,
    /// Fields that follow a body; the last frame in its direction.
    Trailers,
    /// More DATA may be sent on a stream.
    Credit,
    /// The stream is over in both directions.
    Reset,
    /// Asks for an answer, or is one.
    Ping,
    /// The sender takes no more streams.
    Drain,
    /// A type that this version does not know; its frames are skipped.
    Unknown(u8),
}

impl FrameKind {
    /// The kind with this number.
    pub fn from_u8(number: u8) -> Self {
        match number {
            0 => Self::Settings,
            1 => Self::Head,
            2 => Self::Informational,
            3 => Self::Data,
            4 => Self::Trailers,
            5 => Self::Credit,
            6 => Self::Reset,
            7 => Self::Ping,
            8 => Self::Drain,
            other => Self::Unknown(other),
        }
    }

    /// Whether its frames carry a head or trailers.
    pub(crate) fn is_block(self) -> bool {
        matches!(self, Self::Head | Self::Informational | Self::Trailers)
    }

    /// The number that stands on the wire.
    pub fn to_u8(self) -> u8 {
        match self {
            Self::Settings => 0,
            Self::Head => 1,
            Self::Informational => 2,
            Self::Data => 3,
            Self::Trailers => 4,
            Self::Credit => 5,
            Self::Reset => 6,
            Self::Ping => 7,
            Self::Drain => 8,
            Self::Unknown(other) => other,
        }
    }
}

impl std::fmt::Display for FrameKind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Settings => "SETTINGS",
            Self::Head => "HEAD",
            Self::Informational => "INFORMATIONAL",
            Self::Data => "DATA",
            Self::Trailers => "TRAILERS",
            Self::Credit => "CREDIT",
            Self::Reset => "RESET",
            Self::Ping => "PING",
            Self::Drain => "DRAIN",
            Self::Unknown(number) => return write!(formatter, "frame type {number}"),
        })
    }
}

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) length: usize,
    pub(crate) kind: FrameKind,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl FrameHeader {
    /// Reads the header at the front of `input` and leaves it there; `None` while it is incomplete.
    pub(crate) fn peek(mut input: &[u8]) -> Result<Option<Self>, ConnectionError> {
        if input.len() < HEADER_LEN {
            return Ok(None);
        }
        let length = usize::from(input.get_u16());
        let kind = FrameKind::from_u8(input.get_u8());
        let flags = input.get_u8();
        let stream = input.get_u32();
        if length > MAX_PAYLOAD {
            return Err(ConnectionError::FrameTooLong { kind, length });
        }
        Ok(Some(Self { length, kind, flags, stream }))
    }

    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The eight octets of a header; `length` is at most [`MAX_PAYLOAD`].
fn header_octets(length: usize, kind: FrameKind, flags: u8, stream: u32) -> [u8; HEADER_LEN] {
    debug_assert!(length <= MAX_PAYLOAD);
    // One number instead of four: one store, and one check of the buffer's room.
    let header =
        (length as u64) << 48 | u64::from(kind.to_u8()) << 40 | u64::from(flags) << 32 | u64::from(stream);
    header.to_be_bytes()
}

/// Writes a header; `length` is at most [`MAX_PAYLOAD`].
pub(crate) fn put_header(out: &mut BytesMut, length: usize, kind: FrameKind, flags: u8, stream: u32) {
    out.put_slice(&header_octets(length, kind, flags, stream));
}

/// Leaves room for a header whose length is known only once the block behind it is written.
/// Returns where the room begins, for [`finish_block`].
pub(crate) fn begin_block(out: &mut BytesMut) -> usize {
    let start = out.len();
    out.put_bytes(0, HEADER_LEN);
    start
}

/// Writes a whole DATA frame; `data` is at most [`MAX_PAYLOAD`] octets.
pub(crate) fn put_data(out: &mut BytesMut, stream: u32, data: &[u8], end: bool) {
    put_header(out, data.len(), FrameKind::Data, if end { FLAG_END } else { 0 }, stream);
    out.put_slice(data);
}

/// Writes a CREDIT frame.
pub(crate) fn put_credit(out: &mut BytesMut, stream: u32, credit: u32) {
    put_header(out, 4, FrameKind::Credit, 0, stream);
    out.put_u32(credit);
}

/// Writes a RESET frame.
pub(crate) fn put_reset(out: &mut BytesMut, stream: u32, code: Code, processed: bool) {
    put_header(out, 3, FrameKind::Reset, 0, stream);
    out.put_u16(code.to_u16());
    out.put_u8(u8::from(processed));
}

/// Writes a PING frame.
pub(crate) fn put_ping(out: &mut BytesMut, token: u64, ack: bool) {
    put_header(out, 8, FrameKind::Ping, if ack { FLAG_ACK } else { 0 }, 0);
    out.put_u64(token);
}

/// Writes a DRAIN frame.
pub(crate) fn put_drain(out: &mut BytesMut, last: u32, code: Code) {
    put_header(out, 6, FrameKind::Drain, 0, 0);
    out.put_u32(last);
    out.put_u16(code.to_u16());
}

/// Turns what was written since [`begin_block`] into one frame, or into several when it is longer
/// than a frame may be.
pub(crate) fn finish_block(out: &mut BytesMut, start: usize, kind: FrameKind, flags: u8, stream: u32) {
    let body = start + HEADER_LEN;
    let length = out.len() - body;
    if length <= MAX_PAYLOAD {
        out[start..body].copy_from_slice(&header_octets(length, kind, flags, stream));
        return;
    }
    let block = out.split_off(body);
    out.truncate(start);
    let mut parts = block.chunks(MAX_PAYLOAD).peekable();
    while let Some(part) = parts.next() {
        let flags = if parts.peek().is_some() { FLAG_CONTINUED } else { flags };
        put_header(out, part.len(), kind, flags, stream);
        out.put_slice(part);
    }
}
