//! Gateway API's HTTPRoute, GRPCRoute, TLSRoute and TCPRoute.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weft_mesh::route::{GrpcMatch, NameMatch};

use super::duration::GatewayDuration;
use super::filter::RouteFilter;
use super::reference::{BackendReference, ParentRef};

/// An HTTPRoute's `spec` (`gateway.networking.k8s.io/v1`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-weft-ignored" = ["useDefaultGateways"]))]
pub struct HttpRouteSpec {
    /// What it belongs to.
    #[schemars(length(max = 32))]
    pub parent_refs: Vec<ParentRef>,
    /// Hosts that it is for; empty: all. Gateway API ignores them for Services, and so are they here.
    #[schemars(length(max = 16))]
    pub hostnames: Vec<String>,
    /// The rules; none means one without conditions.
    #[schemars(length(max = 16))]
    pub rules: Vec<HttpRouteRule>,
}

/// A rule of an HTTPRoute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteRule {
    /// Name.
    pub name: Option<String>,
    /// Conditions, one of which must hold.
    #[schemars(length(max = 64))]
    pub matches: Vec<HttpRouteMatch>,
    /// Filters, in order.
    #[schemars(length(max = 16))]
    pub filters: Vec<RouteFilter>,
    /// Where requests go.
    #[schemars(length(max = 16))]
    pub backend_refs: Vec<RouteBackend>,
    /// Timeouts.
    pub timeouts: Option<RouteTimeouts>,
    /// Retries.
    pub retry: Option<RouteRetry>,
    /// Keeps a client on one backend.
    pub session_persistence: Option<SessionPersistence>,
}

/// A condition of an HTTPRoute: all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteMatch {
    /// Path; any when left out.
    pub path: Option<PathMatch>,
    /// Header fields.
    #[schemars(length(max = 16))]
    pub headers: Vec<ValueMatch>,
    /// Query parameters.
    #[schemars(length(max = 16))]
    pub query_params: Vec<ValueMatch>,
    /// Method; any when left out.
    pub method: Option<Method>,
}

/// A method of HTTP, as Gateway API lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
}

impl Method {
    /// As it is written in a request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
        }
    }
}

/// A condition on the path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PathMatch {
    /// How; `PathPrefix` when left out.
    #[serde(default)]
    pub r#type: PathMatchType,
    /// The path, its prefix, or an expression; `/` when left out.
    #[serde(default = "root_path")]
    #[schemars(length(max = 1024))]
    pub value: String,
}

fn root_path() -> String {
    "/".to_owned()
}

/// How a path is matched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PathMatchType {
    /// The whole path.
    Exact,
    /// Its first elements.
    #[default]
    PathPrefix,
    /// A regular expression for the whole path.
    RegularExpression,
}

/// A condition on a header field or query parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ValueMatch {
    /// How; `Exact` when left out.
    #[serde(default)]
    pub r#type: MatchType,
    /// Name.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Value or expression.
    #[schemars(length(min = 1, max = 4096))]
    pub value: String,
}

/// How text is matched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MatchType {
    /// The whole text.
    #[default]
    Exact,
    /// A regular expression for the whole text.
    RegularExpression,
}

/// A backend of a rule, with its share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteBackend {
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
    /// Share among the weights of the rule; 1 when left out.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub weight: Option<u32>,
    /// Filters of this backend alone.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub filters: Vec<RouteFilter>,
}

impl RouteBackend {
    /// What it refers to, without share and filters.
    pub fn reference(&self) -> BackendReference {
        BackendReference {
            group: self.group.clone(),
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            port: self.port,
        }
    }
}

/// Timeouts of a rule (GEP-1742); zero means none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteTimeouts {
    /// For the request with all its attempts.
    pub request: Option<GatewayDuration>,
    /// For one attempt.
    pub backend_request: Option<GatewayDuration>,
}

/// When to retry (GEP-1731).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RouteRetry {
    /// HTTP statuses.
    pub codes: Vec<u16>,
    /// Attempts after the first; 1 when left out.
    #[schemars(range(min = 1, max = 100))]
    pub attempts: Option<u32>,
    /// Least time between attempts.
    pub backoff: Option<GatewayDuration>,
}

/// Keeps a client on one backend (GEP-1619).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionPersistence {
    /// Name of the cookie or header field; made from the names of route and rule when left out.
    #[schemars(length(min = 1, max = 128))]
    pub session_name: Option<String>,
    /// Life of a session, from its first request on.
    pub absolute_timeout: Option<GatewayDuration>,
    /// Time without a request after which a session is over (Gateway API up to 1.5).
    pub idle_timeout: Option<GatewayDuration>,
    /// Where it is kept; `Cookie` when left out.
    pub r#type: SessionType,
    /// More of the cookie; only with `Cookie`.
    pub cookie_config: Option<CookieConfig>,
}

/// What is said of a session's cookie (`CookieConfig`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CookieConfig {
    /// How long clients keep it; `Session` when left out.
    pub lifetime_type: CookieLifetime,
}

/// How long clients keep a cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CookieLifetime {
    /// Until their own session ends, such as a browser's.
    #[default]
    Session,
    /// Until `absoluteTimeout`, which is required then.
    Permanent,
}

/// Where a session is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SessionType {
    /// In a cookie.
    #[default]
    Cookie,
    /// In a header field.
    Header,
}

/// A GRPCRoute's `spec` (`gateway.networking.k8s.io/v1`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-weft-ignored" = ["useDefaultGateways"]))]
pub struct GrpcRouteSpec {
    /// What it belongs to.
    #[schemars(length(max = 32))]
    pub parent_refs: Vec<ParentRef>,
    /// Hosts; ignored for Services.
    #[schemars(length(max = 16))]
    pub hostnames: Vec<String>,
    /// The rules; none means one without conditions.
    #[schemars(length(max = 16))]
    pub rules: Vec<GrpcRouteRule>,
}

/// A rule of a GRPCRoute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcRouteRule {
    /// Name.
    pub name: Option<String>,
    /// Conditions, one of which must hold.
    #[schemars(length(max = 64))]
    pub matches: Vec<GrpcRouteMatch>,
    /// Filters, in order.
    #[schemars(length(max = 16))]
    pub filters: Vec<RouteFilter>,
    /// Where requests go.
    #[schemars(length(max = 16))]
    pub backend_refs: Vec<RouteBackend>,
    /// Keeps a client on one backend.
    pub session_persistence: Option<SessionPersistence>,
}

/// A condition of a GRPCRoute: all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcRouteMatch {
    /// The method called; any when left out.
    pub method: Option<GrpcMethodMatch>,
    /// Metadata.
    #[schemars(length(max = 16))]
    pub headers: Vec<ValueMatch>,
}

/// A condition on the method that is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GrpcMethodMatch {
    /// How; `Exact` when left out.
    pub r#type: MatchType,
    /// Service, with its package; any when left out.
    #[schemars(length(max = 1024))]
    pub service: Option<String>,
    /// Method; any when left out.
    #[schemars(length(max = 1024))]
    pub method: Option<String>,
}

impl GrpcMethodMatch {
    /// The same, as `weft-mesh` has it.
    pub fn names(&self) -> GrpcMatch<'_> {
        let name = match self.r#type {
            MatchType::Exact => NameMatch::Exact,
            MatchType::RegularExpression => NameMatch::Regex,
        };
        GrpcMatch { service: self.service.as_deref().map(name), method: self.method.as_deref().map(name) }
    }
}

/// A TCPRoute's or TLSRoute's `spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-weft-ignored" = ["useDefaultGateways"]))]
pub struct ConnectionRouteSpec {
    /// What it belongs to.
    #[schemars(length(max = 32))]
    pub parent_refs: Vec<ParentRef>,
    /// Server names (SNI) that a TLSRoute is for, whole or as `*.example.com`; every connection of TLS when left out.
    /// Not in a TCPRoute.
    #[schemars(length(max = 1024))]
    pub hostnames: Vec<String>,
    /// The rules; the first one decides.
    #[schemars(length(min = 1, max = 16))]
    pub rules: Vec<ConnectionRouteRule>,
}

/// A rule of a TCPRoute or TLSRoute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectionRouteRule {
    /// Name.
    pub name: Option<String>,
    /// Where connections go.
    #[schemars(length(min = 1, max = 16))]
    pub backend_refs: Vec<ConnectionBackend>,
}

/// A backend of a TCPRoute or TLSRoute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionBackend {
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
    /// Share among the weights of the rule; 1 when left out.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub weight: Option<u32>,
}

impl ConnectionBackend {
    /// What it refers to, without its share.
    pub fn reference(&self) -> BackendReference {
        BackendReference {
            group: self.group.clone(),
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            port: self.port,
        }
    }
}
