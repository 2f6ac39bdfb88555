//! Requests of HTTP/1 that no client should send, or only just.

use fastrand::Rng;

use super::{On, Point, pick};
use crate::differential::case::Raw;

const fn point(name: &'static str, apply: fn(&mut Raw, &mut Rng)) -> Point<Raw> {
    Point { name, on: On::Http1, apply }
}

/// All of them.
pub(crate) const POINTS: &[Point<Raw>] = &[
    point("no Host", |raw, _| raw.remove("host")),
    point("two Hosts", |raw, _| raw.add("Host: one")),
    point("two different Hosts", |raw, _| raw.add("Host: other")),
    point("empty Host", |raw, _| raw.set("host", "Host: ")),
    point("Host that is none", |raw, rng| {
        raw.set(
            "host",
            pick(
                rng,
                &[
                    "Host: a b",
                    "Host: one/x",
                    "Host: me@one",
                    "Host: one:port",
                    "Host: [::1",
                    "Host: one:80:80",
                ],
            ),
        );
    }),
    point("absolute target beside another Host", |raw, _| {
        raw.line = b"GET http://one/plain HTTP/1.1".to_vec();
        raw.set("host", "Host: other");
        raw.framed(&[], "");
    }),
    point("target that is none", |raw, rng| {
        let target = pick(
            rng,
            &[
                "plain",
                "http://",
                "http:///plain",
                "?a",
                "/plain#fragment",
                "one:80",
                "://one/",
                "/\x7f",
                "/\u{1}",
            ],
        );
        raw.line = format!("GET {target} HTTP/1.1").into_bytes();
        raw.framed(&[], "");
    }),
    point("blanks in the request line", |raw, rng| {
        let line = pick(
            rng,
            &[
                "GET  /plain HTTP/1.1",
                "GET /plain  HTTP/1.1",
                "GET\t/plain HTTP/1.1",
                "GET /pl ain HTTP/1.1",
                " GET /plain HTTP/1.1",
                "GET /plain HTTP/1.1 ",
            ],
        );
        raw.line = line.as_bytes().to_vec();
        raw.framed(&[], "");
    }),
    point("no target", |raw, rng| {
        raw.line = pick(rng, &["GET HTTP/1.1", "GET", "GET  HTTP/1.1"]).as_bytes().to_vec();
        raw.framed(&[], "");
    }),
    point("method that is none", |raw, rng| {
        raw.line = pick(
            rng,
            &["G@T /plain HTTP/1.1", "G\u{e4}T /plain HTTP/1.1", " /plain HTTP/1.1", "(GET) /plain HTTP/1.1"],
        )
        .as_bytes()
        .to_vec();
        raw.framed(&[], "");
    }),
    point("version that is none", |raw, rng| {
        let version = pick(
            rng,
            &[
                "HTTP/2.0",
                "HTTP/1.2",
                "HTTP/0.9",
                "HTTP/3",
                "http/1.1",
                "HTTP/1.10",
                "HTTP/01.1",
                "HTTP 1.1",
                "HTTPS/1.1",
                "HTTP/1",
                "HTTP/1.1x",
            ],
        );
        raw.line = format!("GET /plain {version}").into_bytes();
        raw.framed(&[], "");
    }),
    point("HTTP/0.9", |raw, _| {
        raw.line = b"GET /plain".to_vec();
        raw.lines.clear();
        raw.body.clear();
        raw.ends = true;
    }),
    point("CONNECT", |raw, _| {
        raw.line = b"CONNECT one:80 HTTP/1.1".to_vec();
        raw.set("host", "Host: one:80");
        raw.framed(&[], "");
        raw.ends = true;
    }),
    point("empty line before the request", |raw, rng| {
        let mut line = pick(rng, &["\r\n", "\n", "\r\n\r\n"]).as_bytes().to_vec();
        line.append(&mut raw.line);
        raw.line = line;
    }),
    point("lines that end with LF", |raw, _| raw.newline = "\n"),
    point("lines that end with CR", |raw, _| {
        raw.newline = "\r";
        raw.ends = true;
    }),
    point("folded field", |raw, rng| {
        raw.add(pick(rng, &["X-Folded: a\r\n b", "X-Folded: a\r\n\tb", "X-Folded:\r\n a"]));
    }),
    point("folded line first", |raw, _| raw.lines.insert(0, b" X-First: 1".to_vec())),
    point("blank before the colon", |raw, rng| raw.add(pick(rng, &["X-Blank : 1", "X-Blank\t: 1"]))),
    point("blank before the colon of what frames", |raw, rng| {
        raw.framed(
            &[pick(rng, &["Content-Length : 5", "Transfer-Encoding : chunked"])],
            "5\r\nhello\r\n0\r\n\r\n",
        );
        raw.line = b"POST /plain HTTP/1.1".to_vec();
        raw.ends = true;
    }),
    point("name that is none", |raw, rng| {
        raw.add(pick(rng, &[": 1", "X Y: 1", "X(: 1", "X\u{e4}: 1", "X\0: 1", "X\"Y\": 1", "X[1]: 1"]));
    }),
    point("line without a colon", |raw, _| raw.add("X-None")),
    point("CR in a value", |raw, _| raw.add("X-Value: a\rb")),
    point("NUL in a value", |raw, _| raw.add("X-Value: a\0b")),
    point("control in a value", |raw, rng| {
        raw.add(pick(rng, &["X-Value: a\u{1}b", "X-Value: a\u{7f}b", "X-Value: a\u{b}b"]));
    }),
    point("two different lengths", |raw, _| post(raw, &["Content-Length: 5", "Content-Length: 6"], "hello!")),
    point("the same length twice", |raw, rng| {
        let lines: &[&str] =
            pick(rng, &[&["Content-Length: 5", "Content-Length: 5"], &["Content-Length: 5, 5"]]);
        post(raw, lines, "hello");
    }),
    point("length that is none", |raw, rng| {
        let length =
            pick(rng, &["-1", "+5", "0x5", "5 5", "five", "5;", "5.0", "", "\"5\"", "5,6", ",5", "\u{b}5"]);
        post(raw, &[&format!("Content-Length: {length}")], "hello");
        raw.ends = true;
    }),
    point("length beyond numbers", |raw, rng| {
        let length = pick(rng, &["18446744073709551616", "99999999999999999999999", "18446744073709551621"]);
        post(raw, &[&format!("Content-Length: {length}")], "hello");
        raw.ends = true;
    }),
    point("length with leading zeros", |raw, _| post(raw, &["Content-Length: 0005"], "hello")),
    point("length beside chunks", |raw, rng| {
        let mut lines = ["Content-Length: 5", "Transfer-Encoding: chunked"];
        if rng.bool() {
            lines.reverse();
        }
        post(raw, &lines, "5\r\nhello\r\n0\r\n\r\n");
    }),
    point("coding that is none", |raw, rng| {
        let coding = pick(
            rng,
            &[
                "xchunked",
                "chunkedx",
                "identity",
                "gzip",
                "chunked, gzip",
                "gzip, chunked",
                "chunked;a=b",
                "\"chunked\"",
                "",
                "\u{b}chunked",
                "chunked,",
                ",chunked",
                "CHUNKED",
            ],
        );
        post(raw, &[&format!("Transfer-Encoding: {coding}")], "5\r\nhello\r\n0\r\n\r\n");
        raw.ends = true;
    }),
    point("chunked twice", |raw, rng| {
        let lines: &[&str] = pick(
            rng,
            &[
                &["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
                &["Transfer-Encoding: chunked, chunked"],
                &["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
            ],
        );
        post(raw, lines, "5\r\nhello\r\n0\r\n\r\n");
        raw.ends = true;
    }),
    point("chunks in HTTP/1.0", |raw, _| {
        post(raw, &["Transfer-Encoding: chunked"], "5\r\nhello\r\n0\r\n\r\n");
        raw.line = b"POST /plain HTTP/1.0".to_vec();
        raw.ends = true;
    }),
    point("chunk's size that is none", |raw, rng| {
        let size = pick(rng, &["x5", "-5", "+5", "0x5", "5 ", " 5", "5\t", "", "5_0", "5 5"]);
        post(raw, &["Transfer-Encoding: chunked"], format!("{size}\r\nhello\r\n0\r\n\r\n"));
        raw.ends = true;
    }),
    point("chunk's size beyond numbers", |raw, rng| {
        let size = pick(rng, &["10000000000000005", "ffffffffffffffff", "00000000000000000000000000005"]);
        post(raw, &["Transfer-Encoding: chunked"], format!("{size}\r\nhello\r\n0\r\n\r\n"));
        raw.ends = true;
    }),
    point("chunk that is longer", |raw, _| {
        post(raw, &["Transfer-Encoding: chunked"], "3\r\nhello\r\n0\r\n\r\n");
        raw.ends = true;
    }),
    point("chunk extension", |raw, rng| {
        let extension = pick(rng, &[";a", ";a=b", ";a=\"b c\"", " ; a = b", ";", ";a=\"\\\"\"", ";a=b;c=d"]);
        post(raw, &["Transfer-Encoding: chunked"], format!("5{extension}\r\nhello\r\n0{extension}\r\n\r\n"));
    }),
    point("LF in a chunk extension", |raw, _| {
        post(raw, &["Transfer-Encoding: chunked"], "5;a\nb\r\nhello\r\n0\r\n\r\n");
        raw.ends = true;
    }),
    point("chunks that end with LF", |raw, rng| {
        let body = pick(rng, &["5\nhello\n0\n\n", "5\r\nhello\n0\r\n\r\n", "5\r\nhello\r\n0\r\n\n"]);
        post(raw, &["Transfer-Encoding: chunked"], body);
        raw.ends = true;
    }),
    point("trailer that is none", |raw, rng| {
        let trailer = pick(rng, &["X Y: 1", "none", ": 1", "X-Folded: a\r\n b", "X: a\0b"]);
        post(raw, &["Transfer-Encoding: chunked"], format!("5\r\nhello\r\n0\r\n{trailer}\r\n\r\n"));
        raw.ends = true;
    }),
    point("large trailers", |raw, _| {
        let trailers: String = (0..2000)
            .map(|number| format!("X-Large-{number}: {}\r\n", "v".repeat(60)))
            .collect::<Vec<_>>()
            .concat();
        post(raw, &["Transfer-Encoding: chunked"], format!("5\r\nhello\r\n0\r\n{trailers}\r\n"));
        raw.ends = true;
    }),
    point("body that breaks off", |raw, rng| {
        if rng.bool() {
            post(raw, &["Content-Length: 500"], "hello");
        } else {
            post(raw, &["Transfer-Encoding: chunked"], "5\r\nhello\r\n5\r\nhe");
        }
        raw.ends = true;
    }),
    point("head that breaks off", |raw, _| {
        raw.lines.push(b"X-Broken".to_vec());
        raw.newline = "\r\n";
        let bytes = raw.head();
        raw.line = bytes.get(..bytes.len() - 6).unwrap_or_default().to_vec();
        raw.lines.clear();
        raw.newline = "";
        raw.body.clear();
        raw.ends = true;
    }),
    point("large head", |raw, rng| {
        let count = rng.usize(12..20);
        for number in 0..count {
            raw.add(format!("X-Large-{number}: {}", "v".repeat(6000)));
        }
    }),
    point("large line", |raw, rng| raw.add(format!("X-Large: {}", "v".repeat(rng.usize(80_000..100_000))))),
    point("more fields than are taken", |raw, rng| {
        for number in 0..rng.usize(220..400) {
            raw.add(format!("X-{number}: v"));
        }
    }),
    point("target beyond measure", |raw, rng| {
        raw.line = format!("GET /{} HTTP/1.1", "t".repeat(rng.usize(70_000..90_000))).into_bytes();
        raw.framed(&[], "");
    }),
    point("another request in the body", |raw, _| {
        let inner = "GET /smuggled HTTP/1.1\r\nHost: one\r\n\r\n";
        post(raw, &[&format!("Content-Length: {}", inner.len())], inner);
    }),
    point("body of GET without a length", |raw, _| {
        raw.line = b"GET /plain HTTP/1.1".to_vec();
        raw.framed(&[], "hello");
        raw.ends = true;
    }),
    point("length of an upgrade", |raw, _| {
        raw.line = b"GET /plain HTTP/1.1".to_vec();
        raw.framed(&["Content-Length: 5", "Connection: Upgrade", "Upgrade: websocket"], "hello");
    }),
];

fn post(raw: &mut Raw, lines: &[&str], body: impl AsRef<[u8]>) {
    raw.line = b"POST /plain HTTP/1.1".to_vec();
    raw.expects = false;
    raw.is_head = false;
    raw.framed(lines, body);
}
