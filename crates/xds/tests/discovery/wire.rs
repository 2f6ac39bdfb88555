//! The protocol as a client of other make sees it.

use std::collections::HashMap;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest,
};
use envoy_types::pb::google::rpc;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};

use crate::fixture::{FRUIT, Mesh, settle};

/// A client that does only what it is told.
pub(crate) struct Raw {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    ahead: Option<Result<Option<DeltaDiscoveryResponse>, Status>>,
}

impl Raw {
    pub(crate) async fn open(mesh: &Mesh) -> Self {
        let channel = mesh.wire.connect().await.expect("a connection");
        let (requests, outgoing) = mpsc::channel(1);
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let responses =
            client.delta_aggregated_resources(ReceiverStream::new(outgoing)).await.expect("a stream");
        Self { requests, responses: responses.into_inner(), ahead: None }
    }

    pub(crate) async fn send(&mut self, request: DeltaDiscoveryRequest) -> Result<(), ()> {
        self.requests.send(request).await.map_err(|_| ())
    }

    pub(crate) async fn subscribe(&mut self, type_url: &str, names: &[&str]) {
        self.resume(type_url, names, &[]).await;
    }

    pub(crate) async fn resume(&mut self, type_url: &str, names: &[&str], held: &[(&str, &str)]) {
        let held: HashMap<String, String> =
            held.iter().map(|(name, version)| ((*name).into(), (*version).into())).collect();
        let request = DeltaDiscoveryRequest {
            type_url: type_url.into(),
            resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
            initial_resource_versions: held,
            ..Default::default()
        };
        self.send(request).await.expect("an open stream");
    }

    pub(crate) async fn ack(&mut self, response: &DeltaDiscoveryResponse) {
        self.ack_nonce(&response.type_url, &response.nonce).await.expect("an open stream");
    }

    pub(crate) async fn ack_nonce(&mut self, type_url: &str, nonce: &str) -> Result<(), ()> {
        let (type_url, response_nonce) = (type_url.to_owned(), nonce.to_owned());
        self.send(DeltaDiscoveryRequest { type_url, response_nonce, ..Default::default() }).await
    }

    async fn message(&mut self) -> Result<Option<DeltaDiscoveryResponse>, Status> {
        match self.ahead.take() {
            Some(ahead) => ahead,
            None => self.responses.message().await,
        }
    }

    pub(crate) async fn next(&mut self) -> DeltaDiscoveryResponse {
        self.message().await.expect("an open stream").expect("a response")
    }

    /// Whether the server has nothing to say.
    pub(crate) async fn is_silent(&mut self) -> bool {
        if self.ahead.is_none() {
            self.ahead = timeout(Duration::from_secs(1), self.responses.message()).await.ok();
        }
        self.ahead.is_none()
    }

    /// Reads to the end.
    pub(crate) async fn end(&mut self) -> Status {
        loop {
            match self.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok(""),
                Err(status) => return status,
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_subscribed_to_again_is_answered_again() {
    let mesh = Mesh::new();
    mesh.store.set(FRUIT, "apple", "green");
    let mut raw = Raw::open(&mesh).await;
    for _ in 0..3 {
        raw.subscribe(FRUIT, &["apple", "pear"]).await;
        let response = raw.next().await;
        assert_eq!(response.resources.len(), 1);
        assert_eq!(response.removed_resources, ["pear"]);
        raw.ack(&response).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_goes_while_it_is_subscribed_to_again_is_removed() {
    let mesh = Mesh::new();
    mesh.store.collect(FRUIT, "tree/*");
    mesh.store.set(FRUIT, "tree/1", "ripe");
    let mut raw = Raw::open(&mesh).await;
    raw.subscribe(FRUIT, &["tree/*"]).await;
    let first = raw.next().await;
    raw.subscribe(FRUIT, &["tree/*"]).await;
    settle().await;
    mesh.store.remove(FRUIT, "tree/1");
    raw.ack(&first).await;
    assert_eq!(raw.next().await.removed_resources, ["tree/1"]);
}

#[tokio::test(start_paused = true)]
async fn a_first_request_without_names_asks_for_everything() {
    let mesh = Mesh::new();
    mesh.store.collect(FRUIT, "*");
    mesh.store.set(FRUIT, "apple", "green");
    mesh.store.set(FRUIT, "pear", "yellow");
    mesh.store.set(FRUIT, "tree/1", "of another collection");
    let mut raw = Raw::open(&mesh).await;
    raw.subscribe(FRUIT, &[]).await;
    let response = raw.next().await;
    let names: Vec<&str> = response.resources.iter().map(|resource| resource.name.as_str()).collect();
    assert_eq!(names, ["apple", "pear", "*"]);
}

#[tokio::test(start_paused = true)]
async fn subscribing_and_unsubscribing_at_once_is_nothing() {
    let mesh = Mesh::new();
    mesh.store.collect(FRUIT, "*");
    let mut raw = Raw::open(&mesh).await;
    let request = DeltaDiscoveryRequest {
        type_url: FRUIT.into(),
        resource_names_subscribe: vec!["*".into()],
        resource_names_unsubscribe: vec!["*".into()],
        ..Default::default()
    };
    raw.send(request).await.unwrap();
    assert!(raw.is_silent().await);
}

#[tokio::test(start_paused = true)]
async fn an_old_nonce_acknowledges_nothing() {
    let mesh = Mesh::new();
    mesh.store.set(FRUIT, "apple", "green");
    let mut raw = Raw::open(&mesh).await;
    raw.subscribe(FRUIT, &["apple"]).await;
    let first = raw.next().await;
    mesh.store.set(FRUIT, "apple", "red");
    raw.ack_nonce(FRUIT, "0").await.unwrap();
    raw.ack_nonce(FRUIT, "another server's").await.unwrap();
    assert!(raw.is_silent().await);
    raw.ack(&first).await;
    assert_eq!(raw.next().await.resources.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_nack_refuses_all_that_was_sent() {
    let mesh = Mesh::new();
    mesh.store.set(FRUIT, "apple", "green");
    mesh.store.set(FRUIT, "pear", "yellow");
    let mut raw = Raw::open(&mesh).await;
    raw.subscribe(FRUIT, &["apple", "pear"]).await;
    let response = raw.next().await;
    let error_detail = rpc::Status { code: 3, message: "no fruit today".into(), details: vec![] };
    let request = DeltaDiscoveryRequest {
        type_url: FRUIT.into(),
        response_nonce: response.nonce,
        error_detail: Some(error_detail),
        ..Default::default()
    };
    raw.send(request).await.unwrap();
    settle().await;
    let seen = mesh.seen.take();
    assert_eq!((seen.refused[0].1.as_str(), seen.refused[0].2.len()), ("no fruit today", 2));
    mesh.store.notifier.changed_all();
    assert!(raw.is_silent().await);
}

#[tokio::test(start_paused = true)]
async fn foreign_versions_are_replaced() {
    let mesh = Mesh::new();
    mesh.store.collect(FRUIT, "tree/*");
    mesh.store.set(FRUIT, "apple", "green");
    let mut raw = Raw::open(&mesh).await;
    raw.resume(FRUIT, &["apple", "pear", "tree/*"], &[("apple", "7"), ("pear", "7"), ("tree/1", "7")]).await;
    let mut response = raw.next().await;
    response.removed_resources.sort_unstable();
    assert_eq!(response.removed_resources, ["pear", "tree/1"]);
    assert_eq!(response.resources.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn strangers_and_other_methods_are_refused() {
    let mesh = Mesh::new();
    let mut client = AggregatedDiscoveryServiceClient::new(mesh.wire.connect().await.unwrap());
    let mut request = Request::new(tokio_stream::empty::<DeltaDiscoveryRequest>());
    request.metadata_mut().insert("x-stranger", "1".parse().unwrap());
    let refused = client.delta_aggregated_resources(request).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unauthenticated, "a stranger"));
    let whole =
        client.stream_aggregated_resources(tokio_stream::empty::<DiscoveryRequest>()).await.unwrap_err();
    assert_eq!(whole.code(), Code::Unimplemented);
}

#[tokio::test(start_paused = true)]
async fn the_collection_says_what_becomes_of_a_name_that_is_taken_back() {
    let mesh = Mesh::new();
    mesh.store.collect(FRUIT, "tree/*");
    mesh.store.set(FRUIT, "tree/1", "ripe");
    mesh.store.set(FRUIT, "bush/1", "ripe");
    let mut raw = Raw::open(&mesh).await;
    raw.subscribe(FRUIT, &["tree/*", "bush/*", "tree/1", "bush/1"]).await;
    while !raw.is_silent().await {
        let response = raw.next().await;
        raw.ack(&response).await;
    }
    let request = DeltaDiscoveryRequest {
        type_url: FRUIT.into(),
        resource_names_unsubscribe: vec!["tree/1".into(), "bush/1".into()],
        ..Default::default()
    };
    raw.send(request).await.unwrap();
    let response = raw.next().await;
    assert_eq!(response.removed_resources, ["bush/1"]);
    assert_eq!(response.resources.len(), 1);
    assert_eq!(response.resources[0].name, "tree/1");
}
