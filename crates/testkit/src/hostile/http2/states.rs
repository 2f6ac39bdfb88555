//! Frames out of their time (RFC 9113 sections 5 and 6).

use crate::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PRIORITY, RST_STREAM, WHOLE, WINDOW_UPDATE,
    WITH_PRIORITY, fields, frame, settings,
};

use super::super::case::{Case, Expected};
use super::{GET, case, get, path, post};

pub(super) fn cases() -> Vec<Case> {
    use Expected::{Connection, NoContent, Refused, Status};
    let reset = |then: Vec<u8>| [post(1, 0, &[]), frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), then];
    let most = i32::MAX.to_be_bytes();
    let window = |by: &[u8]| frame(WINDOW_UPDATE, 0, 1, by);
    vec![
        case("5.1: DATA on a stream that is idle", &[frame(DATA, END_STREAM, 1, b"x")], Connection),
        case(
            "5.1: RST_STREAM on a stream that is idle",
            &[frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])],
            Connection,
        ),
        case("5.1: WINDOW_UPDATE on a stream that is idle", &[window(&[0, 0, 0, 1])], Connection),
        case(
            "5.1: DATA after the end of a request",
            &[get(1), frame(DATA, END_STREAM, 1, b"smuggled")],
            Refused,
        ),
        case("5.1: HEADERS after the end of a request", &[get(1), get(1)], Refused),
        case("5.1: DATA after a reset", &reset(frame(DATA, END_STREAM, 1, b"smuggled")), Refused),
        case("5.1: HEADERS after a reset", &reset(get(1)), Refused),
        case("5.1: CONTINUATION after a reset", &reset(frame(CONTINUATION, END_HEADERS, 1, &[])), Connection),
        case("5.1.1: a stream of an even number", &[get(2)], Connection),
        case("5.1.1: a stream of a lower number", &[get(5), get(3)], Connection),
        case("5.1.1: the last stream that there may be", &[get(1), get(0x7fff_ffff)], Status(200)),
        case(
            "RFC 7540 5.3.1: HEADERS that depend on themselves",
            &[frame(HEADERS, WHOLE | WITH_PRIORITY, 1, &[&[0, 0, 0, 1, 0][..], &fields(&GET)].concat())],
            Refused,
        ),
        case(
            "5.3.2: PRIORITY on a stream that is idle",
            &[frame(PRIORITY, 0, 5, &[0, 0, 0, 3, 0]), get(1)],
            Status(200),
        ),
        case("6.9: WINDOW_UPDATE of nothing on a stream", &[post(1, 0, &[]), window(&[0; 4])], Refused),
        case(
            "6.9.1: a window of a stream that overflows",
            &[post(1, 0, &[]), window(&most), window(&most)],
            Refused,
        ),
        case(
            "6.9.2: a window that SETTINGS make overflow",
            &[post(1, 0, &[]), window(&(i32::MAX - 65_535).to_be_bytes()), settings(&[(4, 65_536)])],
            Connection,
        ),
        case(
            "6.9.2: no window, and an answer without content",
            &[settings(&[(4, 0)]), path("GET", "/")],
            NoContent,
        ),
        case(
            "6.8: GOAWAY, and the answer to what is under way",
            &[get(1), frame(GOAWAY, 0, 0, &[0; 8])],
            Status(200),
        ),
        case(
            "5.1.2: more streams than are taken",
            &(0..4000).map(|number| post(number * 2 + 1, 0, &[])).collect::<Vec<_>>(),
            Refused,
        ),
    ]
}
