//! The webhook that adds sidecars to pods.

use serde_json::{Value, json};

use super::{CONTROL_PLANE, INJECT_LABEL, NAMESPACE, Values, labelled};
use crate::install::INJECTOR;

/// The `MutatingWebhookConfiguration`. The control plane writes the root of its certificate into it.
///
/// A pod's label wins over its namespace's, which takes two selections: pods of namespaces that are enabled unless they
/// say no, and pods of other namespaces that say yes. No other pod depends on the webhook.
pub(super) fn document(values: &Values) -> Value {
    let mut never = vec!["kube-system".to_owned(), NAMESPACE.to_owned()];
    never.extend(values.injector.excluded_namespaces.iter().cloned());
    let outside = json!({ "key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": never });
    let label =
        |operator: &str, value: &str| json!({ "key": INJECT_LABEL, "operator": operator, "values": [value] });
    labelled(json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": INJECTOR },
        "webhooks": [
            webhook(
                values,
                "injector.mesh.weft.dev",
                &json!([label("In", "enabled"), outside]),
                &json!([label("NotIn", "disabled")]),
            ),
            webhook(
                values,
                "pods.injector.mesh.weft.dev",
                &json!([label("NotIn", "enabled"), outside]),
                &json!([label("In", "enabled")]),
            ),
        ],
    }))
}

fn webhook(values: &Values, name: &str, namespaces: &Value, pods: &Value) -> Value {
    json!({
        "name": name,
        "admissionReviewVersions": ["v1"],
        "clientConfig": {
            "service": { "name": CONTROL_PLANE, "namespace": NAMESPACE, "path": "/inject", "port": 443 },
        },
        "failurePolicy": values.injector.failure_policy,
        "matchPolicy": "Equivalent",
        "namespaceSelector": { "matchExpressions": namespaces },
        "objectSelector": { "matchExpressions": pods },
        // Another webhook may add containers afterwards.
        "reinvocationPolicy": "IfNeeded",
        "rules": [
            rule("CREATE", "pods"),
            // They may not run as the sidecar's user, either.
            rule("UPDATE", "pods/ephemeralcontainers"),
        ],
        "sideEffects": "None",
        "timeoutSeconds": values.injector.timeout_seconds,
    })
}

fn rule(operation: &str, resource: &str) -> Value {
    json!({
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": [operation],
        "resources": [resource],
        "scope": "Namespaced",
    })
}
