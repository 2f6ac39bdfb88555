//! Metrics for Prometheus' operator.

use serde_json::{Value, json};

use super::{CONTROL_PLANE, Values, labelled, metadata, selected};
use crate::install::PROXY_LABEL;

/// One `PodMonitor` for the control plane, one for all sidecars.
pub(super) fn documents(values: &Values) -> Vec<Value> {
    let monitor = &values.monitoring.pod_monitor;
    if !monitor.enabled {
        return Vec::new();
    }
    let labels = |mut metadata: Value| {
        metadata["labels"] = json!(monitor.labels);
        metadata
    };
    let endpoint = |port: u16| json!([{ "honorLabels": false, "interval": monitor.interval, "path": "/metrics", "portNumber": port }]);
    [
        json!({
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PodMonitor",
            "metadata": labels(metadata(CONTROL_PLANE)),
            "spec": {
                "podMetricsEndpoints": endpoint(15014),
                "selector": { "matchLabels": selected() },
            },
        }),
        json!({
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PodMonitor",
            "metadata": labels(metadata("weft-proxies")),
            "spec": {
                "namespaceSelector": { "any": true },
                "podMetricsEndpoints": endpoint(15020),
                "selector": { "matchExpressions": [{ "key": PROXY_LABEL, "operator": "Exists" }] },
            },
        }),
    ]
    .map(labelled)
    .into()
}
