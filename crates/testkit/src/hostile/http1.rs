//! Cases of HTTP/1 (RFC 9112).

use super::case::{Case, Expected};

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    [right(), request_lines(), lines_and_fields(), hosts(), framing(), chunks(), bounds()]
        .into_iter()
        .flatten()
        .collect()
}

const HOST: &str = "host: reviews:9080\r\n";
/// What a request that frames itself wrongly hides.
const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nhost: reviews:9080\r\n\r\n";

fn case(name: &'static str, octets: impl Into<Vec<u8>>, expected: Expected) -> Case {
    Case { name, octets: octets.into(), expected }
}

fn refused(name: &'static str, octets: impl Into<Vec<u8>>) -> Case {
    case(name, octets, Expected::Refused)
}

fn right() -> Vec<Case> {
    use Expected::{Arrives, BreaksOff, Interim, NoContent, Status};
    let post = |fields: &str, body: &str| format!("POST / HTTP/1.1\r\n{HOST}{fields}\r\n{body}");
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\n{HOST}\r\n");
    vec![
        case("3: a request", get("/"), Status(200)),
        case("2.2: empty lines before a request", format!("\r\n\r\n{}", get("/")), Status(200)),
        case(
            "3.2.2: an absolute target",
            "GET http://reviews:9080/a HTTP/1.1\r\nhost: other\r\n\r\n",
            Arrives("\r\nhost: reviews:9080\r\n"),
        ),
        case(
            "3.2.4: an asterisk for OPTIONS",
            format!("OPTIONS * HTTP/1.1\r\n{HOST}\r\n"),
            Arrives("OPTIONS * HTTP/1.1"),
        ),
        case("6.2: a length", post("content-length: 5\r\n", "hello"), Arrives("hello")),
        case("6.2: zeros before a length", post("content-length: 0005\r\n", "hello"), Arrives("hello")),
        case(
            "7.1: chunks",
            post("Transfer-Encoding: Chunked\r\n", "5;a=\"b\"\r\nhello\r\n000\r\n\r\n"),
            Arrives("hello"),
        ),
        case(
            "7.1.2: trailers",
            post(
                "transfer-encoding: chunked\r\ntrailer: x-end\r\nte: trailers\r\nconnection: te\r\n",
                "5\r\nhello\r\n0\r\nx-end: yes\r\n\r\n",
            ),
            Arrives("x-end: yes"),
        ),
        case(
            "RFC 3986: octets that clients send raw",
            get("/?query=up{job=\"a\"}<1>^|`"),
            Arrives("%22a%22}%3C1%3E^|`"),
        ),
        case(
            "5.5: octets beyond ASCII in a value",
            b"GET / HTTP/1.1\r\nhost: reviews:9080\r\nx: \xff\xc3\x28\r\n\r\n".as_slice(),
            Status(200),
        ),
        case("8: an interim answer", get("/interim"), Interim),
        case(
            "6.3: HEAD, of which an application sends content",
            format!("HEAD / HTTP/1.1\r\n{HOST}\r\n"),
            Status(200),
        ),
        case("8: an answer shorter than its length", get("/short"), BreaksOff),
        case("8: an answer whose chunks break off", get("/chunks"), BreaksOff),
        case("RFC 9110 15.2: 101 that nobody asked for", get("/switch"), Status(502)),
        case("RFC 9110 9.3.1: no content", get("/"), NoContent),
    ]
}

fn request_lines() -> Vec<Case> {
    let line = |name, line: &str| refused(name, format!("{line}\r\n{HOST}x: smuggled\r\n\r\n"));
    vec![
        line("3: a method that is no token", "G(T / HTTP/1.1"),
        line("3: no method", " / HTTP/1.1"),
        line("3: no version", "GET /"),
        line("2.3: another version", "GET / HTTP/2.0"),
        line("2.3: a version of two digits", "GET / HTTP/1.10"),
        line("2.3: a version in small letters", "GET / http/1.1"),
        line("3: two spaces", "GET  / HTTP/1.1"),
        line("3: a space at the end", "GET / HTTP/1.1 "),
        line("3.2: a space in the target", "GET /a b HTTP/1.1"),
        line("3: a tabulator for a space", "GET\t/ HTTP/1.1"),
        line("3.2: a target without a form", "GET reviews HTTP/1.1"),
        line("3.2: a fragment in the target", "GET /a#b HTTP/1.1"),
        line("3.2: an asterisk for GET", "GET * HTTP/1.1"),
        line("RFC 9110 4.2.4: a user in the target", "GET http://me@reviews:9080/ HTTP/1.1"),
        line("3.2: a NUL in the target", "GET /\0 HTTP/1.1"),
        line("3.2.3: a path for CONNECT", "CONNECT / HTTP/1.1"),
        line("RFC 9110 9.3.6: CONNECT to no port", "CONNECT reviews HTTP/1.1"),
        line("RFC 9110 9.3.6: CONNECT to an empty port", "CONNECT reviews: HTTP/1.1"),
        refused("3: no HTTP", "\u{1}\u{2}\u{3}\u{0}\r\n\r\n"),
        refused(
            "3.2: a target that is no UTF-8",
            b"GET /\xff\xfe HTTP/1.1\r\nhost: reviews:9080\r\n\r\n".as_slice(),
        ),
    ]
}

fn lines_and_fields() -> Vec<Case> {
    let field =
        |name, field: &str| refused(name, format!("GET / HTTP/1.1\r\n{HOST}{field}\r\nx: smuggled\r\n\r\n"));
    vec![
        refused("2.2: LF alone behind a request line", format!("GET / HTTP/1.1\n{HOST}x: smuggled\r\n\r\n")),
        refused("2.2: LF alone behind a field", "GET / HTTP/1.1\r\nhost: reviews:9080\nx: smuggled\r\n\r\n"),
        refused(
            "2.2: CR alone in a value",
            format!("GET / HTTP/1.1\r\n{HOST}x: smug\rgled: smuggled\r\n\r\n"),
        ),
        refused("2.2: LF alone as the empty line", format!("GET / HTTP/1.1\r\n{HOST}\n{HIDDEN}")),
        field("5.1: white space before the colon", "x : y"),
        field("5.1: no name", ": y"),
        field("5.1: no colon", "x"),
        field("5.1: a name that is no token", "x(y): z"),
        field("RFC 9110 5.5: NUL in a value", "x: \0"),
        field("RFC 9110 5.5: a control in a value", "x: \u{7f}"),
        field("5.2: a line that goes on", "x: y\r\n z"),
        refused(
            "2.2: white space before the first field",
            format!("GET / HTTP/1.1\r\n x: y\r\n{HOST}x: smuggled\r\n\r\n"),
        ),
    ]
}

fn hosts() -> Vec<Case> {
    let hosts = |name, fields: &str| refused(name, format!("GET / HTTP/1.1\r\n{fields}x: smuggled\r\n\r\n"));
    vec![
        hosts("3.2: no Host", ""),
        hosts("3.2: two Hosts", "host: reviews:9080\r\nhost: other:80\r\n"),
        hosts("3.2: the same Host twice", "host: reviews:9080\r\nhost: reviews:9080\r\n"),
        hosts("3.2: a Host that names none", "host: a/b\r\n"),
        hosts("3.2: two Hosts in one", "host: reviews:9080, other:80\r\n"),
        hosts("3.2: a user in the Host", "host: me@reviews:9080\r\n"),
    ]
}

fn framing() -> Vec<Case> {
    let post = |name, fields: &str, body: &str| {
        refused(name, format!("POST / HTTP/1.1\r\n{HOST}{fields}\r\n{body}"))
    };
    let hidden = format!("0\r\n\r\n{HIDDEN}");
    vec![
        post("6.3: a length and chunks", "content-length: 5\r\ntransfer-encoding: chunked\r\n", &hidden),
        post("6.3: chunks and a length", "transfer-encoding: chunked\r\ncontent-length: 5\r\n", &hidden),
        post("6.3: two lengths", "content-length: 0\r\ncontent-length: 5\r\n", HIDDEN),
        post("6.3: a list of lengths", "content-length: 0, 5\r\n", HIDDEN),
        post("RFC 9110 8.6: a signed length", "content-length: +0\r\n", HIDDEN),
        post("RFC 9110 8.6: a negative length", "content-length: -1\r\n", HIDDEN),
        post("RFC 9110 8.6: a length in hexadecimal", "content-length: 0x0\r\n", HIDDEN),
        post("RFC 9110 8.6: a length without digits", "content-length:\r\n", HIDDEN),
        post("RFC 9110 8.6: a length that is too large", "content-length: 99999999999999999999\r\n", ""),
        post("6.1: chunked that does not come last", "transfer-encoding: chunked, gzip\r\n", &hidden),
        post("6.1: chunked twice", "transfer-encoding: chunked, chunked\r\n", &hidden),
        post(
            "6.1: chunked in two fields",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            &hidden,
        ),
        post("6.1: another coding", "transfer-encoding: gzip, chunked\r\n", &hidden),
        post("6.1: a coding that is none", "transfer-encoding: x chunked\r\n", &hidden),
        post("6.1: a coding behind a vertical tabulator", "transfer-encoding: \u{b}chunked\r\n", &hidden),
        post("5.1: a coding with white space before the colon", "transfer-encoding : chunked\r\n", &hidden),
        refused(
            "6.1: chunks in HTTP/1.0",
            format!("POST / HTTP/1.0\r\n{HOST}transfer-encoding: chunked\r\n\r\n{hidden}"),
        ),
        refused(
            "RFC 9110 9.3.6: CONNECT with a length",
            format!("CONNECT reviews:9080 HTTP/1.1\r\n{HOST}content-length: 5\r\n\r\nhello"),
        ),
    ]
}

fn chunks() -> Vec<Case> {
    let body = |name, body: &str| {
        refused(
            name,
            format!("POST / HTTP/1.1\r\n{HOST}transfer-encoding: chunked\r\nx: smuggled\r\n\r\n{body}"),
        )
    };
    vec![
        body("7.1: a size that is none", "xyz\r\nabc\r\n0\r\n\r\n"),
        body("7.1: a size with a sign", "+3\r\nabc\r\n0\r\n\r\n"),
        body("7.1: a size with a prefix", "0x3\r\nabc\r\n0\r\n\r\n"),
        body("7.1: a size that is too large", "fffffffffffffffff\r\nabc"),
        body("7.1: a size that ends with LF alone", "3\nabc\r\n0\r\n\r\n"),
        body("7.1: data longer than its size", "3\r\nabcd\r\n0\r\n\r\n"),
        body("7.1: data that ends with LF alone", "3\r\nabc\n0\r\n\r\n"),
        body("7.1.1: an extension with a control", "3;\0\r\nabc\r\n0\r\n\r\n"),
        body("7.1.1: an extension with LF alone", "3;a\nabc\r\n0\r\n\r\n"),
        body("RFC 9110 6.5.1: trailers that frame", "3\r\nabc\r\n0\r\ncontent-length: 5\r\n\r\n"),
        body("RFC 9110 6.5.1: trailers that route", "3\r\nabc\r\n0\r\nhost: other\r\n\r\n"),
        body("7.1.2: trailers that are none", "3\r\nabc\r\n0\r\nx y\r\n\r\n"),
    ]
}

fn bounds() -> Vec<Case> {
    let long = "a".repeat(70_000);
    let many = "x: smuggled\r\n".repeat(2000);
    vec![
        refused("3: a target of 70,000 octets", format!("GET /{long} HTTP/1.1\r\n{HOST}x: smuggled\r\n\r\n")),
        refused(
            "5: a field of 70,000 octets",
            format!("GET / HTTP/1.1\r\n{HOST}y: {long}\r\nx: smuggled\r\n\r\n"),
        ),
        refused("5: 2,000 fields", format!("GET / HTTP/1.1\r\n{HOST}{many}\r\n")),
    ]
}
