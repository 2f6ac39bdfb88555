//! Whole checks, against an API server in process.

use std::time::SystemTime;

use serde_json::{Value, json};
use weft_identity::CaMaterial;
use weft_testkit::kubernetes::{ApiServer, Canned};

use super::*;
use crate::cluster::fake::connect;
use crate::cluster::kinds::path;
use crate::install::{defaults, manifest};

fn found<'a>(report: &'a Report, id: &str) -> &'a Check {
    let mut checks = report.sections.iter().flat_map(|section| &section.checks);
    checks.find(|check| check.id == id).unwrap_or_else(|| panic!("no {id} in {}", report.text(false)))
}

/// A cluster as it is a while after an installation, with a pod in namespace `shop`.
fn installed() -> (ApiServer, Canned, Canned) {
    let server = ApiServer::start();
    for document in manifest(&defaults()) {
        server.put(&path(&document).unwrap(), document);
    }
    let roots =
        CaMaterial::generate(&"cluster.local".parse().unwrap(), SystemTime::now()).unwrap().certificate_pem;
    let encoded = json!(k8s_openapi::ByteString(roots.clone().into_bytes()));
    let map = |namespace: &str| {
        json!({"metadata": {"name": "weft-roots", "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "weft-control-plane"}}, "data": {"roots.pem": roots}})
    };
    for namespace in ["shop", "weft-system"] {
        server.put(&format!("/api/v1/namespaces/{namespace}/configmaps/weft-roots"), map(namespace));
    }
    server.put(
        "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/weft-injector",
        json!({"metadata": {"name": "weft-injector", "labels": {"app.kubernetes.io/part-of": "weft"}},
            "webhooks": [{"clientConfig": {"caBundle": encoded}}]}),
    );
    let shop = json!({"metadata": {"name": "shop", "labels": {"mesh.weft.dev/inject": "enabled"}}});
    server.put("/api/v1/namespaces/shop", shop);
    let plane = json!({
        "metadata": {"name": "control-plane-0", "namespace": "weft-system", "labels": {
            "app.kubernetes.io/name": "control-plane", "app.kubernetes.io/part-of": "weft", "app.kubernetes.io/version": VERSION}},
        "status": {"phase": "Running", "podIP": "10.0.0.7", "containerStatuses": [{"restartCount": 0}]},
    });
    server.put("/api/v1/namespaces/weft-system/pods/control-plane-0", plane);
    server.put(
        "/apis/discovery.k8s.io/v1/namespaces/weft-system/endpointslices/control-plane-x",
        json!({"metadata": {"name": "control-plane-x", "labels": {"kubernetes.io/service-name": "control-plane"}},
            "endpoints": [{"addresses": ["10.0.0.7"]}]}),
    );
    let deployment = "/apis/apps/v1/namespaces/weft-system/deployments/control-plane";
    server.put(
        deployment,
        json!({"metadata": {"name": "control-plane", "labels": {"app.kubernetes.io/part-of": "weft", "app.kubernetes.io/version": VERSION}},
            "spec": {"replicas": 1}, "status": {"readyReplicas": 1, "updatedReplicas": 1}}),
    );
    let web = json!({
        "metadata": {"name": "web-0", "namespace": "shop", "labels": {"mesh.weft.dev/proxy": VERSION}, "annotations": {"mesh.weft.dev/status": "{}"}},
        "spec": {"initContainers": [{"name": "weft-proxy"}], "containers": [{"name": "web"}]},
        "status": {"phase": "Running", "initContainerStatuses": [{"name": "weft-proxy", "ready": true}]},
    });
    server.put("/api/v1/namespaces/shop/pods/web-0", web);
    let admin = Canned::start(&[
        ("/clients", r#"{"streams": [{"node": "web-0.shop", "types": [{"pending": 0, "refused": []}]}]}"#),
        ("/config", r#"{"resources": [], "errors": [], "warnings": []}"#),
    ]);
    server.forward("weft-system/control-plane-0", 15014, admin.address);
    let proxy = Canned::start(&[("/ready", "ready\n")]);
    server.forward("shop/web-0", 15000, proxy.address);
    (server, admin, proxy)
}

#[tokio::test]
async fn an_empty_cluster_is_told_what_it_lacks_before_the_installation() {
    let (server, cluster) = connect(ApiServer::start());
    let report = before(&cluster, &defaults()).await;
    assert!(report.is_ok(), "{}", report.text(false));
    assert_eq!(found(&report, "gateway-api").outcome, Outcome::Warning);
    assert_eq!(found(&report, "previous").found, "there is none");
    server.deny("create clusterroles.rbac.authorization.k8s.io");
    let report = before(&cluster, &defaults()).await;
    let denied = found(&report, "permissions");
    assert_eq!(denied.found, "you may not create clusterroles.rbac.authorization.k8s.io");
    assert!(!report.is_ok() && denied.hint.contains("cluster-admin"));
}

#[tokio::test]
async fn a_cluster_without_weft_is_told_how_to_install_it() {
    let (_server, cluster) = connect(ApiServer::start());
    let report = after(&cluster).await;
    let missing = found(&report, "installed");
    assert!(missing.outcome == Outcome::Failure && missing.hint.contains("weft install"), "{missing:?}");
    assert!(!report.sections.iter().any(|section| section.title == "proxies"), "nothing else is asked");
}

#[tokio::test]
async fn an_installation_is_looked_at_whole() {
    let (server, _admin, _proxy) = installed();
    let (_server, cluster) = connect(server);
    let report = after(&cluster).await;
    for id in [
        "api-server",
        "kubernetes-version",
        "clock-here",
        "installed",
        "control-plane-ready",
        "control-plane-pods",
        "control-plane-endpoints",
        "definitions",
        "roots",
        "roots-everywhere",
        "webhook-bundle",
        "injector-settings",
        "pod-security",
        "proxies-ready",
        "proxies-version",
        "proxies-synced",
        "no-sidecar",
        "protocols",
        "routes",
        "policies",
        "configuration",
    ] {
        assert_eq!(found(&report, id).outcome, Outcome::Ok, "{id}: {}", report.text(false));
    }
    // Nothing listens on the webhook's port here, and no webhook gives pods a sidecar.
    let certificate = found(&report, "webhook-certificate");
    assert!(
        certificate.outcome == Outcome::Failure && certificate.found.contains("control-plane-0"),
        "{certificate:?}"
    );
    assert!(found(&report, "injection").found.contains("in shop: it would have no sidecar"));
}

#[tokio::test]
async fn every_check_is_written_down() {
    let (server, _admin, _proxy) = installed();
    let (_server, cluster) = connect(server);
    let written = include_str!("../../../docs/checks.md");
    let rows = |when: &str| -> Vec<String> {
        let rows = written.lines().filter(|line| line.contains("| both |") || line.contains(when));
        rows.filter_map(|line| line.split('`').nth(1)).map(str::to_owned).collect()
    };
    for (report, when) in
        [(before(&cluster, &defaults()).await, "| `--pre` |"), (after(&cluster).await, "| after |")]
    {
        let mut made: Vec<&str> =
            report.sections.iter().flat_map(|it| &it.checks).map(|check| check.id).collect();
        let mut rows = rows(when);
        made.sort_unstable();
        rows.sort_unstable();
        assert_eq!(made, rows, "{when}");
    }
}

#[test]
fn what_is_told_to_people_and_to_programs_is_the_same() {
    let report = Report {
        sections: vec![Section {
            title: "kubernetes",
            checks: vec![
                Check::ok("api-server", "API server", "v1.34.0"),
                Check::warning("gateway-api", "Gateway API", "no HTTPRoute", "install it"),
                Check::failure("clock-nodes", "nodes' clocks", "a is ahead", "set it"),
            ],
        }],
    };
    let expected = "\
kubernetes
  ok       API server: v1.34.0
  warning  Gateway API: no HTTPRoute
           install it (gateway-api)
  FAILURE  nodes' clocks: a is ahead
           set it (clock-nodes)

1 ok, 1 warning, 1 failure";
    assert_eq!(report.text(false), expected);
    assert!(report.text(true).contains("\x1b[31mFAILURE\x1b[0m"));
    let json = report.json();
    assert_eq!((&json["ok"], &json["checks"][1]["outcome"]), (&Value::Bool(false), &json!("warning")));
    assert_eq!(json["checks"][2]["section"], "kubernetes");
}
