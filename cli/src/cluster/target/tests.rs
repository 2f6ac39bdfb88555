//! Names, as they are typed and as they are found.

use serde_json::json;
use weft_testkit::kubernetes::ApiServer;

use super::*;
use crate::cluster::fake::connect;

fn target(text: &str) -> Target {
    text.parse().unwrap()
}

fn pod(name: &str, app: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": app, "pod-template-hash": "7f"},
            "annotations": {"mesh.weft.dev/status": "{}"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": format!("{app}-7f")}]},
        "spec": {"initContainers": [{"name": "weft-proxy"}], "containers": [{"name": app}]},
        "status": {"phase": "Running"},
    })
}

fn server() -> ApiServer {
    let server = ApiServer::start();
    for (name, app) in [("web-7f-a", "web"), ("web-7f-b", "web"), ("reviews-7f-a", "reviews")] {
        server.put(&format!("/api/v1/namespaces/shop/pods/{name}"), pod(name, app));
    }
    server.put(
        "/apis/apps/v1/namespaces/shop/deployments/web",
        json!({"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}}}),
    );
    server
}

#[test]
fn a_pods_name_may_say_its_namespace() {
    assert_eq!(target("web-0.shop").place(None, "default"), ("web-0", "shop"));
    assert_eq!(target("web-0").place(None, "default"), ("web-0", "default"));
    assert_eq!(target("web.v1-0").place(Some("shop"), "default"), ("web.v1-0", "shop"));
    assert_eq!(target("deploy/web.v1").place(None, "default"), ("web.v1", "default"));
    assert_eq!(target("ns/shop").place(None, "default"), ("shop", "shop"));
    for (wrong, said) in [("widget/x", "deploy"), ("deploy/", "no name"), ("a b", "no name"), ("", "no name")]
    {
        assert!(wrong.parse::<Target>().unwrap_err().contains(said), "{wrong}");
    }
}

#[test]
fn selectors_are_written_as_the_api_reads_them() {
    let written = selector(&json!({
        "matchLabels": {"app": "web"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]},
            {"key": "canary", "operator": "DoesNotExist"},
        ],
    }));
    assert_eq!(written, "app=web,tier in (a,b),!canary");
}

#[tokio::test]
async fn a_deployments_pods_are_those_that_it_selects() {
    let (server, cluster) = connect(server());
    let pods = target("deploy/web").pods(&cluster, None).await.unwrap();
    let names: Vec<_> = pods.iter().map(|pod| Pod(pod).name()).collect();
    assert_eq!(names, ["web-7f-a", "web-7f-b"]);
    let (one, count) = target("deploy/web").pod(&cluster, Some("shop")).await.unwrap();
    assert_eq!((Pod(&one).name(), count), ("web-7f-a", 2));
    drop(server);
}

#[tokio::test]
async fn who_is_not_there_is_named_with_who_may_be_meant() {
    let (_server, cluster) = connect(server());
    let said = |target: Target, namespace: &'static str| {
        let cluster = cluster.clone();
        async move { target.pods(&cluster, Some(namespace)).await.unwrap_err().to_string() }
    };
    assert_eq!(
        said(target("web"), "shop").await,
        "there is no pod web in namespace shop; write deploy/web for the pods of that"
    );
    let other = said(target("cart"), "shop").await;
    assert!(other.contains("there are reviews-7f-a, web-7f-a, web-7f-b"), "{other}");
    let deployment = said(target("deploy/wbe"), "shop").await;
    assert!(deployment.contains("no deploy/wbe in namespace shop; there are web"), "{deployment}");
    let empty = said(target("web"), "bank").await;
    assert!(empty.contains("it has none: choose another with -n NAMESPACE"), "{empty}");
}

#[tokio::test]
async fn a_pod_without_sidecar_says_why() {
    let (server, cluster) = connect(server());
    let mut bare = pod("bare", "bare");
    bare["spec"] = json!({"hostNetwork": true, "containers": [{"name": "a"}]});
    server.put("/api/v1/namespaces/shop/pods/bare", bare);
    let namespace = json!({"metadata": {"name": "shop", "labels": {"mesh.weft.dev/inject": "enabled"}}});
    server.put("/api/v1/namespaces/shop", namespace);
    let said = target("bare").pod(&cluster, Some("shop")).await.unwrap_err().to_string();
    assert!(
        said.starts_with("pod bare in namespace shop has no sidecar: it uses the network of its node"),
        "{said}"
    );
}
