//! What a schema can't say: conditions between fields, and the syntax of what is written in them.

mod filter;
mod policy;
mod route;
mod service;
mod shadow;

use http::header::{HeaderName, HeaderValue};
use weft_mesh::pattern::Pattern;

use super::decode::is_label;
use super::problem::{At, Problems};
use super::reference::{BackendReference, Selector};
use super::{Object, Spec};

/// Checks a resource whose structure is right. `at` is where its `spec` is.
pub(super) fn check(object: &Object, at: &At<'_>, problems: &mut Problems) {
    let of = &*object.key.namespace;
    match &object.spec {
        Spec::Service(spec) => service::service(spec, at, problems),
        Spec::EndpointSlice(spec) => service::slice(spec, &object.labels, at, problems),
        Spec::ExternalService(spec) => service::external(spec, at, problems),
        Spec::HttpRoute(spec) => route::http(spec, of, at, problems),
        Spec::GrpcRoute(spec) => route::grpc(spec, of, at, problems),
        Spec::TlsRoute(spec) => route::tls(spec, of, at, problems),
        Spec::TcpRoute(spec) => route::tcp(spec, of, at, problems),
        Spec::ReferenceGrant(_) | Spec::Namespace => {}
        Spec::BackendPolicy(spec) => policy::backend(spec, at, problems),
        Spec::AuthorizationPolicy(spec) => policy::authorization(spec, at, problems),
        Spec::MeshPolicy(spec) => policy::mesh(spec, at, problems),
        Spec::RateLimitFilter(spec) => filter::rate_limit(spec, at, problems),
        Spec::FaultFilter(spec) => filter::fault(spec, at, problems),
    }
}

/// A header field's name (RFC 9110, section 5.1).
fn header_name(name: &str, at: &At<'_>, problems: &mut Problems) {
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        problems.error(at, format!("is {name:?}; write the name of a header field: letters, digits and '-'"));
    }
}

/// A name in a list whose names an API server holds apart as they are written, and HTTP without regard to case: the first
/// counts (Gateway API, `HTTPHeaderMatch.name` and `HTTPHeader.name`).
fn repeated_name<'a>(
    name: &str,
    earlier: impl Iterator<Item = &'a str>,
    at: &At<'_>,
    problems: &mut Problems,
) {
    let same = earlier.filter(|earlier| earlier.eq_ignore_ascii_case(name));
    for earlier in same {
        if earlier == name {
            return problems.error(at, format!("{name:?} is there twice; remove one"));
        }
        problems.warn(at, format!("{name:?} has no effect: {earlier:?} before it is the same; remove one"));
    }
}

/// A header field's value (RFC 9110, section 5.5).
fn header_value(value: &str, at: &At<'_>, problems: &mut Problems) {
    if HeaderValue::from_str(value).is_err() {
        problems.error(at, format!("is {value:?}; a header field's value is printable ASCII"));
    }
}

/// A regular expression, as the proxies compile it.
fn regex(pattern: &str, at: &At<'_>, problems: &mut Problems) {
    if let Err(error) = Pattern::new(pattern) {
        problems.error(at, error.to_string());
    }
}

/// A method's token (RFC 9110, section 9.1).
fn method(name: &str, at: &At<'_>, problems: &mut Problems) {
    if http::Method::from_bytes(name.as_bytes()).is_err() {
        problems.error(at, format!("is {name:?}; write a method such as GET"));
    } else if name.bytes().any(|byte| byte.is_ascii_lowercase()) {
        problems.warn(at, format!("is {name:?}; methods are case-sensitive and usually in capitals"));
    }
}

/// A namespace's name.
fn namespace(name: Option<&str>, at: &At<'_>, problems: &mut Problems) {
    if let Some(name) = name
        && !is_label(name)
    {
        problems.error(
            &at.field("namespace"),
            format!("is {name:?}; write at most 63 lower-case letters, digits and '-'"),
        );
    }
}

/// A reference to a Service or ExternalService. What it names may be missing; it may not be unreadable.
fn backend_reference(reference: &BackendReference, at: &At<'_>, problems: &mut Problems) {
    namespace(reference.namespace.as_deref(), at, problems);
    let service = reference.kind.as_deref().is_none_or(|kind| kind == "Service");
    if service && reference.port.is_none() {
        problems.error(at, "the field \"port\" is missing; a Service is referred to with one of its ports");
    }
}

/// A selector of workloads.
fn selector(selector: Option<&Selector>, at: &At<'_>, problems: &mut Problems) {
    if selector.is_some_and(|selector| selector.match_labels.is_empty()) {
        problems.warn(
            &at.field("selector"),
            "has no labels and so selects every workload; leave it out to say so",
        );
    }
}

/// Names that may stand only once in a list.
fn unique<T: PartialEq>(
    values: impl Iterator<Item = (usize, T)>,
    at: &At<'_>,
    what: impl Fn(&T) -> String,
    problems: &mut Problems,
) {
    let mut seen: Vec<T> = Vec::new();
    for (index, value) in values {
        if seen.contains(&value) {
            problems.error(&at.item(index), format!("{} is there twice; remove one", what(&value)));
        } else {
            seen.push(value);
        }
    }
}
