//! Requests in frames that are right (RFC 9113 section 8).

use super::*;

/// A request with these pseudo-fields.
fn asks(pseudo: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, &fields(pseudo))
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_malformed_reach_nobody() {
    let with =
        |name: &'static str, value: &'static str| post(1, END_STREAM, &[(name, value), ("x", "smuggled")]);
    let body = |length: &'static str, frames: &[Vec<u8>]| {
        join(&[post(1, 0, &[("content-length", length)]), frames.concat()])
    };
    let data = |flags: u8, text: &str| frame(DATA, flags, 1, text.as_bytes());
    refused(|| {
        let p = Stream(&[PROTOCOL]);
        vec![
            ("8.2.1: a name with a capital letter", with("X-Test", "y"), p),
            ("8.2.1: a name with a space", with("x test", "y"), p),
            ("8.2.1: a name with a colon", with("x:test", "y"), p),
            ("8.2.1: no name", with("", "y"), p),
            ("8.2.1: a value with NUL", with("x-test", "a\0b"), p),
            ("8.2.1: a value with CR", with("x-test", "a\rb"), p),
            ("8.2.1: a value with LF", with("x-test", "a\nx-other: b"), p),
            ("8.2.1: a value with CR LF and a request", with("x-test", "a\r\n\r\nGET /smuggled HTTP/1.1"), p),
            ("8.2.2: Connection", with("connection", "keep-alive"), p),
            ("8.2.2: Keep-Alive", with("keep-alive", "5"), p),
            ("8.2.2: Proxy-Connection", with("proxy-connection", "keep-alive"), p),
            ("8.2.2: Transfer-Encoding", with("transfer-encoding", "chunked"), p),
            ("8.2.2: Upgrade", with("upgrade", "websocket"), p),
            ("8.2.2: TE of anything but trailers", with("te", "gzip"), p),
            ("8.3: an unknown pseudo-field", with(":test", "y"), p),
            ("8.3: a pseudo-field of responses", asks(&[&GET[..], &[(":status", "200")]].concat()), p),
            (
                "8.3: a pseudo-field behind a field",
                asks(&[
                    (":method", "GET"),
                    (":scheme", "http"),
                    ("x", "y"),
                    (":path", "/"),
                    (":authority", "reviews:9080"),
                ]),
                p,
            ),
            ("8.3.1: no method", asks(&GET[1..]), p),
            ("8.3.1: no scheme", asks(&[GET[0], GET[2], GET[3]]), p),
            ("8.3.1: no path", asks(&[GET[0], GET[1], GET[3]]), p),
            ("8.3.1: an empty path", asks(&[GET[0], GET[1], (":path", ""), GET[3]]), p),
            ("8.3.1: two methods", asks(&[&GET[..], &GET[..1]].concat()), p),
            ("8.3.1: two schemes", asks(&[&GET[..], &GET[1..2]].concat()), p),
            ("8.3.1: two paths", asks(&[&GET[..], &GET[2..3]].concat()), p),
            ("8.3.1: two authorities", asks(&[&GET[..], &GET[3..]].concat()), p),
            ("8.3.1: a method that is no token", asks(&[(":method", "G ET"), GET[1], GET[2], GET[3]]), p),
            (
                "8.3.1: a path with a space and a version",
                asks(&[GET[0], GET[1], (":path", "/smuggled HTTP/1.1"), GET[3]]),
                p,
            ),
            ("8.3.1: a path with CR LF", asks(&[GET[0], GET[1], (":path", "/\r\nsmuggled: yes"), GET[3]]), p),
            ("8.1: a second head", join(&[post(1, 0, &[]), post(1, 0, &[])]), p),
            ("8.1.1: less than Content-Length", body("5", &[data(END_STREAM, "hell")]), p),
            ("8.1.1: more than Content-Length", body("3", &[data(END_STREAM, "hell")]), p),
            (
                "8.1.1: more than Content-Length in two frames",
                body("3", &[data(0, "he"), data(END_STREAM, "ll")]),
                p,
            ),
            ("8.1.1: Content-Length without a body", post(1, END_STREAM, &[("content-length", "5")]), p),
            (
                "8.1.1: two lengths",
                join(&[
                    post(1, 0, &[("content-length", "4"), ("content-length", "5")]),
                    data(END_STREAM, "hell"),
                ]),
                p,
            ),
            (
                "8.1.1: a length that is none",
                join(&[post(1, 0, &[("content-length", "+4")]), data(END_STREAM, "hell")]),
                p,
            ),
        ]
    })
    .await;
}

/// More fields than a head may have.
fn many_fields() -> Vec<u8> {
    let block = fields(&[&GET[..], &[("x", "y"); 201]].concat());
    frame(HEADERS, WHOLE, 1, &block)
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_well_formed_and_not_taken_get_an_answer() {
    refused(|| {
        let bad = Status(400);
        vec![
            ("8.3.1: another Host than the authority", post(1, END_STREAM, &[("host", "ratings:9080")]), bad),
            (
                "8.3.1: two Hosts",
                post(1, END_STREAM, &[("host", "reviews:9080"), ("host", "reviews:9080")]),
                bad,
            ),
            (
                "8.3.1: a user in the authority",
                asks(&[GET[0], GET[1], GET[2], (":authority", "me@reviews:9080")]),
                bad,
            ),
            ("8.3.1: neither authority nor Host", asks(&GET[..3]), bad),
            ("10.5.1: more fields than are taken", many_fields(), Status(431)),
            ("8.3.1: a query without a path", asks(&[GET[0], GET[1], (":path", "?a"), GET[3]]), bad),
            ("8.3.1: an asterisk for GET", asks(&[GET[0], GET[1], (":path", "*"), GET[3]]), bad),
        ]
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_right_if_unusual_arrives() {
    both(async |side| {
        let block = fields(&POST);
        let (start, rest) = block.split_at(20);
        let cases: [(&str, Vec<u8>, &str); 9] = [
            (
                "a head in three frames",
                join(&[
                    frame(HEADERS, END_STREAM, 1, start),
                    frame(CONTINUATION, 0, 1, &rest[..9]),
                    frame(CONTINUATION, END_HEADERS, 1, &rest[9..]),
                ]),
                "",
            ),
            (
                "padding",
                join(&[
                    frame(HEADERS, PADDED | END_HEADERS, 1, &[&[3][..], &block, &[0; 3]].concat()),
                    frame(DATA, PADDED | END_STREAM, 1, b"\x02hello\0\0"),
                ]),
                "hello",
            ),
            (
                "a priority",
                frame(HEADERS, WHOLE | WITH_PRIORITY, 1, &[&[0, 0, 0, 0, 9][..], &block].concat()),
                "",
            ),
            (
                "PRIORITY before",
                join(&[frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9]), post(1, END_STREAM, &[])]),
                "",
            ),
            (
                "a body in pieces, one of them empty",
                join(&[
                    post(1, 0, &[("content-length", "5")]),
                    frame(DATA, 0, 1, b"he"),
                    frame(DATA, 0, 1, b""),
                    frame(DATA, END_STREAM, 1, b"llo"),
                ]),
                "hello",
            ),
            // h2 leaves out what 8.3 calls malformed.
            (
                "a pseudo-field in trailers",
                join(&[
                    post(1, 0, &[("trailer", "x-end")]),
                    frame(DATA, 0, 1, b"hello"),
                    frame(HEADERS, WHOLE, 1, &fields(&[(":path", "/smuggled"), ("x-end", "yes")])),
                ]),
                "x-end: yes",
            ),
            (
                "trailers",
                join(&[
                    post(1, 0, &[("trailer", "x-end")]),
                    frame(DATA, 0, 1, b"hello"),
                    frame(HEADERS, WHOLE, 1, &fields(&[("x-end", "yes")])),
                ]),
                "x-end: yes",
            ),
            (
                "frames of unknown types, flags and settings",
                join(&[
                    frame(0x16, 0xff, 0, b"x"),
                    settings(&[(0xff, 1)]),
                    frame(HEADERS, WHOLE | 0x90, 1, &block),
                ]),
                "",
            ),
            ("the same Host as the authority", post(1, END_STREAM, &[("host", "Reviews:9080")]), ""),
        ];
        for (name, bytes, expected) in cases {
            let mut client = Client::new(side.connect().await, &[]).await;
            client.say(&bytes).await;
            assert_eq!(client.status(1), Some(200), "{name}");
            let seen = std::mem::take(&mut *side.seen.borrow_mut());
            let seen = String::from_utf8_lossy(&seen[0]).into_owned();
            assert!(seen.starts_with("POST / HTTP/1.1\r\n"), "{name}: {seen}");
            assert!(seen.split_once("\r\n\r\n").unwrap().1.contains(expected), "{name}: {seen}");
            let hosts = seen.to_ascii_lowercase().matches("\r\nhost: reviews:9080\r\n").count();
            assert_eq!(hosts, 1, "{name}: {seen}");
            assert!(!seen.contains("smuggled"), "{name}: {seen}");
        }
        assert_eq!(all_violations(&side), 0);
    })
    .await;
}
