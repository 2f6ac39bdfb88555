//! HTTP/2 that no client should send (RFC 9113).

use fastrand::Rng;

use super::{On, Point, pick};
use crate::differential::client::frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, SETTINGS, frame,
};

const PRIORITY: u8 = 2;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 8;

type Field = (&'static str, &'static str);

const METHOD: Field = (":method", "GET");
const SCHEME: Field = (":scheme", "http");
const AUTHORITY: Field = (":authority", "one");
const PATH: Field = (":path", "/plain");

const fn point(name: &'static str, apply: fn(&mut Vec<u8>, &mut Rng)) -> Point<Vec<u8>> {
    Point { name, on: On::Http2, apply }
}

/// All of them. They fill what goes after the preface and SETTINGS.
pub(crate) const POINTS: &[Point<Vec<u8>>] = &[
    point("HTTP/2: as it should be", |bytes, _| {
        head(bytes, &[METHOD, SCHEME, AUTHORITY, PATH, ("x-a", "1")]);
    }),
    point("HTTP/2: name in capitals", |bytes, _| with(bytes, ("X-Capital", "1"))),
    point("HTTP/2: name that is none", |bytes, rng| {
        with(bytes, pick(rng, &[("x y", "1"), ("", "1"), ("x:y", "1"), ("x\0", "1"), ("x\u{e4}", "1")]));
    }),
    point("HTTP/2: value that is none", |bytes, rng| {
        with(
            bytes,
            pick(rng, &[("x-v", "a\rb"), ("x-v", "a\nb"), ("x-v", "a\0b"), ("x-v", "a\r\nx-smuggled: 1")]),
        );
    }),
    point("HTTP/2: blanks around a value", |bytes, rng| {
        with(bytes, pick(rng, &[("x-v", " a"), ("x-v", "a "), ("x-v", "\ta")]));
    }),
    point("HTTP/2: field of a connection", |bytes, rng| {
        let field = pick(
            rng,
            &[
                ("connection", "close"),
                ("transfer-encoding", "chunked"),
                ("keep-alive", "5"),
                ("proxy-connection", "close"),
                ("upgrade", "h2c"),
                ("te", "gzip"),
            ],
        );
        with(bytes, field);
    }),
    point("HTTP/2: no method", |bytes, _| head(bytes, &[SCHEME, AUTHORITY, PATH])),
    point("HTTP/2: no scheme", |bytes, _| head(bytes, &[METHOD, AUTHORITY, PATH])),
    point("HTTP/2: no path", |bytes, _| head(bytes, &[METHOD, SCHEME, AUTHORITY])),
    point("HTTP/2: no authority", |bytes, _| head(bytes, &[METHOD, SCHEME, PATH])),
    point("HTTP/2: Host instead of the authority", |bytes, _| {
        head(bytes, &[METHOD, SCHEME, PATH, ("host", "one")]);
    }),
    point("HTTP/2: another Host", |bytes, _| with(bytes, ("host", "other"))),
    point("HTTP/2: empty path", |bytes, _| head(bytes, &[METHOD, SCHEME, AUTHORITY, (":path", "")])),
    point("HTTP/2: path that is none", |bytes, rng| {
        head(
            bytes,
            &[
                METHOD,
                SCHEME,
                AUTHORITY,
                (
                    ":path",
                    pick(rng, &["plain", "http://one/plain", "/a b", "/a\r\n", "/#a", "?a", "/\u{7f}"]),
                ),
            ],
        );
    }),
    point("HTTP/2: method that is none", |bytes, rng| {
        head(bytes, &[(":method", pick(rng, &["G T", "", "G\r\nT", "(GET)"])), SCHEME, AUTHORITY, PATH]);
    }),
    point("HTTP/2: scheme that is none", |bytes, rng| {
        head(bytes, &[METHOD, (":scheme", pick(rng, &["", "ht tp", "ftp", "https", "1a"])), AUTHORITY, PATH]);
    }),
    point("HTTP/2: authority that is none", |bytes, rng| {
        head(
            bytes,
            &[METHOD, SCHEME, (":authority", pick(rng, &["me@one", "o ne", "one/x", "", "one:port"])), PATH],
        );
    }),
    point("HTTP/2: pseudo-field twice", |bytes, rng| {
        let twice = pick(rng, &[METHOD, SCHEME, AUTHORITY, PATH]);
        head(bytes, &[METHOD, SCHEME, AUTHORITY, PATH, twice]);
    }),
    point("HTTP/2: pseudo-field after others", |bytes, _| {
        head(bytes, &[METHOD, SCHEME, AUTHORITY, ("x-a", "1"), PATH]);
    }),
    point("HTTP/2: pseudo-field that is none", |bytes, rng| {
        head(bytes, &[METHOD, SCHEME, AUTHORITY, PATH, pick(rng, &[(":x", "1"), (":status", "200")])]);
    }),
    point("HTTP/2: protocol without CONNECT", |bytes, _| {
        head(bytes, &[METHOD, SCHEME, AUTHORITY, PATH, (":protocol", "websocket")]);
    }),
    point("HTTP/2: CONNECT with a path", |bytes, _| {
        head(bytes, &[(":method", "CONNECT"), SCHEME, AUTHORITY, PATH]);
    }),
    point("HTTP/2: length that is not the body's", |bytes, rng| {
        post(bytes, &[("content-length", pick(rng, &["4", "6", "0", "500"]))]);
        bytes.extend(frame(DATA, END_STREAM, 1, b"hello"));
    }),
    point("HTTP/2: length that is none", |bytes, rng| {
        post(bytes, &[("content-length", pick(rng, &["-5", "five", "18446744073709551621", "", "+5"]))]);
        bytes.extend(frame(DATA, END_STREAM, 1, b"hello"));
    }),
    point("HTTP/2: two different lengths", |bytes, _| {
        post(bytes, &[("content-length", "5"), ("content-length", "6")]);
        bytes.extend(frame(DATA, END_STREAM, 1, b"hello"));
    }),
    point("HTTP/2: pseudo-field in trailers", |bytes, _| {
        post(bytes, &[]);
        bytes.extend(frame(DATA, 0, 1, b"hello"));
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[PATH])));
    }),
    point("HTTP/2: trailers that are not the end", |bytes, _| {
        post(bytes, &[]);
        bytes.extend(frame(DATA, 0, 1, b"hello"));
        bytes.extend(frame(HEADERS, END_HEADERS, 1, &block(&[("x-t", "1")])));
    }),
    point("HTTP/2: data before the head", |bytes, _| bytes.extend(frame(DATA, END_STREAM, 1, b"hello"))),
    point("HTTP/2: data after the end", |bytes, _| {
        with(bytes, ("x-a", "1"));
        bytes.extend(frame(DATA, END_STREAM, 1, b"hello"));
    }),
    point("HTTP/2: padding that is too long", |bytes, _| {
        post(bytes, &[]);
        bytes.extend(frame(DATA, PADDED | END_STREAM, 1, &[9, b'a']));
    }),
    point("HTTP/2: padding", |bytes, _| {
        post(bytes, &[]);
        bytes.extend(frame(DATA, PADDED | END_STREAM, 1, &[3, b'a', b'b', 0, 0, 0]));
    }),
    point("HTTP/2: even stream", |bytes, _| {
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 2, &block(&[METHOD, SCHEME, AUTHORITY, PATH])));
    }),
    point("HTTP/2: head on stream 0", |bytes, _| {
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 0, &block(&[METHOD, SCHEME, AUTHORITY, PATH])));
    }),
    point("HTTP/2: head in pieces", |bytes, _| {
        let block = block(&[METHOD, SCHEME, AUTHORITY, PATH, ("x-a", "1")]);
        let (first, second) = block.split_at(block.len() / 2);
        bytes.extend(frame(HEADERS, END_STREAM, 1, first));
        bytes.extend(frame(CONTINUATION, END_HEADERS, 1, second));
    }),
    point("HTTP/2: something within a head", |bytes, _| {
        let block = block(&[METHOD, SCHEME, AUTHORITY, PATH]);
        let (first, second) = block.split_at(block.len() / 2);
        bytes.extend(frame(HEADERS, END_STREAM, 1, first));
        bytes.extend(frame(PING, 0, 0, &[0; 8]));
        bytes.extend(frame(CONTINUATION, END_HEADERS, 1, second));
    }),
    point("HTTP/2: continuation of nothing", |bytes, _| {
        bytes.extend(frame(CONTINUATION, END_HEADERS, 1, &block(&[METHOD])));
    }),
    point("HTTP/2: block that can't be decoded", |bytes, rng| {
        let block: &[u8] = pick(
            rng,
            &[
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                &[0x80],
                &[0xfe],
                &[0x00, 0x85, 0xff],
                &[0x3f, 0xff, 0xff, 0xff, 0x7f],
            ],
        );
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, block));
    }),
    point("HTTP/2: update of a window by 0", |bytes, rng| {
        bytes.extend(frame(WINDOW_UPDATE, 0, pick(rng, &[0, 1]), &[0; 4]));
        with(bytes, ("x-a", "1"));
    }),
    point("HTTP/2: window beyond numbers", |bytes, _| {
        bytes.extend(frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]));
        with(bytes, ("x-a", "1"));
    }),
    point("HTTP/2: reset of nothing", |bytes, _| {
        bytes.extend(frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]));
        with(bytes, ("x-a", "1"));
    }),
    point("HTTP/2: settings that are none", |bytes, rng| {
        let settings: &[u8] = pick(
            rng,
            &[&[0, 2, 0, 0, 0, 2], &[0, 4, 0xff, 0xff, 0xff, 0xff], &[0, 5, 0, 0, 0, 1], &[0, 1, 0]],
        );
        bytes.extend(frame(SETTINGS, 0, 0, settings));
        with(bytes, ("x-a", "1"));
    }),
    point("HTTP/2: settings that nobody knows", |bytes, _| {
        bytes.extend(frame(SETTINGS, 0, 0, &[0x7a, 0x7a, 1, 2, 3, 4]));
        with(bytes, ("x-a", "1"));
    }),
    point("HTTP/2: ping of another length", |bytes, _| {
        bytes.extend(frame(PING, 0, 0, &[0; 7]));
        with(bytes, ("x-a", "1"));
    }),
    point("HTTP/2: frame that nobody knows", |bytes, _| {
        bytes.extend(frame(0xba, 0xff, 0, b"unknown"));
        with(bytes, ("x-a", "1"));
        bytes.extend(frame(0xba, 0xff, 1, b"unknown"));
    }),
    point("HTTP/2: frame that is too large", |bytes, _| {
        post(bytes, &[]);
        bytes.extend(frame(DATA, END_STREAM, 1, &vec![b'a'; 16_385]));
    }),
    point("HTTP/2: promise of a client", |bytes, _| {
        bytes.extend(frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]));
    }),
    point("HTTP/2: stream that waits for itself", |bytes, _| {
        bytes.extend(frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 16]));
        with(bytes, ("x-a", "1"));
    }),
    point("HTTP/2: no HTTP/2 after the preface", |bytes, _| {
        bytes.extend(b"GET / HTTP/1.1\r\nHost: one\r\n\r\n");
    }),
    point("HTTP/2: head beyond measure", |bytes, _| {
        let large: String = "v".repeat(15_000);
        bytes.extend(frame(HEADERS, END_STREAM, 1, &block(&[METHOD, SCHEME, AUTHORITY, PATH])));
        for number in 0..20 {
            let mut field = Vec::new();
            literal(&mut field, "x-large", &large);
            bytes.extend(frame(CONTINUATION, if number == 19 { END_HEADERS } else { 0 }, 1, &field));
        }
    }),
];

/// A request that is over with its head.
fn head(bytes: &mut Vec<u8>, fields: &[Field]) {
    bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields)));
}

fn with(bytes: &mut Vec<u8>, field: Field) {
    head(bytes, &[METHOD, SCHEME, AUTHORITY, PATH, field]);
}

/// The head of a request with a body.
fn post(bytes: &mut Vec<u8>, fields: &[Field]) {
    let fields = [&[(":method", "POST"), SCHEME, AUTHORITY, PATH], fields].concat();
    bytes.extend(frame(HEADERS, END_HEADERS, 1, &block(&fields)));
}

fn block(fields: &[Field]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        literal(&mut block, name, value);
    }
    block
}

/// A field without index and Huffman's code (RFC 7541 section 6.2.2).
fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        length(block, text.len());
        block.extend(text.as_bytes());
    }
}

/// An integer of seven bits and more (RFC 7541 section 5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(length as u8);
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}
