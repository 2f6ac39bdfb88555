//! What the proxy answers itself.

use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;
use weft_proto::v1;

use super::network;
use super::world::*;
use crate::http::body::Body;

#[tokio::test(start_paused = true)]
async fn a_service_without_endpoints_is_unavailable() {
    local(async {
        let _mesh = Mesh::with_sidecars(&[]);
        let response = Caller::new().get("/").await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["x-weft-error"], "no_endpoints");
        assert_eq!(response.body(), "no_endpoints: shop/reviews:9080 has no endpoints\n");
    })
    .await;
}

/// What a client that keeps its connection is answered to a request of which this much has come.
async fn said_to(request: &str) -> String {
    let mut stream = network::connect(outbound()).unwrap().await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"has no endpoints\n") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "no whole answer");
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_client_is_told_of_the_end_of_its_connection_when_it_is_answered_in_the_middle_of_its_body() {
    local(async {
        let _mesh = Mesh::with_sidecars(&[]);
        let head = "POST / HTTP/1.1\r\nhost: reviews:9080\r\ncontent-length:";
        let cut = said_to(&format!("{head} 20000\r\n\r\n{}", "x".repeat(100))).await;
        assert!(cut.contains("\r\nconnection: close\r\n"), "{cut}");
        let without_body = said_to("GET / HTTP/1.1\r\nhost: reviews:9080\r\n\r\n").await;
        assert!(!without_body.contains("connection: close"), "{without_body}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn grpc_callers_are_told_in_grpc() {
    local(async {
        let _mesh = Mesh::with_sidecars(&[]);
        let mut request = request("POST", "http://reviews:9080/a.B/C", Body::Empty);
        request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        let response = Caller::new().send_http2(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert!(response.headers()["grpc-message"].to_str().unwrap().contains("no endpoints"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_no_rule_matches_is_not_found() {
    local(async {
        let rule = v1::HttpRule {
            matches: vec![v1::HttpMatch {
                path: Some(v1::http_match::Path::PathPrefix("/reviews".into())),
                ..v1::HttpMatch::default()
            }],
            ..v1::HttpRule::default()
        };
        let mesh = Mesh::new(&routed(rule), &[endpoint(2, v1::Hop::Weft)]);
        mesh.sidecar(2, &v1::Inbound::default());
        echo(2);
        assert_eq!(Caller::new().get("/reviews/1").await.status(), StatusCode::OK);
        let response = Caller::new().get("/reviewsx").await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()["x-weft-error"], "no_route");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_does_not_answer_the_connection_is_given_up_after_a_second() {
    local(async {
        let _mesh = Mesh::with_sidecars(&[2]);
        network::silence(inbound(2));
        let began = Instant::now();
        let response = Caller::new().get("/").await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["x-weft-error"], "connect_failed");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_application_that_is_not_there_is_told_apart_from_its_sidecar() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        let response = Caller::new().get("/").await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(
            response.body().starts_with(b"connect_failed: connecting to 10.0.0.2:9080"),
            "{:?}",
            response.body()
        );
        assert_eq!(succeeded(&mesh), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_requests_time_ends_the_wait_for_an_answer() {
    local(async {
        let rule = v1::HttpRule {
            request_timeout: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
            ..v1::HttpRule::default()
        };
        let mesh = Mesh::new(&routed(rule), &[endpoint(2, v1::Hop::Weft)]);
        mesh.sidecar(2, &v1::Inbound::default());
        application(2, |_| std::future::pending());
        let began = Instant::now();
        let response = Caller::new().get("/").await;
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(response.headers()["x-weft-error"], "request_timeout");
        assert_eq!(began.elapsed().as_secs(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_breaks_off_for_the_caller_too() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        network::listen(application_at(2), |mut stream| async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut head = [0; 16];
            stream.read_exact(&mut head).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf of").await.unwrap();
        });
        let response = Caller::new().send(request("GET", "/", Body::Empty)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.into_body().collect().await.is_err());
        assert_eq!(succeeded(&mesh), 0);
    })
    .await;
}

#[test]
fn what_every_request_carries_along_stays_small() {
    // What is rare and large is boxed where it is awaited; see to it when this fails.
    let sizes = (future_of(crate::outbound::request::handle), future_of4(crate::inbound::request::from_hop));
    assert!(sizes.0 <= 3600 && sizes.1 <= 2400, "{sizes:?}");
}
