//! Filters of Gateway API's routes, and the kinds of Weft that an `ExtensionRef` may name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::GatewayDuration;
use super::policy::HashKey;
use super::reference::{BackendReference, LocalReference};
use super::rule::{TOKEN, TOKEN_EXPECTED, rule};

/// A filter of an HTTPRoute or GRPCRoute: `type` and the one field that goes with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteFilter {
    /// Which field is set.
    pub r#type: FilterType,
    /// Changes the request's header fields.
    pub request_header_modifier: Option<HeaderModifier>,
    /// Changes the response's header fields.
    pub response_header_modifier: Option<HeaderModifier>,
    /// Sends a copy elsewhere.
    pub request_mirror: Option<RequestMirror>,
    /// Answers with a redirect.
    pub request_redirect: Option<RequestRedirect>,
    /// Changes host and path.
    #[serde(rename = "urlRewrite")]
    pub url_rewrite: Option<UrlRewrite>,
    /// Answers cross-origin requests.
    pub cors: Option<Cors>,
    /// A filter of another kind.
    pub extension_ref: Option<LocalReference>,
}

/// What a filter does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FilterType {
    /// `requestHeaderModifier`
    RequestHeaderModifier,
    /// `responseHeaderModifier`
    ResponseHeaderModifier,
    /// `requestMirror`
    RequestMirror,
    /// `requestRedirect`
    RequestRedirect,
    /// `urlRewrite`
    #[serde(rename = "URLRewrite")]
    UrlRewrite,
    /// `cors`
    #[serde(rename = "CORS")]
    Cors,
    /// `extensionRef`
    ExtensionRef,
}

/// Changes header fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HeaderModifier {
    /// Fields that take the place of those with the same name.
    #[schemars(length(max = 16))]
    pub set: Vec<HeaderField>,
    /// Fields that are added to those with the same name.
    #[schemars(length(max = 16))]
    pub add: Vec<HeaderField>,
    /// Names of fields to remove.
    #[schemars(length(max = 16))]
    pub remove: Vec<String>,
}

/// A header field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeaderField {
    /// Name.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Value.
    #[schemars(length(min = 1, max = 4096))]
    pub value: String,
}

/// Sends copies of requests elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestMirror {
    /// Where to.
    pub backend_ref: BackendReference,
    /// Percentage of the requests; all when neither this nor `fraction` is given.
    #[schemars(range(min = 0, max = 100))]
    pub percent: Option<u32>,
    /// Share of the requests.
    pub fraction: Option<Fraction>,
}

/// A share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fraction {
    /// So many.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub numerator: u32,
    /// Of so many; 100 when left out.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub denominator: Option<u32>,
}

/// Answers with a redirect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestRedirect {
    /// Scheme; the request's when left out.
    pub scheme: Option<Scheme>,
    /// Host; the request's when left out.
    #[schemars(length(min = 1, max = 253))]
    pub hostname: Option<String>,
    /// Path; the request's when left out.
    pub path: Option<PathModifier>,
    /// Port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// 301, 302, 303, 307 or 308; 302 when left out.
    pub status_code: Option<u16>,
}

/// Scheme of a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain text.
    Http,
    /// TLS.
    Https,
}

/// Changes a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PathModifier {
    /// Which field is set.
    pub r#type: PathModifierType,
    /// The new path.
    #[schemars(length(max = 1024))]
    pub replace_full_path: Option<String>,
    /// Takes the place of the prefix that the rule matched.
    #[schemars(length(max = 1024))]
    pub replace_prefix_match: Option<String>,
}

/// How a path is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PathModifierType {
    /// `replaceFullPath`
    ReplaceFullPath,
    /// `replacePrefixMatch`
    ReplacePrefixMatch,
}

/// Changes host and path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UrlRewrite {
    /// Host.
    #[schemars(length(min = 1, max = 253))]
    pub hostname: Option<String>,
    /// Path.
    pub path: Option<PathModifier>,
}

/// Answers cross-origin requests (GEP-1767).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Cors {
    /// Origins allowed.
    #[schemars(length(max = 64))]
    pub allow_origins: Vec<String>,
    /// Methods allowed.
    #[schemars(length(max = 9))]
    pub allow_methods: Vec<String>,
    /// Request header fields allowed.
    #[schemars(length(max = 64))]
    pub allow_headers: Vec<String>,
    /// Response header fields exposed.
    #[schemars(length(max = 64))]
    pub expose_headers: Vec<String>,
    /// Seconds that the answer to a preflight may be kept; 5 when left out.
    #[schemars(range(min = 1))]
    pub max_age: Option<u32>,
    /// Whether credentials may be sent.
    pub allow_credentials: Option<bool>,
}

/// A FaultFilter's `spec`: delays and aborts a share of the requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rule(
    "has(self.delay) || has(self.abort)",
    "does nothing; write delay, abort, or both",
)]))]
pub struct FaultFilterSpec {
    /// Delays.
    pub delay: Option<FaultDelay>,
    /// Aborts.
    pub abort: Option<FaultAbort>,
}

/// Delays a share of the requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultDelay {
    /// How long.
    pub duration: GatewayDuration,
    /// Percentage of the requests, such as 0.1; 100 when left out.
    #[schemars(range(min = 0, max = 100))]
    pub percentage: Option<f64>,
}

/// Aborts a share of the requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rule(
    "has(self.status) != has(self.grpcStatus)",
    "write exactly one of status and grpcStatus",
)]))]
pub struct FaultAbort {
    /// HTTP status of the answer; this or `grpcStatus`.
    #[schemars(range(min = 200, max = 599))]
    pub status: Option<u16>,
    /// gRPC status of the answer, by number.
    #[schemars(range(min = 1, max = 16))]
    pub grpc_status: Option<u16>,
    /// Percentage of the requests, such as 0.1; 100 when left out.
    #[schemars(range(min = 0, max = 100))]
    pub percentage: Option<f64>,
}

/// A RateLimitFilter's `spec`: how many requests a proxy lets through, all proxies together, or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    rule("has(self.requests) || has(self.global)", "limits nothing; write requests, global, or both"),
    rule(
        "has(self.requests) || !has(self.interval) && !has(self.key)",
        "interval and key go with requests, which is missing; add it or remove them",
    ),
]))]
pub struct RateLimitFilterSpec {
    /// Requests in each interval that one proxy lets through, and the most at once.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub requests: Option<u32>,
    /// The interval; 1 s when left out.
    pub interval: Option<GatewayDuration>,
    /// Each value of this has the limit of its own, and requests without it share one; all requests share one when left
    /// out.
    pub key: Option<HashKey>,
    /// A limit that all proxies share.
    pub global: Option<GlobalRateLimit>,
}

/// A limit that all proxies share: a service keeps it, which speaks Envoy's
/// `envoy.service.ratelimit.v3.RateLimitService`. It is asked of each request that the proxy's own limit lets through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    rule("has(self.service) != has(self.address)", "write exactly one of service and address"),
    rule(
        "!has(self.timeout) || duration(self.timeout) > duration('0s')",
        "timeout is 0s, in which nobody answers; write a longer time such as 20ms",
    ),
]))]
pub struct GlobalRateLimit {
    /// The service, in the mesh; this or `address`.
    pub service: Option<BackendReference>,
    /// Where it is outside the mesh, as `host:port`; it is reached in plain text.
    #[schemars(length(min = 3, max = 259))]
    pub address: Option<String>,
    /// The domain, under which the service has its limits.
    #[schemars(length(min = 1, max = 253))]
    pub domain: String,
    /// What a request counts as; the service has a limit for each. It is over the limit when it is over any.
    #[schemars(length(min = 1, max = 16))]
    pub descriptors: Vec<RateLimitDescriptor>,
    /// Time for the service's answer; 20 ms when left out.
    pub timeout: Option<GatewayDuration>,
    /// What happens to requests of which the service says nothing in time; `Open` when left out.
    #[serde(default)]
    pub failure_mode: FailureMode,
}

/// What happens when somebody who is asked does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailureMode {
    /// Requests are let through.
    #[default]
    Open,
    /// Requests are refused with 503.
    Closed,
}

/// A list of keys and values. It is left out for requests that lack the value of any of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimitDescriptor {
    /// The keys and values, in order.
    #[schemars(length(min = 1, max = 16))]
    pub entries: Vec<RateLimitEntry>,
}

/// A key and where its value comes from: one of the other fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [rule(
    "[has(self.value), has(self.header), has(self.remoteAddress) && self.remoteAddress, \
      has(self.identity) && self.identity, has(self.path) && self.path, has(self.method) && self.method]\
     .filter(given, given).size() == 1",
    "write exactly one of value, header, remoteAddress: true, identity: true, path: true and method: true",
)]))]
pub struct RateLimitEntry {
    /// The key; `generic_key`, the header's name, `remote_address`, `identity`, `path` or `method` when left out.
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
    /// This text.
    #[schemars(length(min = 1, max = 1024))]
    pub value: Option<String>,
    /// Value of a header field.
    #[schemars(regex(pattern = TOKEN), length(max = 256), extend("x-weft-expected" = TOKEN_EXPECTED))]
    pub header: Option<String>,
    /// Address of the client.
    pub remote_address: Option<bool>,
    /// SPIFFE id of the caller.
    pub identity: Option<bool>,
    /// Path without the query.
    pub path: Option<bool>,
    /// Method.
    pub method: Option<bool>,
}
