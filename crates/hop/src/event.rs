//! What a connection reports to the one who drives it.

use bytes::Bytes;
use http::{HeaderMap, response};

use crate::code::Code;
use crate::error::HeadError;
use crate::frame::StreamId;
use crate::head::{OriginalNames, RequestHead, ResponseHead};

/// Something that happened on a connection, in the order in which it happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// The peer's SETTINGS arrived, for the first time or again. More streams may be possible now.
    Settings,
    /// Server: the peer opened a stream.
    Request {
        /// The stream.
        stream: StreamId,
        /// The head.
        head: Box<RequestHead>,
        /// Whether the request has neither body nor trailers.
        end: bool,
    },
    /// Client: an interim answer (1xx, but not 101). A final one follows.
    Informational {
        /// The stream.
        stream: StreamId,
        /// The head.
        head: Box<response::Parts>,
    },
    /// Client: the final answer's head. After 101, or 2xx to CONNECT, DATA is the tunnel in both directions.
    Response {
        /// The stream.
        stream: StreamId,
        /// The head.
        head: Box<ResponseHead>,
        /// Whether the answer has neither body nor trailers.
        end: bool,
    },
    /// A part of a body. Report it with [`consumed`](crate::Connection::consumed) once it is used, so that
    /// the peer may send more.
    Data {
        /// The stream.
        stream: StreamId,
        /// The octets, a slice of what was received; empty only when `end` is set.
        data: Bytes,
        /// Whether nothing follows in this direction.
        end: bool,
    },
    /// Fields after a body; nothing follows in this direction.
    Trailers {
        /// The stream.
        stream: StreamId,
        /// The fields.
        trailers: Box<Trailers>,
    },
    /// What the peer sent on a stream can't be read, or can be read in two ways. The stream is ended: one that had been
    /// reported before has its [`Event::Reset`] next.
    Refused {
        /// The stream.
        stream: StreamId,
        /// What is wrong.
        error: HeadError,
    },
    /// The peer has had more streams for nothing than it should: reading [pauses](crate::Connection::is_paused).
    Flooded,
    /// The stream is over in both directions, before its time. With [`Code::NoError`] what was received is
    /// complete, and the peer only needs nothing more from us.
    Reset {
        /// The stream.
        stream: StreamId,
        /// Why.
        code: Code,
        /// `false`: the request was provably not processed and may be sent again elsewhere, whatever its
        /// method. `true`: it may have been.
        processed: bool,
        /// Who ended the stream.
        by: Origin,
    },
    /// More may be queued on a stream whose [`send_capacity`](crate::Connection::send_capacity) was 0.
    Writable {
        /// The stream.
        stream: StreamId,
    },
    /// The peer takes no more streams. Those that it did not process have had their [`Event::Reset`]; the
    /// others go on to their end.
    Drain {
        /// Why; anything but [`Code::NoError`] means that the peer is closing the connection for an error.
        code: Code,
    },
    /// The answer to a [`ping`](crate::Connection::ping).
    Pong {
        /// What that call returned.
        token: u64,
    },
}

/// Who ended a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The peer said so.
    Peer,
    /// This side found that it can't go on: a block that can't be read, or the end of the connection.
    Local,
}

/// Fields that follow a body.
#[derive(Debug, Clone, Default)]
pub struct Trailers {
    /// The fields.
    pub fields: HeaderMap,
    /// Their names as they were sent, when the map alone would lose something.
    pub names: Option<OriginalNames>,
}

impl From<HeaderMap> for Trailers {
    fn from(fields: HeaderMap) -> Self {
        Self { fields, names: None }
    }
}
