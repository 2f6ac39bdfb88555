//! Against an installation in an API server in process.

use serde_json::json;
use weft_testkit::kubernetes::ApiServer;

use super::*;
use crate::cluster::fake::connect;
use crate::cluster::kinds::{path, title};
use crate::install::{defaults, manifest};

fn installed() -> ApiServer {
    let server = ApiServer::start();
    for document in manifest(&defaults()) {
        server.put(&path(&document).unwrap(), document);
    }
    let made = json!({"metadata": {"name": "weft-roots", "namespace": "shop",
        "labels": {"app.kubernetes.io/managed-by": "weft-control-plane"}}});
    server.put("/api/v1/namespaces/shop/configmaps/weft-roots", made);
    server
}

#[tokio::test]
async fn everything_goes_but_the_kinds_with_what_admits_pods_first_and_the_namespace_last() {
    let (_server, cluster) = connect(installed());
    let existing = Existing::read(&cluster).await.unwrap().unwrap();
    let going = existing.everything(&cluster, false).await.unwrap();
    let titles: Vec<String> = going.iter().map(title).collect();
    assert_eq!(titles.first().unwrap(), "MutatingWebhookConfiguration weft-injector");
    assert_eq!(titles.last().unwrap(), "Namespace weft-system");
    assert!(titles.contains(&"ConfigMap shop/weft-roots".to_owned()), "{titles:?}");
    assert!(!titles.iter().any(|title| title.starts_with("CustomResourceDefinition")), "{titles:?}");
    assert!(going.iter().all(|object| object.as_object().unwrap().len() == 3), "names alone");
    let all = existing.everything(&cluster, true).await.unwrap();
    assert!(all.iter().any(|object| object["kind"] == "CustomResourceDefinition"));
}

#[tokio::test]
async fn what_an_installation_has_and_this_version_has_not_is_left_over() {
    let (server, cluster) = connect(installed());
    let old = json!({"metadata": {"name": "weft-old", "labels": {"app.kubernetes.io/part-of": "weft"}}});
    server.put("/apis/rbac.authorization.k8s.io/v1/clusterroles/weft-old", old);
    let others = json!({"metadata": {"name": "view"}});
    server.put("/apis/rbac.authorization.k8s.io/v1/clusterroles/view", others);
    let existing = Existing::read(&cluster).await.unwrap().unwrap();
    let over: Vec<String> = existing.left_over(&manifest(&defaults())).iter().map(title).collect();
    assert_eq!(over, ["ClusterRole weft-old"]);
    assert_eq!(existing.values().unwrap(), defaults());
}

#[tokio::test]
async fn a_cluster_without_weft_has_no_installation() {
    let (_server, cluster) = connect(ApiServer::start());
    assert!(Existing::read(&cluster).await.unwrap().is_none());
}

#[tokio::test]
async fn what_helm_installed_stays_helms() {
    let server = installed();
    let path = "/apis/apps/v1/namespaces/weft-system/deployments/control-plane";
    let mut deployment = manifest(&defaults()).into_iter().find(|it| it["kind"] == "Deployment").unwrap();
    deployment["metadata"]["annotations"] = json!({"meta.helm.sh/release-name": "mesh"});
    server.put(path, deployment);
    let (_server, cluster) = connect(server);
    let existing = Existing::read(&cluster).await.unwrap().unwrap();
    assert_eq!(existing.by, By::Helm("mesh".to_owned()));
}

#[test]
fn who_has_sidecars_is_told_by_what_made_the_pods() {
    let pod = |name: &str| json!({"metadata": {"name": name, "namespace": "shop", "ownerReferences": [{"kind": "StatefulSet", "name": "db"}]}});
    assert_eq!(users(&[pod("db-0"), pod("db-1")]), ["sts/db in namespace shop: 2 pods have sidecars"]);
}
