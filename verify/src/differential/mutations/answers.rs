//! Answers that are seldom, right or wrong.

use fastrand::Rng;

use super::{On, Point, pick};
use crate::differential::answer::{Answer, Fault};
use crate::differential::case::Coding;
use crate::differential::message::Fields;

type Change = fn(&mut Answer, &mut Rng);

const fn point(name: &'static str, on: On, apply: Change) -> Point<Answer> {
    Point { name, on, apply }
}

/// All of them; `On::Http1` are for applications that speak HTTP/1.
pub(crate) const POINTS: &[Point<Answer>] = &[
    point("answer: status", On::Both, |answer, rng| {
        answer.status =
            pick(rng, &[201, 202, 206, 299, 301, 400, 401, 404, 409, 418, 422, 451, 500, 501, 505, 599]);
        answer.reason = pick(rng, &["Reason", "", "With Several Words"]).into();
    }),
    point("answer: status that clients may try again", On::Both, |answer, rng| {
        answer.status = pick(rng, &[408, 425, 429, 502, 503, 504]);
    }),
    point("answer: status beyond 599", On::Http1, |answer, rng| answer.status = pick(rng, &[600, 799, 999])),
    point("answer: 204", On::Both, |answer, _| answer.status = 204),
    point("answer: 205", On::Both, |answer, _| {
        answer.status = 205;
        answer.body.clear();
    }),
    point("answer: 304", On::Both, |answer, _| {
        answer.status = 304;
        answer.fields.push("ETag", "\"1\"");
    }),
    point("answer: empty", On::Both, |answer, _| answer.body.clear()),
    point("answer: in chunks", On::Both, |answer, _| answer.coding = Coding::Chunked),
    point("answer: empty in chunks", On::Both, |answer, _| {
        answer.coding = Coding::Chunked;
        answer.body.clear();
    }),
    point("answer: until the end of the connection", On::Http1, |answer, _| answer.coding = Coding::Close),
    point("answer: slow", On::Both, |answer, rng| {
        answer.slow = true;
        answer.pieces = vec![1 + answer.body.len() / 4];
        answer.coding = pick(rng, &[Coding::Length, Coding::Chunked]);
    }),
    point("answer: trailers", On::Both, |answer, _| {
        answer.coding = Coding::Chunked;
        answer.trailers = Fields::of(&[("X-Trailer", "1"), ("X-Checksum", "abc")]);
    }),
    point("answer: trailers that are announced", On::Both, |answer, _| {
        answer.coding = Coding::Chunked;
        answer.fields.push("Trailer", "X-Trailer");
        answer.trailers = Fields::of(&[("X-Trailer", "1")]);
    }),
    point("answer: trailers that must not be", On::Http1, |answer, rng| {
        answer.coding = Coding::Chunked;
        let name = pick(rng, &["Content-Length", "Transfer-Encoding", "Set-Cookie", "Connection"]);
        answer.trailers = Fields::of(&[(name, "1"), ("X-Trailer", "1")]);
    }),
    point("answer: HTTP/1.0", On::Http1, |answer, rng| {
        answer.version = "HTTP/1.0";
        answer.coding = pick(rng, &[Coding::Length, Coding::Close]);
    }),
    point("answer: Connection: close", On::Http1, |answer, _| answer.closes = true),
    point("answer: fields of the hop", On::Http1, |answer, _| {
        for (name, value) in [
            ("Connection", "X-Hop, keep-alive"),
            ("X-Hop", "1"),
            ("X-End", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("Upgrade", "h2c"),
        ] {
            answer.fields.push(name, value);
        }
    }),
    point("answer: names in other cases", On::Http1, |answer, _| {
        for name in ["x-SMALL-large", "X_Under_Score", "ETag", "x.dot"] {
            answer.fields.push(name, "1");
        }
    }),
    point("answer: repeated fields", On::Both, |answer, _| {
        for (name, value) in
            [("Set-Cookie", "a=1; Path=/"), ("X-One", "1"), ("Set-Cookie", "b=2"), ("X-One", "2, 3")]
        {
            answer.fields.push(name, value);
        }
    }),
    point("answer: value of any octets", On::Both, |answer, rng| {
        let mut value: Vec<u8> = (0..20).map(|_| pick(rng, b"a\t \x80\xff\xc3\xa4\"\\,;:")).collect();
        value.insert(0, b'a');
        value.push(b'z');
        answer.fields.push("X-Octets", value);
        answer.fields.push("X-Empty", "");
    }),
    point("answer: Date and Server", On::Both, |answer, _| {
        answer.fields.push("Date", "Tue, 15 Nov 1994 08:12:31 GMT");
        answer.fields.push("Server", "recorder");
        answer.fields.push("Via", "1.1 other");
    }),
    point("answer: many fields", On::Both, |answer, rng| {
        for number in 0..rng.usize(40..85) {
            answer.fields.push(&format!("X-Many-{number}"), "value");
        }
    }),
    point("answer: large head", On::Both, |answer, rng| {
        for number in 0..rng.usize(2..8) {
            answer.fields.push(&format!("X-Large-{number}"), "v".repeat(5000));
        }
    }),
    point("answer: head beyond measure", On::Http1, |answer, _| {
        for number in 0..40 {
            answer.fields.push(&format!("X-Large-{number}"), "v".repeat(5000));
        }
    }),
    point("answer: large body", On::Both, |answer, rng| {
        answer.body = super::octets(rng, 300_000);
        answer.coding = pick(rng, &[Coding::Length, Coding::Chunked]);
        answer.pieces = vec![10_000, 7, 30_000];
    }),
    point("answer: 103 before it", On::Both, |answer, _| {
        answer.interim.push((103, Fields::of(&[("Link", "</a.css>; rel=preload")])));
    }),
    point("answer: 102 and 103 before it", On::Both, |answer, _| {
        answer.interim.push((102, Fields::default()));
        answer.interim.push((103, Fields::of(&[("Link", "</a.css>; rel=preload")])));
    }),
    point("answer: 100 that nobody asked for", On::Both, |answer, _| {
        answer.interim.push((100, Fields::default()));
    }),
    point("answer: before the request's body", On::Both, |answer, _| answer.early = true),
    point("answer: before the request's body, then closed", On::Http1, |answer, _| {
        answer.early = true;
        answer.closes = true;
        answer.status = 413;
    }),
    point("answer: none, closed", On::Both, |answer, _| answer.fault = Fault::CloseBefore),
    point("answer: broken off in a length", On::Both, |answer, rng| {
        broken(answer, rng, Coding::Length, Fault::CloseAfter);
    }),
    point("answer: broken off in chunks", On::Both, |answer, rng| {
        broken(answer, rng, Coding::Chunked, Fault::CloseAfter);
    }),
    point("answer: reset in a length", On::Both, |answer, rng| {
        broken(answer, rng, Coding::Length, Fault::ResetAfter);
    }),
    point("answer: 101 that nobody asked for", On::Http1, |answer, _| {
        raw(answer, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n");
    }),
    point("answer: no HTTP", On::Http1, |answer, rng| {
        raw(answer, pick(rng, &["garbage\r\n\r\n", "SSH-2.0-x\r\n", "\0\0\0\0\r\n\r\n", "\r\n\r\n\r\n"]));
    }),
    point("answer: status line that is none", On::Http1, |answer, rng| {
        let line = pick(
            rng,
            &[
                "HTTP/1.1 abc OK",
                "HTTP/1.1 20 OK",
                "HTTP/1.1 2000 OK",
                "HTTP/2.0 200 OK",
                "HTTP/1.1",
                "HTTP/3 200 OK",
                "http/1.1 200 OK",
                "HTTP/1.1 -20 OK",
                "HTTP/1.1  200 OK",
            ],
        );
        raw(answer, &format!("{line}\r\nContent-Length: 2\r\n\r\nok"));
    }),
    point("answer: status line without a reason", On::Http1, |answer, rng| {
        let line = pick(rng, &["HTTP/1.1 200", "HTTP/1.1 200 "]);
        raw(answer, &format!("{line}\r\nContent-Length: 2\r\n\r\nok"));
    }),
    point("answer: lines that end with LF", On::Http1, |answer, _| {
        raw(answer, "HTTP/1.1 200 OK\nContent-Length: 2\n\nok");
    }),
    point("answer: folded field", On::Http1, |answer, _| {
        raw(answer, "HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\nContent-Length: 2\r\n\r\nok");
    }),
    point("answer: blank before the colon", On::Http1, |answer, _| {
        raw(answer, "HTTP/1.1 200 OK\r\nX-Blank : 1\r\nContent-Length: 2\r\n\r\nok");
    }),
    point("answer: name that is none", On::Http1, |answer, rng| {
        let line = pick(rng, &["X Y: 1", ": 1", "none", "X(: 1"]);
        raw(answer, &format!("HTTP/1.1 200 OK\r\n{line}\r\nContent-Length: 2\r\n\r\nok"));
    }),
    point("answer: NUL or CR in a value", On::Http1, |answer, rng| {
        let value = pick(rng, &["a\0b", "a\rb"]);
        raw(answer, &format!("HTTP/1.1 200 OK\r\nX-Value: {value}\r\nContent-Length: 2\r\n\r\nok"));
    }),
    point("answer: length beside chunks", On::Http1, |answer, _| {
        raw(
            answer,
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        );
    }),
    point("answer: two different lengths", On::Http1, |answer, _| {
        raw(answer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!");
    }),
    point("answer: the same length twice", On::Http1, |answer, rng| {
        let lines = pick(rng, &["Content-Length: 2\r\nContent-Length: 2", "Content-Length: 2, 2"]);
        raw(answer, &format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\nok"));
    }),
    point("answer: length that is none", On::Http1, |answer, rng| {
        let length = pick(rng, &["-2", "+2", "two", "18446744073709551618", ""]);
        raw(answer, &format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nok"));
    }),
    point("answer: coding that is none", On::Http1, |answer, rng| {
        let coding = pick(rng, &["gzip", "xchunked", "chunked, gzip", "gzip, chunked"]);
        raw(answer, &format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n2\r\nok\r\n0\r\n\r\n"));
    }),
    point("answer: chunk's size that is none", On::Http1, |answer, rng| {
        let size = pick(rng, &["x2", "-2", "+2", "0x2", "10000000000000002"]);
        raw(
            answer,
            &format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\nok\r\n0\r\n\r\n"),
        );
    }),
    point("answer: chunk that is longer", On::Http1, |answer, _| {
        raw(answer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nok\r\n0\r\n\r\n");
    }),
    point("answer: more than it says", On::Http1, |answer, _| {
        raw(
            answer,
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled",
        );
    }),
    point("answer: body of 204", On::Http1, |answer, _| {
        raw(answer, "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok");
    }),
];

fn broken(answer: &mut Answer, rng: &mut Rng, coding: Coding, fault: fn(usize) -> Fault) {
    answer.body = super::octets(rng, 2000);
    answer.coding = coding;
    answer.pieces = vec![500];
    answer.fault = fault(rng.usize(..1900));
}

fn raw(answer: &mut Answer, text: &str) {
    answer.raw = Some(text.as_bytes().to_vec());
}
