//! What is wrong with requests of HTTP/1, and what an application sees of those that are not: RFC 9112, by its sections, on
//! the outbound and on the inbound side.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_mesh::http_validation::{Checked, End, MAX_FIELDS, MAX_HEAD, Requests};
use weft_mesh::violation::Violation;
use weft_proto::v1;

use super::network;
use super::side::{both, recorder};
use super::world::*;
use crate::observe::stats::Direction;

/// A request that is refused: its octets, and what for.
async fn refused(cases: &[(&str, &str, Violation)]) {
    both(async |side| {
        for (name, text, violation) in cases {
            // What follows must not be taken for a request of its own.
            let bytes = [text.as_bytes(), b"GET /smuggled HTTP/1.1\r\nhost: reviews:9080\r\n\r\n"].concat();
            let before = side.violations(*violation);
            let answers = side.answers(&bytes).await;
            let reason = violation.reason();
            let status = format!("HTTP/1.1 {} ", reason.http_status().as_u16());
            assert!(answers.starts_with(&status), "{name}: {answers}");
            assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{name}: {answers}");
            assert!(answers.contains(&format!("x-weft-error: {}\r\n", reason.label())), "{name}: {answers}");
            assert_eq!(side.violations(*violation), before + 1, "{name}");
            assert!(side.seen.borrow().is_empty(), "{name}: {:?}", side.seen.borrow());
        }
    })
    .await;
}

/// What an application sees of each request: its first line, and something of its body.
type Seen<'a> = &'a [(&'a str, &'a str)];

/// Requests that an application gets: their octets, and what it sees.
async fn passed(cases: &[(&str, &str, Seen<'_>)]) {
    both(async |side| {
        for (name, text, expected) in cases {
            let answers = side.answers(text.as_bytes()).await;
            assert_eq!(answers.matches(" 200 OK\r\n").count(), expected.len(), "{name}: {answers}");
            let seen = std::mem::take(&mut *side.seen.borrow_mut());
            assert_eq!(seen.len(), expected.len(), "{name}");
            for (seen, (line, body)) in seen.iter().zip(*expected) {
                // Nobody can read it in another way.
                let checked = Requests::default().check(seen);
                assert_eq!(checked, Checked { good: seen.len(), end: End::More }, "{name}");
                let seen = String::from_utf8_lossy(seen);
                assert!(seen.starts_with(&format!("{line}\r\n")), "{name}: {seen}");
                assert!(seen.split_once("\r\n\r\n").unwrap().1.contains(body), "{name}: {seen}");
                assert_eq!(
                    seen.to_ascii_lowercase().matches("\r\nhost: reviews:9080\r\n").count(),
                    1,
                    "{seen}"
                );
            }
        }
    })
    .await;
}

const GET: &str = "GET / HTTP/1.1";
const CHUNKED: &str = "POST / HTTP/1.1\r\nhost: reviews:9080\r\ntransfer-encoding: chunked\r\n";

#[tokio::test(start_paused = true)]
async fn request_lines_that_are_none_are_refused() {
    let host = "\r\nhost: reviews:9080\r\n\r\n";
    let line = |line: &str| format!("{line}{host}");
    let lines = [
        ("a method that is no token", line("G(T / HTTP/1.1")),
        ("no method", line(" / HTTP/1.1")),
        ("no version", line("GET /")),
        ("another version", line("GET / HTTP/2.0")),
        ("a version of two digits", line("GET / HTTP/1.10")),
        ("a version in small letters", line("GET / http/1.1")),
        ("two spaces", line("GET  / HTTP/1.1")),
        ("a space at the end", line("GET / HTTP/1.1 ")),
        ("a space in the target", line("GET /a b HTTP/1.1")),
        ("a tabulator for a space", line("GET\t/ HTTP/1.1")),
        ("a target without a form", line("GET reviews HTTP/1.1")),
        ("a fragment in the target", line("GET /a#b HTTP/1.1")),
        ("a fragment in an absolute target", line("GET http://reviews:9080/#b HTTP/1.1")),
        ("an asterisk for GET", line("GET * HTTP/1.1")),
        ("a user in the target", line("GET http://me@reviews:9080/ HTTP/1.1")),
        ("a NUL in the target", line("GET /\0 HTTP/1.1")),
        ("a path for CONNECT", line("CONNECT / HTTP/1.1")),
        // What a parser behind would refuse without a reason.
        ("two ports for CONNECT", line("CONNECT reviews:80:90 HTTP/1.1")),
        ("a percent in the host", line("GET http://rev%41iews:9080/ HTTP/1.1")),
        ("a bracket that is not closed", line("GET http://[::1/ HTTP/1.1")),
        ("a scheme that is none", line("GET a_b://reviews:9080/ HTTP/1.1")),
        ("quotes in the host", line("GET http://\"reviews\":9080/ HTTP/1.1")),
        ("no HTTP", "\u{1}\u{2}\u{3}\u{0}\r\n\r\n".to_owned()),
    ];
    let cases: Vec<_> =
        lines.iter().map(|(name, text)| (*name, text.as_str(), Violation::RequestLine)).collect();
    refused(&cases).await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_no_utf8_is_refused() {
    both(async |side| {
        let answers = side.answers(b"GET /\xff\xfe HTTP/1.1\r\nhost: reviews:9080\r\n\r\n").await;
        assert!(answers.starts_with("HTTP/1.1 400 "), "{answers}");
        assert_eq!(side.violations(Violation::RequestLine), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn lines_end_with_cr_lf_and_neither_stands_alone() {
    let cases = [
        ("LF alone after the request line", format!("{GET}\nhost: reviews:9080\r\n\r\n")),
        ("LF alone after a field", format!("{GET}\r\nhost: reviews:9080\n\r\n")),
        ("LF alone at the end", format!("{GET}\r\nhost: reviews:9080\r\n\n")),
        ("CR alone in the request line", "GET /\r HTTP/1.1\r\nhost: reviews:9080\r\n\r\n".to_owned()),
        ("CR alone in a value", format!("{GET}\r\nhost: reviews:9080\r\nx: a\rb\r\n\r\n")),
        (
            "CR alone that ends a field",
            format!("{GET}\r\nhost: reviews:9080\r\nx: a\rtransfer-encoding: chunked\r\n\r\n"),
        ),
        ("CR CR LF", format!("{GET}\r\nhost: reviews:9080\r\nx: a\r\r\n\r\n")),
    ];
    let cases: Vec<_> =
        cases.iter().map(|(name, text)| (*name, text.as_str(), Violation::LineEnding)).collect();
    refused(&cases).await;
}

#[tokio::test(start_paused = true)]
async fn fields_that_are_none_are_refused() {
    let field = |field: &str| format!("{GET}\r\nhost: reviews:9080\r\n{field}\r\n\r\n");
    let cases = [
        ("a space before the colon", field("x : y"), Violation::Field),
        ("a tabulator before the colon", field("x\t: y"), Violation::Field),
        ("no name", field(": y"), Violation::Field),
        ("no colon", field("x"), Violation::Field),
        ("a name that is no token", field("x(: y"), Violation::Field),
        ("a name beyond ASCII", field("\u{e4}: y"), Violation::Field),
        ("a NUL in the name", field("x\0: y"), Violation::Field),
        ("a NUL in the value", field("x: a\0b"), Violation::Field),
        ("a control in the value", field("x: a\u{1}b"), Violation::Field),
        ("DEL in the value", field("x: a\u{7f}b"), Violation::Field),
        ("a length with a space before the colon", field("content-length : 5"), Violation::Field),
        ("a folded field", field("x: y\r\n z"), Violation::Folding),
        ("a folded coding", field("transfer-encoding: chunked\r\n , chunked"), Violation::Folding),
        ("a folded first field", format!("{GET}\r\n x: y\r\nhost: reviews:9080\r\n\r\n"), Violation::Folding),
    ];
    let cases: Vec<_> =
        cases.iter().map(|(name, text, violation)| (*name, text.as_str(), *violation)).collect();
    refused(&cases).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_names_one_host() {
    let cases = [
        ("none", "GET / HTTP/1.1\r\n\r\n"),
        ("two", "GET / HTTP/1.1\r\nhost: reviews:9080\r\nhost: ratings:9080\r\n\r\n"),
        ("the same twice", "GET / HTTP/1.1\r\nhost: reviews:9080\r\nHost: reviews:9080\r\n\r\n"),
        ("two in HTTP/1.0", "GET / HTTP/1.0\r\nhost: reviews:9080\r\nhost: ratings:9080\r\n\r\n"),
        ("none beside a whole target", "GET http://reviews:9080/ HTTP/1.1\r\n\r\n"),
        ("a list", "GET / HTTP/1.1\r\nhost: reviews:9080, ratings:9080\r\n\r\n"),
        ("with a path", "GET / HTTP/1.1\r\nhost: reviews:9080/a\r\n\r\n"),
        ("with a user", "GET / HTTP/1.1\r\nhost: me@reviews:9080\r\n\r\n"),
        ("with a space", "GET / HTTP/1.1\r\nhost: reviews:9080 a\r\n\r\n"),
    ];
    let cases: Vec<_> = cases.iter().map(|(name, text)| (*name, *text, Violation::Host)).collect();
    refused(&cases).await;
}

#[tokio::test(start_paused = true)]
async fn a_length_that_can_be_read_in_two_ways_is_refused() {
    let head = |fields: &str| format!("POST / HTTP/1.1\r\nhost: reviews:9080\r\n{fields}\r\n\r\n");
    let coded = |coding: &str| head(&format!("transfer-encoding: {coding}"));
    let cases = [
        ("a length and a coding", head("content-length: 5\r\ntransfer-encoding: chunked")),
        ("a coding and a length", head("transfer-encoding: chunked\r\ncontent-length: 5")),
        ("two lengths", head("content-length: 5\r\ncontent-length: 6")),
        ("the same length twice", head("content-length: 5\r\ncontent-length: 5")),
        ("a list of lengths", head("content-length: 5, 5")),
        ("a negative length", head("content-length: -5")),
        ("a length with a plus", head("content-length: +5")),
        ("a length of no number", head("content-length: 0x5")),
        ("no length", head("content-length:")),
        ("a length in two words", head("content-length: 5 6")),
        ("a huge length", head("content-length: 99999999999999999999")),
        ("a length beyond signed numbers", head("content-length: 9223372036854775808")),
        ("a coding after chunked", coded("chunked, gzip")),
        ("chunked twice", coded("chunked, chunked")),
        ("chunked in two fields", coded("chunked\r\ntransfer-encoding: chunked")),
        ("a coding without chunked", coded("gzip")),
        ("identity", coded("identity")),
        ("a name like chunked", coded("xchunked")),
        ("chunked with a parameter", coded("chunked;a=b")),
        ("chunked in quotes", coded("\"chunked\"")),
        ("no coding", coded("")),
        (
            "HTTP/1.0",
            "POST / HTTP/1.0\r\nhost: reviews:9080\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
        ),
        (
            "CONNECT with a body",
            "CONNECT reviews:9080 HTTP/1.1\r\nhost: reviews:9080\r\ncontent-length: 5\r\n\r\n".to_owned(),
        ),
    ];
    let cases: Vec<_> = cases.iter().map(|(name, text)| (*name, text.as_str(), Violation::Framing)).collect();
    refused(&cases).await;
    let other =
        [coded("gzip, chunked"), coded("gzip\r\ntransfer-encoding: chunked"), coded("identity, chunked")];
    let cases: Vec<_> =
        other.iter().map(|text| ("another coding", text.as_str(), Violation::TransferCoding)).collect();
    refused(&cases).await;
}

#[tokio::test(start_paused = true)]
async fn heads_have_a_bound() {
    let fields = format!("{GET}\r\nhost: reviews:9080\r\n{}\r\n", "x: y\r\n".repeat(MAX_FIELDS));
    let field = format!("{GET}\r\nhost: reviews:9080\r\nx: {}\r\n\r\n", "y".repeat(MAX_HEAD));
    let unending = format!("{GET}\r\nhost: reviews:9080\r\nx: {}", "y".repeat(4 * MAX_HEAD));
    let target = format!("GET /{} HTTP/1.1\r\nhost: reviews:9080\r\n\r\n", "y".repeat(MAX_HEAD));
    refused(&[
        ("too many fields", &fields, Violation::HeadTooLarge),
        ("a field that is too large", &field, Violation::HeadTooLarge),
        ("a field without an end", &unending, Violation::HeadTooLarge),
        ("a target that is too long", &target, Violation::TargetTooLong),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn heads_within_the_bound_arrive() {
    let fields = format!(
        "GET /fields HTTP/1.1\r\nhost: reviews:9080\r\nconnection: close\r\n{}\r\n",
        // The proxy adds an id and a mark, and takes Connection off.
        "x: y\r\n".repeat(MAX_FIELDS - 3)
    );
    let large = format!(
        "GET /large HTTP/1.1\r\nhost: reviews:9080\r\nconnection: close\r\nx: {}\r\n\r\n",
        "y".repeat(60_000)
    );
    let many = "x: y\r\n".repeat(MAX_FIELDS - 10);
    let mixed = format!(
        "GET /1 HTTP/1.1\r\nhost: reviews:9080\r\n\r\nGET /2 HTTP/1.1\r\nhost: reviews:9080\r\n{many}\r\nPOST /3 HTTP/1.1\r\nhost: reviews:9080\r\ntransfer-encoding: chunked\r\n\r\n5\r\nthree\r\n0\r\n{many}\r\nGET /4 HTTP/1.1\r\nhost: reviews:9080\r\nconnection: close\r\n\r\n"
    );
    passed(&[
        (
            "few and many fields on one connection",
            &mixed,
            &[
                ("GET /1 HTTP/1.1", ""),
                ("GET /2 HTTP/1.1", ""),
                ("POST /3 HTTP/1.1", "three"),
                ("GET /4 HTTP/1.1", ""),
            ],
        ),
        ("many fields", &fields, &[("GET /fields HTTP/1.1", "")]),
        ("a large field", &large, &[("GET /large HTTP/1.1", "")]),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn requests_in_every_form_arrive_as_one() {
    let close = "host: reviews:9080\r\nconnection: close\r\n";
    let asterisk = format!("OPTIONS * HTTP/1.1\r\n{close}\r\n");
    let empty_lines = format!("\r\n\r\nGET / HTTP/1.1\r\n{close}\r\n");
    let named = format!(
        "POST / HTTP/1.1\r\n{close}connection: content-length, host\r\ncontent-length: 5\r\n\r\nhello"
    );
    let zero = format!("POST / HTTP/1.1\r\n{close}content-length: 0005\r\n\r\nhello");
    let chunks = format!(
        "POST / HTTP/1.1\r\n{close}Transfer-Encoding: Chunked\r\n\r\n2;a=\"b\"\r\nhe\r\n0003 ; c\r\nllo\r\n000\r\nx: y\r\n\r\n"
    );
    let pipelined = format!(
        "GET /1 HTTP/1.1\r\nhost: reviews:9080\r\n\r\nPOST /2 HTTP/1.1\r\nhost: reviews:9080\r\ncontent-length: 3\r\n\r\ntwoGET /3 HTTP/1.1\r\n{close}\r\n"
    );
    passed(&[
        ("an asterisk", &asterisk, &[("OPTIONS * HTTP/1.1", "")]),
        ("empty lines before", &empty_lines, &[("GET / HTTP/1.1", "")]),
        ("a body that Connection names", &named, &[("POST / HTTP/1.1", "hello")]),
        ("zeros before a length", &zero, &[("POST / HTTP/1.1", "hello")]),
        ("chunks of every form", &chunks, &[("POST / HTTP/1.1", "llo")]),
        (
            "three at once",
            &pipelined,
            &[("GET /1 HTTP/1.1", ""), ("POST /2 HTTP/1.1", "two"), ("GET /3 HTTP/1.1", "")],
        ),
    ])
    .await;
}

/// Those that no URI has go on percent-encoded, as browsers send them: what a server reads is the same.
#[tokio::test(start_paused = true)]
async fn octets_that_clients_send_raw_in_a_target_arrive() {
    let close = "host: reviews:9080\r\nconnection: close\r\n\r\n";
    let query = format!("GET /api/v1/query?query=up{{job=\"a\"}}|>1^`~<2 HTTP/1.1\r\n{close}");
    let path = format!("GET /a<b>`c\"{{}}|^ HTTP/1.1\r\n{close}");
    let second = format!(
        "POST / HTTP/1.1\r\nhost: reviews:9080\r\ncontent-length: 3\r\n\r\n\"<>\r\nGET http://reviews:9080?\"<> HTTP/1.1\r\n{close}"
    );
    passed(&[
        ("in a query", &query, &[("GET /api/v1/query?query=up{job=%22a%22}|%3E1^`~%3C2 HTTP/1.1", "")]),
        ("in a path", &path, &[("GET /a%3Cb%3E%60c\"{}|^ HTTP/1.1", "")]),
    ])
    .await;
    both(async |side| {
        let answers = side.answers(second.as_bytes()).await;
        assert_eq!(answers.matches(" 200 OK\r\n").count(), 2, "{answers}");
        let seen = String::from_utf8(side.seen.borrow().concat()).unwrap();
        assert!(seen.contains("\r\n\r\n\"<>GET ") && seen.contains("?%22%3C%3E HTTP/1.1\r\n"), "{seen}");
    })
    .await;
}

/// TRACE and OPTIONS say after how many proxies they are answered (RFC 9110 section 7.6.2).
#[tokio::test(start_paused = true)]
async fn a_request_that_may_be_forwarded_no_more_is_answered_here() {
    both(async |side| {
        let ask = |method: &str, field: &str| {
            format!("{method} / HTTP/1.1\r\nhost: reviews:9080\r\nconnection: close\r\n{field}\r\n\r\n")
        };
        for (method, status) in [("OPTIONS", "200"), ("TRACE", "405")] {
            for field in ["max-forwards: 0", "max-forwards: 00", "max-forwards: 5\r\nmax-forwards: 0"] {
                let answer = side.answers(ask(method, field).as_bytes()).await;
                assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
                assert!(answer.contains("\r\nallow: OPTIONS\r\n"), "{answer}");
                assert_eq!(
                    answer.contains("\r\nx-weft-error: max_forwards\r\n"),
                    method == "TRACE",
                    "{answer}"
                );
            }
        }
        assert!(side.seen.borrow().is_empty());
        for (method, field, expected) in [
            ("OPTIONS", "max-forwards: 3", "max-forwards: 2"),
            ("TRACE", "max-forwards: 1", "max-forwards: 0"),
            ("OPTIONS", "max-forwards: none", "max-forwards: none"),
            // For all other methods it means nothing.
            ("GET", "max-forwards: 0", "max-forwards: 0"),
        ] {
            let answer = side.answers(ask(method, field).as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            let seen = String::from_utf8(side.seen.borrow_mut().remove(0)).unwrap();
            assert!(seen.contains(&format!("\r\n{expected}\r\n")), "{seen}");
        }
    })
    .await;
}

/// An HTTP proxy takes the host out of it for an origin server, and the sidecar of a server leaves it to that, which may be
/// a proxy itself (RFC 9112, sections 3.2.1 and 3.2.2). Either way Host is what the target says.
#[tokio::test(start_paused = true)]
async fn an_absolute_target_is_for_whom_it_was_sent_to() {
    both(async |side| {
        for host in ["reviews:9080", "ratings:9080"] {
            let request = format!(
                "GET http://reviews:9080/a?b HTTP/1.1\r\nhost: {host}\r\nproxy-authorization: Basic eDp5\r\nconnection: close\r\n\r\n"
            );
            assert!(side.answers(request.as_bytes()).await.starts_with("HTTP/1.1 200 OK\r\n"));
            let seen = String::from_utf8(side.seen.borrow_mut().remove(0)).unwrap();
            let explicit = side.direction == Direction::Outbound;
            let line = if explicit { "GET /a?b HTTP/1.1\r\n" } else { "GET http://reviews:9080/a?b HTTP/1.1\r\n" };
            assert!(seen.starts_with(line), "{seen}");
            assert_eq!(seen.contains("\r\nproxy-authorization: Basic eDp5\r\n"), !explicit, "{seen}");
            assert!(seen.contains("\r\nhost: reviews:9080\r\n") && !seen.contains("ratings"), "{seen}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn octets_of_a_value_that_are_no_utf8_arrive_as_they_are() {
    both(async |side| {
        let head = b"GET / HTTP/1.1\r\nhost: reviews:9080\r\nconnection: close\r\nx: \xff\xc3\x28\r\n\r\n";
        assert!(side.answers(head).await.starts_with("HTTP/1.1 200 "));
        let seen = side.seen.borrow();
        assert!(seen[0].windows(7).any(|seven| seven == b"\r\nx: \xff\xc3"), "{seen:?}");
    })
    .await;
}

/// The request before is answered, what is wrong with the one behind it is said, and nothing of that goes on.
#[tokio::test(start_paused = true)]
async fn a_request_behind_a_good_one_is_refused_after_its_answer() {
    both(async |side| {
        let good = "GET /good HTTP/1.1\r\nhost: reviews:9080\r\n\r\n";
        let bad = "POST / HTTP/1.1\r\nhost: reviews:9080\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n";
        let answers = side.answers(format!("{good}{bad}{good}").as_bytes()).await;
        assert!(answers.starts_with("HTTP/1.1 200 OK\r\n"), "{answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 2, "{answers}");
        assert!(answers.contains("HTTP/1.1 400 Bad Request\r\n"), "{answers}");
        assert_eq!(side.seen.borrow().len(), 1);
    })
    .await;
}

/// A body that its client breaks is the client's doing: no 5xx, no failure of the endpoint, no second attempt.
#[tokio::test(start_paused = true)]
async fn chunks_that_are_none_are_the_clients_doing() {
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(5000));
    let trailers = format!("0\r\n{}\r\n", "x: y\r\n".repeat(MAX_FIELDS + 1));
    let unending = format!("0\r\nx: {}", "y".repeat(20_000));
    let cases = [
        ("no size", "\r\nhello\r\n0\r\n\r\n", Violation::Chunk),
        ("a size of no digits", "x\r\nhello\r\n0\r\n\r\n", Violation::Chunk),
        ("a size with 0x", "0x5\r\nhello\r\n0\r\n\r\n", Violation::Chunk),
        ("a negative size", "-5\r\nhello\r\n0\r\n\r\n", Violation::Chunk),
        ("a size that overflows", "10000000000000005\r\nhello\r\n0\r\n\r\n", Violation::Chunk),
        ("a size beyond signed numbers", "8000000000000000\r\nhello\r\n0\r\n\r\n", Violation::Chunk),
        ("a size that ends with LF", "5\nhello\r\n0\r\n\r\n", Violation::Chunk),
        ("a size that ends with CR", "5\rXhello\r\n0\r\n\r\n", Violation::Chunk),
        ("data without an end", "5\r\nhelloX\r\n0\r\n\r\n", Violation::Chunk),
        ("data that ends with LF", "5\r\nhello\n0\r\n\r\n", Violation::Chunk),
        ("an extension with LF", "5;a\nhello\r\n0\r\n\r\n", Violation::Chunk),
        ("a long extension", &long, Violation::Chunk),
        ("a trailer that frames", "5\r\nhello\r\n0\r\ncontent-length: 5\r\n\r\n", Violation::Trailers),
        ("a trailer that is folded", "5\r\nhello\r\n0\r\nx: y\r\n z\r\n\r\n", Violation::Folding),
        ("many trailers", &trailers, Violation::Trailers),
        ("trailers without an end", &unending, Violation::Trailers),
    ];
    both(async |side| {
        for (name, body, violation) in cases {
            let before = side.violations(violation);
            let answers =
                side.answers(format!("{CHUNKED}\r\n{body}GET /smuggled HTTP/1.1\r\n\r\n").as_bytes()).await;
            assert!(answers.is_empty() || answers.starts_with("HTTP/1.1 400 "), "{name}: {answers}");
            assert!(
                answers.is_empty() || answers.contains("x-weft-error: bad_request\r\n"),
                "{name}: {answers}"
            );
            assert_eq!(side.violations(violation), before + 1, "{name}");
            assert!(side.seen.borrow().is_empty(), "{name}: {:?}", side.seen.borrow());
        }
        let totals = totals(&side.worker);
        assert_eq!((totals.failures, totals.retries), (0, 0));
        // The endpoint was never ejected for it.
        let good = "GET / HTTP/1.1\r\nhost: reviews:9080\r\nconnection: close\r\n\r\n";
        assert!(side.answers(good.as_bytes()).await.starts_with("HTTP/1.1 200 "));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_cut_off_is_the_clients_doing() {
    both(async |side| {
        for head in ["content-length: 50", "transfer-encoding: chunked"] {
            let mut stream = side.connect().await;
            let head = format!("POST / HTTP/1.1\r\nhost: reviews:9080\r\n{head}\r\n\r\n5\r\nhello");
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
        }
        assert_eq!(side.violations(Violation::BodyCutOff), 2);
        let totals = totals(&side.worker);
        assert_eq!((totals.failures, totals.retries), (0, 0));
    })
    .await;
}

/// Between two sidecars there is a hop that could lose who is to blame.
#[tokio::test(start_paused = true)]
async fn a_broken_body_is_the_clients_doing_across_every_hop() {
    for hop in [v1::Hop::Weft, v1::Hop::Standard] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, hop)]);
            let sidecar = mesh.sidecar(2, &v1::Inbound::default());
            let seen = recorder();
            let mut stream = network::connect(outbound()).unwrap().await.unwrap();
            stream.write_all(format!("{CHUNKED}\r\n5\r\nhelloX").as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 400 ") && answer.contains("x-weft-error: bad_request\r\n"),
                "{answer}"
            );
            assert!(seen.borrow().is_empty());
            for worker in [&mesh.worker, &sidecar] {
                let totals = totals(worker);
                assert_eq!((totals.failures, totals.retries), (0, 0), "{hop:?}");
            }
        })
        .await;
    }
}
