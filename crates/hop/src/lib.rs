//! The weft/1 protocol between two sidecars, without I/O.
//!
//! A [`Connection`] is one side of one connection. Its driver reads octets from the peer into a
//! buffer and calls [`receive`](Connection::receive), drains [`poll_event`](Connection::poll_event), calls the
//! `send_*` methods, and writes to the peer what [`write_into`](Connection::write_into) yields. Time is
//! an argument. The wire format is in `PROTOCOL.md`.
//!
//! What the driver has to keep to:
//! - after `receive`, `write_into`, `check_deadlines` and `lost`, drain `poll_event` until `None`;
//! - after anything was queued, or `consumed` was called, write while [`wants_write`](Connection::wants_write);
//!   call `write_into` only when the last output is written out, so that back-pressure works;
//! - report DATA that was used with [`consumed`](Connection::consumed), or give it up with
//!   [`stop_receiving`](Connection::stop_receiving) or [`reset`](Connection::reset); after
//!   [`Event::Reset`] drop what is left of a stream, unless its code is [`Code::NoError`];
//! - don't read while [`is_paused`](Connection::is_paused);
//! - when a call returns a [`ConnectionError`], drain the events, write what is queued, close;
//! - when the transport ends or fails, call [`lost`](Connection::lost) and drain the events;
//! - call [`check_deadlines`](Connection::check_deadlines) at [`next_deadline`](Connection::next_deadline).
//!
//! ```
//! use std::time::Instant;
//! use bytes::{Bytes, BytesMut};
//! use weft_hop::{Config, Connection, Event, RequestMetadata, ResponseMetadata, Role};
//!
//! let now = Instant::now();
//! let mut client = Connection::new(Role::Client, Config::default(), now);
//! let mut server = Connection::new(Role::Server, Config::default(), now);
//! let mut wire = BytesMut::new();
//!
//! let (request, ()) = http::Request::post("http://cart/items").body(())?.into_parts();
//! let metadata = RequestMetadata { attempt: Some(1), ..RequestMetadata::default() };
//! let stream = client.open_stream(&request, &metadata, false)?;
//! assert!(client.send_capacity(stream) >= 5);
//! client.send_data(stream, Bytes::from_static(b"apple"), true)?;
//! client.write_into(&mut wire, 64 * 1024);
//!
//! server.receive(&mut wire, now)?;
//! while let Some(event) = server.poll_event() {
//!     match event {
//!         Event::Request { stream, head, .. } => {
//!             assert_eq!(head.parts.uri, "http://cart/items");
//!             assert_eq!(head.metadata.attempt, Some(1));
//!             let (answer, ()) = http::Response::builder().status(201).body(())?.into_parts();
//!             server.send_head(stream, &answer, &ResponseMetadata::default(), true)?;
//!         }
//!         Event::Data { stream, data, .. } => server.consumed(stream, data.len()),
//!         _ => {}
//!     }
//! }
//! server.write_into(&mut wire, 64 * 1024);
//!
//! client.receive(&mut wire, now)?;
//! let mut status = None;
//! while let Some(event) = client.poll_event() {
//!     if let Event::Response { head, .. } = event {
//!         status = Some(head.parts.status);
//!     }
//! }
//! assert_eq!(status, Some(http::StatusCode::CREATED));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod code;
mod connection;
mod content;
mod counters;
mod error;
mod event;
mod flow;
mod frame;
mod head;
mod limits;
mod metadata;
mod queue;
mod stream;
mod wire;

pub use code::Code;
pub use connection::{Connection, Role};
pub use counters::Counters;
pub use error::{ConnectionError, HeadError, OpenError, StreamError};
pub use event::{Event, Origin, Trailers};
pub use flow::{FRAME_COST, HELD_BACK_WINDOW, INITIAL_WINDOW, MAX_CREDIT};
pub use frame::{FrameKind, HEADER_LEN, MAX_PAYLOAD, StreamId};
pub use head::{OriginalNames, Protocol, Reason, RequestHead, ResponseHead};
pub use limits::{Config, PeerSettings, RateLimits};
pub use metadata::{
    Destination, EndpointLoad, FaultMarks, RequestMetadata, ResponseMarks, ResponseMetadata, RetryState,
    Route, Text, TraceContext,
};

/// The protocol's name in TLS ALPN.
pub const ALPN: &[u8] = b"weft/1";
