//! Checks of routes.

use weft_mesh::route::HostPattern;

use super::filter::{Around, filters};
use super::{backend_reference, header_name, header_value, namespace, regex, shadow};
use crate::problem::{At, Problems};
use crate::{
    ConnectionRouteSpec, CookieLifetime, FilterType, GrpcMethodMatch, GrpcRouteSpec, HttpRouteMatch,
    HttpRouteRule, HttpRouteSpec, MatchType, ParentRef, PathMatch, PathMatchType, RouteBackend, RouteFilter,
    SessionPersistence, SessionType, ValueMatch,
};

/// Most matches of all the rules of a route (Gateway API, `HTTPRouteSpec.rules`).
const MATCHES_MAX: usize = 128;

pub(super) fn http(spec: &HttpRouteSpec, of: &str, at: &At<'_>, problems: &mut Problems) {
    belongs(&spec.parent_refs, &spec.hostnames, of, at, problems);
    let rules = at.field("rules");
    rule_names(spec.rules.iter().map(|rule| rule.name.as_deref()), &rules, problems);
    match_count(spec.rules.iter().map(|rule| rule.matches.len()), &rules, problems);
    sessions(spec.rules.iter().map(|rule| rule.session_persistence.as_ref()), &rules, problems);
    for (index, rule) in spec.rules.iter().enumerate() {
        http_rule(rule, &rules.item(index), problems);
    }
    shadow::http(spec, &rules, problems);
}

fn match_count(of_rules: impl Iterator<Item = usize>, at: &At<'_>, problems: &mut Problems) {
    let count: usize = of_rules.sum();
    if count > MATCHES_MAX {
        problems.error(
            at,
            format!("have {count} matches together; a route has at most {MATCHES_MAX}, make it two routes"),
        );
    }
}

fn http_rule(rule: &HttpRouteRule, at: &At<'_>, problems: &mut Problems) {
    let matches = at.field("matches");
    for (index, condition) in rule.matches.iter().enumerate() {
        http_match(condition, &matches.item(index), problems);
    }
    // Left out, it is a prefix: that of every path.
    let prefix = |condition: &HttpRouteMatch| {
        condition.path.as_ref().is_none_or(|path| path.r#type == PathMatchType::PathPrefix)
    };
    let one_prefix = rule.matches.len() <= 1 && rule.matches.iter().all(prefix);
    let around = Around { grpc: false, one_prefix };
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
        let codes = at.field("codes");
        for (index, code) in retry.codes.iter().enumerate() {
            if !(400..=599).contains(code) {
                problems.error(&codes.item(index), format!("is {code}; write a status from 400 to 599"));
            }
        }
        super::unique(retry.codes.iter().enumerate(), &codes, |code| format!("the status {code}"), problems);
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
    } else if !is_path(value) {
        problems.error(
            at,
            format!("is {value:?}; a path has ASCII letters, digits and any of -/._~!$&'()*+,;=:@, write other characters as %XX"),
        );
    }
}

/// The characters of a path (RFC 3986, section 3.3).
fn is_path(value: &str) -> bool {
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        let valid = match byte {
            b'%' => [bytes.next(), bytes.next()]
                .iter()
                .all(|digit| digit.is_some_and(|it| it.is_ascii_hexdigit())),
            byte => byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@".contains(&byte),
        };
        if !valid {
            return false;
        }
    }
    true
}

fn header_matches(headers: &[ValueMatch], at: &At<'_>, problems: &mut Problems) {
    for (index, header) in headers.iter().enumerate() {
        let at = at.item(index);
        header_name(&header.name, &at.field("name"), problems);
        match header.r#type {
            MatchType::Exact => header_value(&header.value, &at.field("value"), problems),
            MatchType::RegularExpression => regex(&header.value, &at.field("value"), problems),
        }
        let earlier = headers.iter().take(index).map(|earlier| earlier.name.as_str());
        super::repeated_name(&header.name, earlier, &at.field("name"), problems);
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
        filters(&backend.filters, around, &at.field("filters"), problems);
    }
    let weights = || backends.iter().map(|backend| backend.weight.unwrap_or(1));
    if !backends.is_empty() && weights().all(|weight| weight == 0) {
        problems.warn(at, "all weights are 0, so requests are answered with 500");
    }
}

fn session(session: Option<&SessionPersistence>, at: &At<'_>, problems: &mut Problems) {
    let Some(session) = session else { return };
    let at = at.field("sessionPersistence");
    if let Some(name) = &session.session_name {
        header_name(name, &at.field("sessionName"), problems);
    }
    let Some(cookie) = &session.cookie_config else { return };
    if session.r#type != SessionType::Cookie {
        problems
            .error(&at.field("cookieConfig"), "goes with type Cookie alone; remove it or change the type");
    }
    let no_end = session.absolute_timeout.is_none_or(|timeout| timeout.0.is_zero());
    if cookie.lifetime_type == CookieLifetime::Permanent && no_end {
        problems.error(
            &at.field("absoluteTimeout"),
            "is missing; a permanent cookie ends by it, so write one or the lifetimeType Session",
        );
    }
}

/// Rules have sessions of their own: where two have the same name, clients keep only the one that came last.
fn sessions<'a>(
    of_rules: impl Iterator<Item = Option<&'a SessionPersistence>>,
    at: &At<'_>,
    problems: &mut Problems,
) {
    let mut seen: Vec<(&str, SessionType)> = Vec::new();
    for (index, session) in of_rules.enumerate() {
        let Some((name, kind)) =
            session.and_then(|session| Some((session.session_name.as_deref()?, session.r#type)))
        else {
            continue;
        };
        if seen.contains(&(name, kind)) {
            problems.warn(
                &at.item(index).field("sessionPersistence").field("sessionName"),
                format!(
                    "{name:?} is that of an earlier rule, whose sessions it replaces; give each rule its own"
                ),
            );
        }
        seen.push((name, kind));
    }
}

fn rule_names<'a>(rules: impl Iterator<Item = Option<&'a str>>, at: &At<'_>, problems: &mut Problems) {
    let named = rules.enumerate().filter_map(|(index, name)| Some((index, name?)));
    super::unique(named, at, |name| format!("the rule's name {name:?}"), problems);
}

/// Whether two references are to the same parent, whatever part of it.
fn is_same(one: &ParentRef, other: &ParentRef, of: &str) -> bool {
    let object =
        |parent: &'_ ParentRef| (parent.namespace.as_deref().unwrap_or(of).to_owned(), parent.name.clone());
    let same_kind =
        (one.is_service() && other.is_service()) || (one.group == other.group && one.kind == other.kind);
    same_kind && object(one) == object(other)
}

/// References to one parent name different parts of it (Gateway API, `CommonRouteSpec.parentRefs`).
fn distinct(earlier: &ParentRef, parent: &ParentRef, at: &At<'_>, problems: &mut Problems) {
    let named = |parent: &ParentRef| (parent.section_name.is_some(), parent.port.is_some());
    if (&earlier.section_name, earlier.port) == (&parent.section_name, parent.port) {
        problems.error(at, "is there twice; remove one");
    } else if named(earlier) != named(parent) {
        problems.error(
            at,
            "is another reference to the same parent; both have to name sectionName, or port, or both",
        );
    }
}

/// What a route belongs to. `of` is its namespace.
fn belongs(parents: &[ParentRef], hostnames: &[String], of: &str, at: &At<'_>, problems: &mut Problems) {
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
        if let Some(earlier) = parents.iter().take(index).find(|earlier| is_same(earlier, parent, of)) {
            distinct(earlier, parent, &at, problems);
        }
    }
}

pub(super) fn grpc(spec: &GrpcRouteSpec, of: &str, at: &At<'_>, problems: &mut Problems) {
    belongs(&spec.parent_refs, &spec.hostnames, of, at, problems);
    let rules = at.field("rules");
    rule_names(spec.rules.iter().map(|rule| rule.name.as_deref()), &rules, problems);
    match_count(spec.rules.iter().map(|rule| rule.matches.len()), &rules, problems);
    sessions(spec.rules.iter().map(|rule| rule.session_persistence.as_ref()), &rules, problems);
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
        let around = Around { grpc: true, one_prefix: false };
        filters(&rule.filters, around, &at.field("filters"), problems);
        backends(&rule.backend_refs, around, &at.field("backendRefs"), problems);
        ends(&rule.filters, rule.backend_refs.len(), &at, problems);
        session(rule.session_persistence.as_ref(), &at, problems);
    }
    shadow::grpc(spec, &rules, problems);
}

fn grpc_method(condition: &GrpcMethodMatch, at: &At<'_>, problems: &mut Problems) {
    let is_given = |name: &Option<String>| name.as_deref().is_some_and(|name| !name.is_empty());
    if !is_given(&condition.service) && !is_given(&condition.method) {
        problems.error(at, "has neither service nor method; write one of them, or leave it out");
    }
    // Each alone, so that the problem is told where it is.
    let alone = [
        ("service", GrpcMethodMatch { method: None, ..condition.clone() }, condition.service.is_some()),
        ("method", GrpcMethodMatch { service: None, ..condition.clone() }, condition.method.is_some()),
    ];
    for (field, condition, given) in alone {
        if let (true, Err(error)) = (given, condition.names().compile()) {
            problems.error(&at.field(field), error.to_string());
        }
    }
}

pub(super) fn tls(spec: &ConnectionRouteSpec, of: &str, at: &At<'_>, problems: &mut Problems) {
    let hostnames = at.field("hostnames");
    for (index, name) in spec.hostnames.iter().enumerate() {
        if let Err(error) = HostPattern::new(name) {
            problems.error(&hostnames.item(index), error.to_string());
        }
    }
    connection(spec, of, at, problems);
}

pub(super) fn tcp(spec: &ConnectionRouteSpec, of: &str, at: &At<'_>, problems: &mut Problems) {
    if !spec.hostnames.is_empty() {
        problems.error(&at.field("hostnames"), "is no field of a TCPRoute; only a TLSRoute has it");
    }
    connection(spec, of, at, problems);
}

fn connection(spec: &ConnectionRouteSpec, of: &str, at: &At<'_>, problems: &mut Problems) {
    belongs(&spec.parent_refs, &[], of, at, problems);
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

#[cfg(test)]
mod tests;
