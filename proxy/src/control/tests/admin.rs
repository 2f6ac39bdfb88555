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

/// Says to a sidecar who is let in, and asks it whether these would be.
#[tokio::test(start_paused = true)]
async fn a_sidecar_says_whom_it_lets_in_and_by_what() {
    let plane = Plane::start();
    let rule = v1::AuthorizationRule { paths: vec!["/admin/*".into()], ..v1::AuthorizationRule::default() };
    let odd = v1::AuthorizationRule { invalid: "a newer field".into(), ..v1::AuthorizationRule::default() };
    let policy =
        |name: &str, action: v1::AuthorizationAction, rule: v1::AuthorizationRule| v1::AuthorizationPolicy {
            resource: Some(v1::ResourceRef {
                kind: "AuthorizationPolicy".into(),
                namespace: "shop".into(),
                name: name.into(),
            }),
            action: action.into(),
            rules: vec![rule],
            ..v1::AuthorizationPolicy::default()
        };
    let authorization = vec![
        policy("no-admin", v1::AuthorizationAction::Deny, rule),
        policy("odd", v1::AuthorizationAction::Audit, odd),
    ];
    let port = v1::InboundPort {
        authorization,
        path_mode: v1::PathMode::Normalize.into(),
        ..v1::InboundPort::default()
    };
    plane.set(WORKLOAD, &v1::Inbound { default_port: Some(port), ..v1::Inbound::default() });
    let sidecar = Sidecar::start(&plane).await;
    let (_, body) = sidecar.ask(Method::GET, "/config").await;
    let config: serde_json::Value = serde_json::from_str(&body).unwrap();
    let ports = &config["inbound"]["other_ports"];
    assert_eq!((&ports["path_mode"], &ports["default"]), (&"normalize".into(), &"allow".into()));
    assert_eq!(ports["policies"][0]["policy"], "AuthorizationPolicy shop/no-admin");
    assert_eq!(ports["policies"][0]["rules"][0], "paths /admin/*");
    assert_eq!(ports["policies"][1]["rules"][0], "is not understood: a newer field");
    for (path, allowed) in [("/public", true), ("/public/%2e%2e/admin/x", false)] {
        let url = format!("http%3A%2F%2Flocalhost%3A80{}", path.replace('%', "%25"));
        let caller = "spiffe%3A%2F%2Fmesh.example%2Fns%2Fshop%2Fsa%2Fweb";
        let (status, body) = sidecar.ask(Method::GET, &format!("/admission?url={url}&caller={caller}")).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let said: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(said["allowed"], allowed, "{body}");
    }
    for wrong in ["/admission?url=http%3A%2F%2Flocalhost", "/admission?caller=web&url=http%3A%2F%2Fa%3A1"] {
        assert_eq!(sidecar.ask(Method::GET, wrong).await.0, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test(start_paused = true)]
async fn a_destination_is_shown_whole() {
    let plane = Plane::start();
    let service = Some(v1::ServicePort { namespace: "shop".into(), name: "reviews".into(), port: 80 });
    let key = v1::HashKey { key: Some(v1::hash_key::Key::Header("x-user".into())) };
    let policy =
        v1::BackendPolicy { split_key: Some(key), max_connections: u32::MAX, ..v1::BackendPolicy::default() };
    let backend = v1::Backend { service: service.clone(), policy: Some(policy), ..v1::Backend::default() };
    let rule = v1::HttpRule {
        matches: vec![v1::HttpMatch {
            path: Some(v1::http_match::Path::PathPrefix("/v1".into())),
            method: "GET".into(),
            ..v1::HttpMatch::default()
        }],
        filters: vec![v1::HttpFilter {
            filter: Some(v1::http_filter::Filter::RateLimit(v1::RateLimit {
                requests: 5,
                ..v1::RateLimit::default()
            })),
        }],
        backends: vec![v1::WeightedBackend {
            weight: 3,
            target: Some(v1::weighted_backend::Target::Invalid("gone".into())),
            filters: Vec::new(),
        }],
        retry: Some(v1::Retry { attempts: 2, codes: vec![503], ..v1::Retry::default() }),
        ..v1::HttpRule::default()
    };
    let resource = v1::ResourceRef { kind: "HTTPRoute".into(), namespace: "shop".into(), name: "r".into() };
    let route = v1::HttpRoute { resource: Some(resource), rules: vec![rule], ..v1::HttpRoute::default() };
    plane.set(
        "reviews:80",
        &v1::Destination {
            service,
            backend: Some(backend),
            http_routes: vec![route],
            ..v1::Destination::default()
        },
    );
    plane.serve("shop/reviews:80", &["r1"]);
    let sidecar = Sidecar::start(&plane).await;
    sidecar.look_up("reviews:80").await.unwrap();
    let (_, body) = sidecar.ask(Method::GET, "/config").await;
    let config: serde_json::Value = serde_json::from_str(&body).unwrap();
    let destination = &config["destinations"][0];
    let rule = &destination["rules"][0];
    assert_eq!(rule["matches"][0], "a path below /v1, the method GET");
    assert_eq!(rule["filters"]["rate_limit"], "5 requests in 1s");
    assert_eq!(rule["backends"][0]["invalid"], "gone");
    for (field, part) in [("split_key", "x-user"), ("retry", "503")] {
        assert!(rule[field].as_str().unwrap().contains(part), "{body}");
    }
    assert_eq!(destination["backend"]["max_connections"], serde_json::Value::Null);
    for field in ["outlier_detection", "retry_budget", "connect_timeout_ms", "idle_timeout_ms"] {
        assert!(!destination["backend"][field].is_null(), "{field}: {body}");
    }
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
