//! Checks of routes.

use weft_mesh::route::HostPattern;

use super::filter::{Around, filters};
use super::{backend_reference, header_name, header_value, namespace, regex};
use crate::compile::grpc_names;
use crate::resource::problem::{At, Problems};
use crate::resource::{
    ConnectionRouteSpec, FilterType, GrpcMethodMatch, GrpcRouteSpec, HttpRouteMatch, HttpRouteRule,
    HttpRouteSpec, MatchType, ParentRef, PathMatch, PathMatchType, RouteBackend, RouteFilter,
    SessionPersistence, ValueMatch,
};

pub(super) fn http(spec: &HttpRouteSpec, at: &At<'_>, problems: &mut Problems) {
    belongs(&spec.parent_refs, &spec.hostnames, at, problems);
    let rules = at.field("rules");
    rule_names(spec.rules.iter().map(|rule| rule.name.as_deref()), &rules, problems);
    for (index, rule) in spec.rules.iter().enumerate() {
        http_rule(rule, &rules.item(index), problems);
    }
}

fn http_rule(rule: &HttpRouteRule, at: &At<'_>, problems: &mut Problems) {
    let matches = at.field("matches");
    for (index, condition) in rule.matches.iter().enumerate() {
        http_match(condition, &matches.item(index), problems);
    }
    let prefix = |condition: &HttpRouteMatch| {
        condition.path.as_ref().is_none_or(|path| path.r#type == PathMatchType::PathPrefix)
    };
    let around = Around { backend: false, grpc: false, prefix_only: rule.matches.iter().all(prefix) };
    filters(&rule.filters, around, &at.field("filters"), problems);
    backends(&rule.backend_refs, around, &at.field("backendRefs"), problems);
    ends(&rule.filters, rule.backend_refs.len(), at, problems);
    if let Some(timeouts) = &rule.timeouts
        && let (Some(request), Some(attempt)) = (timeouts.request, timeouts.backend_request)
        && !request.0.is_zero()
        && attempt > request
    {
        problems.error(
            &at.field("timeouts").field("backendRequest"),
            format!("is {attempt}, more than the {request} of the whole request; make it less"),
        );
    }
    if let Some(retry) = &rule.retry {
        let at = at.field("retry");
        for (index, code) in retry.codes.iter().enumerate() {
            if !(400..=599).contains(code) {
                problems.error(
                    &at.field("codes").item(index),
                    format!("is {code}; write a status from 400 to 599"),
                );
            }
        }
    }
    session(rule.session_persistence.as_ref(), at, problems);
}

fn http_match(condition: &HttpRouteMatch, at: &At<'_>, problems: &mut Problems) {
    if let Some(path) = &condition.path {
        path_match(path, &at.field("path").field("value"), problems);
    }
    header_matches(&condition.headers, &at.field("headers"), problems);
    let query = at.field("queryParams");
    for (index, parameter) in condition.query_params.iter().enumerate() {
        let at = query.item(index);
        if parameter.r#type == MatchType::RegularExpression {
            regex(&parameter.value, &at.field("value"), problems);
        }
        if condition.query_params.iter().take(index).any(|earlier| earlier.name == parameter.name) {
            problems.error(&at.field("name"), format!("{:?} is there twice; remove one", parameter.name));
        }
    }
}

fn path_match(path: &PathMatch, at: &At<'_>, problems: &mut Problems) {
    let value = &path.value;
    if path.r#type == PathMatchType::RegularExpression {
        return regex(value, at, problems);
    }
    if !value.starts_with('/') {
        return problems.error(at, format!("is {value:?}; a path starts with '/'"));
    }
    // The list of Gateway API's HTTPPathMatch.
    let forbidden = ["//", "/./", "/../", "%2f", "%2F", "#"];
    if let Some(part) = forbidden.into_iter().find(|part| value.contains(part)) {
        problems
            .error(at, format!("is {value:?}; {part:?} can't be matched, write the normal form of the path"));
    } else if value.ends_with("/..") || value.ends_with("/.") {
        problems.error(at, format!("is {value:?}; write the normal form of the path"));
    } else if value.bytes().any(|byte| byte <= b' ' || byte >= 0x7f || byte == b'?') {
        problems.error(
            at,
            format!("is {value:?}; a path is ASCII without spaces and '?', write other characters as %XX"),
        );
    }
}

fn header_matches(headers: &[ValueMatch], at: &At<'_>, problems: &mut Problems) {
    for (index, header) in headers.iter().enumerate() {
        let at = at.item(index);
        header_name(&header.name, &at.field("name"), problems);
        match header.r#type {
            MatchType::Exact => header_value(&header.value, &at.field("value"), problems),
            MatchType::RegularExpression => regex(&header.value, &at.field("value"), problems),
        }
        if headers.iter().take(index).any(|earlier| earlier.name.eq_ignore_ascii_case(&header.name)) {
            problems.error(&at.field("name"), format!("{:?} is there twice; remove one", header.name));
        }
    }
}

/// What ends a request: a redirect or backends, not both, and one of them.
fn ends(filters: &[RouteFilter], backends: usize, at: &At<'_>, problems: &mut Problems) {
    let redirect = filters.iter().any(|filter| filter.r#type == FilterType::RequestRedirect);
    if redirect && backends > 0 {
        problems.error(
            &at.field("backendRefs"),
            "a rule that redirects sends nothing to backends; remove them or the redirect",
        );
    } else if !redirect && backends == 0 {
        problems.warn(at, "has no backendRefs, so its requests are answered with 500");
    }
}

fn backends(backends: &[RouteBackend], around: Around, at: &At<'_>, problems: &mut Problems) {
    for (index, backend) in backends.iter().enumerate() {
        let at = at.item(index);
        backend_reference(&backend.reference(), &at, problems);
        filters(&backend.filters, Around { backend: true, ..around }, &at.field("filters"), problems);
    }
    let weights = || backends.iter().map(|backend| backend.weight.unwrap_or(1));
    if !backends.is_empty() && weights().all(|weight| weight == 0) {
        problems.warn(at, "all weights are 0, so requests are answered with 500");
    }
}

fn session(session: Option<&SessionPersistence>, at: &At<'_>, problems: &mut Problems) {
    if let Some(name) = session.and_then(|session| session.session_name.as_deref()) {
        header_name(name, &at.field("sessionPersistence").field("sessionName"), problems);
    }
}

fn rule_names<'a>(rules: impl Iterator<Item = Option<&'a str>>, at: &At<'_>, problems: &mut Problems) {
    let named = rules.enumerate().filter_map(|(index, name)| Some((index, name?)));
    super::unique(named, at, |name| format!("the rule's name {name:?}"), problems);
}

/// What a route belongs to.
fn belongs(parents: &[ParentRef], hostnames: &[String], at: &At<'_>, problems: &mut Problems) {
    let parent_refs = at.field("parentRefs");
    if !parents.iter().any(ParentRef::is_service) {
        problems.warn(
            &parent_refs,
            "names no Service (group \"\", kind Service), so the mesh leaves this route alone",
        );
    } else if !hostnames.is_empty() {
        problems.warn(
            &at.field("hostnames"),
            "have no effect on a route of a Service; match the host header instead",
        );
    }
    for (index, parent) in parents.iter().enumerate() {
        let at = parent_refs.item(index);
        namespace(parent.namespace.as_deref(), &at, problems);
        if parent.is_service() && parent.group.is_none() {
            problems.warn(
                &at,
                "has no group; other implementations of Gateway API want group \"\" for a Service",
            );
        }
        if parents.iter().take(index).any(|earlier| earlier == parent) {
            problems.error(&at, "is there twice; remove one");
        }
    }
}

pub(super) fn grpc(spec: &GrpcRouteSpec, at: &At<'_>, problems: &mut Problems) {
    belongs(&spec.parent_refs, &spec.hostnames, at, problems);
    let rules = at.field("rules");
    rule_names(spec.rules.iter().map(|rule| rule.name.as_deref()), &rules, problems);
    for (index, rule) in spec.rules.iter().enumerate() {
        let at = rules.item(index);
        let matches = at.field("matches");
        for (index, condition) in rule.matches.iter().enumerate() {
            let at = matches.item(index);
            if let Some(method) = &condition.method {
                grpc_method(method, &at.field("method"), problems);
            }
            header_matches(&condition.headers, &at.field("headers"), problems);
        }
        let around = Around { backend: false, grpc: true, prefix_only: false };
        filters(&rule.filters, around, &at.field("filters"), problems);
        backends(&rule.backend_refs, around, &at.field("backendRefs"), problems);
        ends(&rule.filters, rule.backend_refs.len(), &at, problems);
        session(rule.session_persistence.as_ref(), &at, problems);
    }
}

fn grpc_method(condition: &GrpcMethodMatch, at: &At<'_>, problems: &mut Problems) {
    if condition.service.is_none() && condition.method.is_none() {
        problems.error(at, "has neither service nor method; write one of them, or leave it out");
    }
    // Each alone, so that the problem is told where it is.
    let alone = [
        ("service", GrpcMethodMatch { method: None, ..condition.clone() }, condition.service.is_some()),
        ("method", GrpcMethodMatch { service: None, ..condition.clone() }, condition.method.is_some()),
    ];
    for (field, condition, given) in alone {
        if let (true, Err(error)) = (given, grpc_names(&condition).compile()) {
            problems.error(&at.field(field), error.to_string());
        }
    }
}

pub(super) fn tls(spec: &ConnectionRouteSpec, at: &At<'_>, problems: &mut Problems) {
    let hostnames = at.field("hostnames");
    for (index, name) in spec.hostnames.iter().enumerate() {
        if let Err(error) = HostPattern::new(name) {
            problems.error(&hostnames.item(index), error.to_string());
        }
    }
    connection(spec, at, problems);
}

pub(super) fn tcp(spec: &ConnectionRouteSpec, at: &At<'_>, problems: &mut Problems) {
    if !spec.hostnames.is_empty() {
        problems.error(&at.field("hostnames"), "is no field of a TCPRoute; only a TLSRoute has it");
    }
    connection(spec, at, problems);
}

fn connection(spec: &ConnectionRouteSpec, at: &At<'_>, problems: &mut Problems) {
    belongs(&spec.parent_refs, &[], at, problems);
    let rules = at.field("rules");
    for (index, rule) in spec.rules.iter().enumerate() {
        let at = rules.item(index);
        if index > 0 {
            problems.warn(&at, "has no effect: the first rule takes every connection");
        }
        let refs = at.field("backendRefs");
        for (index, backend) in rule.backend_refs.iter().enumerate() {
            backend_reference(&backend.reference(), &refs.item(index), problems);
        }
    }
}
