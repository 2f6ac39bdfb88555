//! HTTPRoute, GRPCRoute, TCPRoute and TLSRoute as they travel.

use weft_mesh::route::PathMatch as CompiledPath;
use weft_proto::v1;
use weft_proto::v1::{http_match, value_match, weighted_backend};

use super::backend::{Referrer, resolve, route_retry};
use super::filter::filters;
use super::{Reader, duration, resource_ref};
use weft_resource::{
    BackendReference, ConnectionRouteSpec, CookieLifetime, GrpcMethodMatch, GrpcRouteMatch, GrpcRouteRule,
    GrpcRouteSpec, HttpRouteMatch, HttpRouteRule, HttpRouteSpec, Key, MatchType, PathMatchType, RouteBackend,
    SessionPersistence, SessionType, ValueMatch,
};

/// Weight of a backend that has none (Gateway API, BackendRef).
const DEFAULT_WEIGHT: u32 = 1;

/// `hostnames` are left out: Gateway API gives them no meaning for a route of a Service (GEP-1294).
pub(super) fn http(reader: &Reader<'_>, from: Referrer<'_>, spec: &HttpRouteSpec) -> v1::HttpRoute {
    let rule = |(index, rule)| http_rule(reader, from, index, rule);
    let rules = if spec.rules.is_empty() {
        vec![rule((0, &HttpRouteRule::default()))]
    } else {
        spec.rules.iter().enumerate().map(rule).collect()
    };
    v1::HttpRoute { resource: Some(resource_ref(from.route)), hostnames: Vec::new(), rules, grpc: false }
}

fn http_rule(reader: &Reader<'_>, from: Referrer<'_>, index: usize, rule: &HttpRouteRule) -> v1::HttpRule {
    let timeouts = rule.timeouts.clone().unwrap_or_default();
    // The default of `matches` is a prefix, and so comes before a regular expression.
    let everything = [HttpRouteMatch::default()];
    let matches = if rule.matches.is_empty() { &everything[..] } else { &rule.matches };
    v1::HttpRule {
        name: rule.name.clone().unwrap_or_default(),
        matches: matches.iter().map(http_match).collect(),
        filters: filters(reader, from, &rule.filters),
        backends: backends(reader, from, &rule.backend_refs),
        request_timeout: duration(timeouts.request),
        backend_request_timeout: duration(timeouts.backend_request),
        retry: rule.retry.as_ref().map(route_retry),
        session_persistence: rule
            .session_persistence
            .as_ref()
            .map(|session| persistence(from.route, rule.name.as_deref(), index, session)),
        // Whoever says how long a request may take, or that it may take for ever, says so of a quiet one, too.
        stream_idle_timeout: timeouts.request.map(|_| prost_types::Duration::default()),
    }
}

fn http_match(condition: &HttpRouteMatch) -> v1::HttpMatch {
    let path = match &condition.path {
        None => http_match::Path::PathPrefix("/".to_owned()),
        Some(path) => match path.r#type {
            PathMatchType::Exact => http_match::Path::PathExact(path.value.clone()),
            PathMatchType::PathPrefix => http_match::Path::PathPrefix(path.value.clone()),
            PathMatchType::RegularExpression => http_match::Path::PathRegex(path.value.clone()),
        },
    };
    v1::HttpMatch {
        path: Some(path),
        headers: condition.headers.iter().map(value_match).collect(),
        query: condition.query_params.iter().map(value_match).collect(),
        method: condition.method.map(|method| method.as_str().to_owned()).unwrap_or_default(),
    }
}

fn value_match(condition: &ValueMatch) -> v1::ValueMatch {
    let value = match condition.r#type {
        MatchType::Exact => value_match::Value::Exact(condition.value.clone()),
        MatchType::RegularExpression => value_match::Value::Regex(condition.value.clone()),
    };
    v1::ValueMatch { name: condition.name.clone(), value: Some(value) }
}

pub(super) fn grpc(reader: &Reader<'_>, from: Referrer<'_>, spec: &GrpcRouteSpec) -> v1::HttpRoute {
    let rule = |(index, rule): (usize, &GrpcRouteRule)| {
        let everything = [GrpcRouteMatch::default()];
        let matches = if rule.matches.is_empty() { &everything[..] } else { &rule.matches };
        v1::HttpRule {
            name: rule.name.clone().unwrap_or_default(),
            matches: matches.iter().map(grpc_match).collect(),
            filters: filters(reader, from, &rule.filters),
            backends: backends(reader, from, &rule.backend_refs),
            session_persistence: rule
                .session_persistence
                .as_ref()
                .map(|session| persistence(from.route, rule.name.as_deref(), index, session)),
            ..v1::HttpRule::default()
        }
    };
    let rules = if spec.rules.is_empty() {
        vec![rule((0, &GrpcRouteRule::default()))]
    } else {
        spec.rules.iter().enumerate().map(rule).collect()
    };
    v1::HttpRoute { resource: Some(resource_ref(from.route)), hostnames: Vec::new(), rules, grpc: true }
}

fn grpc_match(condition: &GrpcRouteMatch) -> v1::HttpMatch {
    v1::HttpMatch {
        path: grpc_path(condition.method.as_ref()),
        headers: condition.headers.iter().map(value_match).collect(),
        ..v1::HttpMatch::default()
    }
}

/// The path `/<service>/<method>` that a condition on the method means (gRPC over HTTP/2).
fn grpc_path(condition: Option<&GrpcMethodMatch>) -> Option<http_match::Path> {
    let Some(condition) = condition else { return Some(http_match::Path::PathAny(true)) };
    // What does not compile was refused when it was decoded.
    Some(match condition.names().compile().ok()?.path {
        CompiledPath::Exact(path) => http_match::Path::PathExact(path.into()),
        CompiledPath::Prefix(path) => http_match::Path::PathPrefix(path.into()),
        CompiledPath::GrpcMethod(method) => http_match::Path::PathGrpcMethod(method.into()),
        CompiledPath::Regex(pattern) => http_match::Path::PathRegex(pattern.as_str().to_owned()),
        CompiledPath::Any => http_match::Path::PathAny(true),
    })
}

fn backends(reader: &Reader<'_>, from: Referrer<'_>, refs: &[RouteBackend]) -> Vec<v1::WeightedBackend> {
    let weighted = refs.iter().map(|backend| v1::WeightedBackend {
        weight: backend.weight.unwrap_or(DEFAULT_WEIGHT),
        target: Some(target(reader, from, &backend.reference())),
        filters: filters(reader, from, &backend.filters),
    });
    weighted.collect()
}

fn target(reader: &Reader<'_>, from: Referrer<'_>, reference: &BackendReference) -> weighted_backend::Target {
    match resolve(reader, from, reference) {
        Ok(backend) => weighted_backend::Target::Backend(backend),
        Err(unresolved) => weighted_backend::Target::Invalid(unresolved.message),
    }
}

/// Unlike those of an HTTPRoute, the hostnames of a TLSRoute have a meaning for a Service, too: nothing else of such a
/// connection can be matched.
pub(super) fn tls(reader: &Reader<'_>, from: Referrer<'_>, spec: &ConnectionRouteSpec) -> v1::TlsRoute {
    v1::TlsRoute {
        resource: Some(resource_ref(from.route)),
        hostnames: spec.hostnames.clone(),
        backends: connections(reader, from, spec),
    }
}

/// Where the connections of a TCPRoute or TLSRoute go: its first rule takes all of them.
pub(super) fn connections(
    reader: &Reader<'_>,
    from: Referrer<'_>,
    spec: &ConnectionRouteSpec,
) -> Vec<v1::WeightedBackend> {
    let backends = spec.rules.first().map(|rule| rule.backend_refs.as_slice()).unwrap_or_default();
    let weighted = backends.iter().map(|backend| v1::WeightedBackend {
        weight: backend.weight.unwrap_or(DEFAULT_WEIGHT),
        target: Some(target(reader, from, &backend.reference())),
        filters: Vec::new(),
    });
    weighted.collect()
}

/// Each rule has sessions of its own (GEP-1619), so its name or place is in the default of the session's name.
fn persistence(
    key: &Key,
    rule: Option<&str>,
    index: usize,
    session: &SessionPersistence,
) -> v1::SessionPersistence {
    let kind = match session.r#type {
        SessionType::Cookie => v1::SessionKind::Cookie,
        SessionType::Header => v1::SessionKind::Header,
    };
    let rule = rule.map_or_else(|| index.to_string(), str::to_owned);
    let unique = || format!("weft-{}-{}-{rule}", key.namespace, key.name);
    let lifetime = session.cookie_config.as_ref().map(|cookie| cookie.lifetime_type).unwrap_or_default();
    v1::SessionPersistence {
        name: session.session_name.clone().unwrap_or_else(unique),
        kind: kind.into(),
        absolute_timeout: duration(session.absolute_timeout),
        idle_timeout: duration(session.idle_timeout),
        permanent: lifetime == CookieLifetime::Permanent,
        scope: format!("{key}/{rule}"),
    }
}

#[cfg(test)]
mod tests;
