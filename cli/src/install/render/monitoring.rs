//! What reads metrics: Prometheus, by its operator, and Grafana.

use serde_json::{Value, json};

use super::{CONTROL_PLANE, Values, labelled, metadata, selected};
use crate::install::PROXY_LABEL;

/// Alerts, as Prometheus reads them.
const RULES: &str = include_str!("../../../../k8s/dashboards/rules.yaml");
/// Dashboards: name of the file, and what is in it.
const DASHBOARDS: [(&str, &str); 2] = [
    ("control-plane", include_str!("../../../../k8s/dashboards/control-plane.json")),
    ("mesh", include_str!("../../../../k8s/dashboards/mesh.json")),
];

/// Those that are wanted.
pub(super) fn documents(values: &Values) -> Vec<Value> {
    let monitoring = &values.monitoring;
    let with = |mut metadata: Value, labels| {
        metadata["labels"] = json!(labels);
        metadata
    };
    let mut made = pod_monitors(values);
    if monitoring.rules.enabled {
        let spec: Value = serde_saphyr::from_str(RULES).expect("the rules are YAML, as their test shows");
        made.push(json!({
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": with(metadata("weft"), &monitoring.rules.labels),
            "spec": spec,
        }));
    }
    if monitoring.dashboards.enabled {
        made.extend(DASHBOARDS.map(|(name, text)| {
            json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": with(metadata(&format!("weft-dashboard-{name}")), &monitoring.dashboards.labels),
                "data": { format!("{name}.json"): text },
            })
        }));
    }
    made.into_iter().map(labelled).collect()
}

/// One `PodMonitor` for the control plane, one for all sidecars.
fn pod_monitors(values: &Values) -> Vec<Value> {
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
                "podMetricsEndpoints": endpoint(15020),
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
    .into()
}
