//! Where objects of a kind are in the API.

use serde_json::Value;

/// A kind that an installation is made of, now or in an earlier version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// As in `apiVersion`.
    pub(crate) api_version: &'static str,
    /// As in `kind`.
    pub(crate) name: &'static str,
    /// As in paths.
    pub(crate) plural: &'static str,
    /// Whether its objects are in namespaces.
    pub(crate) namespaced: bool,
}

const fn kind(api_version: &'static str, name: &'static str, plural: &'static str, namespaced: bool) -> Kind {
    Kind { api_version, name, plural, namespaced }
}

/// All of them, in the order in which they are taken away: what holds up pods first, what holds everything else last.
pub(crate) const KINDS: [Kind; 17] = [
    kind(
        "admissionregistration.k8s.io/v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        false,
    ),
    kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true),
    kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", true),
    kind("monitoring.coreos.com/v1", "PodMonitor", "podmonitors", true),
    kind("apps/v1", "Deployment", "deployments", true),
    kind("apps/v1", "DaemonSet", "daemonsets", true),
    kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", true),
    kind("v1", "Service", "services", true),
    kind("v1", "ConfigMap", "configmaps", true),
    kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", true),
    kind("rbac.authorization.k8s.io/v1", "Role", "roles", true),
    kind("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", false),
    kind("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", false),
    kind("v1", "ServiceAccount", "serviceaccounts", true),
    kind("gateway.networking.x-k8s.io/v1alpha1", "XMesh", "xmeshes", false),
    kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", false),
    kind("v1", "Namespace", "namespaces", false),
];

impl Kind {
    /// The API group; empty for Kubernetes' core.
    pub(crate) fn group(self) -> &'static str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// The path of its list: of one namespace, or of the whole cluster.
    pub(crate) fn list(self, namespace: Option<&str>) -> String {
        let root = if self.group().is_empty() { "/api" } else { "/apis" };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/{}/namespaces/{namespace}/{}", self.api_version, self.plural),
            None => format!("{root}/{}/{}", self.api_version, self.plural),
        }
    }
}

/// The kind of this name.
pub(crate) fn of(name: &str) -> Option<Kind> {
    KINDS.into_iter().find(|kind| kind.name == name)
}

/// The path of a document's object.
pub(crate) fn path(document: &Value) -> Result<String, String> {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (name, kind) = (text("/metadata/name"), text("/kind"));
    let namespace = text("/metadata/namespace");
    // A pod is only ever tried, and is no part of an installation.
    if kind == "Pod" {
        return Ok(format!("/api/v1/namespaces/{namespace}/pods/{name}"));
    }
    let kind = of(kind).ok_or_else(|| format!("kind {kind:?} is no part of an installation"))?;
    Ok(format!("{}/{name}", kind.list(Some(namespace))))
}

/// `Deployment weft-system/control-plane`, as people are told of an object.
pub(crate) fn title(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (kind, name, namespace) = (text("/kind"), text("/metadata/name"), text("/metadata/namespace"));
    if namespace.is_empty() { format!("{kind} {name}") } else { format!("{kind} {namespace}/{name}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::install::{Values, documents};

    #[test]
    fn everything_that_can_be_installed_has_its_place() {
        let mut values = Values::default();
        values.namespace.create = true;
        values.control_plane.autoscaling.enabled = true;
        values.monitoring.pod_monitor.enabled = true;
        values.cni.enabled = true;
        for document in documents(&values) {
            let kind = of(document["kind"].as_str().unwrap()).unwrap();
            assert_eq!(kind.api_version, document["apiVersion"], "{}", title(&document));
            assert_eq!(
                kind.namespaced,
                document["metadata"]["namespace"].is_string(),
                "{}",
                title(&document)
            );
            assert!(path(&document).is_ok());
        }
    }

    #[test]
    fn paths_are_those_of_the_api() {
        let object = |api: &str, kind: &str| json!({"apiVersion": api, "kind": kind, "metadata": {"name": "a", "namespace": "n"}});
        assert_eq!(
            path(&object("apps/v1", "Deployment")).unwrap(),
            "/apis/apps/v1/namespaces/n/deployments/a"
        );
        assert_eq!(path(&object("v1", "ConfigMap")).unwrap(), "/api/v1/namespaces/n/configmaps/a");
        assert_eq!(
            path(&json!({"kind": "Namespace", "metadata": {"name": "n"}})).unwrap(),
            "/api/v1/namespaces/n"
        );
        assert!(path(&json!({"kind": "Widget"})).unwrap_err().contains("Widget"));
    }
}
