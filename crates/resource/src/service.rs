//! Kubernetes' Service and EndpointSlice, and Weft's ExternalService: what there is to call.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rule::{LABEL_EXPECTED, LABEL_OR_NONE, rule, texts};

/// Label by which an EndpointSlice names its Service.
pub const SLICE_SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// A Service's `spec` (`v1`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-weft-ignored" = [
    "allocateLoadBalancerNodePorts", "externalIPs", "externalTrafficPolicy", "healthCheckNodePort",
    "internalTrafficPolicy", "ipFamilies", "ipFamilyPolicy", "loadBalancerClass", "loadBalancerIP",
    "loadBalancerSourceRanges", "publishNotReadyAddresses", "sessionAffinity", "sessionAffinityConfig",
    "trafficDistribution",
]))]
pub struct ServiceSpec {
    /// The ports.
    pub ports: Vec<ServicePort>,
    /// Labels of the workloads that it is made of; empty: its EndpointSlices say.
    pub selector: BTreeMap<String, String>,
    /// Address that clients dial; `None` for a headless service.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<String>,
    /// Addresses that clients dial, one a family; the first is `clusterIP`.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    pub r#type: Option<ServiceType>,
    /// Name that an `ExternalName` service stands for.
    pub external_name: Option<String>,
}

impl ServiceSpec {
    /// Whether clients dial its endpoints rather than an address of it.
    pub fn is_headless(&self) -> bool {
        self.cluster_ip.as_deref() == Some("None") || self.cluster_ips.iter().any(|ip| ip == "None")
    }
}

/// How a Service is exposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// Inside the cluster.
    ClusterIP,
    /// On a port of every node too.
    NodePort,
    /// Behind a load balancer too.
    LoadBalancer,
    /// An alias of a name; not in the mesh.
    ExternalName,
}

/// A port of a Service or ExternalService.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-weft-ignored" = ["nodePort"]))]
pub struct ServicePort {
    /// Name; required when there are several.
    pub name: Option<String>,
    /// What clients dial.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Port of the workload, by number or name; the same as `port` when left out.
    pub target_port: Option<PortOrName>,
    /// What is spoken, such as `http`, `kubernetes.io/h2c` or `grpc`.
    pub app_protocol: Option<String>,
    /// Transport; only TCP is in the mesh.
    pub protocol: Option<Transport>,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Transport {
    /// TCP.
    #[default]
    Tcp,
    /// UDP; left alone by the mesh.
    Udp,
    /// SCTP; left alone by the mesh.
    Sctp,
}

/// A port by number or by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PortOrName {
    /// The number, from 1 to 65535.
    Number(u64),
    /// The name of a port.
    Name(String),
}

impl JsonSchema for PortOrName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PortOrName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{ "type": "integer" }, { "type": "string" }],
            "x-kubernetes-int-or-string": true,
        })
    }
}

/// An EndpointSlice (`discovery.k8s.io/v1`) without its metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSliceSpec {
    /// Kind of the addresses.
    pub address_type: AddressType,
    /// The endpoints.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub endpoints: Vec<SliceEndpoint>,
    /// The ports that all of them have.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub ports: Vec<SlicePort>,
}

/// What the addresses of an EndpointSlice are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AddressType {
    /// IPv4 addresses.
    IPv4,
    /// IPv6 addresses.
    IPv6,
    /// Names; left alone by the mesh.
    #[serde(rename = "FQDN")]
    Fqdn,
}

/// An endpoint of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-weft-ignored" = ["deprecatedTopology", "hints", "hostname", "nodeName"]))]
pub struct SliceEndpoint {
    /// Addresses of the one endpoint; the first is used.
    #[schemars(length(min = 1, max = 100))]
    pub addresses: Vec<String>,
    /// Whether it is ready.
    pub conditions: Option<SliceConditions>,
    /// The pod.
    pub target_ref: Option<TargetRef>,
    /// Zone that it is in.
    pub zone: Option<String>,
}

/// The state of an EndpointSlice's endpoint; what is left out is taken to be well.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SliceConditions {
    /// Takes requests.
    pub ready: Option<bool>,
    /// Could take requests, even though it is ending.
    pub serving: Option<bool>,
    /// Is ending.
    pub terminating: Option<bool>,
}

/// What stands behind an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-weft-ignored" = ["apiVersion", "fieldPath", "resourceVersion"]))]
pub struct TargetRef {
    /// Its kind; a Pod when left out.
    pub kind: Option<String>,
    /// Its namespace; that of the EndpointSlice when left out.
    pub namespace: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Which of all that ever had that name.
    pub uid: Option<String>,
}

impl TargetRef {
    /// Whether it names a pod, and not a node or a machine.
    pub fn is_pod(&self) -> bool {
        self.kind.as_deref().is_none_or(|kind| kind == "Pod")
    }
}

/// A port of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-weft-ignored" = ["appProtocol"]))]
pub struct SlicePort {
    /// Name of the Service's port that it stands for; empty where the Service has one port without a name.
    pub name: Option<String>,
    /// Number.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// Transport.
    pub protocol: Option<Transport>,
}

/// An ExternalService's `spec`: a destination outside the mesh, reached in plain text or with the application's own
/// TLS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExternalServiceSpec {
    /// Host names that clients dial, such as `api.example.com`; the resource's own name works too, as for a Service.
    #[serde(default)]
    #[schemars(schema_with = "hosts")]
    pub hosts: Vec<String>,
    /// The ports that clients dial.
    #[schemars(length(min = 1, max = 100), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["port"],
        "x-kubernetes-validations" = [rule(
            "self.size() == 1 || self.all(port, has(port.name) && port.name != '')",
            "of several ports each needs a name",
        )],
    ))]
    pub ports: Vec<ExternalPort>,
    /// Where it is.
    #[schemars(length(min = 1, max = 1000), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["address"]))]
    pub endpoints: Vec<ExternalEndpoint>,
    /// Other namespaces whose workloads may use it, `*` for all; without any it is for its own namespace. A namespace takes
    /// what others export to it where a ReferenceGrant of it says so; what `weft-system` exports it takes as it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "export_to")]
    pub export_to: Vec<String>,
}

/// A port of an ExternalService.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExternalPort {
    /// Name; required when there are several.
    #[schemars(regex(pattern = LABEL_OR_NONE), length(max = 63), extend("x-weft-expected" = LABEL_EXPECTED))]
    pub name: Option<String>,
    /// What clients dial.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Port of the endpoints; the same as `port` when left out.
    #[schemars(range(min = 1, max = 65535))]
    pub target_port: Option<u16>,
    /// What is spoken, such as `http` or `grpc`.
    pub app_protocol: Option<String>,
}

/// One address of an ExternalService.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExternalEndpoint {
    /// IP address.
    #[schemars(regex(pattern = r"^([0-9.]+|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)$"), length(max = 45), extend("x-weft-expected" = "an IP address"))]
    pub address: String,
    /// Share among the endpoints; 1 when left out. With 0 it gets no new requests.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub weight: Option<u32>,
    /// Zone that it is in.
    pub zone: Option<String>,
}

fn export_to(_: &mut SchemaGenerator) -> Schema {
    let mut schema =
        texts(256, 63, r"^([*]|[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)$", "the name of a namespace, or *");
    schema.insert("x-kubernetes-list-type".to_owned(), "set".into());
    schema
}

fn hosts(_: &mut SchemaGenerator) -> Schema {
    const PATTERN: &str = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$";
    let mut schema = texts(256, 253, PATTERN, "a host name in lower case");
    schema.insert("x-kubernetes-list-type".to_owned(), "set".into());
    let address = rule("!self.matches('^[0-9.]+$')", "is an address; write a host name");
    if let Some(items) = schema.get_mut("items") {
        let local = rule(
            "!self.matches('(^|[.])(svc|cluster[.]local|localhost)$')",
            "is a name of the cluster itself; write the name of something outside",
        );
        items["x-kubernetes-validations"] = json!([address, local]);
    }
    schema
}
