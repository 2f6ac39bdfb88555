//! Informational responses (1xx) through every hop.

use std::time::Duration;

use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};
use weft_proto::v1;

use super::network;
use super::octets::{client, over_each_hop, read_until};
use super::world::*;
use crate::http::body::Body;

const HINTS: &str =
    "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// An application of HTTP/1.1 that says this to each request, piece by piece, a second apart.
fn says(host: u8, pieces: &'static [&'static str]) {
    network::listen(application_at(host), move |mut stream| async move {
        let mut head = Vec::new();
        loop {
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { return };
                head.push(byte);
            }
            head.clear();
            for (number, piece) in pieces.iter().enumerate() {
                if number > 0 {
                    sleep(Duration::from_secs(1)).await;
                }
                if stream.write_all(piece.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    });
}

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: reviews:9080\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn early_hints_come_at_once_and_before_the_answer() {
    over_each_hop(async |_mesh| {
        says(2, &[HINTS, "HTTP/1.1 102 Processing\r\n\r\n", ANSWER]);
        let mut stream = client().await;
        let began = Instant::now();
        stream.write_all(REQUEST.as_bytes()).await.unwrap();
        let hints = read_until(&mut stream, "\r\n\r\n").await.unwrap();
        assert_eq!(hints, "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n");
        assert_eq!(began.elapsed().as_secs(), 0);
        assert_eq!(read_until(&mut stream, "\r\n\r\n").await.unwrap(), "HTTP/1.1 102 Processing\r\n\r\n");
        assert_eq!(began.elapsed().as_secs(), 1);
        let answer = read_until(&mut stream, "\r\n\r\nok").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_comes_together_and_in_a_row_stays_in_order() {
    over_each_hop(async |_mesh| {
        says(2, &["HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"]);
        let mut stream = client().await;
        stream.write_all(REQUEST.repeat(3).as_bytes()).await.unwrap();
        for _ in 0..3 {
            let answer = read_until(&mut stream, "\r\n\r\nok").await.unwrap();
            let heads: Vec<&str> = answer.split("\r\n\r\n").map(|head| head.lines().next().unwrap_or_default()).collect();
            assert_eq!(heads, ["HTTP/1.1 103 Early Hints", "HTTP/1.1 103 Early Hints", "HTTP/1.1 200 OK", "ok"]);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_sends_more_than_anybody_reads_fills_no_memory() {
    over_each_hop(async |_mesh| {
        network::listen(application_at(2), |mut stream| async move {
            let _ = stream.read(&mut [0; 1024]).await;
            let hints = HINTS.repeat(100);
            stream.write_all(hints.as_bytes()).await.unwrap();
            stream.write_all(ANSWER.as_bytes()).await.unwrap();
        });
        let mut stream = client().await;
        stream.write_all(REQUEST.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "\r\n\r\nok").await.unwrap();
        let hints = answer.matches(" 103 ").count();
        assert!((1..=100).contains(&hints) && answer.matches(" 200 ").count() == 1, "{hints}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn clients_that_can_not_be_told_get_the_answer_alone() {
    over_each_hop(async |_mesh| {
        says(2, &[HINTS, ANSWER]);
        let mut stream = client().await;
        stream.write_all(b"GET / HTTP/1.0\r\nhost: reviews:9080\r\n\r\n").await.unwrap();
        let answer = read_until(&mut stream, "ok").await.unwrap();
        assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && !answer.contains(" 103 "), "{answer}");
        let request = Request::get("http://reviews:9080/").body(Body::Empty).unwrap();
        let answer: Response<_> = whole(Caller::new().send_http2(request).await.unwrap()).await;
        assert_eq!(answer.body(), "ok");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_copys_interim_answers_reach_nobody() {
    local(async {
        let mirror = v1::Mirror { backend: Some(backend("shadow")), ..v1::Mirror::default() };
        let filter = v1::HttpFilter { filter: Some(v1::http_filter::Filter::Mirror(mirror)) };
        let rule = v1::HttpRule { filters: vec![filter], ..v1::HttpRule::default() };
        let endpoints = [endpoint(2, v1::Hop::Weft), endpoint_of("shadow", 3, v1::Hop::Weft)];
        let mesh = Mesh::new(&routed(rule), &endpoints);
        for host in [2, 3] {
            mesh.sidecar(host, &v1::Inbound::default());
        }
        says(3, &[HINTS, ANSWER]);
        says(2, &["", "", ANSWER]);
        let mut stream = client().await;
        stream.write_all(REQUEST.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "ok").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    })
    .await;
}
