//! How resources name each other (Gateway API), and ReferenceGrant.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rule::rule;

/// What a route belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// API group; Gateway API's own when left out, empty for a Service.
    pub group: Option<String>,
    /// Kind; `Gateway` when left out.
    pub kind: Option<String>,
    /// Namespace; that of the route when left out.
    pub namespace: Option<String>,
    /// Name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Name of one port of the Service.
    pub section_name: Option<String>,
    /// Number of one port of the Service.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
}

impl ParentRef {
    /// Whether it names a Service, and so is about traffic within the mesh. A group that was left out is forgiven.
    pub fn is_service(&self) -> bool {
        self.kind.as_deref() == Some("Service") && matches!(self.group.as_deref(), None | Some("" | "core"))
    }

    /// Whether it means this port of the Service that it names.
    pub fn means(&self, port: u16, name: &str) -> bool {
        self.port.is_none_or(|number| number == port)
            && self.section_name.as_deref().is_none_or(|section| section == name)
    }

    /// The port that it means, as it is written.
    pub fn described(&self) -> String {
        let number = self.port.map(|port| format!("port {port}"));
        let name = self.section_name.as_ref().map(|name| format!("a port named {name:?}"));
        number.into_iter().chain(name).collect::<Vec<_>>().join(" and ")
    }
}

/// Where requests go: a Service, unless `group` and `kind` say otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendReference {
    /// API group; empty for a Service.
    pub group: Option<String>,
    /// Kind; `Service` when left out.
    pub kind: Option<String>,
    /// Namespace; that of the route when left out. Another one needs a ReferenceGrant there.
    pub namespace: Option<String>,
    /// Name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Port of the Service.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
}

/// A resource of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalReference {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// The Service that a policy is for; in the policy's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rule(
    "self.kind == 'Service' ? self.group in ['', 'core'] : self.group == 'mesh.weft.dev'",
    "the group does not go with the kind: leave it out for a Service, write mesh.weft.dev for an ExternalService",
)]))]
pub struct TargetReference {
    /// API group; empty for a Service.
    #[serde(default)]
    pub group: String,
    /// Kind: `Service` or `ExternalService`.
    pub kind: TargetKind,
    /// Name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What a policy may be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TargetKind {
    /// A Kubernetes Service, or one that workloads offer.
    Service,
    /// Weft's ExternalService.
    ExternalService,
}

/// Workloads by their labels; empty: all of the namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selector {
    /// Labels that a workload must have.
    #[serde(default)]
    pub match_labels: std::collections::BTreeMap<String, String>,
}

/// A ReferenceGrant's `spec`: who may refer to what is in its namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReferenceGrantSpec {
    /// Who may refer.
    #[schemars(length(min = 1, max = 16))]
    pub from: Vec<GrantFrom>,
    /// To what.
    #[schemars(length(min = 1, max = 16))]
    pub to: Vec<GrantTo>,
}

/// Who may refer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantFrom {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
}

/// What may be referred to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantTo {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name; all when left out.
    pub name: Option<String>,
}
