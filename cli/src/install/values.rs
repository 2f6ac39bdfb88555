//! What can be chosen of an installation.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

mod monitoring;

pub(crate) use monitoring::Monitoring;

/// Everything that can be chosen. The defaults are those of the chart's `values.yaml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Values {
    /// Where images come from.
    pub(crate) image: Image,
    /// The namespace `weft-system`.
    pub(crate) namespace: Namespace,
    /// The definitions of Weft's own kinds.
    pub(crate) crds: Crds,
    /// Name that all identities begin with: `spiffe://<trust domain>/ns/<namespace>/sa/<account>`.
    pub(crate) trust_domain: TrustDomain,
    /// The certificate authority.
    pub(crate) ca: Ca,
    /// The control plane.
    pub(crate) control_plane: ControlPlane,
    /// The sidecars.
    pub(crate) proxy: Proxy,
    /// The webhook that adds sidecars to pods.
    pub(crate) injector: Injector,
    /// The plugin that redirects traffic where pods may not have `NET_ADMIN`.
    pub(crate) cni: Cni,
    /// The policy that lets in to the control plane what it serves, and nothing else.
    pub(crate) network_policy: NetworkPolicy,
    /// Metrics for Prometheus.
    pub(crate) monitoring: Monitoring,
    /// `OpenShift` gives each namespace its own range of user ids, so that the control plane names none, and lets only
    /// privileged containers write to nodes, as the CNI plugin's does.
    pub(crate) openshift: bool,
}

/// The policy that lets in to the control plane what it serves, and nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct NetworkPolicy {
    /// Whether it is there.
    pub(crate) enabled: bool,
}

impl Default for NetworkPolicy {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// Where images come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Image {
    /// What stands before `/weft-proxy` and `/weft-control-plane`.
    pub(crate) repository: String,
    /// Tag of the images; the version when empty.
    pub(crate) tag: String,
    /// When nodes ask the registry.
    pub(crate) pull_policy: PullPolicy,
    /// Names of Secrets in `weft-system` with credentials of the registry.
    pub(crate) pull_secrets: Vec<String>,
}

impl Default for Image {
    fn default() -> Self {
        Self {
            repository: "ghcr.io/weft-mesh".to_owned(),
            tag: String::new(),
            pull_policy: PullPolicy::IfNotPresent,
            pull_secrets: Vec::new(),
        }
    }
}

/// When nodes ask the registry for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub(crate) enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

/// The namespace `weft-system`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Namespace {
    /// Whether the namespace is one of the documents. `weft install` says yes; Helm wants it to exist before.
    pub(crate) create: bool,
}

/// The definitions of Weft's own kinds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Crds {
    /// Whether they are among the documents.
    pub(crate) install: bool,
}

impl Default for Crds {
    fn default() -> Self {
        Self { install: true }
    }
}

/// A trust domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct TrustDomain(#[schemars(regex(pattern = r"^[a-z0-9._-]{1,255}$"))] pub(crate) String);

impl Default for TrustDomain {
    fn default() -> Self {
        Self("cluster.local".to_owned())
    }
}

/// The certificate authority.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Ca {
    /// Secret in `weft-system` with an intermediate to sign with (`tls.crt`, `tls.key`, `ca.crt`), such as cert-manager
    /// makes. When empty, the control plane makes a root of its own and keeps it in the Secret `weft-ca`.
    pub(crate) secret: String,
}

/// The control plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ControlPlane {
    /// Pods, unless `autoscaling` decides.
    #[schemars(range(min = 1))]
    pub(crate) replicas: u32,
    /// What is logged: `error`, `warn`, `info`, `debug` or `trace`, or a filter by module.
    pub(crate) log_level: String,
    /// Options after the others.
    pub(crate) extra_args: Vec<String>,
    /// Requests and limits of the container.
    pub(crate) resources: Resources,
    /// More pods under load.
    pub(crate) autoscaling: Autoscaling,
    /// How many pods may be taken away at once on purpose.
    pub(crate) disruption_budget: DisruptionBudget,
    /// Whether pods keep away from each other's nodes. `affinity` takes its place when given.
    pub(crate) anti_affinity: AntiAffinity,
    /// Labels of nodes to run on.
    pub(crate) node_selector: BTreeMap<String, String>,
    /// Taints of nodes to run on all the same.
    pub(crate) tolerations: Vec<Value>,
    /// The pods' whole `affinity`.
    pub(crate) affinity: Map<String, Value>,
    /// `PriorityClass` of the pods; the cluster's default when empty.
    pub(crate) priority_class_name: String,
    /// Further annotations of the pods.
    pub(crate) pod_annotations: BTreeMap<String, String>,
    /// Further labels of the pods.
    pub(crate) pod_labels: BTreeMap<String, String>,
}

impl Default for ControlPlane {
    fn default() -> Self {
        Self {
            replicas: 2,
            log_level: "info".to_owned(),
            extra_args: Vec::new(),
            resources: Resources::of(&[("cpu", "100m"), ("memory", "128Mi")], &[("memory", "1Gi")]),
            autoscaling: Autoscaling::default(),
            disruption_budget: DisruptionBudget::default(),
            anti_affinity: AntiAffinity::Preferred,
            node_selector: BTreeMap::from([("kubernetes.io/os".to_owned(), "linux".to_owned())]),
            tolerations: Vec::new(),
            affinity: Map::new(),
            priority_class_name: String::new(),
            pod_annotations: BTreeMap::new(),
            pod_labels: BTreeMap::new(),
        }
    }
}

/// Requests and limits of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Resources {
    /// What is set aside for it.
    pub(crate) requests: BTreeMap<String, String>,
    /// What it may take.
    pub(crate) limits: BTreeMap<String, String>,
}

impl Resources {
    fn of(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Self {
        let map = |from: &[(&str, &str)]| {
            from.iter().map(|(name, amount)| ((*name).to_owned(), (*amount).to_owned())).collect()
        };
        Self { requests: map(requests), limits: map(limits) }
    }
}

/// More pods under load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Autoscaling {
    /// Whether a `HorizontalPodAutoscaler` decides.
    pub(crate) enabled: bool,
    /// Fewest pods.
    #[schemars(range(min = 1))]
    pub(crate) min_replicas: u32,
    /// Most pods.
    #[schemars(range(min = 1))]
    pub(crate) max_replicas: u32,
    /// Use of the requested CPU to aim at, in percent.
    #[schemars(range(min = 1))]
    pub(crate) cpu_percent: u32,
}

impl Default for Autoscaling {
    fn default() -> Self {
        Self { enabled: false, min_replicas: 2, max_replicas: 5, cpu_percent: 80 }
    }
}

/// How many pods may be taken away at once on purpose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct DisruptionBudget {
    /// Whether there is a `PodDisruptionBudget`.
    pub(crate) enabled: bool,
    /// Most pods that may be away.
    #[schemars(range(min = 1))]
    pub(crate) max_unavailable: u32,
}

impl Default for DisruptionBudget {
    fn default() -> Self {
        Self { enabled: true, max_unavailable: 1 }
    }
}

/// Whether pods keep away from each other's nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub(crate) enum AntiAffinity {
    /// Where there is a choice.
    Preferred,
    /// Always; a pod that finds no node waits.
    Required,
    /// No.
    None,
}

/// The sidecars. Pods can say otherwise by annotations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Proxy {
    /// What is logged, as for the control plane.
    pub(crate) log_level: String,
    /// What is written of each request and connection, a line of JSON each.
    pub(crate) access_log: AccessLog,
    /// How traffic comes to the sidecar.
    pub(crate) redirect: Redirect,
    /// Whether sidecars are restartable init containers.
    pub(crate) native_sidecars: NativeSidecars,
    /// Seconds for which containers of a pod that is told to end go on, so that its callers have heard of it; 0 for none.
    pub(crate) pre_stop_seconds: u32,
    /// Requests and limits of the container.
    pub(crate) resources: Resources,
    /// Addresses and blocks, such as 10.0.0.0/8, that are reached past the sidecar.
    pub(crate) skip_outbound_addresses: Vec<String>,
    /// Ports of pods that are reached past the sidecar.
    pub(crate) skip_inbound_ports: Vec<u16>,
    /// Ports that pods reach past the sidecar.
    pub(crate) skip_outbound_ports: Vec<u16>,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            log_level: "info".to_owned(),
            access_log: AccessLog::Off,
            redirect: Redirect::Init,
            native_sidecars: NativeSidecars::Auto,
            pre_stop_seconds: 4,
            resources: Resources::of(&[("cpu", "50m"), ("memory", "32Mi")], &[("memory", "256Mi")]),
            skip_outbound_addresses: Vec::new(),
            skip_inbound_ports: Vec::new(),
            skip_outbound_ports: Vec::new(),
        }
    }
}

/// What a sidecar writes of each request and connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub(crate) enum AccessLog {
    /// Nothing.
    Off,
    /// A line for each that failed.
    Errors,
    /// A line for each.
    All,
}

/// How traffic comes to the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub(crate) enum Redirect {
    /// An init container with `NET_ADMIN`.
    Init,
    /// The CNI plugin.
    Cni,
    /// HTTP proxy variables, without any capability.
    None,
}

/// Whether sidecars are restartable init containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub(crate) enum NativeSidecars {
    /// Where the cluster can.
    #[serde(rename = "auto")]
    Auto,
    #[serde(rename = "true")]
    Yes,
    #[serde(rename = "false")]
    No,
}

/// The webhook that adds sidecars to pods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Injector {
    /// What becomes of a pod when the webhook can't be asked.
    pub(crate) failure_policy: FailurePolicy,
    /// How long the API server waits for it, in seconds.
    #[schemars(range(min = 1, max = 30))]
    pub(crate) timeout_seconds: u32,
    /// Namespaces that never get sidecars, besides `kube-system` and `weft-system`.
    pub(crate) excluded_namespaces: Vec<String>,
}

impl Default for Injector {
    fn default() -> Self {
        Self { failure_policy: FailurePolicy::Fail, timeout_seconds: 10, excluded_namespaces: Vec::new() }
    }
}

/// What becomes of a pod when the webhook can't be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub(crate) enum FailurePolicy {
    /// It is not made; its controller tries again.
    Fail,
    /// It is made without a sidecar.
    Ignore,
}

/// The plugin that redirects traffic where pods may not have `NET_ADMIN`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Cni {
    /// Whether it runs on every node. Set `proxy.redirect` to `cni` too.
    pub(crate) enabled: bool,
    /// Folder of plugins on the node.
    pub(crate) bin_dir: String,
    /// Folder of their configuration on the node.
    pub(crate) conf_dir: String,
    /// Taints of nodes to run on all the same; every one by default.
    pub(crate) tolerations: Vec<Value>,
    /// Requests and limits of the container.
    pub(crate) resources: Resources,
}

impl Default for Cni {
    fn default() -> Self {
        Self {
            enabled: false,
            bin_dir: "/opt/cni/bin".to_owned(),
            conf_dir: "/etc/cni/net.d".to_owned(),
            tolerations: vec![serde_json::json!({ "operator": "Exists" })],
            resources: Resources::of(&[("cpu", "10m"), ("memory", "16Mi")], &[("memory", "64Mi")]),
        }
    }
}

impl Values {
    /// The full name of one of the images.
    pub(crate) fn image(&self, name: &str) -> String {
        let tag = if self.image.tag.is_empty() { super::VERSION } else { &self.image.tag };
        format!("{}/{name}:{tag}", self.image.repository)
    }
}
