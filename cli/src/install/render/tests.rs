//! What an installation holds, whoever renders it.

use std::collections::BTreeSet;

use super::*;
use crate::install::yaml;

fn kinds(documents: &[Value]) -> Vec<&str> {
    documents.iter().map(|document| document["kind"].as_str().unwrap()).collect()
}

fn find<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    documents.iter().find(|document| document["kind"] == kind).unwrap()
}

fn everything() -> Values {
    let mut values = Values::default();
    values.namespace.create = true;
    values.control_plane.autoscaling.enabled = true;
    values.monitoring.pod_monitor.enabled = true;
    values.monitoring.rules.enabled = true;
    values.monitoring.dashboards.enabled = true;
    values.cni.enabled = true;
    values
}

#[test]
fn definitions_and_namespace_come_first_and_what_admits_pods_last() {
    let made = documents(&everything());
    let kinds = kinds(&made);
    let position = |wanted: &str| kinds.iter().position(|kind| *kind == wanted).unwrap();
    assert_eq!(position("CustomResourceDefinition"), 0);
    assert_eq!(position("Namespace"), custom_resource_definitions().len());
    assert!(position("ServiceAccount") < position("Deployment"));
    assert_eq!(kinds.last(), Some(&"MutatingWebhookConfiguration"));
}

#[test]
fn every_document_is_named_once() {
    let made = documents(&everything());
    let names: BTreeSet<(&str, &str)> = made
        .iter()
        .map(|document| {
            (
                document["kind"].as_str().unwrap(),
                document.pointer("/metadata/name").unwrap().as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(names.len(), made.len());
}

#[test]
fn what_is_written_is_what_was_meant() {
    let made = documents(&everything());
    let read: Vec<Value> = serde_saphyr::from_multiple(&yaml::stream(&made)).unwrap();
    assert_eq!(read, made);
}

#[test]
fn what_is_off_is_not_there() {
    let mut values = Values::default();
    values.crds.install = false;
    values.network_policy.enabled = false;
    values.control_plane.disruption_budget.enabled = false;
    let made = documents(&values);
    let kinds = kinds(&made);
    for absent in [
        "CustomResourceDefinition",
        "Namespace",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "HorizontalPodAutoscaler",
        "PodMonitor",
        "PrometheusRule",
        "DaemonSet",
    ] {
        assert!(!kinds.contains(&absent), "{absent}");
    }
}

#[test]
fn the_control_plane_fits_into_a_restricted_namespace() {
    let made = documents(&Values::default());
    let pod = find(&made, "Deployment").pointer("/spec/template/spec").unwrap();
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(container["readOnlyRootFilesystem"], true);
}

#[test]
fn the_autoscaler_alone_decides_how_many_there_are() {
    let scaled = documents(&everything());
    assert_eq!(find(&scaled, "Deployment").pointer("/spec/replicas"), None);
    let fixed = documents(&Values::default());
    assert_eq!(find(&fixed, "Deployment").pointer("/spec/replicas"), Some(&json!(2)));
}

#[test]
fn only_named_secrets_are_read_and_nothing_is_deleted() {
    let made = documents(&everything());
    for role in made.iter().filter(|document| document["rules"].is_array()) {
        for rule in role["rules"].as_array().unwrap() {
            let verbs = rule["verbs"].as_array().unwrap();
            assert!(!verbs.contains(&json!("delete")) && !verbs.contains(&json!("*")), "{rule}");
            if rule["resources"].as_array().unwrap().contains(&json!("secrets")) {
                assert_eq!(role["kind"], "Role");
                assert!(rule["resourceNames"].is_array() || verbs == &[json!("create")], "{rule}");
            }
        }
    }
}

#[test]
fn the_authority_that_somebody_else_keeps_may_be_read() {
    let mut values = Values::default();
    values.ca.secret = "issuer".to_owned();
    let made = documents(&values);
    let rules = find(&made, "Role")["rules"].as_array().unwrap();
    let named: Vec<&Value> = rules.iter().filter(|rule| rule["resourceNames"][0] == "issuer").collect();
    assert_eq!(named.len(), 1);
    assert_eq!(named[0]["verbs"], json!(["get", "list", "watch"]));
}

#[test]
fn every_own_kind_may_be_read_and_its_status_written() {
    let made = documents(&Values::default());
    let rules = find(&made, "ClusterRole")["rules"].as_array().unwrap();
    let may = |resource: &str, verb: &str| {
        rules.iter().any(|rule| {
            rule["apiGroups"] == json!(["mesh.weft.dev"])
                && rule["resources"].as_array().unwrap().contains(&json!(resource))
                && rule["verbs"].as_array().unwrap().contains(&json!(verb))
        })
    };
    for (plural, _) in custom_resource_definitions() {
        assert!(may(&plural, "watch") && may(&format!("{plural}/status"), "patch"), "{plural}");
    }
}

#[test]
fn no_pod_of_the_mesh_or_of_the_system_waits_for_the_webhook() {
    let made = documents(&Values::default());
    let hooks = find(&made, "MutatingWebhookConfiguration")["webhooks"].as_array().unwrap();
    for hook in hooks {
        let expressions = hook.pointer("/namespaceSelector/matchExpressions").unwrap().as_array().unwrap();
        let never = json!({
            "key": "kubernetes.io/metadata.name",
            "operator": "NotIn",
            "values": ["kube-system", "weft-system"],
        });
        assert!(expressions.contains(&never), "{hook}");
    }
}

#[test]
fn other_settings_make_other_pods() {
    let mut values = Values::default();
    let annotation = |values: &Values| {
        let made = documents(values);
        let found = find(&made, "Deployment").pointer("/spec/template/metadata/annotations").unwrap();
        found["mesh.weft.dev/settings"].clone()
    };
    let before = annotation(&values);
    values.proxy.log_level = "debug".to_owned();
    assert_ne!(before, annotation(&values));
}
