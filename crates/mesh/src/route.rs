//! HTTP and gRPC routes: which rule a request meets.
//!
//! Precedence is Gateway API's (`HTTPRouteSpec.hostnames`, `HTTPRouteRule.matches`): the longest exact hostname, then
//! the longest wildcard; an exact path, then the longest prefix, then regular expressions; a method; the most header
//! matches; the most query matches; then the order of routes as given, of rules, and of matches.

mod explain;
mod grpc;
mod host;
mod matching;
mod path;
mod server_name;
mod shadow;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Method, header};

pub use explain::{Considered, Verdict};
pub use grpc::{GrpcMatch, NameMatch};
pub use host::HostPattern;
pub use matching::{HeaderMatch, HttpMatch, Mismatch, QueryMatch, ValueMatch};
pub use path::PathMatch;
pub use server_name::ServerNames;
pub use table::{RouteTable, RuleRef};

use crate::affinity::{KeySource, SessionPersistence};
use crate::deadline::Timeouts;
use crate::filter::Filters;
use crate::retry::RetryPolicy;
use crate::split::Split;

/// The resource that something comes from, for metrics, logs and errors. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceRef {
    /// Kind, such as `HTTPRoute`.
    pub kind: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl ResourceRef {
    /// A reference.
    pub fn new(kind: &str, namespace: &str, name: &str) -> Self {
        Self { kind: kind.into(), namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ResourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// An HTTPRoute or GRPCRoute. `B` is what stands for a backend.
#[derive(Clone, Debug)]
pub struct HttpRoute<B> {
    /// The resource.
    pub id: ResourceRef,
    /// The hosts that it is for; none means all.
    pub hostnames: Vec<HostPattern>,
    /// Its rules, in order.
    pub rules: Vec<HttpRule<B>>,
}

/// A rule of a route. The proxy asks it for everything that follows from having matched.
#[derive(Clone, Debug)]
pub struct HttpRule<B> {
    /// The name, if it has one.
    pub name: Option<Arc<str>>,
    /// The rule applies if any of these does; none means always.
    pub matches: Vec<HttpMatch>,
    /// What is done to requests and responses.
    pub filters: Filters<B>,
    /// Where requests go.
    pub backends: Split<Backend<B>>,
    /// The key by which a client keeps its backend; without one, each request is split anew.
    pub sticky: Option<KeySource>,
    /// Limits on time.
    pub timeouts: Timeouts,
    /// Retries of what a backend may have seen.
    pub retry: Option<RetryPolicy>,
    /// Keeps a client on its endpoint.
    pub session_persistence: Option<SessionPersistence>,
}

impl<B> HttpRule<B> {
    /// A rule that matches everything, sends it to these backends, and does nothing else.
    pub fn to(backends: Split<Backend<B>>) -> Self {
        Self {
            name: None,
            matches: Vec::new(),
            filters: Filters::default(),
            backends,
            sticky: None,
            timeouts: Timeouts::default(),
            retry: None,
            session_persistence: None,
        }
    }
}

/// A backend of a rule.
#[derive(Clone, Debug)]
pub struct Backend<B> {
    /// Where its share of the requests goes.
    pub target: Target<B>,
    /// Filters of its share, after those of the rule.
    pub filters: Filters<B>,
}

impl<B> Backend<B> {
    /// A backend without filters.
    pub fn new(target: B) -> Self {
        Self { target: Target::Valid(target), filters: Filters::default() }
    }

    /// A reference that does not hold; says why.
    pub fn invalid(problem: &str) -> Self {
        Self { target: Target::Invalid(problem.into()), filters: Filters::default() }
    }
}

/// Where a backend's share of the requests goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target<B> {
    /// To this.
    Valid(B),
    /// Nowhere: its share is answered with
    /// [`Reason::InvalidBackend`](crate::reason::Reason::InvalidBackend). Holds the problem.
    Invalid(Box<str>),
}

/// What routes look at in a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestParts<'a> {
    /// The method.
    pub method: &'a Method,
    /// The host asked for, with or without a port; empty if there is none.
    pub host: &'a str,
    /// The path as it was sent, without the query.
    pub path: &'a str,
    /// The query, without `?`.
    pub query: Option<&'a str>,
    /// The header.
    pub headers: &'a HeaderMap,
}

impl<'a> RequestParts<'a> {
    /// The parts of a request as the `http` crate has it. The target's authority goes before the `host` field
    /// (RFC 9112, section 3.2.2).
    pub fn new(method: &'a Method, uri: &'a http::Uri, headers: &'a HeaderMap) -> Self {
        let field = || headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = uri.authority().map(http::uri::Authority::as_str).or_else(field).unwrap_or_default();
        Self { method, host, path: uri.path(), query: uri.query(), headers }
    }
}
