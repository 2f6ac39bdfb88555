//! Callers that don't read, or give up, take nothing away from others whose streams are on the same connections.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_mesh::violation::Violation;
use weft_proto::v1;

use super::frames::{Client, get};
use super::network;
use super::world::*;
use crate::hop::tests::Frames;
use crate::http::body::Body;
use crate::observe::stats::Direction;

/// A mesh over this kind of hop to an application of HTTP/2, which has no end to say under `/huge`.
fn to_http2(hop: v1::Hop) -> Mesh {
    to_http2_of(hop, |request| match request.uri().path() {
        "/huge" => Body::Test(Frames::endless(Rc::new(Cell::new(0)))),
        _ => Body::full("small"),
    })
}

/// The same to an application that answers like this.
fn to_http2_of(hop: v1::Hop, answer: impl Fn(Request<Incoming>) -> Body + Clone + 'static) -> Mesh {
    let backend = v1::Backend { protocol: v1::Protocol::Http2.into(), ..backend("reviews") };
    let mesh = Mesh::new(&v1::Destination { backend: Some(backend), ..destination() }, &[endpoint(2, hop)]);
    let port = v1::InboundPort { protocol: v1::Protocol::Http2.into(), ..v1::InboundPort::default() };
    mesh.sidecar(2, &v1::Inbound { default_port: Some(port), ..v1::Inbound::default() });
    application(2, move |request: Request<Incoming>| {
        let body = answer(request);
        async move { http::Response::new(body) }
    });
    mesh
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_reads_hold_up_nobody_else() {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        local(async {
            let _mesh = to_http2(hop);
            let mut unread = Vec::new();
            for _ in 0..40 {
                unread.push(Caller::new().send(request("GET", "/huge", Body::Empty)).await.unwrap());
            }
            // All that may be sent has been.
            tokio::time::sleep(Duration::from_secs(5)).await;
            for _ in 0..5 {
                let caller = Caller::new();
                let answer = tokio::time::timeout(Duration::from_secs(2), caller.get("/")).await;
                let answer = answer.unwrap_or_else(|_| panic!("{hop:?}: no answer"));
                assert_eq!((answer.status(), &answer.body()[..]), (StatusCode::OK, &b"small"[..]), "{hop:?}");
            }
        })
        .await;
    }
}

/// What an application of HTTP/2 makes itself of an answer, ahead of its windows.
const AHEAD: usize = 20_000;

#[tokio::test(start_paused = true)]
async fn many_answers_that_nobody_reads_hold_little_in_all_and_others_get_theirs() {
    const STREAMS: usize = 1000;
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        local(async {
            let made = Rc::new(Cell::new(0));
            let counted = Rc::clone(&made);
            let _mesh = to_http2_of(hop, move |request| match request.uri().path() {
                "/long" => Body::full(vec![7; 300_000]),
                _ => Body::Test(Frames::endless(Rc::clone(&counted))),
            });
            let mut clients = Vec::new();
            for _ in 0..STREAMS / 100 {
                // Nothing may be sent on any stream.
                let mut client =
                    Client::new(network::connect(outbound()).unwrap().await.unwrap(), &[(4, 0)]).await;
                client.say(&(0..100).flat_map(|number| get(number * 2 + 1)).collect::<Vec<_>>()).await;
                assert_eq!(client.status(199), Some(200), "{hop:?}");
                clients.push(client);
            }
            // Four times as much are the first windows alone.
            let held = made.get().saturating_sub(STREAMS * AHEAD);
            assert!(held < 24 << 20, "{hop:?}: {held} octets are held");
            let answer = tokio::time::timeout(Duration::from_secs(5), Caller::new().get("/long")).await;
            let answer = answer.unwrap_or_else(|_| panic!("{hop:?}: no answer"));
            assert_eq!(answer.body().len(), 300_000, "{hop:?}");
            drop(clients);
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert!(!crate::runtime::unread::is_short(), "{hop:?}: what is gone counts still");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn uploads_that_nobody_reads_hold_up_nobody_else_on_the_connection_of_their_client() {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        local(async {
            let mesh = to_http2(hop);
            application(2, |request: Request<Incoming>| async move {
                use http_body_util::BodyExt as _;
                if request.uri().path() == "/never" {
                    std::future::pending::<()>().await;
                }
                let body = request.into_body().collect().await.unwrap().to_bytes();
                http::Response::new(Body::full(body))
            });
            let caller = Rc::new(Caller::new());
            let sent = Rc::new(Cell::new(0));
            for _ in 0..50 {
                let (caller, sent) = (Rc::clone(&caller), Rc::clone(&sent));
                tokio::task::spawn_local(async move {
                    let upload = Body::Test(Frames::endless(sent));
                    caller.send_http2(request("POST", "/never", upload)).await
                });
            }
            // All that may be sent has been.
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert!(sent.get() > 50 * 64 * 1024, "{hop:?}: {}", sent.get());
            let short = caller.send_http2(request("POST", "/", Body::full("short")));
            let answer = tokio::time::timeout(Duration::from_secs(2), short).await;
            let answer = whole(answer.unwrap_or_else(|_| panic!("{hop:?}: no answer")).unwrap()).await;
            assert_eq!(&answer.body()[..], b"short", "{hop:?}");
            drop(mesh);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn many_uploads_that_nobody_reads_hold_little_in_all() {
    const UPLOADS: usize = 30;
    const CONNECTIONS: usize = 20;
    for hop in [v1::Hop::Weft, v1::Hop::Plain] {
        local(async {
            let _mesh = to_http2(hop);
            application(2, |_| std::future::pending::<http::Response<Body>>());
            let sent = Rc::new(Cell::new(0));
            for _ in 0..CONNECTIONS {
                let caller = Rc::new(Caller::new());
                for _ in 0..UPLOADS {
                    let (caller, sent) = (Rc::clone(&caller), Rc::clone(&sent));
                    tokio::task::spawn_local(async move {
                        let upload = Body::Test(Frames::endless(sent));
                        caller.send_http2(request("POST", "/never", upload)).await
                    });
                }
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
            // Three windows of 64 KiB each would be more than that.
            let each = sent.get() / (UPLOADS * CONNECTIONS);
            assert!((10_000..140_000).contains(&each), "{hop:?}: {each} octets each");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_many_cancel_end_nobody_elses() {
    for hop in [v1::Hop::Weft, v1::Hop::Standard] {
        local(async {
            let backend = v1::Backend { protocol: v1::Protocol::Http2.into(), ..backend("reviews") };
            let mesh =
                Mesh::new(&v1::Destination { backend: Some(backend), ..destination() }, &[endpoint(2, hop)]);
            let port = v1::InboundPort { protocol: v1::Protocol::Http1.into(), ..v1::InboundPort::default() };
            let sidecar =
                mesh.sidecar(2, &v1::Inbound { default_port: Some(port), ..v1::Inbound::default() });
            application(2, |request: Request<Incoming>| async move {
                if request.uri().path() == "/never" {
                    std::future::pending::<()>().await;
                }
                http::Response::new(Body::Test(Frames::endless(Rc::new(Cell::new(0)))))
            });
            let mut other = Caller::new().send(request("GET", "/huge", Body::Empty)).await.unwrap();
            for _ in 0..20 {
                let callers: Vec<_> = (0..20).map(|_| Caller::new()).collect();
                let asked = callers.iter().map(|caller| caller.send(request("GET", "/never", Body::Empty)));
                assert!(tokio::time::timeout(Duration::from_millis(10), join_all(asked)).await.is_err());
            }
            let mut read = 0;
            while read < 2_000_000 {
                use http_body_util::BodyExt as _;
                let frame = other.body_mut().frame().await.unwrap();
                read +=
                    frame.unwrap_or_else(|failure| panic!("{hop:?}: {failure}")).data_ref().unwrap().len();
            }
            let violations = &sidecar.shared.stats;
            assert_eq!(violations.violations(Direction::Inbound, Violation::RapidReset), 0, "{hop:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_many_give_up_end_nobody_elses() {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        local(async {
            let _mesh = to_http2(hop);
            let mut other = Caller::new().send(request("GET", "/huge", Body::Empty)).await.unwrap();
            for _ in 0..30 {
                // Each is given up with DATA on its way.
                let callers: Vec<_> = (0..60).map(|_| Caller::new()).collect();
                let begun = callers.iter().map(|caller| caller.send(request("GET", "/huge", Body::Empty)));
                for answer in join_all(begun).await {
                    assert_eq!(answer.unwrap().status(), StatusCode::OK, "{hop:?}");
                }
            }
            let mut read = 0;
            while read < 2_000_000 {
                use http_body_util::BodyExt as _;
                let frame = other.body_mut().frame().await.unwrap();
                read +=
                    frame.unwrap_or_else(|failure| panic!("{hop:?}: {failure}")).data_ref().unwrap().len();
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_goes_with_its_last_stream_however_long_that_lasts() {
    local(async {
        let policy =
            v1::BackendPolicy { max_connections: 1, max_pending_requests: 1, ..v1::BackendPolicy::default() };
        let mesh = Mesh::new(&protected(policy), &[endpoint(2, v1::Hop::Weft)]);
        mesh.sidecar(2, &v1::Inbound::default());
        sweep(&mesh.worker);
        network::listen(application_at(2), |mut stream| async move {
            let mut head = Vec::new();
            while stream.read_buf(&mut head).await.unwrap_or_default() > 0 {
                if !head.ends_with(b"\r\n\r\n") {
                    continue;
                }
                if head.starts_with(b"GET /long") {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
                    for _ in 0..12 {
                        tokio::time::sleep(Duration::from_mins(1)).await;
                        stream.write_all(b"1\r\nx\r\n").await.unwrap();
                    }
                    stream.write_all(b"0\r\n\r\n").await.unwrap();
                } else {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                }
                head.clear();
            }
        });
        let long = Caller::new().get("/long").await;
        assert_eq!(&long.body()[..], b"xxxxxxxxxxxx");
        // The only connection that there may be is free again for who asks next.
        tokio::time::sleep(Duration::from_mins(15)).await;
        let next = tokio::time::timeout(Duration::from_secs(10), Caller::new().get("/next")).await;
        assert_eq!(next.expect("an answer").status(), StatusCode::OK);
    })
    .await;
}
