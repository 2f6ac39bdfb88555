//! What can go wrong: with a connection, with one stream, with one head, with a call.

use std::time::Duration;

use crate::code::Code;
use crate::frame::{FrameKind, MAX_PAYLOAD, StreamId};

/// The connection can't go on.
///
/// The connection has already queued the DRAIN frame that tells the peer why: write what is queued
/// and close. Each open stream gets an [`Event::Reset`](crate::Event::Reset) first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// A frame's header announced more than a frame may carry.
    #[error("a {kind} frame of {length} octets is longer than {MAX_PAYLOAD}")]
    FrameTooLong {
        /// The frame's type.
        kind: FrameKind,
        /// The length it announced, in octets.
        length: usize,
    },
    /// A frame was too short for what its type must carry.
    #[error("a {kind} frame of {length} octets is too short")]
    FrameTooShort {
        /// The frame's type.
        kind: FrameKind,
        /// Its length in octets.
        length: usize,
    },
    /// A frame came where it may not.
    #[error("{kind} on stream {stream}: {rule}")]
    Protocol {
        /// The frame's type.
        kind: FrameKind,
        /// The stream it was for, 0 for the connection.
        stream: u32,
        /// The rule it broke.
        rule: &'static str,
    },
    /// The peer sent more DATA than it had credit for, or gave more credit than there can be.
    #[error("{kind} on stream {stream} exceeds the credit by {excess} octets")]
    FlowControl {
        /// The frame's type, DATA or CREDIT.
        kind: FrameKind,
        /// The stream.
        stream: u32,
        /// By how many octets.
        excess: u64,
    },
    /// Too many frames of a kind that carries nothing.
    #[error("more than {limit} {what} within a second")]
    Flood {
        /// Which frames.
        what: &'static str,
        /// How many are allowed within a second.
        limit: u32,
    },
    /// The peer makes us answer but doesn't read the answers.
    #[error("{waiting} answers to control frames wait for a peer that doesn't read")]
    PeerDoesNotRead {
        /// How many answers wait.
        waiting: u32,
    },
    /// A head was begun and not finished in time.
    #[error("the head on stream {stream} was not complete within {limit:?}")]
    HeadTimeout {
        /// The stream.
        stream: u32,
        /// The time a head may take.
        limit: Duration,
    },
    /// The peer did not send SETTINGS in time.
    #[error("the peer sent no SETTINGS within {limit:?}")]
    SettingsTimeout {
        /// The time SETTINGS may take.
        limit: Duration,
    },
    /// The connection was closed from below, without a rule being broken.
    #[error("the connection was lost")]
    Lost,
}

impl ConnectionError {
    /// What the peer is told.
    pub fn code(&self) -> Code {
        match self {
            Self::FrameTooLong { .. } | Self::FrameTooShort { .. } => Code::FrameSize,
            Self::Protocol { .. } => Code::Protocol,
            Self::FlowControl { .. } => Code::FlowControl,
            Self::Flood { .. } | Self::PeerDoesNotRead { .. } => Code::Flood,
            Self::HeadTimeout { .. } | Self::SettingsTimeout { .. } => Code::HeadTimeout,
            Self::Lost => Code::Lost,
        }
    }
}

/// A head, trailers or metadata could not be read or written.
///
/// On receiving, it ends one stream and leaves the connection: blocks share no state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The block ended within a field.
    #[error("the block ends within a field")]
    Truncated,
    /// The block broke a rule.
    #[error("the block holds {0}")]
    Malformed(&'static str),
    /// The content could end in two places: by its length, and by the stream that carries it.
    #[error("the message has {0}")]
    Framing(&'static str),
    /// The block is longer than the receiver takes.
    #[error("the block is longer than {limit} octets")]
    TooLarge {
        /// What the receiver takes, in octets.
        limit: usize,
    },
    /// The block has more fields than the receiver takes.
    #[error("the block has more than {limit} fields")]
    TooManyFields {
        /// How many the receiver takes.
        limit: usize,
    },
}

impl HeadError {
    /// What the peer is told when the block was received.
    pub fn code(self) -> Code {
        match self {
            Self::Truncated | Self::Malformed(_) | Self::Framing(_) => Code::Malformed,
            Self::TooLarge { .. } | Self::TooManyFields { .. } => Code::HeadTooLarge,
        }
    }
}

/// A stream could not be opened. Nothing was sent: the request may go elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// As many streams are open as the peer or our own bounds allow.
    #[error("{open} streams are open; no more until one ends")]
    TooManyStreams {
        /// How many are open.
        open: usize,
    },
    /// Too many octets of heads wait to be written.
    #[error("{queued} octets of heads wait to be written; no more streams until they are")]
    Congested {
        /// How many octets wait.
        queued: usize,
    },
    /// The connection was drained by either side, or has no stream identifiers left.
    #[error("the connection takes no more streams; open another one")]
    Draining,
    /// The connection has failed.
    #[error("the connection is closed; open another one")]
    Closed,
    /// Only clients open streams.
    #[error("the server's side of a connection opens no streams")]
    NotClient,
    /// The head is over the limits that the peer announced.
    #[error(transparent)]
    Head(#[from] HeadError),
}

/// Something could not be sent on a stream. Nothing of it was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The stream ended, was reset by either side, or never was.
    #[error("stream {0} is not open")]
    NotOpen(StreamId),
    /// The call doesn't fit what was sent on the stream before.
    #[error("stream {stream}: {rule}")]
    Order {
        /// The stream.
        stream: StreamId,
        /// The rule the call broke.
        rule: &'static str,
    },
    /// More than [`send_capacity`](crate::Connection::send_capacity) allowed.
    #[error("stream {stream}: {wanted} octets are more than the {capacity} that may be queued")]
    NoCapacity {
        /// The stream.
        stream: StreamId,
        /// How many octets were to be queued.
        wanted: usize,
        /// How many may be.
        capacity: usize,
    },
    /// The head or trailers are over the limits that the peer announced.
    #[error("stream {stream}: {error}")]
    Head {
        /// The stream.
        stream: StreamId,
        /// What is wrong.
        error: HeadError,
    },
}
