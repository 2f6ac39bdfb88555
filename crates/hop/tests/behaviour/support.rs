//! A client and a server without a transport between them, and frames made by hand.

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use http::{request, response};
use weft_hop::{Config, Connection, Event, RequestMetadata, ResponseMetadata, Role, StreamId};

/// Room for everything that a test queues.
pub(crate) const ALL: usize = usize::MAX;

pub(crate) struct Pair {
    pub(crate) client: Connection,
    pub(crate) server: Connection,
    pub(crate) now: Instant,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with(Config::default(), Config::default())
    }

    /// A pair that has not exchanged SETTINGS.
    pub(crate) fn with(client: Config, server: Config) -> Self {
        let now = Instant::now();
        Self {
            client: Connection::new(Role::Client, client, now),
            server: Connection::new(Role::Server, server, now),
            now,
        }
    }

    /// Hands over what each side has queued, once; returns what then happened on each.
    pub(crate) fn exchange(&mut self) -> (Vec<Event>, Vec<Event>) {
        let at_server = pass(&mut self.client, &mut self.server, self.now);
        let at_client = pass(&mut self.server, &mut self.client, self.now);
        (at_client, at_server)
    }

    /// Exchanges until nothing more happens, and drops what did.
    pub(crate) fn settle(&mut self) {
        while self.client.wants_write() || self.server.wants_write() {
            self.exchange();
        }
    }

    /// Opens a stream whose request has a body.
    pub(crate) fn open(&mut self) -> StreamId {
        self.client.open_stream(&get("/"), &RequestMetadata::default(), false).unwrap()
    }

    /// Answers with a head, without its end.
    pub(crate) fn answer(&mut self, stream: StreamId) {
        self.server.send_head(stream, &ok(), &ResponseMetadata::default(), false).unwrap();
    }

    /// A stream on which both heads have been exchanged.
    pub(crate) fn tunnel(&mut self) -> StreamId {
        let stream = self.open();
        self.exchange();
        self.answer(stream);
        self.settle();
        stream
    }
}

/// Hands over what one side has queued; returns what happened on the other.
pub(crate) fn pass(from: &mut Connection, to: &mut Connection, now: Instant) -> Vec<Event> {
    let mut wire = BytesMut::new();
    while from.write_into(&mut wire, ALL) {}
    to.receive(&mut wire, now).unwrap();
    assert!(wire.is_empty());
    events(to)
}

pub(crate) fn events(connection: &mut Connection) -> Vec<Event> {
    std::iter::from_fn(|| connection.poll_event()).filter(|event| !matches!(event, Event::Settings)).collect()
}

pub(crate) fn written(connection: &mut Connection) -> BytesMut {
    let mut wire = BytesMut::new();
    while connection.write_into(&mut wire, ALL) {}
    wire
}

pub(crate) fn get(target: &str) -> request::Parts {
    http::Request::get(target).body(()).unwrap().into_parts().0
}

pub(crate) fn ok() -> response::Parts {
    http::Response::new(()).into_parts().0
}

pub(crate) fn zeros(length: usize) -> Bytes {
    Bytes::from(vec![0; length])
}

/// A frame made by hand.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u16(u16::try_from(payload.len()).unwrap());
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_u32(stream);
    out.put_slice(payload);
    out
}

/// The numbers of frame types, from the protocol's description.
pub(crate) mod kind {
    pub(crate) const SETTINGS: u8 = 0;
    pub(crate) const HEAD: u8 = 1;
    pub(crate) const INFORMATIONAL: u8 = 2;
    pub(crate) const DATA: u8 = 3;
    pub(crate) const TRAILERS: u8 = 4;
    pub(crate) const CREDIT: u8 = 5;
    pub(crate) const RESET: u8 = 6;
    pub(crate) const PING: u8 = 7;
    pub(crate) const DRAIN: u8 = 8;
}

/// The block of `GET / HTTP/1.1` without fields, by hand.
pub(crate) const PLAIN_REQUEST: &[u8] = &[1, 1, 0x08, 1, b'/', 0, 0];
/// The block of `HTTP/1.1 200` without fields, by hand.
pub(crate) const PLAIN_ANSWER: &[u8] = &[1, 0, 200, 0, 0, 0];

/// Several frames one after the other.
pub(crate) fn wire(frames: &[Vec<u8>]) -> BytesMut {
    BytesMut::from(frames.concat().as_slice())
}

/// A connection to which a hand-made peer has said SETTINGS.
pub(crate) fn greeted(role: Role, config: Config) -> (Connection, Instant) {
    let now = Instant::now();
    let mut connection = Connection::new(role, config, now);
    connection.receive(&mut wire(&[frame(kind::SETTINGS, 0, 0, &[])]), now).unwrap();
    events(&mut connection);
    written(&mut connection);
    (connection, now)
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);
