//! Requests that lead back to where they come from.

use std::rc::Rc;

use http::{Request, Response, StatusCode};
use weft_mesh::reason::Reason;
use weft_proto::v1;

use super::network;
use super::own::calling_itself;
use super::world::*;
use crate::http::body::Body;
use crate::observe::stats::Cause;
use crate::runtime::worker::Worker;

/// Runs a test in a mesh where the application of `reviews` is the caller's own listener.
async fn in_a_circle<F: Future<Output = ()>>(test: impl Fn(Mesh, Rc<Worker>) -> F) {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, hop)]);
            let sidecar = mesh.sidecar(2, &v1::Inbound::default());
            network::listen(application_at(2), |mut stream| async move {
                let mut back = network::connect(outbound()).unwrap().await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut back).await;
            });
            // Where no sidecar is passed, it is what the caller's own has sent.
            let passed = if hop == v1::Hop::Plain { Rc::clone(&mesh.worker) } else { sidecar };
            test(mesh, passed).await;
        })
        .await;
    }
}

/// Requests that a sidecar did not refuse because they had come around.
fn sent_on(worker: &Worker) -> u64 {
    let totals = totals(worker);
    totals.requests() - totals.caused(Cause::Failed(Reason::LoopDetected))
}

#[tokio::test(start_paused = true)]
async fn a_service_whose_application_is_the_callers_own_listener_is_a_loop_that_ends_at_the_second_pass() {
    in_a_circle(async |_mesh, passed| {
        let response = Caller::new().get("/a").await;
        assert_eq!(response.status(), StatusCode::LOOP_DETECTED);
        assert_eq!(response.headers()["x-weft-error"], "loop_detected");
        assert_eq!(sent_on(&passed), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_loop_ends_over_http2_too() {
    in_a_circle(async |_mesh, passed| {
        let request = request("GET", "/a", Body::Empty);
        let response = whole(Caller::new().send_http2(request).await.unwrap()).await;
        assert_eq!(response.status(), StatusCode::LOOP_DETECTED);
        assert_eq!(sent_on(&passed), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_name_outside_the_mesh_that_leads_to_another_proxy_and_back_is_a_loop() {
    local(async {
        let mesh = Mesh::new(&destination(), &[]);
        mesh.answer_lookups();
        network::name("around.test:9080", &[at(7, 9080)]);
        network::listen(at(7, 9080), |mut stream| async move {
            let mut back = network::connect(outbound()).unwrap().await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut back).await;
        });
        let request = Request::get("/").header("host", "around.test:9080").body(Body::Empty).unwrap();
        let response = whole(Caller::new().send(request).await.unwrap()).await;
        assert_eq!(response.headers()["x-weft-error"], "loop_detected");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_the_proxys_own_listener_is_never_connected_to() {
    for hop in [v1::Hop::Weft, v1::Hop::Plain] {
        local(async {
            let wire = v1::Endpoint {
                address: outbound().ip().to_string(),
                port: outbound().port().into(),
                ..endpoint(1, hop)
            };
            let _mesh = Mesh::new(&destination(), &[wire]);
            let response = Caller::new().get("/").await;
            assert_eq!(response.status(), StatusCode::LOOP_DETECTED);
        })
        .await;
    }
}

/// A gateway that hands on all fields, as many do, and reaches its own other paths by its own service.
#[tokio::test(start_paused = true)]
async fn a_gateway_that_calls_itself_is_no_loop() {
    local(async {
        let _mesh = calling_itself(v1::InboundPort::default());
        application(1, async |request| {
            let depth: u32 = request.uri().path().trim_start_matches('/').parse().unwrap();
            if depth == 0 {
                return Response::new(Body::full("done"));
            }
            let mut next = super::world::request("GET", &format!("/{}", depth - 1), Body::Empty);
            next.headers_mut().extend(request.headers().clone());
            Caller::new().send(next).await.unwrap()
        });
        let response = Caller::new().get("/5").await;
        assert_eq!((response.status(), &**response.body()), (StatusCode::OK, &b"done"[..]));
    })
    .await;
}
