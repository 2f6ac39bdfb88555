//! A client and an application that speak different versions of HTTP.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response, StatusCode, Version};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weft_proto::v1;

use super::detection::dial;
use super::network;
use super::world::*;
use crate::hop::tests::Frames;
use crate::http::body::Body;
use crate::http::informational::Informational;
use crate::http::server::{ServerVersion, serve};
use crate::http::violation_recorder::ViolationRecorder;

/// Meshes with each kind of hop to an application that declares this of itself.
async fn over_each_hop<F: Future<Output = ()>>(protocol: v1::Protocol, test: impl Fn(Mesh) -> F) {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        let backend = v1::Backend { protocol: protocol.into(), ..backend("reviews") };
        let destination = v1::Destination { backend: Some(backend), ..destination() };
        local(async {
            let mesh = Mesh::new(&destination, &[endpoint(2, hop)]);
            if hop != v1::Hop::Plain {
                let port = v1::InboundPort { protocol: protocol.into(), ..v1::InboundPort::default() };
                mesh.sidecar(2, &v1::Inbound { default_port: Some(port), ..v1::Inbound::default() });
            }
            test(mesh).await;
        })
        .await;
    }
}

/// An application that speaks one version alone.
fn speaks<F>(version: ServerVersion, handler: impl Fn(Request<Incoming>) -> F + Clone + 'static)
where
    F: Future<Output = Response<Body>> + 'static,
{
    network::listen(application_at(2), move |stream| {
        serve(stream, version, CancellationToken::new(), ViolationRecorder::default(), handler.clone(), drop)
    });
}

/// Returns the request's body and, as trailers, what was noteworthy of its head.
async fn answer(request: Request<Incoming>) -> Response<Body> {
    if let Some(interim) = request.extensions().get::<Informational>() {
        interim.go_on();
    }
    let headers = request.headers();
    let all = |name: &str| {
        let values: Vec<_> = headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
        values.join("|")
    };
    let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
    let seen = [
        ("x-version", format!("{:?}", request.version())),
        ("x-cookie", all("cookie")),
        ("x-te", all("te")),
        ("x-host", format!("{authority}{}", all("host"))),
    ];
    let mut response = Response::builder().header("trailer", "x-end");
    for (name, value) in &seen {
        response = response.header(*name, value);
    }
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let trailers = [("x-end".parse().unwrap(), "yes".parse().unwrap())];
    let frames = [Frame::data(body), Frame::trailers(trailers.into_iter().collect())];
    response.body(Body::Test(Frames::new(frames))).unwrap()
}

async fn asks_over_http2() {
    let request = Request::post("http://reviews:9080/a?b=c")
        .header("te", "trailers")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(Body::full("question"))
        .unwrap();
    let response = Caller::new().send_http2(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["x-version"], "HTTP/1.1");
    assert_eq!(response.headers()["x-cookie"], "a=1; b=2");
    assert_eq!(response.headers()["x-te"], "trailers");
    assert_eq!(response.headers()["x-host"], "reviews:9080");
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-end"], "yes");
    assert_eq!(body.to_bytes(), "question");
}

#[tokio::test(start_paused = true)]
async fn http2_reaches_an_application_that_declares_nothing_and_speaks_http1() {
    over_each_hop(v1::Protocol::Detect, async |_mesh| {
        speaks(ServerVersion::Http1, answer);
        let connections = Rc::default();
        network::counted(application_at(2), &connections);
        asks_over_http2().await;
        asks_over_http2().await;
        assert_eq!(connections.get(), 2, "one to find out, one for the requests");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_application_is_found_out_that_does_not_say_a_word_about_http2() {
    local(async {
        let _mesh = Mesh::with_sidecars(&[2]);
        network::listen(application_at(2), |mut stream| async move {
            let mut first = [0; 3];
            stream.read_exact(&mut first).await.unwrap();
            if &first == b"PRI" {
                std::future::pending::<()>().await;
            }
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let ask = || Request::get("http://reviews:9080/").body(Body::Empty).unwrap();
        let caller = Caller::new();
        let began = Instant::now();
        assert_eq!(caller.send_http2(ask()).await.unwrap().status(), StatusCode::NO_CONTENT);
        assert!(began.elapsed() < Duration::from_millis(1100), "{:?}", began.elapsed());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn another_version_is_found_out_when_the_application_is_replaced() {
    local(async {
        let _mesh = Mesh::with_sidecars(&[2]);
        let stop = CancellationToken::new();
        let first = stop.clone();
        network::listen(application_at(2), move |stream| {
            let stop = first.clone();
            async move {
                tokio::select! {
                    () = serve(stream, ServerVersion::Http1, CancellationToken::new(), ViolationRecorder::default(), answer, drop) => {}
                    () = stop.cancelled() => {}
                }
            }
        });
        asks_over_http2().await;
        stop.cancel();
        let versions = Rc::new(Cell::new(None));
        let seen = Rc::clone(&versions);
        speaks(ServerVersion::Http2, move |request| {
            seen.set(Some(request.version()));
            async { Response::new(Body::Empty) }
        });
        let ask = || Request::get("http://reviews:9080/").body(Body::Empty).unwrap();
        let caller = Caller::new();
        // The first one finds out that what was known does not hold any more.
        let _ = caller.send_http2(ask()).await.unwrap();
        assert_eq!(caller.send_http2(ask()).await.unwrap().status(), StatusCode::OK);
        assert_eq!(versions.get(), Some(Version::HTTP_2));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn http2_is_translated_for_an_application_that_declares_http1() {
    over_each_hop(v1::Protocol::Http1, async |_mesh| {
        speaks(ServerVersion::Http1, answer);
        let connections = Rc::default();
        network::counted(application_at(2), &connections);
        asks_over_http2().await;
        assert_eq!(connections.get(), 1);
    })
    .await;
}

/// What the sidecar answers to these bytes of a client that then says no more.
async fn answered(mesh: &Mesh, request: &str) -> String {
    let mut stream = dial(mesh);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(start_paused = true)]
async fn http1_is_translated_for_an_application_that_declares_http2() {
    over_each_hop(v1::Protocol::Http2, async |mesh| {
        speaks(ServerVersion::Http2, answer);
        let head = "GET / HTTP/1.1\r\nhost: shop\r\nte: trailers\r\nconnection: te, close\r\n\r\n";
        let got = answered(&mesh, head).await;
        assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && got.contains("x-version: HTTP/2.0\r\n"), "{got}");
        assert!(got.contains("x-host: shop\r\n") && got.contains("x-te: trailers\r\n"), "{got}");
        assert!(got.ends_with("0\r\nx-end: yes\r\n\r\n"), "{got}");
        let got = answered(&mesh, "HEAD / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n").await;
        assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && got.ends_with("\r\n\r\n"), "{got}");
        let got = answered(&mesh, "GET / HTTP/1.0\r\n\r\n").await;
        assert!(got.starts_with("HTTP/1.0 200 OK\r\n"), "{got}");
        assert!(got.contains("x-version: HTTP/2.0\r\n") && !got.contains("chunked"), "{got}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_body_is_told_to_its_client_whatever_the_application_speaks() {
    for (protocol, version) in
        [(v1::Protocol::Http1, ServerVersion::Http1), (v1::Protocol::Http2, ServerVersion::Http2)]
    {
        over_each_hop(protocol, async |mesh| {
            speaks(version, async |request: Request<Incoming>| {
                let _ = request.into_body().collect().await;
                Response::new(Body::Empty)
            });
            let head = "POST / HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\n\r\n";
            let got = answered(&mesh, &format!("{head}4\r\nbody\r\n0\r\nhost: other\r\n\r\n")).await;
            assert!(got.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{protocol:?}: {got}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_100_continue_gets_it() {
    for (protocol, version) in
        [(v1::Protocol::Http1, ServerVersion::Http1), (v1::Protocol::Http2, ServerVersion::Http2)]
    {
        over_each_hop(protocol, async |mesh| {
            speaks(version, answer);
            let mut stream = dial(&mesh);
            let head = "POST / HTTP/1.1\r\nhost: shop\r\nexpect: 100-continue\r\ncontent-length: 4\r\nconnection: close\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut line = [0; 25];
            stream.read_exact(&mut line).await.unwrap();
            assert_eq!(&line, b"HTTP/1.1 100 Continue\r\n\r\n");
            stream.write_all(b"body").await.unwrap();
            let mut got = String::new();
            stream.read_to_string(&mut got).await.unwrap();
            assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && got.contains("body"), "{got}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_of_http10_is_answered_in_its_version() {
    over_each_hop(v1::Protocol::Detect, async |mesh| {
        speaks(ServerVersion::Http1, answer);
        let got = answered(&mesh, "GET / HTTP/1.0\r\n\r\n").await;
        assert!(got.starts_with("HTTP/1.0 200 OK\r\n") && !got.contains("chunked"), "{got}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn trailers_of_a_request_and_the_order_of_repeated_fields_arrive() {
    over_each_hop(v1::Protocol::Detect, async |mesh| {
        speaks(ServerVersion::Http1, async |request: Request<Incoming>| {
            let values: Vec<_> = request.headers().get_all("x-many").iter().cloned().collect();
            assert_eq!(values, ["3", "1", "2"]);
            let body = request.into_body().collect().await.unwrap();
            let end = body.trailers().and_then(|trailers| trailers.get("x-end")).cloned();
            Response::builder().header("x-end", end.unwrap()).body(Body::full(body.to_bytes())).unwrap()
        });
        let head = "POST / HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\ntrailer: x-end\r\nx-many: 3\r\nx-many: 1\r\nX-Many: 2\r\nconnection: close\r\n\r\n";
        let got = answered(&mesh, &format!("{head}4\r\nbody\r\n0\r\nx-end: yes\r\n\r\n")).await;
        assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && got.contains("x-end: yes\r\n"), "{got}");
        assert!(got.contains("body"), "{got}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_of_http1_reaches_an_application_that_declares_nothing_and_speaks_http2_alone() {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, hop)]);
            mesh.sidecar(2, &v1::Inbound::default());
            network::listen(application_at(2), |stream| async move {
                let handler = |request: Request<hyper::body::Incoming>| async move {
                    assert_eq!(request.version(), Version::HTTP_2);
                    Response::new(Body::from(request.into_body()))
                };
                serve(
                    stream,
                    ServerVersion::Http2,
                    CancellationToken::new(),
                    ViolationRecorder::default(),
                    handler,
                    drop,
                )
                .await;
            });
            let caller = Caller::new();
            for _ in 0..3 {
                let sent = request("POST", "/", Body::full("hello"));
                let answer = whole(caller.send(sent).await.unwrap()).await;
                assert_eq!((answer.status(), &answer.body()[..]), (StatusCode::OK, &b"hello"[..]), "{hop:?}");
            }
        })
        .await;
    }
}

/// The names of the fields of a head in their order, without those of the proxies.
fn names(head: &str) -> Vec<&str> {
    let names = head.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0));
    let is_ours = |name: &str| name.starts_with("x-f-") || name == "host" || name == "accept";
    names.filter(|name| is_ours(&name.to_lowercase())).collect()
}

#[tokio::test(start_paused = true)]
async fn fields_of_different_names_keep_their_order_through_every_hop() {
    const FIELDS: &str = "X-F-Zebra: 1\r\nConnection: keep-alive\r\nAccept: 2\r\nX-F-Apple: 3\r\nX-F-Middle: 4\r\nX-F-Last: 5\r\n";
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, hop)]);
            mesh.sidecar(2, &v1::Inbound::default());
            network::listen(application_at(2), |mut stream| async move {
                let mut head = [0; 2048];
                let length = stream.read(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let head = head.to_lowercase();
                assert_eq!(
                    names(&head),
                    ["host", "x-f-zebra", "accept", "x-f-apple", "x-f-middle", "x-f-last"]
                );
                let answer = format!(
                    "HTTP/1.1 200 OK\r\n{FIELDS}transfer-encoding: chunked\r\nx-f-end: 6\r\n\r\n0\r\n\r\n"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            });
            let mut stream = network::connect(outbound()).unwrap().await.unwrap();
            let request = format!("GET / HTTP/1.1\r\nHost: reviews:9080\r\n{FIELDS}\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = [0; 2048];
            let length = stream.read(&mut answer).await.unwrap();
            let answer = String::from_utf8_lossy(&answer[..length]).to_lowercase();
            assert_eq!(
                names(&answer),
                ["x-f-zebra", "accept", "x-f-apple", "x-f-middle", "x-f-last", "x-f-end"],
                "{hop:?}"
            );
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn names_keep_their_case_where_http1_is_spoken_at_both_ends() {
    const FIELDS: &str = "X-F-UPPER: 1\r\nx-f-lower: 2\r\nX-F-Twice: 3\r\nACCEPT: 4\r\nX-f-tWICE: 5\r\n";
    // Those of one name are written where the first of them stands.
    const NAMES: [&str; 5] = ["X-F-UPPER", "x-f-lower", "X-F-Twice", "X-f-tWICE", "ACCEPT"];
    for hop in [v1::Hop::Weft, v1::Hop::Plain] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, hop)]);
            mesh.sidecar(2, &v1::Inbound::default());
            network::listen(application_at(2), |mut stream| async move {
                let mut read = Vec::new();
                loop {
                    let mut head = [0; 2048];
                    let Ok(length @ 1..) = stream.read(&mut head).await else { return };
                    read.extend_from_slice(&head[..length]);
                    if !read.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    let head = String::from_utf8(std::mem::take(&mut read)).unwrap();
                    let own: &[&str] = if head.contains("/second") { &["host"] } else { &["HoSt"] };
                    let all = if head.contains("/second") { &[][..] } else { &NAMES[..] };
                    assert_eq!(names(&head), [own, all].concat(), "{head}");
                    let interim = "HTTP/1.1 103 Early Hints\r\nX-F-Interim: 1\r\n\r\n";
                    let fields = if head.contains("/second") { "" } else { FIELDS };
                    let answer = format!("{interim}HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n");
                    // In pieces, as networks have it.
                    for piece in answer.as_bytes().chunks(7) {
                        stream.write_all(piece).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                }
            });
            let mut stream = network::connect(outbound()).unwrap().await.unwrap();
            // Two requests at once, of which the first has names of its own.
            let first = format!("GET /first HTTP/1.1\r\nHoSt: reviews:9080\r\n{FIELDS}\r\n");
            let second = "GET /second HTTP/1.1\r\nhost: reviews:9080\r\nconnection: close\r\n\r\n";
            stream.write_all(format!("{first}{second}").as_bytes()).await.unwrap();
            let mut got = String::new();
            stream.read_to_string(&mut got).await.unwrap();
            let finals: Vec<_> = got.split("HTTP/1.1 200 OK").skip(1).collect();
            let [first, second] = finals[..] else { panic!("two answers: {got}") };
            let first = first.split("\r\n\r\n").next().unwrap();
            assert_eq!(names(first), NAMES, "{hop:?}: {got}");
            assert!(first.contains("Content-Length: 0"), "{got}");
            assert_eq!(names(second), [""; 0], "{got}");
        })
        .await;
    }
}
