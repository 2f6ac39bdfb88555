use http::header::{ALLOW, ORIGIN};

use super::*;

#[tokio::test(start_paused = true)]
async fn readiness_is_told_with_its_reasons() {
    let plane = Plane::start();
    plane.down();
    let sidecar = Sidecar::start(&plane).await;
    let (status, body) = sidecar.ask(Method::GET, "/ready").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.starts_with("not ready\nno certificate yet: "), "{body}");
    assert_eq!(sidecar.ask(Method::GET, "/live").await.0, StatusCode::OK);
    plane.up();
    sleep(Duration::from_mins(1)).await;
    assert_eq!(sidecar.ask(Method::GET, "/ready").await, (StatusCode::OK, "ready\n".to_owned()));
    plane.down();
    sleep(Duration::from_mins(1)).await;
    let (status, body) = sidecar.ask(Method::GET, "/ready").await;
    assert_eq!(status, StatusCode::OK);
    assert!(body.starts_with("ready\n") && body.contains("has not been reached for"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn what_is_in_force_is_shown_without_secrets() {
    let plane = Plane::start();
    plane.serve("shop/reviews:80", &["r1"]);
    let service = Some(v1::ServicePort { namespace: "shop".into(), name: "reviews".into(), port: 80 });
    let backend = Some(v1::Backend { service: service.clone(), ..v1::Backend::default() });
    plane.set("reviews:80", &v1::Destination { service, backend, ..v1::Destination::default() });
    let sidecar = Sidecar::start(&plane).await;
    sidecar.look_up("reviews:80").await.unwrap();
    sidecar.look_up("nowhere:80").await.unwrap();
    sidecar.shared.ejected.tell(1, &"shop/reviews:80".parse().unwrap(), ["r1".into()].into());
    let (status, body) = sidecar.ask(Method::GET, "/config").await;
    assert_eq!(status, StatusCode::OK);
    let config: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(config["workload"], WORKLOAD);
    assert_eq!(config["certificate"]["serial"], sidecar.serial());
    assert_eq!(config["certificate"]["identity"], "spiffe://mesh.example/ns/shop/sa/web");
    assert_eq!(config["destinations"][0], serde_json::json!({ "name": "nowhere:80", "in_the_mesh": false }));
    assert_eq!(config["destinations"][1]["backend"]["service"], "shop/reviews:80");
    assert_eq!(config["endpoints"][0]["endpoints"][0]["address"], "10.0.0.2:80");
    assert_eq!(config["endpoints"][0]["endpoints"][0]["ejected_by"], 1);
    assert_eq!(config["inbound"]["other_ports"]["tls"], "permissive");
    assert_eq!(config["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(config["trust"][0]["trust_domain"], "mesh.example");
    assert_eq!(config["listeners"][0]["takes"], "this, the admin server");
    assert!(!body.contains("PRIVATE") && !body.contains("eyJ"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn metrics_are_written_for_prometheus() {
    let plane = Plane::start();
    let sidecar = Sidecar::start(&plane).await;
    let (status, body) = sidecar.ask(Method::GET, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(body.contains("weft_ready 1"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn another_path_or_method_is_told_what_there_is() {
    let plane = Plane::start();
    let sidecar = Sidecar::start(&plane).await;
    let (status, body) = sidecar.ask(Method::GET, "/stats").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(body.contains("there is no /stats") && body.contains("GET /metrics"), "{body}");
    for (method, path, allowed) in [
        (Method::POST, "/ready", "GET, HEAD"),
        (Method::GET, "/drain", "POST"),
        (Method::GET, "/rotate", "POST"),
        (Method::DELETE, "/log", "GET, HEAD, PUT, POST"),
    ] {
        let request = Request::builder().method(method).uri(path).body(()).unwrap();
        let answer = sidecar.admin.answer(&request).await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(answer.headers()[ALLOW], allowed);
    }
    assert!(!sidecar.shared.drain.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn the_access_log_is_changed_at_run_time() {
    let plane = Plane::start();
    let sidecar = Sidecar::start(&plane).await;
    let is = |text: &str| (StatusCode::OK, format!("{text}\n"));
    assert_eq!(sidecar.ask(Method::GET, "/access-log").await, is("mode=off&share=1"));
    assert_eq!(sidecar.ask(Method::PUT, "/access-log?mode=all&share=0.5").await, is("mode=all&share=0.5"));
    assert_eq!(sidecar.ask(Method::PUT, "/access-log?mode=errors").await, is("mode=errors&share=0.5"));
    for (query, problem) in [
        ("", "say which"),
        ("?mode=some", "none of off, errors and all"),
        ("?share=2", "not a share from 0 to 1"),
        ("?mode=off&path=x", "\"path=x\" is neither mode=MODE nor share=SHARE"),
    ] {
        let (status, body) = sidecar.ask(Method::PUT, &format!("/access-log{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(body.contains(problem), "{body}");
    }
    assert_eq!(sidecar.ask(Method::GET, "/access-log").await, is("mode=errors&share=0.5"));
}

#[tokio::test(start_paused = true)]
async fn web_pages_change_nothing() {
    let plane = Plane::start();
    let sidecar = Sidecar::start(&plane).await;
    let request = Request::post("/drain").header(ORIGIN, "https://evil.example").body(()).unwrap();
    assert_eq!(sidecar.admin.answer(&request).await.status(), StatusCode::FORBIDDEN);
    assert!(!sidecar.shared.drain.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_wrong_log_filter_is_refused() {
    let plane = Plane::start();
    let sidecar = Sidecar::start(&plane).await;
    for path in ["/log", "/log?level=%zz", "/log?filter=%ff"] {
        assert_eq!(sidecar.ask(Method::PUT, path).await.0, StatusCode::BAD_REQUEST, "{path}");
    }
}
