//! Requests in frames that are right (RFC 9113 section 8).

use crate::http2::{CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PADDED, WHOLE, fields, frame};

use super::super::AUTHORITY;
use super::super::case::{Case, Expected};
use super::{GET, POST, asks, case, data, path, post};

pub(super) fn cases() -> Vec<Case> {
    [fields_of_a_head(), pseudo_fields(), targets(), lengths(), trailers()].into_iter().flatten().collect()
}

fn refused(name: &'static str, frames: &[Vec<u8>]) -> Case {
    case(name, frames, Expected::Refused)
}

fn fields_of_a_head() -> Vec<Case> {
    let with = |name: &'static str, field: &str, value: &str| {
        refused(name, &[post(1, END_STREAM, &[(field, value), ("x", "smuggled")])])
    };
    let many = [&GET[..], &vec![("x", "smuggled"); 1000]].concat();
    vec![
        with("8.2.1: a name with a capital letter", "X-Test", "y"),
        with("8.2.1: a name with a space", "x test", "y"),
        with("8.2.1: a name with a colon", "x:test", "y"),
        with("8.2.1: a name with CR LF", "x\r\ny", "z"),
        with("8.2.1: no name", "", "y"),
        with("8.2.1: a value with NUL", "x-test", "a\0b"),
        with("8.2.1: a value with CR", "x-test", "a\rb"),
        with("8.2.1: a value with LF", "x-test", "a\nx-other: b"),
        with("8.2.1: a value with CR LF and a request", "x-test", "a\r\n\r\nGET /smuggled HTTP/1.1"),
        with("8.2.2: Connection", "connection", "keep-alive"),
        with("8.2.2: Keep-Alive", "keep-alive", "5"),
        with("8.2.2: Proxy-Connection", "proxy-connection", "keep-alive"),
        with("8.2.2: Transfer-Encoding", "transfer-encoding", "chunked"),
        with("8.2.2: Upgrade", "upgrade", "websocket"),
        with("8.2.2: TE of anything but trailers", "te", "gzip"),
        refused("10.5.1: more fields than anybody sends", &[frame(HEADERS, WHOLE, 1, &fields(&many))]),
    ]
}

fn pseudo_fields() -> Vec<Case> {
    let without = |name, left_out: usize| {
        let rest: Vec<_> =
            GET.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, field)| *field).collect();
        refused(name, &[asks(&rest)])
    };
    let twice = |name, which: usize| refused(name, &[asks(&[&GET[..], &GET[which..=which]].concat())]);
    vec![
        refused("8.3: an unknown pseudo-field", &[asks(&[&GET[..], &[(":test", "y")]].concat())]),
        refused("8.3: a pseudo-field of answers", &[asks(&[&GET[..], &[(":status", "200")]].concat())]),
        refused("8.3: a pseudo-field behind a field", &[asks(&[GET[0], GET[1], ("x", "y"), GET[2], GET[3]])]),
        without("8.3.1: no method", 0),
        without("8.3.1: no scheme", 1),
        without("8.3.1: no path", 2),
        twice("8.3.1: two methods", 0),
        twice("8.3.1: two schemes", 1),
        twice("8.3.1: two paths", 2),
        twice("8.3.1: two authorities", 3),
        refused("8.3.1: a method that is no token", &[asks(&[(":method", "G ET"), GET[1], GET[2], GET[3]])]),
        refused("8.3.1: a scheme that is none", &[asks(&[GET[0], (":scheme", "ht tp"), GET[2], GET[3]])]),
        refused("8.3.1: neither authority nor Host", &[asks(&GET[..3])]),
        refused(
            "8.3.1: another Host than the authority",
            &[post(1, END_STREAM, &[("host", "other:80"), ("x", "smuggled")])],
        ),
        refused(
            "8.3.1: two Hosts",
            &[post(1, END_STREAM, &[("host", AUTHORITY), ("host", "other"), ("x", "smuggled")])],
        ),
        refused(
            "8.3.1: a user in the authority",
            &[asks(&[GET[0], GET[1], GET[2], (":authority", "me@reviews:9080")])],
        ),
        refused("8.5: CONNECT with a path", &[asks(&[(":method", "CONNECT"), GET[1], GET[2], GET[3]])]),
        refused("8.5: CONNECT without an authority", &[asks(&[(":method", "CONNECT")])]),
        refused("8.5: CONNECT to no port", &[asks(&[(":method", "CONNECT"), (":authority", "reviews")])]),
        refused(
            "8.5: an extended CONNECT to nothing known",
            &[asks(&[(":method", "CONNECT"), (":protocol", "h2c"), GET[1], GET[2], GET[3]])],
        ),
    ]
}

fn targets() -> Vec<Case> {
    let to = |name, target: &str| refused(name, &[asks(&[GET[0], GET[1], (":path", target), GET[3]])]);
    vec![
        to("8.3.1: an empty path", ""),
        to("8.3.1: a path without a slash", "smuggled"),
        to("8.3.1: a query without a path", "?a"),
        to("8.3.1: an asterisk for GET", "*"),
        to("8.3.1: an absolute path", "http://other/smuggled"),
        // Whoever drops it has everybody behind see the same.
        case("8.3.1: a fragment, which goes no further", &[path("GET", "/a#smuggled")], Expected::Contained),
        to("8.3.1: a path with a space and a version", "/smuggled HTTP/1.1"),
        to("8.3.1: a path with CR LF", "/\r\nsmuggled: yes"),
        to("8.3.1: a path with NUL", "/\0smuggled"),
        case(
            "8.3.1: an asterisk for OPTIONS",
            &[path("OPTIONS", "*")],
            Expected::Arrives("OPTIONS * HTTP/1.1"),
        ),
    ]
}

fn lengths() -> Vec<Case> {
    let body = |name, lengths: &[&'static str], frames: &[Vec<u8>]| {
        let lengths: Vec<_> = lengths.iter().map(|length| ("content-length", *length)).collect();
        refused(name, &[&[post(1, 0, &[&lengths[..], &[("x", "smuggled")]].concat())], frames].concat())
    };
    vec![
        body("8.1.1: less than Content-Length", &["5"], &[data(END_STREAM, "hell")]),
        body("8.1.1: more than Content-Length", &["3"], &[data(END_STREAM, "hell")]),
        body(
            "8.1.1: more than Content-Length in two frames",
            &["3"],
            &[data(0, "he"), data(END_STREAM, "ll")],
        ),
        body(
            "8.1.1: less than Content-Length before trailers",
            &["5"],
            &[data(0, "hell"), frame(HEADERS, WHOLE, 1, &fields(&[("x-end", "yes")]))],
        ),
        body("8.1.1: two lengths", &["4", "5"], &[data(END_STREAM, "hell")]),
        body("8.1.1: a length that is none", &["+4"], &[data(END_STREAM, "hell")]),
        refused(
            "8.1.1: Content-Length without a body",
            &[post(1, END_STREAM, &[("content-length", "5"), ("x", "smuggled")])],
        ),
    ]
}

fn trailers() -> Vec<Case> {
    let head = || [post(1, 0, &[("trailer", "x-end")]), frame(DATA, 0, 1, b"hello")].concat();
    let whole = |name, block: &[u8]| refused(name, &[head(), frame(HEADERS, WHOLE, 1, block)]);
    let indexed = [&fields(&POST[..2])[..], b"\x44\x09/smuggled", &fields(&POST[3..])].concat();
    vec![
        refused("8.1: a second head", &[post(1, 0, &[("x", "smuggled")]), post(1, 0, &[])]),
        whole("8.1: a pseudo-field in trailers", &fields(&[(":path", "/smuggled"), ("x", "smuggled")])),
        whole("8.1: an unknown pseudo-field in trailers", &fields(&[(":test", "y"), ("x", "smuggled")])),
        whole(
            "8.1: a pseudo-field of the static table in trailers",
            &[&[0x84], &fields(&[("x", "smuggled")])[..]].concat(),
        ),
        refused(
            "8.1: a pseudo-field of the dynamic table in trailers",
            &[
                frame(HEADERS, END_HEADERS, 1, &indexed),
                frame(DATA, 0, 1, b"hello"),
                frame(HEADERS, WHOLE, 1, &[0xbe]),
            ],
        ),
        refused(
            "8.1: a pseudo-field in the second frame of trailers",
            &[
                head(),
                frame(HEADERS, END_STREAM, 1, &[]),
                frame(CONTINUATION, END_HEADERS, 1, &fields(&[(":path", "/"), ("x", "smuggled")])),
            ],
        ),
        refused(
            "6.2: trailers with more padding than there is",
            &[head(), frame(HEADERS, WHOLE | PADDED, 1, &[200, 0x84])],
        ),
        whole(
            "8.2.2: a field of the connection in trailers",
            &fields(&[("connection", "close"), ("x", "smuggled")]),
        ),
        whole("8.2.1: a capital letter in trailers", &fields(&[("X-End", "smuggled")])),
    ]
}
