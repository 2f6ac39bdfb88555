//! The resources that configure the mesh: Kubernetes' own kinds and Weft's, as plain Rust types.
//!
//! Where a resource comes from does not matter here: [`decode()`] takes what YAML and JSON have in common.
//!
//! ```
//! use serde_json::json;
//! use weft_resource::{Age, Spec, decode};
//!
//! let mut route = json!({
//!     "apiVersion": "gateway.networking.k8s.io/v1",
//!     "kind": "HTTPRoute",
//!     "metadata": {"name": "reviews", "namespace": "shop"},
//!     "spec": {
//!         "parentRefs": [{"group": "", "kind": "Service", "name": "reviews"}],
//!         "rules": [{"backendRefs": [{"name": "reviews-v1", "port": 9080}]}],
//!     },
//! });
//! let object = decode(&route, Age::Written("routes.yaml".into(), 0)).object.expect("nothing is wrong with it");
//! assert_eq!(object.key.to_string(), "HTTPRoute shop/reviews");
//! assert!(matches!(object.spec, Spec::HttpRoute(_)));
//!
//! // What is wrong is named by its place.
//! route["spec"]["rules"][0]["timeouts"] = json!({"request": "1 s"});
//! let decoded = decode(&route, Age::Written("routes.yaml".into(), 0));
//! assert!(decoded.object.is_none());
//! assert!(
//!     decoded.problems.iter().any(|problem| problem.path.to_string() == "spec.rules[0].timeouts.request")
//! );
//! ```

mod check;
mod closed;
mod crd;
mod decode;
mod duration;
mod filter;
mod kind;
mod policy;
mod problem;
mod reference;
mod route;
mod rule;
mod schema;
mod service;
mod suggest;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

pub use closed::{closed, restricts};
pub use decode::{Decoded, Head, decode, decode_in_part};
pub use duration::GatewayDuration;
pub use filter::{
    Cors, FailureMode, FaultAbort, FaultDelay, FaultFilterSpec, FilterType, Fraction, GlobalRateLimit,
    HeaderField, HeaderModifier, PathModifier, PathModifierType, RateLimitDescriptor, RateLimitEntry,
    RateLimitFilterSpec, RequestMirror, RequestRedirect, RouteFilter, Scheme, UrlRewrite,
};
pub use kind::Kind;
pub use kind::OWN_GROUP;
pub use policy::{
    Action, AdaptiveConcurrency, Algorithm, AuthorizationFrom, AuthorizationPolicySpec, AuthorizationRule,
    AuthorizationTo, BackendPolicySpec, BackendRetry, Balancing, ConnectionTimeouts, DefaultAuthorization,
    HashKey, Hedging, Limits, MeshPolicySpec, OutlierDetection, PathMode, PortProxyProtocol, PortTls,
    ProxyProtocolVersion, RetryBudget, TlsMode, TlsPolicy,
};
pub use problem::{FieldPath, Problem, Segment, Severity};
pub use reference::{
    BackendReference, GrantFrom, GrantTo, LocalReference, ParentRef, ReferenceGrantSpec, Selector,
    TargetKind, TargetReference,
};
pub use route::{
    ConnectionBackend, ConnectionRouteRule, ConnectionRouteSpec, CookieConfig, CookieLifetime,
    GrpcMethodMatch, GrpcRouteMatch, GrpcRouteRule, GrpcRouteSpec, HttpRouteMatch, HttpRouteRule,
    HttpRouteSpec, MatchType, Method, PathMatch, PathMatchType, RouteBackend, RouteRetry, RouteTimeouts,
    SessionPersistence, SessionType, ValueMatch,
};
pub use service::{
    AddressType, EndpointSliceSpec, ExternalEndpoint, ExternalPort, ExternalServiceSpec, PortOrName,
    SLICE_SERVICE_LABEL, ServicePort, ServiceSpec, ServiceType, SliceConditions, SliceEndpoint, SlicePort,
    TargetRef, Transport,
};

/// What tells a resource from every other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The kind.
    pub kind: Kind,
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name within namespace and kind.
    pub name: Arc<str>,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// A resource that was decoded and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Which one it is.
    pub key: Key,
    /// Labels of its metadata.
    pub labels: BTreeMap<String, String>,
    /// Precedence among equals.
    pub age: Age,
    /// What it says.
    pub spec: Spec,
}

/// Precedence among resources that would otherwise be equal: Gateway API's "oldest first". What has a
/// `creationTimestamp` comes before what has none; the latter go by their place in the files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Age {
    /// Created then.
    Created(Timestamp),
    /// Written there: file and number of the document.
    Written(Arc<str>, u32),
}

/// What a resource says.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Spec {
    Service(ServiceSpec),
    EndpointSlice(EndpointSliceSpec),
    HttpRoute(HttpRouteSpec),
    GrpcRoute(GrpcRouteSpec),
    TlsRoute(ConnectionRouteSpec),
    TcpRoute(ConnectionRouteSpec),
    ReferenceGrant(ReferenceGrantSpec),
    Namespace,
    BackendPolicy(Box<BackendPolicySpec>),
    AuthorizationPolicy(AuthorizationPolicySpec),
    MeshPolicy(MeshPolicySpec),
    FaultFilter(FaultFilterSpec),
    RateLimitFilter(RateLimitFilterSpec),
    ExternalService(ExternalServiceSpec),
}

pub use suggest::hint;

pub use crd::custom_resource_definitions;

/// The schemas of Weft's own kinds, for custom resource definitions: the `spec` of each.
pub fn own_schemas() -> Vec<(Kind, schemars::Schema)> {
    let own = |kind: Kind| kind.group() == kind::OWN_GROUP;
    Kind::ALL.into_iter().filter(|kind| own(*kind)).map(|kind| (kind, kind.schema())).collect()
}
