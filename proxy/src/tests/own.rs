//! A workload that is an endpoint of what it calls.

use std::sync::Arc;

use http::StatusCode;
use tokio_util::sync::CancellationToken;
use weft_mesh::balance::{Endpoint, EndpointSet};
use weft_proto::v1;

use super::world::*;
use crate::inbound;
use crate::snapshot::convert;

/// A mesh whose client is the only endpoint of `reviews:9080`, with policies of its own.
pub(super) fn calling_itself(own: v1::InboundPort) -> Mesh {
    let mesh = Mesh::new(&destination(), &[]);
    inbound::listen_own(&inbound_of(&mesh.worker), CancellationToken::new());
    let wire = v1::Endpoint {
        address: application_at(1).ip().to_string(),
        port: application_at(1).port().into(),
        identities: vec![identity("web")],
        ..endpoint(1, v1::Hop::Weft)
    };
    let endpoint = Endpoint { own: true, ..convert::endpoint("own", &wire).unwrap() };
    let inbound = v1::Inbound { default_port: Some(own), ..v1::Inbound::default() };
    let inbound = convert::inbound(&inbound, &"mesh.test".parse().unwrap()).unwrap();
    mesh.change(|snapshot| {
        let set = EndpointSet::new([Arc::new(endpoint)]);
        snapshot.endpoints.insert("shop/reviews:9080".parse().unwrap(), Arc::new(set));
        snapshot.inbound = Arc::new(inbound);
    });
    mesh
}

#[tokio::test(start_paused = true)]
async fn a_workload_reaches_itself_over_mtls_where_only_that_is_let_in() {
    local(async {
        let strict = v1::InboundPort { tls_mode: v1::TlsMode::Strict.into(), ..v1::InboundPort::default() };
        let _mesh = calling_itself(strict);
        echo(1);
        let response = Caller::new().get("/").await;
        assert_eq!(response.status(), StatusCode::OK);
        let client = response.headers()["x-client"].to_str().unwrap();
        assert!(client.contains(&format!("URI={}", identity("web"))), "{client}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_workloads_own_requests_meet_its_policies() {
    local(async {
        let closed = v1::InboundPort { deny_by_default: true, ..v1::InboundPort::default() };
        let _mesh = calling_itself(closed);
        echo(1);
        let response = Caller::new().get("/").await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(response.headers()["x-weft-error"], "denied");
    })
    .await;
}
