//! What is wrong with frames of HTTP/2 and the requests in them, and what an application sees of those that are not: RFC
//! 9113, by its sections and in the order in which h2spec asks, on the outbound and on the inbound side.

use weft_mesh::violation::Violation;

use super::frames::*;
use super::side::{Side, both};

mod requests;

/// How a client's frames end.
#[derive(Debug, Clone, Copy)]
enum Expected {
    /// The connection, with one of these codes (RFC 9113 section 5.4.1).
    Connection(&'static [u32]),
    /// The stream, or else the connection, with one of these codes (section 5.4.2).
    Stream(&'static [u32]),
    /// An answer with this status in place of the application's.
    Status(u16),
}

use Expected::{Connection, Status, Stream};

const PROTOCOL: u32 = 1;
const FLOW_CONTROL: u32 = 3;
const CLOSED: u32 = 5;
const FRAME_SIZE: u32 = 6;
const REFUSED: u32 = 7;
const COMPRESSION: u32 = 9;

type Case = (&'static str, Vec<u8>, Expected);

async fn refused(cases: impl Fn() -> Vec<Case>) {
    both(async |side| {
        for (name, bytes, expected) in cases() {
            let before = all_violations(&side);
            let mut client = Client::new(side.connect().await, &[]).await;
            client.say(&bytes).await;
            let gone = client.received.iter().find(|frame| frame.kind == GOAWAY && frame.code() != 0);
            let reset = client.received.iter().find(|frame| frame.kind == RST_STREAM && frame.code() != 0);
            match expected {
                Connection(codes) => {
                    let gone = gone.unwrap_or_else(|| panic!("{name}: no GOAWAY in {:?}", client.received));
                    assert!(codes.contains(&gone.code()), "{name}: {gone:?}");
                    assert!(client.closed, "{name}: stays open");
                }
                Stream(codes) => {
                    let end = reset.or(gone);
                    let end = end.unwrap_or_else(|| panic!("{name}: no end in {:?}", client.received));
                    assert!(codes.contains(&end.code()), "{name}: {end:?}");
                }
                Status(status) => assert_eq!(client.status(1), Some(status), "{name}"),
            }
            assert!(all_violations(&side) > before, "{name} is not counted");
            let seen = std::mem::take(&mut *side.seen.borrow_mut());
            for request in seen {
                let request = String::from_utf8_lossy(&request);
                assert!(!request.contains("smuggled"), "{name}: {request}");
            }
        }
    })
    .await;
}

fn all_violations(side: &Side) -> u64 {
    Violation::ALL.into_iter().map(|violation| side.violations(violation)).sum()
}

fn join(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.concat()
}

#[tokio::test(start_paused = true)]
async fn frames_that_are_none_end_the_connection() {
    refused(|| {
        let large = vec![0; 16_385];
        vec![
            (
                "4.2: DATA larger than a frame may be",
                join(&[post(1, 0, &[]), frame(DATA, END_STREAM, 1, &large)]),
                Connection(&[FRAME_SIZE]),
            ),
            (
                "4.2: HEADERS larger than a frame may be",
                frame(HEADERS, WHOLE, 1, &large),
                Connection(&[FRAME_SIZE]),
            ),
            (
                "4.3: a block that is none",
                frame(HEADERS, WHOLE, 1, &[0x40, 0xff, 0xff, 0xff, 0xff, 0xff]),
                Connection(&[COMPRESSION, PROTOCOL]),
            ),
            (
                "4.3: an index beyond the table",
                frame(HEADERS, WHOLE, 1, &[0xff, 0xff, 0x01]),
                Connection(&[COMPRESSION, PROTOCOL]),
            ),
            (
                "4.3: PRIORITY within a block",
                join(&[frame(HEADERS, END_STREAM, 1, &fields(&GET)), frame(PRIORITY, 0, 1, &[0; 5])]),
                Connection(&[PROTOCOL]),
            ),
            (
                "4.3: HEADERS of another stream within a block",
                join(&[frame(HEADERS, END_STREAM, 1, &fields(&GET)), get(3)]),
                Connection(&[PROTOCOL]),
            ),
            (
                "5.5: an unknown frame within a block",
                join(&[
                    frame(HEADERS, END_STREAM, 1, &fields(&GET)),
                    frame(0x16, 0, 0, &[]),
                    frame(CONTINUATION, END_HEADERS, 1, &[]),
                ]),
                Connection(&[PROTOCOL]),
            ),
        ]
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn frames_that_break_the_rules_of_their_type_end_the_connection() {
    refused(|| {
        vec![
            ("6.1: DATA on no stream", frame(DATA, END_STREAM, 0, b"x"), Connection(&[PROTOCOL])),
            (
                "6.1: more padding than DATA",
                join(&[post(1, 0, &[]), frame(DATA, PADDED | END_STREAM, 1, &[9, b'x'])]),
                Connection(&[PROTOCOL]),
            ),
            ("6.2: HEADERS on no stream", frame(HEADERS, WHOLE, 0, &fields(&GET)), Connection(&[PROTOCOL])),
            (
                "6.2: more padding than HEADERS",
                frame(HEADERS, WHOLE | PADDED, 1, &[&[255][..], &fields(&GET)[..9]].concat()),
                Connection(&[PROTOCOL]),
            ),
            ("6.3: PRIORITY on no stream", frame(PRIORITY, 0, 0, &[0; 5]), Connection(&[PROTOCOL])),
            (
                "6.3: PRIORITY of another size",
                frame(PRIORITY, 0, 1, &[0; 4]),
                Stream(&[FRAME_SIZE, PROTOCOL]),
            ),
            ("6.4: RST_STREAM on no stream", frame(RST_STREAM, 0, 0, &[0; 4]), Connection(&[PROTOCOL])),
            (
                "6.4: RST_STREAM of another size",
                join(&[post(1, 0, &[]), frame(RST_STREAM, 0, 1, &[0; 3])]),
                Connection(&[FRAME_SIZE, PROTOCOL]),
            ),
            (
                "6.5: an acknowledgement of SETTINGS with a payload",
                frame(SETTINGS, ACK, 0, &[0; 6]),
                Connection(&[FRAME_SIZE, PROTOCOL]),
            ),
            ("6.5: SETTINGS on a stream", frame(SETTINGS, 0, 1, &[]), Connection(&[PROTOCOL])),
            (
                "6.5: SETTINGS of another size",
                frame(SETTINGS, 0, 0, &[0; 3]),
                Connection(&[FRAME_SIZE, PROTOCOL]),
            ),
            ("6.5.2: ENABLE_PUSH that is no switch", settings(&[(2, 2)]), Connection(&[PROTOCOL])),
            (
                "6.5.2: a window beyond the largest",
                settings(&[(4, 1 << 31)]),
                Connection(&[FLOW_CONTROL, PROTOCOL]),
            ),
            ("6.5.2: frames smaller than they may be", settings(&[(5, 16_383)]), Connection(&[PROTOCOL])),
            ("6.5.2: frames larger than they may be", settings(&[(5, 1 << 24)]), Connection(&[PROTOCOL])),
            ("6.7: PING on a stream", frame(PING, 0, 1, &[0; 8]), Connection(&[PROTOCOL])),
            ("6.7: PING of another size", frame(PING, 0, 0, &[0; 6]), Connection(&[FRAME_SIZE, PROTOCOL])),
            ("6.8: GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), Connection(&[PROTOCOL])),
            ("6.9: WINDOW_UPDATE of nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), Connection(&[PROTOCOL])),
            (
                "6.9: WINDOW_UPDATE of another size",
                frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
                Connection(&[FRAME_SIZE, PROTOCOL]),
            ),
            (
                "6.9.1: a window of the connection that overflows",
                join(&[
                    frame(WINDOW_UPDATE, 0, 0, &i32::MAX.to_be_bytes()),
                    frame(WINDOW_UPDATE, 0, 0, &i32::MAX.to_be_bytes()),
                ]),
                Connection(&[FLOW_CONTROL]),
            ),
            (
                "6.10: CONTINUATION on no stream",
                join(&[
                    frame(HEADERS, END_STREAM, 1, &fields(&GET)),
                    frame(CONTINUATION, END_HEADERS, 0, &[]),
                ]),
                Connection(&[PROTOCOL]),
            ),
            (
                "6.10: CONTINUATION after the end",
                join(&[get(1), frame(CONTINUATION, END_HEADERS, 1, &[])]),
                Connection(&[PROTOCOL]),
            ),
            (
                "6.10: CONTINUATION of nothing",
                frame(CONTINUATION, END_HEADERS, 1, &fields(&GET)),
                Connection(&[PROTOCOL]),
            ),
            (
                "8.4: PUSH_PROMISE of a client",
                join(&[
                    post(1, 0, &[]),
                    frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &fields(&GET)].concat()),
                ]),
                Connection(&[PROTOCOL]),
            ),
        ]
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn frames_out_of_their_time_end_their_stream_or_the_connection() {
    refused(|| {
        let reset = |then: Vec<u8>| join(&[post(1, 0, &[]), frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), then]);
        vec![
            ("5.1: DATA on a stream that is idle", frame(DATA, END_STREAM, 1, b"x"), Connection(&[PROTOCOL])),
            (
                "5.1: RST_STREAM on a stream that is idle",
                frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
                Connection(&[PROTOCOL]),
            ),
            (
                "5.1: WINDOW_UPDATE on a stream that is idle",
                frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
                Connection(&[PROTOCOL]),
            ),
            (
                "5.1: DATA after the end of a request",
                join(&[get(1), frame(DATA, END_STREAM, 1, b"smuggled")]),
                Stream(&[CLOSED, PROTOCOL]),
            ),
            ("5.1: HEADERS after the end of a request", join(&[get(1), get(1)]), Stream(&[CLOSED, PROTOCOL])),
            (
                "5.1: DATA after a reset",
                reset(frame(DATA, END_STREAM, 1, b"smuggled")),
                Stream(&[CLOSED, PROTOCOL]),
            ),
            ("5.1: HEADERS after a reset", reset(get(1)), Stream(&[CLOSED, PROTOCOL])),
            (
                "5.1: CONTINUATION after a reset",
                reset(frame(CONTINUATION, END_HEADERS, 1, &[])),
                Connection(&[CLOSED, PROTOCOL]),
            ),
            ("5.1.1: a stream of an even number", get(2), Connection(&[PROTOCOL])),
            ("5.1.1: a stream of a lower number", join(&[get(5), get(3)]), Connection(&[PROTOCOL, CLOSED])),
            (
                "5.3.1: HEADERS that depend on themselves",
                frame(HEADERS, WHOLE | WITH_PRIORITY, 1, &[&[0, 0, 0, 1, 0][..], &fields(&GET)].concat()),
                Stream(&[PROTOCOL]),
            ),
            (
                "5.3.1: PRIORITY that depends on itself",
                join(&[post(1, 0, &[]), frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 0])]),
                Stream(&[PROTOCOL]),
            ),
            (
                "6.9: WINDOW_UPDATE of nothing on a stream",
                join(&[post(1, 0, &[]), frame(WINDOW_UPDATE, 0, 1, &[0; 4])]),
                Stream(&[PROTOCOL]),
            ),
            (
                "6.9.1: a window of a stream that overflows",
                join(&[
                    post(1, 0, &[]),
                    frame(WINDOW_UPDATE, 0, 1, &i32::MAX.to_be_bytes()),
                    frame(WINDOW_UPDATE, 0, 1, &i32::MAX.to_be_bytes()),
                ]),
                Stream(&[FLOW_CONTROL]),
            ),
        ]
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn more_streams_than_are_taken_are_refused_alone() {
    refused(|| {
        let streams = (0..1001).map(|number| post(number * 2 + 1, 0, &[])).collect::<Vec<_>>().concat();
        vec![("5.1.2: streams beyond the limit", streams, Stream(&[REFUSED, PROTOCOL]))]
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn pings_and_settings_are_acknowledged() {
    both(async |side| {
        let mut client = Client::new(side.connect().await, &[]).await;
        // The bit before a stream's number, and flags that are not defined, mean nothing.
        client.say(&join(&[frame(PING, 0x16, 1 << 31, b"12345678"), frame(PING, ACK, 0, b"87654321")])).await;
        let pongs: Vec<_> = client.received.iter().filter(|frame| frame.kind == PING).collect();
        assert!(pongs.len() == 1 && pongs[0].flags == ACK && pongs[0].payload == b"12345678", "{pongs:?}");
        assert!(client.received.iter().any(|frame| frame.kind == SETTINGS && frame.flags == ACK));
        assert!(client.received.iter().any(|frame| frame.kind == SETTINGS && frame.flags == 0));
        assert!(!client.closed);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_served_before_the_settings_of_a_client() {
    both(async |side| {
        for first in [get(1), frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, ACK, 0, &[])] {
            let before = side.violations(Violation::Http2Connection);
            let mut client = Client::silent(side.connect().await);
            client.say(&join(&[PREFACE.to_vec(), first, settings(&[]), get(1), get(3)])).await;
            let gone = client.received.iter().find(|frame| frame.kind == GOAWAY);
            assert_eq!(gone.map(Received::code), Some(PROTOCOL), "{:?}", client.received);
            // The other side's own SETTINGS come first all the same (RFC 9113 section 3.4).
            assert_eq!(client.received[0].kind, SETTINGS);
            assert!(client.closed);
            assert_eq!(side.violations(Violation::Http2Connection), before + 1);
        }
        assert!(side.seen.borrow().is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_preface_that_is_none_is_answered_as_a_request_that_is_none() {
    both(async |side| {
        let answers = side.answers(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await;
        assert!(answers.is_empty() || answers.starts_with("HTTP/1.1 400 "), "{answers}");
        assert!(side.seen.borrow().is_empty());
    })
    .await;
}
