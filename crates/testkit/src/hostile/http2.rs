//! Cases of HTTP/2.

use crate::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PADDED, PREFACE, WHOLE, WITH_PRIORITY, fields,
    frame, settings,
};

use super::AUTHORITY;
use super::case::{Case, Expected};

mod floods;
mod frames;
mod requests;
mod states;

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    [right(), frames::cases(), states::cases(), requests::cases(), floods::cases()]
        .into_iter()
        .flatten()
        .collect()
}

const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", AUTHORITY)];
const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", AUTHORITY)];

/// Frames behind a preface that is right.
fn case(name: &'static str, frames: &[Vec<u8>], expected: Expected) -> Case {
    let octets = [PREFACE.to_vec(), settings(&[]), frames.concat()].concat();
    Case { name, octets, expected }
}

/// A whole request.
fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &fields(&GET))
}

/// A whole request for another path.
fn path(method: &str, path: &str) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, &fields(&[(":method", method), GET[1], (":path", path), GET[3]]))
}

/// A head with these fields beside those of a POST.
fn post(stream: u32, flags: u8, more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &fields(&[&POST[..], more].concat()))
}

/// A request with these pseudo-fields.
fn asks(pseudo: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, &fields(&[pseudo, &[("x", "smuggled")]].concat()))
}

fn data(flags: u8, text: &str) -> Vec<u8> {
    frame(DATA, flags, 1, text.as_bytes())
}

/// What is right, if unusual.
fn right() -> Vec<Case> {
    use Expected::{Arrives, BreaksOff, NoContent, Status};
    let block = fields(&POST);
    let (start, rest) = block.split_at(20);
    let head = |kind, flags, payload: &[u8]| frame(kind, flags, 1, payload);
    vec![
        case("8: a request", &[get(1)], Status(200)),
        case(
            "4.3: a head in three frames",
            &[
                head(HEADERS, END_STREAM, start),
                head(CONTINUATION, 0, &rest[..9]),
                head(CONTINUATION, END_HEADERS, &rest[9..]),
            ],
            Arrives("POST / "),
        ),
        case(
            "6.1: padding",
            &[
                head(HEADERS, PADDED | END_HEADERS, &[&[3][..], &block, &[0; 3]].concat()),
                frame(DATA, PADDED | END_STREAM, 1, b"\x02hello\0\0"),
            ],
            Arrives("hello"),
        ),
        case(
            "6.2: a priority",
            &[head(HEADERS, WHOLE | WITH_PRIORITY, &[&[0, 0, 0, 0, 9][..], &block].concat())],
            Status(200),
        ),
        case(
            "4.1, 6.5.2: unknown frames, flags and settings",
            &[frame(0x16, 0xff, 0, b"x"), settings(&[(0xff, 1)]), head(HEADERS, WHOLE | 0x90, &block)],
            Status(200),
        ),
        case(
            "8.1: trailers",
            &[
                post(1, 0, &[("trailer", "x-end"), ("te", "trailers")]),
                data(0, "hello"),
                head(HEADERS, WHOLE, &fields(&[("x-end", "yes")])),
            ],
            Arrives("x-end: yes"),
        ),
        case(
            "8.3.1: the same Host as the authority",
            &[post(1, END_STREAM, &[("host", AUTHORITY)])],
            Status(200),
        ),
        case("8.1: an interim answer before the final one", &[path("GET", "/interim")], Status(200)),
        case("8.1: HEAD, of which an application sends content", &[path("HEAD", "/")], NoContent),
        case("8.1.1: an answer shorter than its length", &[path("GET", "/short")], BreaksOff),
        case("8.1.1: an answer whose chunks break off", &[path("GET", "/chunks")], BreaksOff),
        case("8.6: 101 that nobody asked for", &[path("GET", "/switch")], Status(502)),
    ]
}
