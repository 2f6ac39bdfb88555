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
        let cases: [(&str, Vec<u8>, &str); 8] = [
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

/// A request with content whose trailers are these frames.
fn with_trailers(frames: &[Vec<u8>]) -> Vec<u8> {
    let head = post(1, 0, &[("trailer", "x-end")]);
    join(&[head, frame(DATA, 0, 1, b"hello"), frames.concat()])
}

#[tokio::test(start_paused = true)]
async fn a_pseudo_field_in_trailers_is_refused_however_it_is_written() {
    let whole = |block: &[u8]| with_trailers(&[frame(HEADERS, WHOLE, 1, block)]);
    let end = fields(&[("x-end", "yes")]);
    // `:path: /smuggled`, put into the dynamic table by an earlier head, of which it becomes the newest entry.
    let indexed = [&fields(&POST[..2])[..], b"\x44\x09/smuggled", &fields(&POST[3..])].concat();
    refused(|| {
        let p = Stream(&[PROTOCOL]);
        vec![
            ("8.1: a literal", whole(&fields(&[(":path", "/smuggled"), ("x-end", "yes")])), p),
            ("8.1: an unknown one", whole(&fields(&[(":test", "y"), ("x-end", "yes")])), p),
            ("8.1: that of an answer", whole(&fields(&[(":status", "200")])), p),
            ("8.1: an entry of the static table", whole(&[&[0x84][..], &end].concat()), p),
            ("8.1: a name of the static table", whole(&[b"\x04\x09/smuggled", &end[..]].concat()), p),
            // The code of RFC 7541, appendix B.
            ("8.1: a name in a code", whole(b"\x00\x84\xb9\x58\xd3\x3f\x09/smuggled"), p),
            ("8.1: behind an update of the table's size", whole(&[0x3f, 0xe1, 0x1f, 0x84]), p),
            (
                "8.1: in the second frame",
                with_trailers(&[
                    frame(HEADERS, END_STREAM, 1, &[]),
                    frame(CONTINUATION, END_HEADERS, 1, &fields(&[(":path", "/smuggled")])),
                ]),
                p,
            ),
            (
                "8.1: between padding",
                with_trailers(&[frame(HEADERS, WHOLE | PADDED, 1, &[2, 0x84, 0, 0])]),
                p,
            ),
            (
                "8.1: an entry of the dynamic table",
                join(&[
                    frame(HEADERS, END_HEADERS, 1, &indexed),
                    frame(DATA, 0, 1, b"hello"),
                    frame(HEADERS, WHOLE, 1, &[0xbe]),
                ]),
                p,
            ),
            (
                "6.2: padding for which one octet is missing",
                with_trailers(&[
                    frame(HEADERS, END_STREAM | PADDED, 1, &[1]),
                    frame(CONTINUATION, END_HEADERS, 1, &fields(&[(":path", "/smuggled")])),
                ]),
                Connection(&[PROTOCOL]),
            ),
        ]
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn trailers_arrive_as_they_were_sent_octet_by_octet_and_without_a_host() {
    both(async |side| {
        let block = fields(&[("host", "smuggled"), ("x-end", "yes")]);
        let bytes = with_trailers(&[
            frame(HEADERS, END_STREAM, 1, &block[..7]),
            frame(CONTINUATION, END_HEADERS, 1, &block[7..]),
        ]);
        let mut client = Client::new(side.connect().await, &[]).await;
        for octet in &bytes {
            client.put(&[*octet]).await;
        }
        client.say(&[]).await;
        assert_eq!(client.status(1), Some(200));
        let seen = String::from_utf8_lossy(&side.seen.borrow()[0]).into_owned();
        assert!(seen.ends_with("\r\n0\r\nx-end: yes\r\n\r\n"), "{seen}");
        assert_eq!(all_violations(&side), 0);
    })
    .await;
}
