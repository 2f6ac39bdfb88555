//! The kinds that the mesh understands, their API groups and versions.

use std::fmt;
use std::sync::OnceLock;

use schemars::{Schema, schema_for};
use serde_json::Value;

use super::schema::FieldSchema;
use super::{
    AuthorizationPolicySpec, BackendPolicySpec, ConnectionRouteSpec, EndpointSliceSpec, ExternalServiceSpec,
    FaultFilterSpec, GrpcRouteSpec, HttpRouteSpec, MeshPolicySpec, RateLimitFilterSpec, ReferenceGrantSpec,
    ServiceSpec,
};

/// API group of Gateway API.
pub(crate) const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";
/// API group of Weft's own kinds.
pub const OWN_GROUP: &str = "mesh.weft.dev";

/// A kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Kind {
    Service,
    EndpointSlice,
    HttpRoute,
    GrpcRoute,
    TlsRoute,
    TcpRoute,
    ReferenceGrant,
    Namespace,
    BackendPolicy,
    AuthorizationPolicy,
    MeshPolicy,
    FaultFilter,
    RateLimitFilter,
    ExternalService,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::Service,
        Self::EndpointSlice,
        Self::HttpRoute,
        Self::GrpcRoute,
        Self::TlsRoute,
        Self::TcpRoute,
        Self::ReferenceGrant,
        Self::Namespace,
        Self::BackendPolicy,
        Self::AuthorizationPolicy,
        Self::MeshPolicy,
        Self::FaultFilter,
        Self::RateLimitFilter,
        Self::ExternalService,
    ];

    /// As it is written in `kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::HttpRoute => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
            Self::TlsRoute => "TLSRoute",
            Self::TcpRoute => "TCPRoute",
            Self::ReferenceGrant => "ReferenceGrant",
            Self::Namespace => "Namespace",
            Self::BackendPolicy => "BackendPolicy",
            Self::AuthorizationPolicy => "AuthorizationPolicy",
            Self::MeshPolicy => "MeshPolicy",
            Self::FaultFilter => "FaultFilter",
            Self::RateLimitFilter => "RateLimitFilter",
            Self::ExternalService => "ExternalService",
        }
    }

    /// The API group; empty for Kubernetes' core.
    pub fn group(self) -> &'static str {
        match self {
            Self::Service | Self::Namespace => "",
            Self::EndpointSlice => "discovery.k8s.io",
            Self::HttpRoute | Self::GrpcRoute | Self::TlsRoute | Self::TcpRoute | Self::ReferenceGrant => {
                GATEWAY_GROUP
            }
            _ => OWN_GROUP,
        }
    }

    /// The versions that are understood, the preferred one first.
    pub fn versions(self) -> &'static [&'static str] {
        match self {
            Self::Service | Self::Namespace | Self::EndpointSlice => &["v1"],
            Self::HttpRoute | Self::ReferenceGrant => &["v1", "v1beta1"],
            Self::GrpcRoute | Self::TcpRoute => &["v1", "v1alpha2"],
            Self::TlsRoute => &["v1", "v1alpha3", "v1alpha2"],
            _ => &["v1alpha1"],
        }
    }

    /// The preferred `apiVersion`.
    pub fn api_version(self) -> String {
        let version = self.versions().first().copied().unwrap_or_default();
        if self.group().is_empty() { version.to_owned() } else { format!("{}/{version}", self.group()) }
    }

    /// Whether what it says stands in `spec`, and not beside `metadata`.
    pub fn has_spec(self) -> bool {
        self != Self::EndpointSlice
    }

    /// The schema of its `spec`.
    pub(crate) fn schema(self) -> Schema {
        match self {
            Self::Service => schema_for!(ServiceSpec),
            Self::EndpointSlice => schema_for!(EndpointSliceSpec),
            Self::HttpRoute => schema_for!(HttpRouteSpec),
            Self::GrpcRoute => schema_for!(GrpcRouteSpec),
            Self::TlsRoute | Self::TcpRoute => schema_for!(ConnectionRouteSpec),
            Self::ReferenceGrant => schema_for!(ReferenceGrantSpec),
            Self::Namespace => Schema::from(true),
            Self::BackendPolicy => schema_for!(BackendPolicySpec),
            Self::AuthorizationPolicy => schema_for!(AuthorizationPolicySpec),
            Self::MeshPolicy => schema_for!(MeshPolicySpec),
            Self::FaultFilter => schema_for!(FaultFilterSpec),
            Self::RateLimitFilter => schema_for!(RateLimitFilterSpec),
            Self::ExternalService => schema_for!(ExternalServiceSpec),
        }
    }

    /// Takes away what resources of this kind may hold and Weft does not read, so that it costs no memory.
    pub fn prune(self, value: &mut Value) {
        self.field_schema().prune(value);
    }

    /// What its `spec` may look like, made at first use.
    pub(crate) fn field_schema(self) -> &'static FieldSchema {
        static SHAPES: [OnceLock<FieldSchema>; Kind::ALL.len()] =
            [const { OnceLock::new() }; Kind::ALL.len()];
        let make = || match self {
            Self::Service => FieldSchema::of::<ServiceSpec>(),
            Self::EndpointSlice => FieldSchema::of::<EndpointSliceSpec>(),
            Self::HttpRoute => FieldSchema::of::<HttpRouteSpec>(),
            Self::GrpcRoute => FieldSchema::of::<GrpcRouteSpec>(),
            Self::TlsRoute | Self::TcpRoute => FieldSchema::of::<ConnectionRouteSpec>(),
            Self::ReferenceGrant => FieldSchema::of::<ReferenceGrantSpec>(),
            Self::Namespace => FieldSchema::Any,
            Self::BackendPolicy => FieldSchema::of::<BackendPolicySpec>(),
            Self::AuthorizationPolicy => FieldSchema::of::<AuthorizationPolicySpec>(),
            Self::MeshPolicy => FieldSchema::of::<MeshPolicySpec>(),
            Self::FaultFilter => FieldSchema::of::<FaultFilterSpec>(),
            Self::RateLimitFilter => FieldSchema::of::<RateLimitFilterSpec>(),
            Self::ExternalService => FieldSchema::of::<ExternalServiceSpec>(),
        };
        match SHAPES.get(self as usize) {
            Some(cell) => cell.get_or_init(make),
            None => unreachable!("there is a cell for every kind"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_field_schema() {
        for kind in Kind::ALL {
            let _ = kind.field_schema();
            assert_eq!(Kind::ALL.get(kind as usize), Some(&kind));
        }
    }
}
