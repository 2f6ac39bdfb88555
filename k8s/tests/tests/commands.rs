//! The commands for people who run the mesh, in a cluster that has it.

// Tests end where they go wrong, helpers included.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use weft_cluster_tests::{Cluster, Namespace};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// How checks ended, by id.
fn outcome<'a>(report: &'a Value, id: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("no check {id}"))
}

#[test]
fn check_finds_an_installation_in_order_and_says_what_is_not() {
    let test = "check_finds_an_installation_in_order_and_says_what_is_not";
    let Some(cluster) = Cluster::find(test) else { return };
    let namespace = Namespace::new(&cluster, "cmd-check");
    namespace.serve(1);
    namespace.apply(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: lost}
spec:
  parentRefs: [{group: '', kind: Service, name: gone, port: 80}]
  rules: [{backendRefs: [{name: reviews, port: 80}]}]
",
    );
    let wrong = format!("HTTPRoute {}/lost: there is no Service", namespace.name);
    if cluster.weft(&["--version"]).is_none() {
        return;
    }
    let report = cluster.until("a route that is not in force", |cluster| {
        let report = json(&cluster.weft(&["check", "--output", "json"])?.out);
        outcome(&report, "routes")["found"].as_str()?.contains(&wrong).then_some(report)
    });
    for id in [
        "api-server",
        "kubernetes-version",
        "gateway-api",
        "clock-here",
        "clock-nodes",
        "installed",
        "control-plane-ready",
        "control-plane-endpoints",
        "definitions",
        "status-lease",
        "roots",
        "roots-everywhere",
        "webhook-bundle",
        "webhook-certificate",
        "injector-settings",
        "injection",
    ] {
        let check = outcome(&report, id);
        assert_eq!(check["outcome"], "ok", "{check}");
    }
    assert_eq!(report["ok"], false);
}

#[test]
fn a_pods_sidecar_says_what_it_knows_and_counts() {
    let test = "a_pods_sidecar_says_what_it_knows_and_counts";
    let Some(cluster) = Cluster::find(test) else { return };
    let namespace = Namespace::new(&cluster, "cmd-ask");
    namespace.serve(2);
    let _load = namespace.load(20);
    let name = namespace.name.as_str();
    let Some(endpoints) = cluster.weft(&["get", "endpoints", "load", "-n", name, "--output", "json"]) else {
        return;
    };
    assert_eq!(endpoints.code, Some(0), "{}", endpoints.err);
    let endpoints = json(&endpoints.out);
    let known = endpoints["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["service"] == format!("{name}/reviews:80"));
    assert_eq!(known.unwrap()["endpoints"].as_array().unwrap().len(), 2, "{endpoints}");
    let top = cluster.weft(&["top", &format!("ns/{name}"), "--once", "--output", "json"]).unwrap();
    let top = json(&top.out);
    let edge = top["edges"]
        .as_array()
        .unwrap()
        .iter()
        .find(|edge| edge["from"] == "load" && edge["to"] == "reviews");
    let edge = edge.unwrap_or_else(|| panic!("{top}"));
    assert!(edge["mtls"] == true && edge["rate"].as_f64().unwrap() > 1.0, "{edge}");
    assert_eq!(edge["success_percent"], 100.0, "{edge}");
    let config = cluster.weft(&["config", "deploy/server", "-n", name]).unwrap();
    assert!(config.out.contains("certificate:") && config.err.contains("one of 2 pods"), "{config:?}");
    let explained =
        cluster.weft(&["explain", "GET", "http://reviews/", "--pod", &format!("load.{name}")]).unwrap();
    assert_eq!(explained.code, Some(0), "{explained:?}");
    let logs = cluster.weft(&["logs", "deploy/server", "-n", name, "--level", "debug"]).unwrap();
    assert!(logs.err.contains("logs debug now; before: info") && logs.out.contains("[server-"), "{logs:?}");
}

#[test]
fn an_upgrade_and_an_uninstallation_know_what_is_there() {
    let test = "an_upgrade_and_an_uninstallation_know_what_is_there";
    let Some(cluster) = Cluster::find(test) else { return };
    let namespace = Namespace::new(&cluster, "cmd-upgrade");
    namespace.serve(1);
    let Some(values) = cluster.weft(&["upgrade", "--show-values"]) else { return };
    assert_eq!(values.code, Some(0), "{}", values.err);
    let in_force = cluster.kubectl(&[
        "-n",
        "weft-system",
        "get",
        "deployment/control-plane",
        "-o",
        "jsonpath={.spec.template.spec.containers[0].image}",
    ]);
    let (repository, _) = in_force.rsplit_once('/').unwrap();
    assert!(values.out.contains(repository), "{in_force} of {}", values.out);
    let diff = cluster
        .weft(&["upgrade", "--diff", "--set", "controlPlane.logLevel=debug", "--output", "json"])
        .unwrap();
    let diff = json(&diff.out);
    let changed = diff["changed"].to_string();
    assert!(changed.contains("Deployment weft-system/control-plane") && changed.contains("debug"), "{diff}");
    let uninstall = cluster.weft(&["uninstall"]).unwrap();
    assert_eq!(uninstall.code, Some(1), "{uninstall:?}");
    assert!(
        uninstall.err.contains(&format!("deploy/server in namespace {}", namespace.name)),
        "{uninstall:?}"
    );
    let forced = cluster.weft(&["uninstall", "--force"]).unwrap();
    let deleted = cluster.try_kubectl(&["delete", "--dry-run=server", "-f", "-"], &forced.out).unwrap();
    assert!(deleted.contains("namespace \"weft-system\" deleted"), "{deleted}");
}
