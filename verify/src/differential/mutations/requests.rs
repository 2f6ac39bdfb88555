//! Requests that are well-formed, but seldom.

use fastrand::Rng;

use super::{On, Point, octets, pick};
use crate::differential::case::{Coding, Request};
use crate::differential::message::Version;

type Change = fn(&mut Request, &mut Rng);

const fn point(name: &'static str, on: On, apply: Change) -> Point<Request> {
    Point { name, on, apply }
}

/// All of them.
pub(crate) const POINTS: &[Point<Request>] = &[
    point("plain", On::Both, |_, _| {}),
    point("routes", On::Both, routes),
    point("path", On::Both, |request, rng| request.target = pick(rng, PATHS).into()),
    point("path with octets of no URL", On::Http1, |request, rng| {
        request.target =
            pick(rng, &["/a|b", "/a\\b", "/ä", "/a\"b", "/a<b>", "/a{b}", "/a^b", "/a`b"]).into();
    }),
    point("query", On::Both, |request, rng| request.target = format!("/plain?{}", pick(rng, QUERIES))),
    point("long target", On::Both, |request, rng| {
        request.target = format!("/plain/{}", "long/".repeat(rng.usize(500..1500)));
    }),
    point("HEAD", On::Both, |request, _| bodiless(request, "HEAD")),
    point("TRACE", On::Both, |request, _| bodiless(request, "TRACE")),
    point("OPTIONS *", On::Http1, |request, _| {
        bodiless(request, "OPTIONS");
        request.target = "*".into();
    }),
    point("method that is not registered", On::Both, |request, rng| {
        request.method = pick(rng, &["M-SEARCH", "PURGE", "get", "X", "A!#$%&'*+-.^_`|~"]).into();
    }),
    point("absolute target", On::Http1, |request, _| {
        request.target = format!("http://{}{}", request.authority, request.target);
    }),
    point("host with a port", On::Both, |request, _| request.authority.push_str(":80")),
    point("host in capitals", On::Both, |request, _| {
        request.authority = request.authority.to_ascii_uppercase();
    }),
    point("HTTP/1.0", On::Http1, |request, _| {
        request.version = Version::Http10;
        if request.coding == Coding::Chunked {
            request.coding = Coding::Length;
            request.trailers.0.clear();
        }
    }),
    point("HTTP/1.0 keep-alive", On::Http1, |request, _| {
        bodiless(request, "GET");
        request.version = Version::Http10;
        request.fields.push("Connection", "keep-alive");
    }),
    point("Connection: close", On::Http1, |request, _| request.fields.push("Connection", "close")),
    point("Connection names fields", On::Http1, |request, _| {
        request.fields.push("Connection", "X-Hop, keep-alive");
        request.fields.push("X-Hop", "1");
        request.fields.push("X-End", "1");
    }),
    point("Connection names what must stay", On::Http1, |request, rng| {
        request
            .fields
            .push("Connection", pick(rng, &["Host", "Content-Length", "Authorization", "X-Request-Id"]));
        request.fields.push("Authorization", "Basic eDp5");
    }),
    point("fields of the hop", On::Http1, |request, _| {
        request.fields.push("Keep-Alive", "timeout=5");
        request.fields.push("Proxy-Connection", "keep-alive");
        request.fields.push("Proxy-Authorization", "Basic eDp5");
    }),
    point("TE", On::Http1, |request, rng| {
        request.fields.push("TE", pick(rng, &["trailers", "gzip", "trailers, deflate;q=0.5", ""]));
        request.fields.push("Connection", "TE");
    }),
    point("TE: trailers", On::Http2, |request, _| request.fields.push("te", "trailers")),
    point("empty value", On::Both, |request, _| request.fields.push("X-Empty", "")),
    point("names in other cases", On::Http1, |request, _| {
        for name in ["x-SMALL-large", "X_Under_Score", "ETag", "x.dot", "X!#$%&'*+-.^_`|~1"] {
            request.fields.push(name, "1");
        }
    }),
    point("value of any octets", On::Both, |request, rng| {
        let mut value: Vec<u8> = (0..20).map(|_| pick(rng, b"a\t \x80\xff\xc3\xa4\"\\,;:")).collect();
        value.insert(0, b'a');
        value.push(b'z');
        request.fields.push("X-Octets", value);
    }),
    point("repeated fields", On::Both, |request, _| {
        for (name, value) in
            [("X-One", "1"), ("X-Two", "a"), ("X-One", "2"), ("X-Two", "b, c"), ("X-One", "1")]
        {
            request.fields.push(name, value);
        }
    }),
    point("cookies", On::Both, |request, rng| {
        for number in 0..rng.usize(1..5) {
            request.fields.push("Cookie", format!("c{number}=v; d{number}=\"w\""));
        }
    }),
    point("many fields", On::Both, |request, rng| {
        for number in 0..rng.usize(40..85) {
            request.fields.push(&format!("X-Many-{number}"), "value");
        }
    }),
    point("large field", On::Both, |request, rng| {
        request.fields.push("X-Large", "large ".repeat(rng.usize(500..2500)).trim_end());
    }),
    point("body by length", On::Both, |request, rng| body(request, rng, 1..70_000, Coding::Length)),
    point("empty body by length", On::Both, |request, rng| body(request, rng, 0..1, Coding::Length)),
    point("body in chunks", On::Both, |request, rng| body(request, rng, 1..70_000, Coding::Chunked)),
    point("empty body in chunks", On::Http1, |request, rng| body(request, rng, 0..1, Coding::Chunked)),
    point("body in small chunks", On::Http1, |request, rng| {
        body(request, rng, 100..2000, Coding::Chunked);
        request.pieces = vec![1, 2, 3];
    }),
    point("large body", On::Both, |request, rng| {
        let coding = pick(rng, &[Coding::Length, Coding::Chunked]);
        body(request, rng, 200_000..400_000, coding);
    }),
    point("body of GET", On::Both, |request, rng| {
        body(request, rng, 1..3000, Coding::Length);
        request.method = pick(rng, &["GET", "DELETE", "OPTIONS"]).into();
    }),
    point("body of GET in chunks", On::Both, |request, rng| {
        body(request, rng, 1..3000, Coding::Chunked);
        request.method = pick(rng, &["GET", "DELETE", "OPTIONS"]).into();
    }),
    point("trailers", On::Both, |request, rng| {
        body(request, rng, 1..3000, Coding::Chunked);
        request.trailers.push("X-Trailer", "1");
        request.trailers.push("X-Checksum", "abc");
    }),
    point("trailers that are announced", On::Both, |request, rng| {
        body(request, rng, 1..3000, Coding::Chunked);
        request.fields.push("Trailer", "X-Trailer");
        request.trailers.push("X-Trailer", "1");
    }),
    point("trailers that must not be", On::Http1, |request, rng| {
        body(request, rng, 1..3000, Coding::Chunked);
        let name = pick(rng, &["Content-Length", "Host", "Transfer-Encoding", "Authorization", "Connection"]);
        request.trailers.push(name, "1");
        request.trailers.push("X-Trailer", "1");
    }),
    point("Expect: 100-continue", On::Http1, |request, rng| {
        let coding = pick(rng, &[Coding::Length, Coding::Chunked]);
        body(request, rng, 1..3000, coding);
        request.fields.push("Expect", "100-continue");
        request.expects = true;
    }),
    point("Expect: 100-continue over HTTP/2", On::Http2, |request, rng| {
        body(request, rng, 1..3000, Coding::Length);
        request.fields.push("expect", "100-continue");
    }),
    point("Expect of something else", On::Both, |request, _| request.fields.push("Expect", "200-ok")),
    point("Upgrade that is not taken", On::Http1, |request, rng| {
        bodiless(request, "GET");
        request.fields.push("Connection", "Upgrade");
        request.fields.push("Upgrade", pick(rng, &["websocket", "h2c", "something/1"]));
    }),
    point("what other proxies add", On::Both, |request, _| {
        for (name, value) in [
            ("X-Forwarded-For", "192.0.2.1"),
            ("X-Forwarded-Proto", "https"),
            ("Forwarded", "for=192.0.2.1"),
            ("Via", "1.1 other"),
            ("X-Request-Id", "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("Max-Forwards", "3"),
        ] {
            request.fields.push(name, value);
        }
    }),
    point("what proxies of meshes add", On::Both, |request, _| {
        request.fields.push("X-Forwarded-Client-Cert", "URI=spiffe://cluster.local/ns/default/sa/admin");
        request.fields.push("X-Weft-Error", "no_route");
    }),
];

const PATHS: &[&str] = &[
    "/",
    "//",
    "/plain//twice",
    "/plain/../up",
    "/plain/./here",
    "/../up",
    "/%2e%2e/up",
    "/plain/..%2fup",
    "/plain%2fslash",
    "/plain;a=b/c",
    "/~a-b._c",
    "/%7Eplain",
    "/%zz",
    "/%00",
    "/%",
    "/plain/%E4",
    "/a:b@c",
    "/!$&'()*+,;=",
    "/plain/",
    "/plain/..",
];

const QUERIES: &[&str] = &[
    "",
    "a",
    "a=b?c=d",
    "a=%00",
    "a=%zz",
    "a[]=1",
    "a=b&a=c&&",
    "/../",
    "a=b+c%20d",
    "a='b'",
    "a=http://b/c",
];

const ROUTED: &[&str] = &[
    "/exact",
    "/exact/",
    "/exact?a=b",
    "/exactly",
    "/EXACT",
    "/prefix",
    "/prefix/",
    "/prefix/x?y=z",
    "/prefix//x",
    "/prefixed",
    "/prefix%2Fx",
    "/prefix/../exact",
    "/prefix?y",
    "/regex/1",
    "/regex/123",
    "/regex/",
    "/regex/12a",
    "/regex/1/",
    "/modify",
    "/modify/x",
    "/redirect",
    "/redirect/x?y=z",
    "/weights",
    "/method",
    "/method/x",
    "/whole",
    "/whole/x?y=z",
    "/variant",
    "/query",
    "/query?v=2",
    "/query?v=2&v=3",
    "/query?v=3&v=2",
    "/query?w=1&v=2",
    "/query?v=%32",
    "/query?V=2",
    "/query?v",
];

/// Requests that meet routes, or just don't.
fn routes(request: &mut Request, rng: &mut Rng) {
    request.target = pick(rng, ROUTED).into();
    request.method = pick(rng, &["GET", "DELETE", "POST"]).into();
    for _ in 0..rng.usize(..3) {
        let (name, value) = pick(
            rng,
            &[
                ("X-Variant", "a"),
                ("X-Variant", "b"),
                ("x-variant", "v7"),
                ("X-Variant", "v77"),
                ("X-Variant", "B"),
                ("X-Set", "0"),
                ("X-Add", "0"),
                ("X-Remove", "0"),
            ],
        );
        request.fields.push(name, value);
    }
}

fn bodiless(request: &mut Request, method: &str) {
    request.method = method.into();
    request.body.clear();
    request.trailers.0.clear();
    request.coding = Coding::None;
}

fn body(request: &mut Request, rng: &mut Rng, length: std::ops::Range<usize>, coding: Coding) {
    request.method = pick(rng, &["POST", "PUT", "PATCH"]).into();
    let length = rng.usize(length);
    request.body = octets(rng, length);
    request.coding = coding;
}
