//! Paths that servers may read in several ways.

use std::rc::Rc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use weft_mesh::violation::Violation;
use weft_proto::v1;

use super::world::*;
use crate::http::body::Body;
use crate::observe::stats::Direction;
use crate::runtime::shared::Shared;

/// A workload whose application answers with the target that it sees, under a policy on paths.
fn workload(mesh: &Mesh, mode: v1::PathMode) -> std::sync::Arc<Shared> {
    let rule = v1::AuthorizationRule { paths: vec!["/admin/*".into()], ..v1::AuthorizationRule::default() };
    let policy = v1::AuthorizationPolicy {
        resource: Some(v1::ResourceRef { name: "no-admin".into(), ..v1::ResourceRef::default() }),
        action: v1::AuthorizationAction::Deny.into(),
        rules: vec![rule],
        ..v1::AuthorizationPolicy::default()
    };
    let port =
        v1::InboundPort { authorization: vec![policy], path_mode: mode.into(), ..v1::InboundPort::default() };
    let sidecar = mesh.sidecar(2, &v1::Inbound { default_port: Some(port), ..v1::Inbound::default() });
    application(2, async |request: Request<Incoming>| {
        Response::new(Body::full(request.uri().path_and_query().map_or("", |it| it.as_str()).to_owned()))
    });
    std::sync::Arc::clone(&sidecar.shared)
}

async fn asked(caller: &Caller, target: &str) -> (StatusCode, String) {
    let response = caller.get(target).await;
    let body = String::from_utf8_lossy(response.body()).into_owned();
    (response.status(), body)
}

#[tokio::test(start_paused = true)]
async fn a_path_is_denied_if_some_server_would_read_it_as_what_is_denied_and_goes_on_as_it_was_sent() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        workload(&mesh, v1::PathMode::EveryReading);
        let caller = Caller::new();
        for path in [
            "/admin/x",
            "/admin",
            "/public/../admin/x",
            "/public/%2e%2e/admin/x/%252e%252e/%252e%252e/public/y",
            "/public/../admin/%2e%2e/public/y",
            "/public/..;/admin/x",
            "//public/admin/x",
        ] {
            assert_eq!(asked(&caller, path).await.0, StatusCode::FORBIDDEN, "{path}");
        }
        for path in ["/public/y?q=/admin/x", "/public//a%2fb;v=1?q", "/administration"] {
            assert_eq!(asked(&caller, path).await, (StatusCode::OK, path.to_owned()));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_path_is_forwarded_in_its_normal_form_where_that_is_wanted() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        workload(&mesh, v1::PathMode::Normalize);
        let caller = Caller::new();
        let expected = |target: &str| (StatusCode::OK, target.to_owned());
        assert_eq!(asked(&caller, "/public/../%61/./b//c%2fd?q=../x").await, expected("/a/b/c%2Fd?q=../x"));
        assert_eq!(asked(&caller, "/public/../admin/%2e%2e/public/y").await, expected("/public/y"));
        assert_eq!(asked(&caller, "/public/%2e%2e/admin/x").await.0, StatusCode::FORBIDDEN);
        assert_eq!(asked(&caller, "/public/..%2fadmin/x").await.0, StatusCode::FORBIDDEN);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_path_with_several_readings_is_refused_where_that_is_wanted() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        let shared = workload(&mesh, v1::PathMode::Reject);
        let caller = Rc::new(Caller::new());
        for path in ["/public/../y", "/public//y", "/a%2fb", "/a;v=1"] {
            let response = caller.get(path).await;
            assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{path}");
            assert_eq!(response.headers()["x-weft-error"], "bad_request");
        }
        assert_eq!(asked(&caller, "/a%20b").await, (StatusCode::OK, "/a%20b".to_owned()));
        assert_eq!(shared.stats.violations(Direction::Inbound, Violation::Path), 4);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_application_that_compares_paths_as_they_are_sent_can_have_it_so() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        workload(&mesh, v1::PathMode::AsSent);
        let caller = Caller::new();
        assert_eq!(asked(&caller, "/admin/x").await.0, StatusCode::FORBIDDEN);
        assert_eq!(asked(&caller, "/public/../admin/x").await.0, StatusCode::OK);
    })
    .await;
}
