//! Faults made on purpose.

use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;
use weft_proto::v1;

use super::world::*;
use crate::http::body::Body;

const ALL: u32 = 1_000_000;

fn rule(fault: v1::Fault) -> v1::HttpRule {
    let filter = v1::HttpFilter { filter: Some(v1::http_filter::Filter::Fault(fault)) };
    v1::HttpRule { filters: vec![filter], ..v1::HttpRule::default() }
}

fn mesh(destination: &v1::Destination) -> Mesh {
    let mesh = Mesh::new(destination, &[endpoint(2, v1::Hop::Weft)]);
    mesh.sidecar(2, &v1::Inbound::default());
    echo(2);
    mesh
}

#[tokio::test(start_paused = true)]
async fn only_requests_with_the_header_are_delayed() {
    local(async {
        let delay = Some(prost_types::Duration { seconds: 7, nanos: 0 });
        let mut delayed = rule(v1::Fault { delay, delay_share: ALL, ..v1::Fault::default() });
        let value = Some(v1::value_match::Value::Exact("slow".into()));
        let header = v1::ValueMatch { name: "x-test".into(), value };
        delayed.matches = vec![v1::HttpMatch { headers: vec![header], ..v1::HttpMatch::default() }];
        let mut destination = routed(delayed);
        let other = v1::HttpRule { backends: vec![weighted("reviews", 1)], ..v1::HttpRule::default() };
        destination.http_routes[0].rules.push(other);
        let _mesh = mesh(&destination);
        for (value, seconds) in [("slow", 7), ("quick", 0)] {
            let mut request = request("GET", "/", Body::Empty);
            request.headers_mut().insert("x-test", value.parse().unwrap());
            let began = Instant::now();
            assert_eq!(Caller::new().send(request).await.unwrap().status(), StatusCode::OK);
            assert_eq!(began.elapsed().as_secs(), seconds, "{value}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_share_of_the_requests_is_aborted() {
    local(async {
        let _mesh = mesh(&routed(rule(v1::Fault {
            abort_status: 418,
            abort_share: ALL / 4,
            ..v1::Fault::default()
        })));
        let caller = Caller::new();
        let mut aborted = 0;
        for _ in 0..400 {
            let answer = caller.get("/").await;
            let by_fault = answer.status() == StatusCode::IM_A_TEAPOT;
            assert_eq!(answer.headers().contains_key("x-weft-fault"), by_fault);
            aborted += u32::from(by_fault);
        }
        // 100 expected, standard deviation 8.7.
        assert!((60..140).contains(&aborted), "{aborted}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn grpc_callers_get_the_grpc_status_after_the_delay() {
    local(async {
        let delay = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        let _mesh = mesh(&routed(rule(v1::Fault {
            delay,
            delay_share: ALL,
            abort_grpc_status: 14,
            abort_share: ALL,
            ..v1::Fault::default()
        })));
        let mut request = request("POST", "http://reviews:9080/a.B/C", Body::Empty);
        request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        let began = Instant::now();
        let answer = Caller::new().send_http2(request).await.unwrap();
        assert_eq!(
            (answer.status(), &answer.headers()["grpc-status"]),
            (StatusCode::OK, &"14".parse().unwrap())
        );
        assert!(began.elapsed() >= Duration::from_secs(1));
    })
    .await;
}
