//! Frames that are none, or break the rules of their type (RFC 9113 sections 3.4, 4 and 6).

use crate::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WHOLE, WINDOW_UPDATE, fields, frame, settings,
};

use super::super::case::{Case, Expected};
use super::{GET, case, get, post};

pub(super) fn cases() -> Vec<Case> {
    [prefaces(), heads(), types(), values()].into_iter().flatten().collect()
}

fn prefaces() -> Vec<Case> {
    let raw =
        |name, octets: &[Vec<u8>]| Case { name, octets: octets.concat(), expected: Expected::Connection };
    vec![
        raw(
            "3.4: a preface that is none",
            &[b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec(), settings(&[]), get(1)],
        ),
        raw("3.4: HEADERS before SETTINGS", &[PREFACE.to_vec(), get(1), settings(&[])]),
        raw("3.4: PING before SETTINGS", &[PREFACE.to_vec(), frame(PING, 0, 0, b"12345678"), settings(&[])]),
        raw(
            "3.4: an acknowledgement before SETTINGS",
            &[PREFACE.to_vec(), frame(SETTINGS, ACK, 0, &[]), settings(&[]), get(1)],
        ),
    ]
}

fn heads() -> Vec<Case> {
    use Expected::Connection;
    let large = vec![0; 16_385];
    let begun = || frame(HEADERS, END_STREAM, 1, &fields(&GET));
    vec![
        case(
            "4.2: DATA larger than a frame may be",
            &[post(1, 0, &[]), frame(DATA, END_STREAM, 1, &large)],
            Connection,
        ),
        case("4.2: HEADERS larger than a frame may be", &[frame(HEADERS, WHOLE, 1, &large)], Connection),
        case(
            "4.3: a block that is none",
            &[frame(HEADERS, WHOLE, 1, &[0x40, 0xff, 0xff, 0xff, 0xff, 0xff])],
            Connection,
        ),
        case("4.3: an index beyond the table", &[frame(HEADERS, WHOLE, 1, &[0xff, 0xff, 0x01])], Connection),
        case("4.3: index 0", &[frame(HEADERS, WHOLE, 1, &[0x80])], Connection),
        case(
            "4.3: a table larger than it may be",
            &[frame(HEADERS, WHOLE, 1, &[0x3f, 0xe2, 0x1f, 0x82])],
            Connection,
        ),
        case(
            "4.3: an update of the table's size behind a field",
            &[frame(HEADERS, WHOLE, 1, &[&fields(&GET)[..], &[0x20]].concat())],
            Connection,
        ),
        case(
            "4.3: padding of a code that is none",
            &[frame(HEADERS, WHOLE, 1, &[0x00, 0x81, 0x00, 0x00])],
            Connection,
        ),
        case("4.3: PRIORITY within a block", &[begun(), frame(PRIORITY, 0, 1, &[0; 5])], Connection),
        case("4.3: HEADERS of another stream within a block", &[begun(), get(3)], Connection),
        case(
            "5.5: an unknown frame within a block",
            &[begun(), frame(0x16, 0, 0, &[]), frame(CONTINUATION, END_HEADERS, 1, &[])],
            Connection,
        ),
        case(
            "6.10: CONTINUATION on no stream",
            &[begun(), frame(CONTINUATION, END_HEADERS, 0, &[])],
            Connection,
        ),
        case(
            "6.10: CONTINUATION of another stream",
            &[begun(), frame(CONTINUATION, END_HEADERS, 3, &[])],
            Connection,
        ),
        case(
            "6.10: CONTINUATION after the end",
            &[get(1), frame(CONTINUATION, END_HEADERS, 1, &[])],
            Connection,
        ),
        case(
            "6.10: CONTINUATION of nothing",
            &[frame(CONTINUATION, END_HEADERS, 1, &fields(&GET))],
            Connection,
        ),
    ]
}

fn types() -> Vec<Case> {
    use Expected::{Acknowledged, Connection, Refused};
    let one = |name, frame, expected| case(name, &[frame], expected);
    vec![
        one("6.1: DATA on no stream", frame(DATA, END_STREAM, 0, b"x"), Connection),
        case(
            "6.1: more padding than DATA",
            &[post(1, 0, &[]), frame(DATA, PADDED | END_STREAM, 1, &[9, b'x'])],
            Connection,
        ),
        one("6.2: HEADERS on no stream", frame(HEADERS, WHOLE, 0, &fields(&GET)), Connection),
        one(
            "6.2: more padding than HEADERS",
            frame(HEADERS, WHOLE | PADDED, 1, &[&[255][..], &fields(&GET)[..9]].concat()),
            Connection,
        ),
        one("6.3: PRIORITY on no stream", frame(PRIORITY, 0, 0, &[0; 5]), Connection),
        one("6.3: PRIORITY of another size", frame(PRIORITY, 0, 1, &[0; 4]), Refused),
        one("6.4: RST_STREAM on no stream", frame(RST_STREAM, 0, 0, &[0; 4]), Connection),
        case(
            "6.4: RST_STREAM of another size",
            &[post(1, 0, &[]), frame(RST_STREAM, 0, 1, &[0; 3])],
            Connection,
        ),
        one(
            "6.5: an acknowledgement of SETTINGS with a payload",
            frame(SETTINGS, ACK, 0, &[0; 6]),
            Connection,
        ),
        one("6.5: SETTINGS on a stream", frame(SETTINGS, 0, 1, &[]), Connection),
        one("6.5: SETTINGS of another size", frame(SETTINGS, 0, 0, &[0; 3]), Connection),
        one("6.7: PING on a stream", frame(PING, 0, 1, &[0; 8]), Connection),
        one("6.7: PING of another size", frame(PING, 0, 0, &[0; 6]), Connection),
        // The bit before a stream's number, and flags that are not defined, mean nothing.
        one("6.7: PING", frame(PING, 0x16, 1 << 31, b"12345678"), Acknowledged),
        one("6.8: GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), Connection),
        one(
            "8.4: PUSH_PROMISE of a client",
            [
                post(1, 0, &[]),
                frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &fields(&GET)].concat()),
            ]
            .concat(),
            Connection,
        ),
    ]
}

fn values() -> Vec<Case> {
    use Expected::Connection;
    let most = i32::MAX.to_be_bytes();
    let window = |stream, by: &[u8]| frame(WINDOW_UPDATE, 0, stream, by);
    vec![
        case("6.5.2: ENABLE_PUSH that is no switch", &[settings(&[(2, 2)])], Connection),
        case("6.5.2: a window beyond the largest", &[settings(&[(4, 1 << 31)])], Connection),
        case("6.5.2: frames smaller than they may be", &[settings(&[(5, 16_383)])], Connection),
        case("6.5.2: frames larger than they may be", &[settings(&[(5, 1 << 24)])], Connection),
        case("6.9: WINDOW_UPDATE of nothing", &[window(0, &[0; 4])], Connection),
        case("6.9: WINDOW_UPDATE of another size", &[window(0, &[0; 3])], Connection),
        case(
            "6.9.1: a window of the connection that overflows",
            &[window(0, &most), window(0, &most)],
            Connection,
        ),
    ]
}
