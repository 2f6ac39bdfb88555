//! How long a caller waits is known all the way to the application.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use http::{Response, StatusCode};
use tokio::time::Instant;
use weft_proto::v1;

use super::world::*;
use crate::http::body::Body;

/// An application that fails its first request after 300 ms, and what it is told of deadlines.
fn failing_once(host: u8) -> Rc<RefCell<Vec<u64>>> {
    let told = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&told);
    application(host, move |request| {
        let millis = request.headers()["x-weft-deadline-ms"].to_str().unwrap().parse().unwrap();
        kept.borrow_mut().push(millis);
        let first = kept.borrow().len() == 1;
        async move {
            if first {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            Response::builder().status(if first { 503 } else { 200 }).body(Body::Empty).unwrap()
        }
    });
    told
}

#[tokio::test(start_paused = true)]
async fn the_application_is_told_what_is_left_of_a_plain_requests_time() {
    for hop in [v1::Hop::Weft, v1::Hop::Plain] {
        local(async {
            let retry = v1::Retry { attempts: 1, codes: vec![503], ..v1::Retry::default() };
            let rule = v1::HttpRule { retry: Some(retry), ..v1::HttpRule::default() };
            let mesh = Mesh::new(&routed(rule), &[endpoint(2, hop)]);
            if hop == v1::Hop::Weft {
                mesh.sidecar(2, &v1::Inbound::default());
            }
            let told = failing_once(2);
            let mut request = request("GET", "/", Body::Empty);
            request.headers_mut().insert("x-weft-deadline-ms", "2000".parse().unwrap());
            let response = Caller::new().send(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            let told = told.borrow();
            assert_eq!(told[0], 2000);
            assert!((1_000..=1_700).contains(&told[1]), "{told:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_plain_caller_is_answered_when_its_time_is_over() {
    local(async {
        let _mesh = Mesh::with_sidecars(&[2]);
        application(2, |_| std::future::pending());
        let mut request = request("GET", "/", Body::Empty);
        request.headers_mut().insert("x-weft-deadline-ms", "1500".parse().unwrap());
        let began = Instant::now();
        let response = Caller::new().send(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(response.headers()["x-weft-error"], "request_timeout");
        assert!((1500..1600).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_routes_time_is_told_and_requests_without_limit_are_told_nothing() {
    local(async {
        let timeout = Some(prost_types::Duration { seconds: 3, nanos: 0 });
        let limited = routed(v1::HttpRule { request_timeout: timeout, ..v1::HttpRule::default() });
        let mesh = Mesh::new(&limited, &[endpoint(2, v1::Hop::Weft)]);
        mesh.sidecar(2, &v1::Inbound::default());
        application(2, |request| async move {
            let told = request.headers().get("x-weft-deadline-ms").cloned();
            Response::builder()
                .header("x-told", told.unwrap_or("none".parse().unwrap()))
                .body(Body::Empty)
                .unwrap()
        });
        let caller = Caller::new();
        assert_eq!(caller.get("/").await.headers()["x-told"], "3000");
        mesh.configure(&destination(), &[endpoint(2, v1::Hop::Weft)]);
        assert_eq!(caller.get("/").await.headers()["x-told"], "none");
    })
    .await;
}
