//! Filters as they travel.

use weft_proto::v1;
use weft_proto::v1::global_rate_limit::Service;
use weft_proto::v1::http_filter::Filter;
use weft_proto::v1::path_modifier;
use weft_proto::v1::rate_limit_entry::Value;

use super::backend::{Referrer, hash_key, resolve};
use super::{Reader, duration, wire_duration};
use weft_resource::{
    BackendReference, Cors, FailureMode, FaultFilterSpec, GlobalRateLimit, HeaderField, HeaderModifier, Key,
    Kind, LocalReference, PathModifier, PathModifierType, RateLimitDescriptor, RateLimitEntry,
    RateLimitFilterSpec, RequestMirror, RequestRedirect, RouteFilter, Scheme, Spec,
};

/// Shares of faults travel in millionths.
const MILLION: f64 = 1_000_000.0;

pub(super) fn filters(
    reader: &Reader<'_>,
    from: Referrer<'_>,
    filters: &[RouteFilter],
) -> Vec<v1::HttpFilter> {
    let wire =
        |filter: &RouteFilter| Some(v1::HttpFilter { filter: Some(wire_filter(reader, from, filter)?) });
    filters.iter().filter_map(wire).collect()
}

/// None for a mirror whose backend does not hold: Gateway API wants it left out, as the request itself is served.
fn wire_filter(reader: &Reader<'_>, from: Referrer<'_>, filter: &RouteFilter) -> Option<Filter> {
    if let Some(mirror) = &filter.request_mirror {
        return wire_mirror(reader, from, mirror);
    }
    // Exactly one of the fields is set: what is decoded was checked.
    let request =
        filter.request_header_modifier.as_ref().map(|it| Filter::RequestHeaders(header_modifier(it)));
    let response =
        || filter.response_header_modifier.as_ref().map(|it| Filter::ResponseHeaders(header_modifier(it)));
    let redirect = || filter.request_redirect.as_ref().map(|it| Filter::Redirect(redirect(it)));
    let rewrite = || {
        filter.url_rewrite.as_ref().map(|it| {
            Filter::Rewrite(v1::Rewrite {
                hostname: it.hostname.clone().unwrap_or_default(),
                path: it.path.as_ref().map(path_modifier),
            })
        })
    };
    let cors = || filter.cors.as_ref().map(|it| Filter::Cors(cors(it)));
    let extension = || filter.extension_ref.as_ref().map(|it| extension(reader, from.route, it));
    let found = request.or_else(response).or_else(redirect).or_else(rewrite).or_else(cors).or_else(extension);
    Some(found.unwrap_or_else(|| Filter::Invalid(format!("{} has a filter without content", from.route))))
}

fn header_modifier(modifier: &HeaderModifier) -> v1::HeaderModifier {
    let fields = |fields: &[HeaderField]| {
        let field = |field: &HeaderField| v1::Header { name: field.name.clone(), value: field.value.clone() };
        fields.iter().map(field).collect()
    };
    v1::HeaderModifier {
        set: fields(&modifier.set),
        add: fields(&modifier.add),
        remove: modifier.remove.clone(),
    }
}

fn wire_mirror(reader: &Reader<'_>, from: Referrer<'_>, mirror: &RequestMirror) -> Option<Filter> {
    let (numerator, denominator) = match (mirror.percent, mirror.fraction) {
        (_, Some(fraction)) => (fraction.numerator, fraction.denominator.unwrap_or(100)),
        (Some(percent), None) => (percent, 100),
        (None, None) => (0, 0),
    };
    let backend = resolve(reader, from, &mirror.backend_ref).ok()?;
    Some(Filter::Mirror(v1::Mirror { backend: Some(backend), numerator, denominator }))
}

fn redirect(redirect: &RequestRedirect) -> v1::Redirect {
    let scheme = match redirect.scheme {
        None => "",
        Some(Scheme::Http) => "http",
        Some(Scheme::Https) => "https",
    };
    v1::Redirect {
        scheme: scheme.to_owned(),
        hostname: redirect.hostname.clone().unwrap_or_default(),
        path: redirect.path.as_ref().map(path_modifier),
        port: redirect.port.unwrap_or_default().into(),
        status: redirect.status_code.unwrap_or_default().into(),
    }
}

fn path_modifier(path: &PathModifier) -> v1::PathModifier {
    let path = match path.r#type {
        PathModifierType::ReplaceFullPath => path.replace_full_path.clone().map(path_modifier::Path::Full),
        PathModifierType::ReplacePrefixMatch => {
            path.replace_prefix_match.clone().map(path_modifier::Path::Prefix)
        }
    };
    v1::PathModifier { path }
}

fn cors(cors: &Cors) -> v1::Cors {
    v1::Cors {
        allow_origins: cors.allow_origins.clone(),
        allow_methods: cors.allow_methods.clone(),
        allow_headers: cors.allow_headers.clone(),
        expose_headers: cors.expose_headers.clone(),
        max_age_seconds: cors.max_age.unwrap_or_default(),
        allow_credentials: cors.allow_credentials.unwrap_or_default(),
    }
}

fn extension(reader: &Reader<'_>, key: &Key, reference: &LocalReference) -> Filter {
    match find_extension(reader, key, reference) {
        Ok(filter) => filter,
        Err(reason) => Filter::Invalid(reason),
    }
}

fn find_extension(reader: &Reader<'_>, key: &Key, reference: &LocalReference) -> Result<Filter, String> {
    let kinds = [Kind::FaultFilter, Kind::RateLimitFilter];
    let kind =
        kinds.into_iter().find(|kind| kind.as_str() == reference.kind && kind.group() == reference.group);
    let LocalReference { group, kind: kind_name, name } = reference;
    let kind = kind.ok_or_else(|| format!("{group}/{kind_name} is no filter that is understood"))?;
    let filter = Key { kind, namespace: key.namespace.clone(), name: name.as_str().into() };
    match reader.filter(&filter).map(|object| &object.spec) {
        Some(Spec::FaultFilter(spec)) => Ok(Filter::Fault(fault(spec))),
        Some(Spec::RateLimitFilter(spec)) => Ok(Filter::RateLimit(rate_limit(reader, &filter, spec))),
        _ => Err(format!("there is no {filter}")),
    }
}

/// Whether a route's `ExtensionRef` holds; the error says why not.
pub(crate) fn check_extension(
    reader: &Reader<'_>,
    key: &Key,
    reference: &LocalReference,
) -> Result<(), String> {
    find_extension(reader, key, reference).map(|_| ())
}

fn fault(spec: &FaultFilterSpec) -> v1::Fault {
    let share = |percentage: Option<f64>| (percentage.unwrap_or(100.0) / 100.0 * MILLION).round() as u32;
    v1::Fault {
        delay: spec.delay.as_ref().map(|delay| wire_duration(delay.duration.0)),
        delay_share: spec.delay.as_ref().map_or(0, |delay| share(delay.percentage)),
        abort_status: spec.abort.as_ref().and_then(|abort| abort.status).map_or(0, u32::from),
        abort_grpc_status: spec.abort.as_ref().and_then(|abort| abort.grpc_status).map_or(0, u32::from),
        abort_share: spec.abort.as_ref().map_or(0, |abort| share(abort.percentage)),
    }
}

/// A limit that the resource `from` sets.
pub(super) fn rate_limit(reader: &Reader<'_>, from: &Key, spec: &RateLimitFilterSpec) -> v1::RateLimit {
    v1::RateLimit {
        requests: spec.requests.unwrap_or_default(),
        interval: duration(spec.interval),
        key: spec.key.as_ref().map(hash_key),
        global: spec.global.as_ref().map(|global| global_rate_limit(reader, from, global)),
    }
}

fn global_rate_limit(reader: &Reader<'_>, from: &Key, global: &GlobalRateLimit) -> v1::GlobalRateLimit {
    let by_reference = |reference: &BackendReference| match resolve(
        reader,
        Referrer { route: from, parent: None },
        reference,
    ) {
        Ok(backend) => Service::Backend(backend),
        Err(unresolved) => Service::Invalid(unresolved.message),
    };
    let address = || global.address.clone().map(Service::Address);
    let descriptor = |descriptor: &RateLimitDescriptor| v1::RateLimitDescriptor {
        entries: descriptor.entries.iter().map(rate_limit_entry).collect(),
    };
    v1::GlobalRateLimit {
        service: global.service.as_ref().map(by_reference).or_else(address),
        domain: global.domain.clone(),
        descriptors: global.descriptors.iter().map(descriptor).collect(),
        timeout: duration(global.timeout),
        fail_closed: global.failure_mode == FailureMode::Closed,
    }
}

fn rate_limit_entry(entry: &RateLimitEntry) -> v1::RateLimitEntry {
    // Exactly one of them is set: what is decoded was checked.
    let (key, value) = if let Some(text) = &entry.value {
        ("generic_key", Value::Text(text.clone()))
    } else if let Some(name) = &entry.header {
        (name.as_str(), Value::Header(name.clone()))
    } else if entry.remote_address == Some(true) {
        ("remote_address", Value::RemoteAddress(true))
    } else if entry.identity == Some(true) {
        ("identity", Value::Identity(true))
    } else if entry.path == Some(true) {
        ("path", Value::Path(true))
    } else {
        ("method", Value::Method(true))
    };
    v1::RateLimitEntry { key: entry.key.clone().unwrap_or_else(|| key.to_owned()), value: Some(value) }
}
