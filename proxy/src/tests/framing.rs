//! Where bodies end: of requests that break off, of answers that could end in two places.

use http::StatusCode;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_proto::v1;

use super::network;
use super::world::*;
use crate::http::body::Body;

/// What the client's sidecar answers to these octets, until it closes the connection or says no more.
async fn raw(octets: &[u8]) -> String {
    let mut stream = network::connect(outbound()).unwrap().await.unwrap();
    stream.write_all(octets).await.unwrap();
    let mut answer = Vec::new();
    let reading = async { while stream.read_buf(&mut answer).await.unwrap_or_default() > 0 {} };
    let _quiet = tokio::time::timeout(std::time::Duration::from_secs(10), reading).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// An application that answers each connection's first head with these octets.
fn answers_with(host: u8, octets: &'static str) {
    network::listen(application_at(host), move |mut stream| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(octets.as_bytes()).await.unwrap();
    });
}

#[tokio::test(start_paused = true)]
async fn a_body_that_its_client_breaks_off_is_answered_and_no_endpoint_is_blamed() {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, hop), endpoint(3, hop)]);
            for host in [2, 3] {
                mesh.sidecar(host, &v1::Inbound::default());
                application(host, move |request| async move {
                    let read = request.into_body().collect().await;
                    let status = if read.is_ok() { StatusCode::OK } else { StatusCode::IM_A_TEAPOT };
                    let answer = http::Response::builder().status(status).header("x-host", host.to_string());
                    answer.body(Body::Empty).unwrap()
                });
            }
            for _ in 0..20 {
                let answer = raw(
                    b"POST / HTTP/1.1\r\nhost: reviews:9080\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n",
                )
                .await;
                assert!(answer.starts_with("HTTP/1.1 400 "), "{hop:?}: {answer:?}");
            }
            let mut hosts = std::collections::BTreeSet::new();
            for _ in 0..40 {
                let response = Caller::new().get("/").await;
                assert_eq!(response.status(), StatusCode::OK);
                hosts.insert(response.headers()["x-host"].clone());
            }
            assert_eq!(hosts.len(), 2, "{hop:?}: an endpoint was ejected");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_of_get_arrives_however_it_is_framed() {
    for hop in [v1::Hop::Weft, v1::Hop::Plain] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, hop)]);
            mesh.sidecar(2, &v1::Inbound::default());
            echo(2);
            let head = "GET / HTTP/1.1\r\nhost: reviews:9080\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
            let mut stream = network::connect(outbound()).unwrap().await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            stream.write_all(b"5\r\nhello\r\n0\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.contains("hello"), "{hop:?}: {answer}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_can_be_read_in_two_ways_goes_no_further() {
    for head in [
        "content-length: 9\r\ntransfer-encoding: chunked",
        "content-length: 2\r\ncontent-length: 2",
        "content-length: 2, 2",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: gzip",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
    ] {
        local(async {
            let _mesh = Mesh::with_sidecars(&[2]);
            let octets = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n2\r\nok\r\n0\r\n\r\n");
            answers_with(2, octets.leak());
            let response = Caller::new().get("/").await;
            assert_eq!(response.status(), StatusCode::BAD_GATEWAY, "{head}");
            assert_eq!(response.headers()["x-weft-error"], "upstream_protocol", "{head}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_of_protocol_that_nobody_asked_for_is_no_answer() {
    local(async {
        let _mesh = Mesh::with_sidecars(&[2]);
        answers_with(2, "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n");
        assert_eq!(Caller::new().get("/").await.status(), StatusCode::BAD_GATEWAY);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn answers_are_in_the_proxys_version_and_say_whether_the_connection_stays() {
    local(async {
        let backend = v1::Backend { protocol: v1::Protocol::Http2.into(), ..backend("reviews") };
        let translated = v1::Destination { backend: Some(backend), ..destination() };
        let mesh = Mesh::new(&translated, &[endpoint(2, v1::Hop::Plain)]);
        echo(2);
        let answer = raw(b"GET / HTTP/1.0\r\nhost: reviews:9080\r\nconnection: keep-alive\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.0 200 ") && answer.contains("connection: keep-alive"), "{answer}");
        mesh.configure(&destination(), &[endpoint(3, v1::Hop::Plain)]);
        answers_with(3, "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok");
        let answer = raw(b"GET / HTTP/1.1\r\nhost: reviews:9080\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_answered_in_the_middle_of_its_body_is_told_that_its_connection_ends() {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, hop)]);
            mesh.sidecar(2, &v1::Inbound::default());
            answers_with(2, "HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n");
            let post = |length: u32| {
                format!("POST / HTTP/1.1\r\nhost: reviews:9080\r\ncontent-length: {length}\r\n\r\nhello")
            };
            let answer = raw(post(20_000).as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 413 "), "{hop:?}: {answer}");
            assert!(answer.contains("connection: close\r\n"), "{hop:?}: {answer}");
            // One that has sent all of it goes on, also where its next request has begun.
            let answer = raw(format!("{}{}", post(5), post(20_000)).as_bytes()).await;
            let closes: Vec<_> = answer
                .split("HTTP/1.1 413 ")
                .skip(1)
                .map(|answer| answer.contains("connection: close"))
                .collect();
            assert_eq!(closes, [false, true], "{hop:?}: {answer}");
        })
        .await;
    }
}
