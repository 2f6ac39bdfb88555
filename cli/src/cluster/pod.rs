//! What a pod's object says about its sidecar.

use serde_json::Value;
use weft_control_plane::Settings;
use weft_control_plane::inject::{Cluster, Outcome, PROXY, PROXY_LABEL, STATUS_ANNOTATION, inject};

/// A pod's object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pod<'a>(pub(crate) &'a Value);

impl<'a> Pod<'a> {
    fn text(self, pointer: &str) -> &'a str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn name(self) -> &'a str {
        self.text("/metadata/name")
    }

    pub(crate) fn namespace(self) -> &'a str {
        self.text("/metadata/namespace")
    }

    /// `namespace/name`.
    pub(crate) fn title(self) -> String {
        format!("{}/{}", self.namespace(), self.name())
    }

    /// As its proxy calls itself.
    pub(crate) fn workload(self) -> String {
        format!("{}.{}", self.name(), self.namespace())
    }

    /// Why its containers don't run, or `None` where they do.
    pub(crate) fn not_running(self) -> Option<String> {
        if !self.0["metadata"]["deletionTimestamp"].is_null() {
            return Some("is about to end".to_owned());
        }
        match self.text("/status/phase") {
            "Running" => None,
            // The proxy runs before the others do.
            "Pending" if self.proxy_status().is_some_and(|status| status["started"] == true) => None,
            "" => Some("has no status yet".to_owned()),
            phase => Some(format!("is {phase}")),
        }
    }

    /// Whether it is over for good, such as a Job's.
    pub(crate) fn is_over(self) -> bool {
        matches!(self.text("/status/phase"), "Succeeded" | "Failed")
            || !self.0["metadata"]["deletionTimestamp"].is_null()
    }

    /// Whether it has a sidecar.
    pub(crate) fn is_meshed(self) -> bool {
        !self.0["metadata"]["annotations"][STATUS_ANNOTATION].is_null()
            && ["/spec/initContainers", "/spec/containers"].iter().any(|list| {
                let containers = self.0.pointer(list).and_then(Value::as_array);
                containers.into_iter().flatten().any(|container| container["name"] == PROXY)
            })
    }

    /// The version of its sidecar, as the injector wrote it; empty where it can't be told.
    pub(crate) fn proxy_version(self) -> String {
        if let Some(version) = self.0["metadata"]["labels"][PROXY_LABEL].as_str() {
            return version.to_owned();
        }
        let status = self.0["metadata"]["annotations"][STATUS_ANNOTATION].as_str().unwrap_or_default();
        let status: Value = serde_json::from_str(status).unwrap_or_default();
        status["version"].as_str().unwrap_or_default().to_owned()
    }

    /// What the kubelet says of its sidecar.
    pub(crate) fn proxy_status(self) -> Option<&'a Value> {
        ["/status/initContainerStatuses", "/status/containerStatuses"].iter().find_map(|list| {
            let statuses = self.0.pointer(list).and_then(Value::as_array);
            statuses.into_iter().flatten().find(|status| status["name"] == PROXY)
        })
    }

    /// Whether its sidecar takes requests, by the kubelet's probes.
    pub(crate) fn is_proxy_ready(self) -> bool {
        self.proxy_status().is_some_and(|status| status["ready"] == true)
    }

    /// What made it: `deploy/web` for the pods of a Deployment; itself when nothing did.
    pub(crate) fn owner(self) -> String {
        let owner = &self.0["metadata"]["ownerReferences"][0];
        let name = owner["name"].as_str().unwrap_or_default();
        let hash = self.text("/metadata/labels/pod-template-hash");
        match owner["kind"].as_str().unwrap_or_default() {
            "" => format!("pod/{}", self.name()),
            "ReplicaSet" => match name.strip_suffix(hash).and_then(|name| name.strip_suffix('-')) {
                Some(deployment) if !hash.is_empty() => format!("deploy/{deployment}"),
                _ => format!("rs/{name}"),
            },
            "StatefulSet" => format!("sts/{name}"),
            "DaemonSet" => format!("ds/{name}"),
            "Job" => format!("job/{name}"),
            other => format!("{}/{name}", other.to_lowercase()),
        }
    }

    /// Why it has no sidecar, and what to do; `enabled` says whether its namespace asks for them.
    pub(crate) fn why_without(self, enabled: bool) -> String {
        let label = self.0["metadata"]["labels"]["mesh.weft.dev/inject"].as_str();
        if label.is_none() && !enabled {
            return format!(
                "neither it nor namespace {0} has the label mesh.weft.dev/inject=enabled: \
                 kubectl label namespace {0} mesh.weft.dev/inject=enabled, then restart {1}",
                self.namespace(),
                self.owner()
            );
        }
        let cluster = Cluster { native_sidecars: true };
        match inject(self.0, Some(self.namespace()), &Settings::default(), cluster) {
            Outcome::Left(reason) | Outcome::Refused(reason) => reason,
            Outcome::Injected { .. } | Outcome::Complete => format!(
                "it was made before the label, or while the injector could not be asked: \
                 kubectl -n {} rollout restart {}",
                self.namespace(),
                self.owner()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(change: impl Fn(&mut Value)) -> Value {
        let mut pod = json!({
            "metadata": {"name": "web-7f-x2", "namespace": "shop", "labels": {"pod-template-hash": "7f"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "web-7f"}]},
            "spec": {"containers": [{"name": "web"}]},
            "status": {"phase": "Running"},
        });
        change(&mut pod);
        pod
    }

    #[test]
    fn a_pods_owner_is_what_people_restart() {
        assert_eq!(Pod(&pod(|_| {})).owner(), "deploy/web");
        assert_eq!(
            Pod(&pod(|pod| pod["metadata"]["ownerReferences"][0]["kind"] = json!("StatefulSet"))).owner(),
            "sts/web-7f"
        );
        assert_eq!(
            Pod(&pod(|pod| pod["metadata"]["ownerReferences"] = json!(null))).owner(),
            "pod/web-7f-x2"
        );
    }

    #[test]
    fn a_sidecar_is_a_container_that_was_injected() {
        let meshed = pod(|pod| {
            pod["metadata"]["annotations"][STATUS_ANNOTATION] = json!(r#"{"version":"0.1.0"}"#);
            pod["spec"]["initContainers"] = json!([{"name": PROXY}]);
            pod["status"]["initContainerStatuses"] = json!([{"name": PROXY, "ready": true}]);
        });
        let meshed = Pod(&meshed);
        assert!(meshed.is_meshed() && meshed.is_proxy_ready());
        assert_eq!(meshed.proxy_version(), "0.1.0");
        let copied = pod(|pod| pod["metadata"]["annotations"][STATUS_ANNOTATION] = json!("{}"));
        assert!(!Pod(&copied).is_meshed());
    }

    #[test]
    fn why_there_is_no_sidecar_is_what_the_injector_would_say() {
        let why = |pod: &Value, enabled| Pod(pod).why_without(enabled);
        assert!(why(&pod(|_| {}), false).contains("kubectl label namespace shop"));
        assert!(why(&pod(|_| {}), true).contains("kubectl -n shop rollout restart deploy/web"));
        let host = pod(|pod| pod["spec"]["hostNetwork"] = json!(true));
        assert!(why(&host, true).contains("hostNetwork"));
        let off = pod(|pod| pod["metadata"]["labels"]["mesh.weft.dev/inject"] = json!("disabled"));
        assert!(why(&off, true).contains("disabled"));
    }
}
