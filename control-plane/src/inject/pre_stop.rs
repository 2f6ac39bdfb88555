//! Time between the moment that a pod is told to end and that its containers are. Kubernetes tells both at once those who
//! call a pod and the pod itself: without it an application is gone before they have heard, and what they send is refused.

use serde_json::{Value, json};

use super::containers::MONITOR_PORT;

/// Of the time that a pod has to end, at most this part is spent before anything ends: a third.
const PART: u64 = 3;

/// How long the containers of a pod that has `grace` seconds to end are held, in seconds.
pub(super) fn seconds(asked: u64, grace: u64) -> u64 {
    asked.min(grace / PART)
}

/// Has each container wait that says nothing of its end, a plain proxy among them: the proxy, which the kubelet asks, holds
/// the answer back. Pods that end by themselves are nobody's servers.
pub(super) fn add(spec: &mut Value, seconds: u64) {
    let ends = matches!(spec["restartPolicy"].as_str(), Some("Never" | "OnFailure"));
    if seconds == 0 || ends {
        return;
    }
    for container in spec.get_mut("containers").and_then(Value::as_array_mut).into_iter().flatten() {
        let lifecycle = &container["lifecycle"];
        let silent = (lifecycle.is_null() || lifecycle.is_object()) && lifecycle["preStop"].is_null();
        if silent {
            container["lifecycle"]["preStop"] = json!({"httpGet": {"path": format!("/hold/{seconds}"), "port": MONITOR_PORT, "scheme": "HTTP"}});
        }
    }
}
