//! Who the control plane is to the API server, and what it may do there: no more than what it does.

use serde_json::{Value, json};
use weft_resource::custom_resource_definitions;

use super::{CONTROL_PLANE, NAMESPACE, Values, labelled, metadata};
use crate::install::INJECTOR;

/// Name of the cluster-wide role.
pub(super) const CLUSTER_ROLE: &str = "weft-control-plane";
const RBAC: &str = "rbac.authorization.k8s.io";

/// The account, its roles and their bindings.
pub(super) fn documents(values: &Values) -> Vec<Value> {
    let subjects = json!([{ "kind": "ServiceAccount", "name": CONTROL_PLANE, "namespace": NAMESPACE }]);
    let binding = |kind: &str, role: &str, metadata: Value| {
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": kind,
            "metadata": metadata,
            "roleRef": { "apiGroup": RBAC, "kind": role, "name": role_name(role) },
            "subjects": subjects,
        })
    };
    [
        json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": metadata(CONTROL_PLANE),
            "automountServiceAccountToken": false,
        }),
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "ClusterRole",
            "metadata": { "name": CLUSTER_ROLE },
            "rules": cluster_rules(),
        }),
        binding("ClusterRoleBinding", "ClusterRole", json!({ "name": CLUSTER_ROLE })),
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "Role",
            "metadata": metadata(CONTROL_PLANE),
            "rules": own_rules(values),
        }),
        binding("RoleBinding", "Role", metadata(CONTROL_PLANE)),
    ]
    .map(labelled)
    .into()
}

fn role_name(role: &str) -> &'static str {
    if role == "ClusterRole" { CLUSTER_ROLE } else { CONTROL_PLANE }
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({ "apiGroups": [group], "resources": resources, "verbs": verbs })
}

fn named(group: &str, resources: &[&str], names: &[&str], verbs: &[&str]) -> Value {
    json!({ "apiGroups": [group], "resources": resources, "resourceNames": names, "verbs": verbs })
}

/// In the whole cluster.
fn cluster_rules() -> Vec<Value> {
    let read = ["get", "list", "watch"];
    let gateway = "gateway.networking.k8s.io";
    let experimental = "gateway.networking.x-k8s.io";
    let own = "mesh.weft.dev";
    let mut kinds: Vec<String> =
        custom_resource_definitions().into_iter().map(|(plural, _)| plural).collect();
    kinds.sort();
    let statuses: Vec<String> = kinds.iter().map(|kind| format!("{kind}/status")).collect();
    vec![
        rule("", &["services", "pods", "namespaces"], &read),
        rule("discovery.k8s.io", &["endpointslices"], &read),
        rule(gateway, &["httproutes", "grpcroutes", "tlsroutes", "tcproutes", "referencegrants"], &read),
        rule(
            gateway,
            &["httproutes/status", "grpcroutes/status", "tlsroutes/status", "tcproutes/status"],
            &["patch"],
        ),
        // An object that is made by applying it has a name for the role only afterwards.
        rule(experimental, &["xmeshes"], &["create"]),
        named(experimental, &["xmeshes"], &["weft"], &["patch"]),
        named(experimental, &["xmeshes/status"], &["weft"], &["patch"]),
        rule(own, &texts(&kinds), &read),
        rule(own, &texts(&statuses), &["patch"]),
        // Whether a proxy's token is one.
        rule("authentication.k8s.io", &["tokenreviews"], &["create"]),
        // The roots, for every namespace. A new object has no name yet that a role could go by.
        rule("", &["configmaps"], &["create"]),
        named("", &["configmaps"], &["weft-roots"], &["list", "watch", "patch"]),
        // Its own certificate's root, for the API server.
        named(
            "admissionregistration.k8s.io",
            &["mutatingwebhookconfigurations"],
            &[INJECTOR],
            &["list", "watch", "patch"],
        ),
    ]
}

fn texts(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// In the mesh's namespace.
fn own_rules(values: &Values) -> Vec<Value> {
    // What somebody else keeps is read, and an own root is made.
    let authority = if values.ca.secret.is_empty() { "weft-ca" } else { &values.ca.secret };
    vec![
        rule("", &["secrets"], &["create"]),
        named("", &["secrets"], &[authority, "weft-tokens"], &["get", "list", "watch"]),
        // What is revoked.
        named("", &["configmaps"], &["weft-revocations"], &["get", "list", "watch"]),
        // The roots that the mesh believes.
        named("", &["secrets"], &["weft-trust"], &["get", "list", "watch", "update"]),
        rule("coordination.k8s.io", &["leases"], &["create"]),
        named("coordination.k8s.io", &["leases"], &["weft-status"], &["get", "update"]),
    ]
}
