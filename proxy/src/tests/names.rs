//! Names outside the mesh, and their addresses.

use std::time::Duration;

use http::{Request, Response, StatusCode};

use super::network;
use super::world::*;
use crate::http::body::Body;

/// Asks for `outside.test:9080`.
async fn outside(caller: &Caller) -> Response<bytes::Bytes> {
    let request = Request::get("/").header("host", "outside.test:9080").body(Body::Empty).unwrap();
    whole(caller.send(request).await.unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn of_the_addresses_of_a_name_the_first_that_answers_is_used() {
    local(async {
        let mesh = Mesh::with_sidecars(&[]);
        mesh.answer_lookups();
        let v6 = "[2001:db8::7]:9080".parse().unwrap();
        network::silence(v6);
        network::silence(application_at(7));
        echo(9);
        // 8 refuses at once; 7 and the IPv6 address never answer.
        network::name("outside.test:9080", &[v6, application_at(8), application_at(7), application_at(9)]);
        let caller = Caller::new();
        let began = tokio::time::Instant::now();
        assert_eq!(outside(&caller).await.headers()["x-host"], "9");
        let waited = began.elapsed();
        assert!((Duration::from_millis(500)..Duration::from_millis(510)).contains(&waited), "{waited:?}");
        // The connection stays, whatever becomes of the name.
        network::name("outside.test:9080", &[]);
        assert_eq!(outside(&caller).await.headers()["x-host"], "9");
        assert_eq!(began.elapsed(), waited);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_name_whose_addresses_all_fail_says_why_of_each() {
    local(async {
        let mesh = Mesh::with_sidecars(&[]);
        mesh.answer_lookups();
        network::silence(application_at(7));
        network::name("outside.test:9080", &[application_at(7), application_at(8)]);
        let response = outside(&Caller::new()).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let text = String::from_utf8_lossy(response.body()).into_owned();
        assert!(text.contains("10.0.0.8:9080: connection refused"), "{text}");
        assert!(text.contains("10.0.0.7:9080: no answer in 1s"), "{text}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_name_that_leads_back_to_the_proxy_is_refused() {
    local(async {
        let mesh = Mesh::with_sidecars(&[]);
        mesh.answer_lookups();
        network::name("outside.test:9080", &[application_at(8), outbound()]);
        let response = outside(&Caller::new()).await;
        assert_eq!(response.status(), StatusCode::LOOP_DETECTED);
        assert_eq!(response.headers()["x-weft-error"], "loop_detected");
    })
    .await;
}
