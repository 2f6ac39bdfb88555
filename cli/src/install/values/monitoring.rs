//! What Prometheus and Grafana get of an installation.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Metrics for Prometheus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Monitoring {
    /// Whether pods of the control plane, and pods with a sidecar that have none of their own, get `prometheus.io/`
    /// annotations.
    pub(crate) scrape_annotations: bool,
    /// `PodMonitors` for Prometheus' operator.
    pub(crate) pod_monitor: PodMonitor,
    /// The alerts of `k8s/dashboards/rules.yaml` for Prometheus' operator.
    pub(crate) rules: Rules,
    /// Grafana's dashboards of `k8s/dashboards`.
    pub(crate) dashboards: Dashboards,
}

impl Default for Monitoring {
    fn default() -> Self {
        Self {
            scrape_annotations: true,
            pod_monitor: PodMonitor::default(),
            rules: Rules::default(),
            dashboards: Dashboards::default(),
        }
    }
}

/// The alerts for Prometheus' operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Rules {
    /// Whether there is a `PrometheusRule`.
    pub(crate) enabled: bool,
    /// Labels by which the operator finds it.
    pub(crate) labels: BTreeMap<String, String>,
}

/// Grafana's dashboards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Dashboards {
    /// Whether there is a `ConfigMap` of each.
    pub(crate) enabled: bool,
    /// Labels by which Grafana's sidecar finds them.
    pub(crate) labels: BTreeMap<String, String>,
}

impl Default for Dashboards {
    fn default() -> Self {
        let labels = BTreeMap::from([("grafana_dashboard".to_owned(), "1".to_owned())]);
        Self { enabled: false, labels }
    }
}

/// `PodMonitors` for Prometheus' operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct PodMonitor {
    /// Whether they are there: one for the control plane, one for all sidecars.
    pub(crate) enabled: bool,
    /// Time between two reads.
    pub(crate) interval: String,
    /// Labels by which the operator finds them.
    pub(crate) labels: BTreeMap<String, String>,
}

impl Default for PodMonitor {
    fn default() -> Self {
        Self { enabled: false, interval: "30s".to_owned(), labels: BTreeMap::new() }
    }
}
