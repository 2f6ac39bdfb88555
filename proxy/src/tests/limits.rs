//! How much is let through.

use http::StatusCode;
use weft_proto::v1;

use super::world::*;
use crate::http::body::Body;

fn header_key(name: &str) -> v1::HashKey {
    v1::HashKey { key: Some(v1::hash_key::Key::Header(name.into())) }
}

#[tokio::test(start_paused = true)]
async fn each_identity_has_its_own_limit_at_a_workload_and_is_told_when_to_come_back() {
    local(async {
        let mesh = Mesh::with_sidecars(&[]);
        mesh.configure(&destination(), &[endpoint(2, v1::Hop::Weft)]);
        let interval = Some(prost_types::Duration { seconds: 60, nanos: 0 });
        let limit = v1::RateLimit { requests: 2, interval, ..v1::RateLimit::default() };
        let port = v1::InboundPort { rate_limit: Some(limit), ..v1::InboundPort::default() };
        mesh.sidecar(2, &v1::Inbound { default_port: Some(port), ..v1::Inbound::default() });
        echo(2);
        let caller = Caller::new();
        for _ in 0..2 {
            assert_eq!(caller.get("/").await.status(), StatusCode::OK);
        }
        let refused = caller.get("/").await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.headers()["x-weft-error"], "rate_limited");
        let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((29..=30).contains(&wait), "{wait}");
        let other = mesh.authority.tls(1000, "other");
        put_tls(&mesh.worker, other);
        assert_eq!(caller.get("/").await.status(), StatusCode::OK, "another identity");
        tokio::time::sleep(std::time::Duration::from_secs(wait)).await;
        mesh.rotate();
        put_tls(&mesh.worker, mesh.authority.tls(2000, "web"));
        assert_eq!(caller.get("/").await.status(), StatusCode::OK);
        assert_eq!(caller.get("/").await.status(), StatusCode::TOO_MANY_REQUESTS);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_route_limits_each_value_of_a_header() {
    local(async {
        let limit =
            v1::RateLimit { requests: 1, key: Some(header_key("x-user")), ..v1::RateLimit::default() };
        let filter = v1::HttpFilter { filter: Some(v1::http_filter::Filter::RateLimit(limit)) };
        let rule = v1::HttpRule { filters: vec![filter], ..v1::HttpRule::default() };
        let mesh = Mesh::new(&routed(rule), &[endpoint(2, v1::Hop::Weft)]);
        mesh.sidecar(2, &v1::Inbound::default());
        echo(2);
        let caller = Caller::new();
        let mut statuses = Vec::new();
        for user in ["ann", "ann", "bob", ""] {
            let mut request = request("GET", "/", Body::Empty);
            if !user.is_empty() {
                request.headers_mut().insert("x-user", user.parse().unwrap());
            }
            statuses.push(caller.send(request).await.unwrap().status().as_u16());
        }
        assert_eq!(statuses, [200, 429, 200, 200]);
    })
    .await;
}

fn adaptive(max_requests: u32) -> v1::Inbound {
    let bounds =
        v1::AdaptiveConcurrency { min_requests: 1, max_requests, ..v1::AdaptiveConcurrency::default() };
    let port = v1::InboundPort { adaptive_concurrency: Some(bounds), ..v1::InboundPort::default() };
    v1::Inbound { default_port: Some(port), ..v1::Inbound::default() }
}

fn slow_application(host: u8) {
    application(host, |_| async {
        tokio::time::sleep(std::time::Duration::from_mins(1)).await;
        http::Response::new(Body::Empty)
    });
}

#[tokio::test(start_paused = true)]
async fn an_application_gets_no_more_requests_than_it_keeps_up_with() {
    local(async {
        let mesh = Mesh::with_sidecars(&[]);
        mesh.configure(&destination(), &[endpoint(2, v1::Hop::Weft)]);
        mesh.sidecar(2, &adaptive(2));
        slow_application(2);
        let caller = Caller::new();
        let answers = futures_util::future::join_all((0..5).map(|_| caller.get("/"))).await;
        let refused = answers.iter().filter_map(|answer| answer.headers().get("x-weft-error"));
        let refused: Vec<_> = refused.map(|reason| reason.to_str().unwrap()).collect();
        assert_eq!(refused, ["overloaded"; 3]);
        assert_eq!(succeeded(&mesh), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_one_endpoint_does_not_keep_up_with_goes_to_another() {
    local(async {
        let mesh = Mesh::with_sidecars(&[]);
        mesh.configure(&destination(), &[endpoint(2, v1::Hop::Weft), endpoint(3, v1::Hop::Weft)]);
        for host in [2, 3] {
            mesh.sidecar(host, &adaptive(2));
            slow_application(host);
        }
        let caller = Caller::new();
        let answers = futures_util::future::join_all((0..4).map(|_| caller.get("/"))).await;
        assert!(answers.iter().all(|answer| answer.status() == StatusCode::OK), "{answers:?}");
    })
    .await;
}
