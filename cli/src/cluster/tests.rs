//! Against an API server in process.

use serde_json::json;
use weft_testkit::kubernetes::ApiServer;

use super::fake::{at, connect};
use super::*;

#[tokio::test]
async fn large_lists_are_read_in_parts() {
    let (server, cluster) = connect(ApiServer::start());
    server.answer("GET /api/v1/pods", |_| (200, json!({"metadata": {"continue": ""}, "items": [{"a": 1}]})));
    assert_eq!(cluster.list("/api/v1/pods", "app=web").await.unwrap(), [json!({"a": 1})]);
    assert_eq!(server.asked(), ["GET /api/v1/pods?limit=500&labelSelector=app%3Dweb&continue="]);
}

#[tokio::test]
async fn troubles_say_what_to_do() {
    let (server, cluster) = connect(ApiServer::start());
    server.fail(
        "GET /api/v1/pods",
        403,
        "Forbidden",
        "pods is forbidden: User \"ann\" cannot list resource \"pods\"",
    );
    let forbidden = cluster.list("/api/v1/pods", "").await.unwrap_err();
    assert!(is_forbidden(&forbidden));
    let said = forbidden.to_string();
    assert!(said.contains("User \"ann\" cannot list") && said.contains("ask an administrator"), "{said}");
    server.fail("GET /api/v1/nodes", 401, "Unauthorized", "Unauthorized");
    let unknown = cluster.get("/api/v1/nodes").await.unwrap_err().to_string();
    assert!(unknown.contains(&server.url()) && unknown.contains("log in again"), "{unknown}");
    assert_eq!(cluster.find("/api/v1/namespaces/shop/pods/x").await.unwrap(), None);
}

#[tokio::test]
async fn nobody_there_is_named() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let said = at(&url).get("/version").await.unwrap_err().to_string();
    assert!(said.contains(&url) && said.contains("kubectl config current-context"), "{said}");
}

#[tokio::test]
async fn the_clock_of_the_api_server_is_known() {
    let (_server, cluster) = connect(ApiServer::start());
    let time = cluster.time().await.unwrap().unwrap();
    let apart = jiff::Timestamp::now().duration_since(time).unsigned_abs();
    assert!(apart < Duration::from_mins(1), "{apart:?}");
}

#[tokio::test]
async fn a_change_is_tried_as_kubectl_would_make_it() {
    let (server, cluster) = connect(ApiServer::start());
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n"}});
    assert_eq!(cluster.dry_run(&map, Try::Apply).await.unwrap(), map);
    let expected = "PATCH /api/v1/namespaces/n/configmaps/a?dryRun=All&force=true&fieldManager=kubectl";
    assert_eq!(server.asked(), [expected]);
}
