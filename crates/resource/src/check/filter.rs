//! Checks of filters.

use weft_mesh::filter::{HeaderChanges, OriginPattern};

use super::{backend_reference, header_name, header_value, repeated_name};
use crate::kind::OWN_GROUP;
use crate::problem::{At, Problems};
use crate::{
    Cors, FaultFilterSpec, FilterType, GlobalRateLimit, HeaderField, HeaderModifier, Method, PathModifier,
    PathModifierType, RateLimitEntry, RateLimitFilterSpec, RequestMirror, RequestRedirect, RouteFilter,
};

/// What a rule's other parts mean for its filters.
#[derive(Clone, Copy)]
pub(super) struct Around {
    /// Of a GRPCRoute.
    pub(super) grpc: bool,
    /// The rule has one match, and that is a prefix, so that it can be replaced.
    pub(super) one_prefix: bool,
}

pub(super) fn filters(filters: &[RouteFilter], around: Around, at: &At<'_>, problems: &mut Problems) {
    for (index, filter) in filters.iter().enumerate() {
        let at = at.item(index);
        one_field(filter, &at, problems);
        content(filter, around, &at, problems);
        let repeatable = matches!(filter.r#type, FilterType::RequestMirror | FilterType::ExtensionRef);
        if !repeatable && filters.iter().take(index).any(|earlier| earlier.r#type == filter.r#type) {
            problems.error(
                &at.field("type"),
                format!("{:?} is there twice; join the two filters", filter.r#type),
            );
        }
    }
    let has = |kind| filters.iter().position(|filter| filter.r#type == kind);
    if let (Some(index), Some(_)) = (has(FilterType::RequestRedirect), has(FilterType::UrlRewrite)) {
        problems.error(&at.item(index), "RequestRedirect and URLRewrite exclude each other; remove one");
    }
}

/// The field that `type` names is there, and no other.
fn one_field(filter: &RouteFilter, at: &At<'_>, problems: &mut Problems) {
    let fields = [
        (
            FilterType::RequestHeaderModifier,
            "requestHeaderModifier",
            filter.request_header_modifier.is_some(),
        ),
        (
            FilterType::ResponseHeaderModifier,
            "responseHeaderModifier",
            filter.response_header_modifier.is_some(),
        ),
        (FilterType::RequestMirror, "requestMirror", filter.request_mirror.is_some()),
        (FilterType::RequestRedirect, "requestRedirect", filter.request_redirect.is_some()),
        (FilterType::UrlRewrite, "urlRewrite", filter.url_rewrite.is_some()),
        (FilterType::Cors, "cors", filter.cors.is_some()),
        (FilterType::ExtensionRef, "extensionRef", filter.extension_ref.is_some()),
    ];
    for (kind, name, present) in fields {
        if kind == filter.r#type && !present {
            problems.error(at, format!("the field {name:?} is missing; its type says that it is there"));
        } else if kind != filter.r#type && present {
            problems
                .error(&at.field(name), "does not go with the filter's type; remove it or change the type");
        }
    }
}

fn content(filter: &RouteFilter, around: Around, at: &At<'_>, problems: &mut Problems) {
    if around.grpc
        && matches!(filter.r#type, FilterType::RequestRedirect | FilterType::UrlRewrite | FilterType::Cors)
    {
        problems.error(&at.field("type"), format!("a GRPCRoute has no filter {:?}", filter.r#type));
    }
    if let Some(modifier) = &filter.request_header_modifier {
        header_modifier(modifier, &at.field("requestHeaderModifier"), problems);
    }
    if let Some(modifier) = &filter.response_header_modifier {
        header_modifier(modifier, &at.field("responseHeaderModifier"), problems);
    }
    if let Some(mirror) = &filter.request_mirror {
        request_mirror(mirror, &at.field("requestMirror"), problems);
    }
    if let Some(redirect) = &filter.request_redirect {
        request_redirect(redirect, around, &at.field("requestRedirect"), problems);
    }
    if let Some(rewrite) = &filter.url_rewrite {
        let at = at.field("urlRewrite");
        host(rewrite.hostname.as_deref(), &at, problems);
        if let Some(path) = &rewrite.path {
            path_modifier(path, around, &at.field("path"), problems);
        }
    }
    if let Some(settings) = &filter.cors {
        cors(settings, &at.field("cors"), problems);
    }
    if let Some(reference) = &filter.extension_ref
        && (reference.group != OWN_GROUP
            || !matches!(reference.kind.as_str(), "FaultFilter" | "RateLimitFilter"))
    {
        problems.warn(
            &at.field("extensionRef"),
            format!(
                "{} {} is no filter that is understood, so requests are answered with 500; \
                 use FaultFilter or RateLimitFilter of {OWN_GROUP}",
                reference.group, reference.kind
            ),
        );
    }
}

fn header_modifier(modifier: &HeaderModifier, at: &At<'_>, problems: &mut Problems) {
    fn names(fields: &[HeaderField]) -> Vec<&str> {
        fields.iter().map(|field| field.name.as_str()).collect()
    }
    let lists = [
        ("set", names(&modifier.set)),
        ("add", names(&modifier.add)),
        ("remove", modifier.remove.iter().map(String::as_str).collect()),
    ];
    for (number, (list, names)) in lists.iter().enumerate() {
        let list = at.field(list);
        for (index, name) in names.iter().enumerate() {
            let item = list.item(index);
            let at = if number == 2 { item } else { item.field("name") };
            changeable(name, &at, problems);
            repeated_name(name, names.iter().take(index).copied(), &at, problems);
            let before = lists.iter().take(number);
            if let Some((other, _)) =
                before.clone().find(|(_, names)| names.iter().any(|other| other.eq_ignore_ascii_case(name)))
            {
                problems.error(&at, format!("{name:?} is in {other:?} too; keep one action for it"));
            }
        }
    }
    for (list, fields) in [("set", &modifier.set), ("add", &modifier.add)] {
        let at = at.field(list);
        for (index, field) in fields.iter().enumerate() {
            header_value(&field.value, &at.item(index).field("value"), problems);
        }
    }
}

/// A field that a filter may change, as the proxies see it.
fn changeable(name: &str, at: &At<'_>, problems: &mut Problems) {
    if let Err(error) = HeaderChanges::new([], [], [name]) {
        problems.error(at, error.to_string());
    }
}

fn request_mirror(mirror: &RequestMirror, at: &At<'_>, problems: &mut Problems) {
    backend_reference(&mirror.backend_ref, &at.field("backendRef"), problems);
    if let Some(fraction) = mirror.fraction {
        if mirror.percent.is_some() {
            problems.error(at, "percent and fraction exclude each other; remove one");
        }
        if fraction.numerator > fraction.denominator.unwrap_or(100) {
            problems.error(&at.field("fraction"), "numerator is more than denominator; a share is at most 1");
        }
    }
}

fn request_redirect(redirect: &RequestRedirect, around: Around, at: &At<'_>, problems: &mut Problems) {
    host(redirect.hostname.as_deref(), at, problems);
    if let Some(status) = redirect.status_code
        && !matches!(status, 301 | 302 | 303 | 307 | 308)
    {
        problems.error(&at.field("statusCode"), format!("is {status}; write 301, 302, 303, 307 or 308"));
    }
    if let Some(path) = &redirect.path {
        path_modifier(path, around, &at.field("path"), problems);
    }
}

fn host(name: Option<&str>, at: &At<'_>, problems: &mut Problems) {
    if let Some(name) = name
        && !crate::decode::is_subdomain(name)
    {
        problems.error(&at.field("hostname"), format!("is {name:?}; write a host name in lower case"));
    }
}

fn path_modifier(path: &PathModifier, around: Around, at: &At<'_>, problems: &mut Problems) {
    let (expected, other, value) = match path.r#type {
        PathModifierType::ReplaceFullPath => {
            ("replaceFullPath", &path.replace_prefix_match, &path.replace_full_path)
        }
        PathModifierType::ReplacePrefixMatch => {
            ("replacePrefixMatch", &path.replace_full_path, &path.replace_prefix_match)
        }
    };
    match value {
        None => {
            problems.error(at, format!("the field {expected:?} is missing; its type says that it is there"));
        }
        Some(value) if !value.is_empty() && !value.starts_with('/') => {
            problems.error(&at.field(expected), format!("is {value:?}; a path starts with '/'"));
        }
        Some(value) if value.bytes().any(|byte| byte <= b' ' || byte == 0x7f) => {
            problems.error(&at.field(expected), format!("is {value:?}; a path has no spaces"));
        }
        Some(_) => {}
    }
    if other.is_some() {
        problems.error(at, format!("has a field that does not go with its type; keep {expected:?} alone"));
    }
    if path.r#type == PathModifierType::ReplacePrefixMatch && !around.one_prefix {
        problems.error(
            &at.field("type"),
            "ReplacePrefixMatch needs a rule with one match, of type PathPrefix; make it a rule of its own or replace the full path",
        );
    }
}

fn cors(settings: &Cors, at: &At<'_>, problems: &mut Problems) {
    for (list, names) in
        [("allowHeaders", &settings.allow_headers), ("exposeHeaders", &settings.expose_headers)]
    {
        for (index, name) in names.iter().enumerate().filter(|(_, name)| *name != "*") {
            header_name(name, &at.field(list).item(index), problems);
        }
    }
    let methods = at.field("allowMethods");
    for (index, name) in settings.allow_methods.iter().enumerate().filter(|(_, name)| *name != "*") {
        if serde_json::from_value::<Method>(name.as_str().into()).is_err() {
            problems.error(&methods.item(index), format!("is {name:?}; write '*' or a method such as GET"));
        }
    }
    let origins = at.field("allowOrigins");
    for (index, origin) in settings.allow_origins.iter().enumerate() {
        if let Err(error) = OriginPattern::new(origin) {
            problems.error(&origins.item(index), error.to_string());
        }
    }
    for (list, values) in [
        ("allowOrigins", &settings.allow_origins),
        ("allowMethods", &settings.allow_methods),
        ("allowHeaders", &settings.allow_headers),
        ("exposeHeaders", &settings.expose_headers),
    ] {
        let at = at.field(list);
        super::unique(values.iter().enumerate(), &at, |value| format!("{value:?}"), problems);
        if list != "exposeHeaders" && values.len() > 1 && values.iter().any(|value| value == "*") {
            problems.error(&at, "has '*' beside others; '*' stands for all, so keep it alone");
        }
    }
}

pub(super) fn fault(spec: &FaultFilterSpec, at: &At<'_>, problems: &mut Problems) {
    if spec.delay.is_none() && spec.abort.is_none() {
        problems.error(at, "does nothing; write delay, abort, or both");
    }
    if let Some(abort) = &spec.abort
        && abort.status.is_some() == abort.grpc_status.is_some()
    {
        problems.error(&at.field("abort"), "write exactly one of status and grpcStatus");
    }
}

pub(super) fn rate_limit(spec: &RateLimitFilterSpec, at: &At<'_>, problems: &mut Problems) {
    if let Some(key) = &spec.key {
        super::policy::hash_key(key, &at.field("key"), problems);
    }
    if spec.requests.is_none() {
        if spec.global.is_none() {
            problems.error(at, "limits nothing; write requests, global, or both");
        }
        for (field, given) in [("interval", spec.interval.is_some()), ("key", spec.key.is_some())] {
            if given {
                problems
                    .error(&at.field(field), "goes with requests, which is missing; add it or remove this");
            }
        }
    }
    if let Some(global) = &spec.global {
        global_rate_limit(global, &at.field("global"), problems);
    }
}

fn global_rate_limit(global: &GlobalRateLimit, at: &At<'_>, problems: &mut Problems) {
    if global.service.is_some() == global.address.is_some() {
        problems.error(at, "write exactly one of service and address");
    }
    if let Some(reference) = &global.service {
        backend_reference(reference, &at.field("service"), problems);
    }
    if let Some(address) = &global.address {
        let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
        if !port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port != 0)) {
            let problem = format!("is {address:?}; write HOST:PORT such as ratelimit.example.com:8081");
            problems.error(&at.field("address"), problem);
        }
    }
    if global.timeout.is_some_and(|timeout| timeout.0.is_zero()) {
        problems
            .error(&at.field("timeout"), "is 0s, in which nobody answers; write a longer time such as 20ms");
    }
    let descriptors = at.field("descriptors");
    for (index, descriptor) in global.descriptors.iter().enumerate() {
        let entries = descriptors.item(index);
        let entries = entries.field("entries");
        for (index, entry) in descriptor.entries.iter().enumerate() {
            rate_limit_entry(entry, &entries.item(index), problems);
        }
    }
}

fn rate_limit_entry(entry: &RateLimitEntry, at: &At<'_>, problems: &mut Problems) {
    let flags = [entry.remote_address, entry.identity, entry.path, entry.method];
    let given = flags.into_iter().filter(|flag| *flag == Some(true)).count()
        + usize::from(entry.value.is_some())
        + usize::from(entry.header.is_some());
    if given != 1 {
        let sources = "value, header, remoteAddress: true, identity: true, path: true and method: true";
        problems.error(at, format!("write exactly one of {sources}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{Age, decode};

    #[test]
    fn what_is_said_of_a_limit_for_all_proxies_can_be_done() {
        let filter = |spec: serde_json::Value| {
            let filter = json!({
                "apiVersion": "mesh.weft.dev/v1alpha1",
                "kind": "RateLimitFilter",
                "metadata": {"name": "limit"},
                "spec": spec,
            });
            let problems = decode(&filter, Age::Written("limit.yaml".into(), 0)).problems;
            problems.iter().map(|it| format!("{}: {}", it.path, it.reason)).collect::<Vec<_>>()
        };
        let entries = json!([{"header": "x-user"}, {"key": "tier", "value": "gold"}, {"identity": true}]);
        let good = json!({"global": {
            "service": {"name": "limits", "port": 8081},
            "domain": "shop",
            "descriptors": [{"entries": entries}],
            "failureMode": "Closed",
        }});
        assert_eq!(filter(good), [""; 0]);
        assert_eq!(filter(json!({})), ["spec: limits nothing; write requests, global, or both"]);
        let bad = filter(json!({"interval": "1s", "global": {
            "service": {"name": "limits", "port": 8081},
            "address": "limits",
            "domain": "shop",
            "timeout": "0s",
            "descriptors": [{"entries": [{"path": true, "method": true}, {"header": "a b"}, {}]}],
        }}));
        for expected in [
            "spec.interval: goes with requests",
            "spec.global: write exactly one of service and address",
            "spec.global.address: is \"limits\"; write HOST:PORT",
            "spec.global.timeout: is 0s",
            "spec.global.descriptors[0].entries[0]: write exactly one of",
            "spec.global.descriptors[0].entries[1].header",
            "spec.global.descriptors[0].entries[2]: write exactly one of",
        ] {
            assert!(bad.iter().any(|said| said.starts_with(expected)), "{expected}: {bad:?}");
        }
        assert_eq!(bad.len(), 7, "{bad:?}");
    }
}
