//! Connections that are shared, replaced and given up, without a request that fails.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use http::{Request, Response, StatusCode, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_proto::v1;

use super::network;
use super::world::*;
use crate::http::body::Body;
use crate::observe::stats::{Direction, Retirement};
use crate::transport::within::Within;

/// `reviews:9080`, whose application speaks HTTP/2.
fn http2() -> v1::Destination {
    let backend = v1::Backend { protocol: v1::Protocol::Http2.into(), ..backend("reviews") };
    v1::Destination { backend: Some(backend), ..destination() }
}

/// An application that takes `streams` at once on a connection, and answers each with that connection's number after
/// 10 ms.
fn limited(host: u8, streams: u32) -> Rc<Cell<u32>> {
    let connections = Rc::new(Cell::new(0));
    let counter = Rc::clone(&connections);
    network::listen(application_at(host), move |stream| {
        counter.set(counter.get() + 1);
        let number = counter.get();
        async move {
            let mut builder = h2::server::Builder::new();
            let mut connection =
                builder.max_concurrent_streams(streams).handshake::<_, bytes::Bytes>(stream).await.unwrap();
            while let Some(Ok((_request, mut respond))) = connection.accept().await {
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    let answer = Response::builder().header("x-connection", number).body(()).unwrap();
                    respond.send_response(answer, true).unwrap();
                });
            }
        }
    });
    connections
}

#[tokio::test(start_paused = true)]
async fn the_peers_limit_of_streams_decides_how_many_connections_there_are() {
    local(async {
        let mesh = Mesh::new(&http2(), &[endpoint(2, v1::Hop::Plain)]);
        let connections = limited(2, 4);
        let caller = Caller::new();
        for _ in 0..3 {
            let answers = join_all((0..12).map(|_| caller.get("/"))).await;
            assert!(answers.iter().all(|answer| answer.status() == StatusCode::OK));
            let used: BTreeSet<_> =
                answers.iter().map(|answer| answer.headers()["x-connection"].clone()).collect();
            assert_eq!(used.len(), 3, "12 streams, 4 on each connection");
        }
        assert_eq!(connections.get(), 3);
        assert_eq!(succeeded(&mesh), 36);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_without_a_limit_of_streams_is_reached_on_one_connection() {
    local(async {
        let _mesh = Mesh::new(&http2(), &[endpoint(2, v1::Hop::Plain)]);
        let connections = limited(2, u32::MAX);
        let caller = Caller::new();
        join_all((0..50).map(|_| caller.get("/"))).await;
        assert_eq!(connections.get(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn where_there_may_be_no_other_connection_streams_wait_for_each_other() {
    local(async {
        let policy = v1::BackendPolicy { max_connections: 2, ..v1::BackendPolicy::default() };
        let backend =
            v1::Backend { protocol: v1::Protocol::Http2.into(), policy: Some(policy), ..backend("reviews") };
        let limited_backend = v1::Destination { backend: Some(backend), ..destination() };
        let mesh = Mesh::new(&limited_backend, &[endpoint(2, v1::Hop::Plain)]);
        let connections = limited(2, 4);
        let caller = Caller::new();
        let began = tokio::time::Instant::now();
        let answers = join_all((0..24).map(|_| caller.get("/"))).await;
        assert!(answers.iter().all(|answer| answer.status() == StatusCode::OK));
        assert_eq!((connections.get(), succeeded(&mesh)), (2, 24));
        // Three times eight, 10 ms each; how they are dealt out to the two is not the point.
        let waited = began.elapsed();
        assert!((Duration::from_millis(30)..Duration::from_millis(60)).contains(&waited), "{waited:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn sidecars_share_one_connection_up_to_its_limit_of_streams() {
    for (requests, expected) in [(500, 1), (1500, 2)] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, v1::Hop::Weft)]);
            mesh.sidecar(2, &v1::Inbound::default());
            let connections = Rc::new(Cell::new(0));
            network::counted(inbound(2), &connections);
            application(2, |_| async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Response::new(Body::Empty)
            });
            let caller = Caller::new();
            let answers = join_all((0..requests).map(|_| caller.get("/"))).await;
            assert!(answers.iter().all(|answer| answer.status() == StatusCode::OK));
            assert_eq!(connections.get(), expected);
        })
        .await;
    }
}

/// The kind and the stream of the next frame of HTTP/2 (RFC 9113 section 4.1).
async fn frame(stream: &mut Within) -> (u8, u32) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    stream.read_exact(&mut vec![0; length]).await.unwrap();
    (head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]))
}

/// Waits for two requests, says that only the first will be answered, and answers that.
async fn go_away_after_one(stream: &mut Within, heard: &RefCell<Vec<u32>>) {
    const HEADERS: u8 = 1;
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    while heard.borrow().len() < 2 {
        if let (HEADERS, id) = frame(stream).await {
            heard.borrow_mut().push(id);
        }
    }
    stream.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    // A head of one octet, ":status: 200", that ends headers and stream.
    stream.write_all(&[0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_that_goes_away_did_not_process_is_sent_again_and_what_it_did_is_finished() {
    for hop in [v1::Hop::Plain, v1::Hop::Weft] {
        local(async {
            let mesh = Mesh::new(&http2(), &[endpoint(2, hop)]);
            let port = v1::InboundPort { protocol: v1::Protocol::Http2.into(), ..v1::InboundPort::default() };
            if hop == v1::Hop::Weft {
                mesh.sidecar(2, &v1::Inbound { default_port: Some(port), ..v1::Inbound::default() });
            }
            let (connections, heard) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(Vec::new())));
            let (counter, hearing) = (Rc::clone(&connections), Rc::clone(&heard));
            network::listen(application_at(2), move |mut stream| {
                let (number, heard) = (counter.replace(counter.get() + 1), Rc::clone(&hearing));
                async move {
                    if number == 0 {
                        go_away_after_one(&mut stream, &heard).await;
                        return std::future::pending().await;
                    }
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((_request, mut respond))) = connection.accept().await {
                        let answer = Response::builder().status(201).body(()).unwrap();
                        let _: h2::SendStream<bytes::Bytes> = respond.send_response(answer, true).unwrap();
                    }
                }
            });
            let caller = Caller::new();
            let once = || request("POST", "/", Body::full("not to be sent twice"));
            let answers = join_all([caller.send(once()), caller.send(once())]).await;
            let mut statuses: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().status()).collect();
            statuses.sort();
            assert_eq!(statuses, [StatusCode::OK, StatusCode::CREATED], "{hop:?}");
            assert_eq!((&**heard.borrow(), connections.get()), (&[1, 3][..], 2));
            assert_eq!(succeeded(&mesh), 2);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_meshed_peer_is_spoken_to_in_each_version_that_its_callers_speak() {
    local(async {
        let mesh = Mesh::new(&destination(), &[endpoint(2, v1::Hop::Standard)]);
        mesh.sidecar(2, &v1::Inbound::default());
        application(2, |request| async move {
            let version = if request.version() == Version::HTTP_2 { "2" } else { "1" };
            Response::builder().header("x-version", version).body(Body::Empty).unwrap()
        });
        let caller = Caller::new();
        for _ in 0..2 {
            assert_eq!(caller.get("/").await.headers()["x-version"], "1");
            let request = Request::get("http://reviews:9080/").body(Body::Empty).unwrap();
            let answer = caller.send_http2(request).await.unwrap();
            assert_eq!(
                (answer.status(), &answer.headers()["x-version"]),
                (StatusCode::OK, &"2".parse().unwrap())
            );
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_falls_silent_is_found_out_and_left() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2, 3]);
        sweep(&mesh.worker);
        let frozen = Rc::new(Cell::new(false));
        network::freezable(inbound(2), &frozen);
        echo(2);
        echo(3);
        let caller = Caller::new();
        while caller.get("/").await.headers()["x-host"] != "2" {}
        frozen.set(true);
        let began = tokio::time::Instant::now();
        let answers = join_all((0..20).map(|_| caller.get("/"))).await;
        let waited = began.elapsed();
        assert!((Duration::from_secs(19)..Duration::from_secs(23)).contains(&waited), "{waited:?}");
        let lost = answers.iter().filter(|answer| answer.status() != StatusCode::OK).collect::<Vec<_>>();
        assert!(!lost.is_empty() && lost.len() < 20, "{}", lost.len());
        for answer in lost {
            assert_eq!(answer.body(), "upstream_reset: the peer does not answer any more\n");
        }
        assert_eq!(mesh.worker.shared.stats.retirements(Retirement::Silence), 1);
        assert_eq!(caller.get("/").await.headers()["x-host"], "3");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_its_time_is_not_taken_for_gone() {
    local(async {
        let mesh = Mesh::with_sidecars(&[]);
        mesh.configure(&destination(), &[endpoint(2, v1::Hop::Weft)]);
        sweep(&mesh.worker);
        sweep(&mesh.sidecar(2, &v1::Inbound::default()));
        application(2, |_| async {
            tokio::time::sleep(Duration::from_mins(4)).await;
            Response::new(Body::Empty)
        });
        assert_eq!(Caller::new().get("/").await.status(), StatusCode::OK);
    })
    .await;
}

/// How many connections of peers a sidecar has.
fn open_at(sidecar: &crate::runtime::worker::Worker) -> u64 {
    sidecar.shared.stats.open_connections(Direction::Inbound)
}

#[tokio::test(start_paused = true)]
async fn connections_of_an_older_certificate_end_without_waiting_for_a_request() {
    for hop in [v1::Hop::Weft, v1::Hop::Standard] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, hop)]);
            sweep(&mesh.worker);
            let sidecar = mesh.sidecar(2, &v1::Inbound::default());
            application(2, |_| async {
                tokio::time::sleep(Duration::from_secs(5)).await;
                Response::new(Body::full("whole"))
            });
            let caller = Caller::new();
            let slow = caller.get("/");
            let rotated = async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                mesh.rotate();
                tokio::time::sleep(Duration::from_secs(2)).await;
                assert_eq!(open_at(&sidecar), 1, "the request under way keeps its connection");
            };
            let (slow, ()) = tokio::join!(slow, rotated);
            assert_eq!(slow.body(), "whole");
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!(open_at(&sidecar), 0, "{hop:?}");
            let expected = u64::from(hop == v1::Hop::Weft);
            // One of HTTP/1 that is busy is no longer kept, and ends when it comes back.
            assert_eq!(mesh.worker.shared.stats.retirements(Retirement::Certificate), expected);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn idle_connections_of_every_kind_are_closed() {
    for hop in [v1::Hop::Weft, v1::Hop::Standard] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, hop)]);
            sweep(&mesh.worker);
            let sidecar = mesh.sidecar(2, &v1::Inbound::default());
            echo(2);
            let caller = Caller::new();
            caller.get("/").await;
            let http2 = Request::get("http://reviews:9080/").body(Body::Empty).unwrap();
            assert_eq!(caller.send_http2(http2).await.unwrap().status(), StatusCode::OK);
            let expected: u64 = if hop == v1::Hop::Weft { 1 } else { 2 };
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert_eq!(open_at(&sidecar), expected, "{hop:?}");
            tokio::time::sleep(Duration::from_secs(55)).await;
            assert_eq!(open_at(&sidecar), 0, "{hop:?}");
            assert_eq!(mesh.worker.shared.stats.retirements(Retirement::Idle), expected);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_clients_connection_stays_open_between_requests_and_not_in_the_middle_of_a_head() {
    local(async {
        let _mesh = Mesh::with_sidecars(&[2]);
        echo(2);
        let mut stream = network::connect(outbound()).unwrap().await.unwrap();
        let mut answer = [0; 15];
        for _ in 0..3 {
            stream.write_all(b"POST / HTTP/1.1\r\nhost: reviews:9080\r\n").await.unwrap();
            tokio::time::sleep(Duration::from_secs(10)).await;
            stream.write_all(b"content-length: 4\r\n\r\nbody").await.unwrap();
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200 OK");
            let mut rest = Vec::new();
            while !rest.ends_with(b"\r\n\r\nbody") {
                rest.push(stream.read_u8().await.unwrap());
            }
            tokio::time::sleep(Duration::from_mins(30)).await;
        }
        let began = tokio::time::Instant::now();
        let slowly = async {
            for byte in b"GET / HTTP/1.1\r\nhost: reviews:9080\r\n\r\n" {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if stream.write_all(&[*byte]).await.is_err() {
                    return began.elapsed();
                }
            }
            panic!("a head may take as long as it likes");
        };
        let waited = slowly.await;
        assert!((Duration::from_secs(15)..Duration::from_secs(20)).contains(&waited), "{waited:?}");
    })
    .await;
}

/// Sends to an endpoint reached by `hop`, in both versions of HTTP, answered after `time` each, for two minutes, where
/// connections may grow 30 s old; gives how many there were.
async fn connections_in_two_minutes(hop: v1::Hop, version: v1::Protocol, time: Duration) -> u32 {
    let max_age = Some(prost_types::Duration { seconds: 30, nanos: 0 });
    let policy = v1::BackendPolicy { max_connection_age: max_age, ..v1::BackendPolicy::default() };
    let backend = v1::Backend { policy: Some(policy), protocol: version.into(), ..backend("reviews") };
    let limited = v1::Destination { backend: Some(backend), ..destination() };
    let mesh = Mesh::new(&limited, &[endpoint(2, hop)]);
    sweep(&mesh.worker);
    mesh.sidecar(2, &v1::Inbound::default());
    application(2, move |request| async move {
        tokio::time::sleep(time).await;
        Response::new(Body::from(request.into_body()))
    });
    let connections = Rc::new(Cell::new(0));
    let address = if hop == v1::Hop::Plain { application_at(2) } else { inbound(2) };
    network::counted(address, &connections);
    let caller = Caller::new();
    let began = tokio::time::Instant::now();
    while began.elapsed() < Duration::from_mins(2) {
        let response = whole(caller.send(request("POST", "/", Body::full("all of it"))).await.unwrap()).await;
        assert_eq!((response.status(), &response.body()[..]), (StatusCode::OK, &b"all of it"[..]));
    }
    connections.get()
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_old_enough_is_replaced_and_costs_no_request() {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        for version in [v1::Protocol::Http1, v1::Protocol::Http2] {
            // Answers that take longer than a connection may grow old are finished all the same.
            for (time, expected) in [(1_000, 4..=5), (50_000, 3..=3)] {
                let time = Duration::from_millis(time);
                let connections = local(connections_in_two_minutes(hop, version, time)).await;
                assert!(expected.contains(&connections), "{hop:?}, {version:?}, {time:?}: {connections}");
            }
        }
    }
}
