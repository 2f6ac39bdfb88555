//! Whatever the peer sends, a connection neither panics nor holds more than it promised, and cutting the
//! octets elsewhere changes nothing.
//!
//! The first octet says which side is played and where the rest is cut; SETTINGS are said beforehand.

#![no_main]

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use weft_hop::{Config, Connection, Event, RequestMetadata, ResponseMetadata, Role, StreamId};

const SETTINGS: [u8; 8] = [0; 8];

fuzz_target!(|input: &[u8]| {
    let Some((&choice, octets)) = input.split_first() else { return };
    if octets.is_empty() {
        return;
    }
    let role = if choice & 1 == 0 { Role::Server } else { Role::Client };
    let now = Instant::now();
    let pieces = || octets.chunks(usize::from(choice >> 1) + 1);
    let whole = play(role, [octets].into_iter(), false, now);
    let cut = play(role, pieces(), false, now);
    assert_eq!(whole, cut);
    // What comes for a stream that was answered to its end is late, and when that is depends on how the octets are cut.
    let _ = play(role, pieces(), true, now);
});

/// Feeds the pieces to a connection that answers, to the end where `ends`; returns what happened and how it ended.
fn play<'a>(
    role: Role,
    pieces: impl Iterator<Item = &'a [u8]>,
    ends: bool,
    now: Instant,
) -> (Vec<String>, bool) {
    let config = Config::default();
    let bound = config.max_receive;
    let mut connection = Connection::new(role, config, now);
    connection.receive(&mut BytesMut::from(&SETTINGS[..]), now).expect("SETTINGS without entries are valid");
    if role == Role::Client {
        let (request, ()) = http::Request::new(()).into_parts();
        for end in [false, true, false] {
            let opened = connection.open_stream(&request, &RequestMetadata::default(), end);
            opened.expect("three streams fit");
        }
    }
    let mut happened = Vec::new();
    let mut buffer = BytesMut::new();
    let mut failed = false;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        failed = connection.receive(&mut buffer, now).is_err();
        let counters = connection.counters();
        assert!(counters.receive_held <= counters.receive_promised);
        assert!(counters.receive_promised <= bound);
        while let Some(event) = connection.poll_event() {
            happened.push(format!("{event:?}"));
            react(&mut connection, event, ends);
        }
        if failed {
            break;
        }
    }
    if failed {
        // Which streams were still open when the connection failed depends on when they were answered.
        happened.retain(|event| !(event.starts_with("Reset") && event.contains("by: Local")));
    }
    (happened, failed)
}

/// What an application would do: answers requests, sends bodies back, takes every other piece.
///
/// Nothing is written in between: what was written would change when the peer's frames are late, and
/// with it the comparison.
fn react(connection: &mut Connection, event: Event, ends: bool) {
    match event {
        Event::Request { stream, .. } => {
            let (answer, ()) = http::Response::new(()).into_parts();
            let _ = connection.send_head(stream, &answer, &ResponseMetadata::default(), false);
        }
        Event::Data { stream, data, end } => {
            if data.len() % 2 == 0 {
                connection.consumed(stream, data.len());
            }
            echo(connection, stream, data, end && ends);
        }
        _ => {}
    }
}

fn echo(connection: &mut Connection, stream: StreamId, mut data: Bytes, end: bool) {
    data.truncate(connection.send_capacity(stream));
    let _ = connection.send_data(stream, data, end);
}
