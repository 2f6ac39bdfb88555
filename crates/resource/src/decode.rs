//! From a tree of values to a checked resource.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::closed::closed;
use super::kind::{GATEWAY_GROUP, OWN_GROUP};
use super::problem::{At, Problem, Problems, Segment, Severity};
use super::{Age, Key, Kind, Object, Spec, check, suggest};

/// Namespace of what does not say its own.
const DEFAULT_NAMESPACE: &str = "default";
/// Longest name of a Kubernetes object.
const NAME_MAX: usize = 253;

/// Who a resource says it is, as far as that can be read; for messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// `kind`.
    pub kind: String,
    /// `metadata.namespace`, or the default.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

/// What became of a document.
#[derive(Debug)]
pub struct Decoded {
    /// Who it says it is.
    pub head: Head,
    /// The resource; none when there is an error, or when its kind is not about the mesh.
    pub object: Option<Object>,
    /// Everything wrong with it.
    pub problems: Vec<Problem>,
    /// The rules of a route, counted from 0, that the resource is without because of what is wrong with them.
    pub dropped: Vec<usize>,
}

/// Decodes and checks one resource. `written` is its place among the others, for what has no `creationTimestamp`.
pub fn decode(value: &Value, written: Age) -> Decoded {
    let mut problems = Problems::default();
    let mut head = Head { namespace: DEFAULT_NAMESPACE.to_owned(), ..Head::default() };
    let object = decode_object(value, written, &mut head, &mut problems);
    let object = object.filter(|_| !problems.has_errors());
    Decoded { head, object, problems: problems.0, dropped: Vec::new() }
}

/// As [`decode`], but leaves out the rules of a route that are wrong if others are right (Gateway API,
/// `RouteConditionPartiallyInvalid`), and has policies that are wrong deny what they could have meant. For what an API
/// server has taken already: nobody is there who could mend it at once.
pub fn decode_in_part(value: &Value, written: Age) -> Decoded {
    let whole = closed(value, written.clone(), decode(value, written.clone()));
    if whole.object.is_some() {
        return whole;
    }
    let Some(dropped) = wrong_rules(&whole.problems) else { return whole };
    let mut rest = value.clone();
    let Some(Value::Array(rules)) = rest.pointer_mut("/spec/rules") else { return whole };
    let mut index = 0..;
    rules.retain(|_| index.next().is_none_or(|index| !dropped.contains(&index)));
    if rules.is_empty() {
        return whole;
    }
    match decode(&rest, written).object {
        Some(object) => Decoded { object: Some(object), dropped, ..whole },
        None => whole,
    }
}

/// The rules that errors are in; none if an error is elsewhere, or there is none.
fn wrong_rules(problems: &[Problem]) -> Option<Vec<usize>> {
    let mut found = Vec::new();
    for problem in problems.iter().filter(|problem| problem.severity == Severity::Error) {
        let [Segment::Field(spec), Segment::Field(rules), Segment::Item(index), ..] = &problem.path.0[..]
        else {
            return None;
        };
        if spec != "spec" || rules != "rules" {
            return None;
        }
        found.push(*index);
    }
    found.dedup();
    (!found.is_empty()).then_some(found)
}

fn decode_object(value: &Value, written: Age, head: &mut Head, problems: &mut Problems) -> Option<Object> {
    let root = At::ROOT;
    let Some(document) = value.as_object() else {
        problems.error(&root, "is no resource; write a mapping with apiVersion, kind, metadata and spec");
        return None;
    };
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    text("kind").unwrap_or_default().clone_into(&mut head.kind);
    let kind = kind_of(text("apiVersion"), text("kind"), problems);
    let metadata = Metadata::read(document.get("metadata"), kind, head, problems);
    let kind = kind?;
    let body = body_of(document, kind, problems)?;
    let at = if kind.has_spec() { root.field("spec") } else { root };
    kind.field_schema().check(&body, &at, problems);
    // What can be read all the same is checked too, so that everything is told at once.
    let spec = match read_spec(kind, body) {
        Ok(spec) => spec,
        Err(_) if problems.has_errors() => return None,
        Err(error) => {
            problems.error(&at, error.to_string());
            return None;
        }
    };
    let key = Key { kind, namespace: head.namespace.as_str().into(), name: head.name.as_str().into() };
    let age = metadata.created.map_or(written, Age::Created);
    let object = Object { key, labels: metadata.labels, age, spec };
    check::check(&object, &at, problems);
    Some(object)
}

/// The kind, or none with a problem: an error for what was probably meant for the mesh, otherwise a warning.
fn kind_of(api_version: Option<&str>, kind: Option<&str>, problems: &mut Problems) -> Option<Kind> {
    let root = At::ROOT;
    let (Some(api_version), Some(name)) = (api_version, kind) else {
        for (field, value) in [("apiVersion", api_version), ("kind", kind)] {
            if value.is_none() {
                problems.error(&root, format!("the field {field:?} is missing; it is required"));
            }
        }
        return None;
    };
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str() == name) else {
        let hint = suggest::hint(name, Kind::ALL.into_iter().map(Kind::as_str));
        if group == OWN_GROUP || hint.starts_with("did you mean") {
            problems.error(&root.field("kind"), format!("there is no kind {name:?}; {hint}"));
        } else {
            problems.warn(&root.field("kind"), format!("{name} is not about the mesh and is left alone"));
        }
        return None;
    };
    // `Service` is also the name of a kind of other groups, such as serverless platforms.
    if group != kind.group() && kind.group() != OWN_GROUP && kind.group() != GATEWAY_GROUP {
        problems.warn(
            &root.field("apiVersion"),
            format!("{name} of {group:?} is not about the mesh and is left alone; for a Kubernetes {name} write {}", kind.api_version()),
        );
        return None;
    }
    if group != kind.group() || !kind.versions().contains(&version) {
        let expected = kind.api_version();
        problems.error(
            &root.field("apiVersion"),
            format!("{api_version:?} has no {name} that is understood; write {expected}"),
        );
        return None;
    }
    Some(kind)
}

/// What stands in `spec`, or beside `metadata` where there is none.
fn body_of(document: &Map<String, Value>, kind: Kind, problems: &mut Problems) -> Option<Value> {
    let envelope = |name: &str| matches!(name, "apiVersion" | "kind" | "metadata" | "status");
    let rest = document.iter().filter(|(name, _)| !envelope(name));
    if !kind.has_spec() {
        return Some(Value::Object(rest.map(|(name, value)| (name.clone(), value.clone())).collect()));
    }
    for (name, _) in rest.filter(|(name, _)| *name != "spec") {
        let hint = suggest::hint(name, ["apiVersion", "kind", "metadata", "spec"]);
        problems.error(&At::ROOT.field(name), format!("there is no such field; {hint}"));
    }
    match document.get("spec") {
        Some(Value::Null) | None if kind == Kind::Namespace => Some(Value::Object(Map::new())),
        Some(Value::Null) | None => {
            problems.error(&At::ROOT, "the field \"spec\" is missing; it is required");
            None
        }
        Some(body) => Some(body.clone()),
    }
}

fn read_spec(kind: Kind, body: Value) -> Result<Spec, serde_json::Error> {
    fn read<T: DeserializeOwned>(body: Value) -> Result<T, serde_json::Error> {
        serde_json::from_value(without_null(body))
    }
    Ok(match kind {
        Kind::Service => Spec::Service(read(body)?),
        Kind::EndpointSlice => Spec::EndpointSlice(read(body)?),
        Kind::HttpRoute => Spec::HttpRoute(read(body)?),
        Kind::GrpcRoute => Spec::GrpcRoute(read(body)?),
        Kind::TlsRoute => Spec::TlsRoute(read(body)?),
        Kind::TcpRoute => Spec::TcpRoute(read(body)?),
        Kind::ReferenceGrant => Spec::ReferenceGrant(read(body)?),
        Kind::Namespace => Spec::Namespace,
        Kind::BackendPolicy => Spec::BackendPolicy(Box::new(read(body)?)),
        Kind::AuthorizationPolicy => Spec::AuthorizationPolicy(read(body)?),
        Kind::MeshPolicy => Spec::MeshPolicy(read(body)?),
        Kind::FaultFilter => Spec::FaultFilter(read(body)?),
        Kind::RateLimitFilter => Spec::RateLimitFilter(read(body)?),
        Kind::ExternalService => Spec::ExternalService(read(body)?),
    })
}

/// A field that is `null` is a field that was left out.
pub(super) fn without_null(value: Value) -> Value {
    match value {
        Value::Object(mapping) => Value::Object(
            mapping
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name, without_null(value)))
                .collect(),
        ),
        Value::Array(list) => Value::Array(list.into_iter().map(without_null).collect()),
        other => other,
    }
}

/// What matters of a resource's metadata.
#[derive(Default)]
struct Metadata {
    labels: BTreeMap<String, String>,
    created: Option<Timestamp>,
}

impl Metadata {
    fn read(value: Option<&Value>, kind: Option<Kind>, head: &mut Head, problems: &mut Problems) -> Self {
        let root = At::ROOT;
        let at = root.field("metadata");
        let Some(value) = value.filter(|value| !value.is_null()) else {
            problems.error(&root, "the field \"metadata\" is missing; write metadata with a name");
            return Self::default();
        };
        let Some(metadata) = value.as_object() else {
            problems.error(&at, "write a mapping with a name");
            return Self::default();
        };
        match metadata.get("name") {
            Some(Value::String(name)) if is_subdomain(name) => name.clone_into(&mut head.name),
            Some(Value::String(name)) => {
                name.clone_into(&mut head.name);
                problems.error(
                    &at.field("name"),
                    format!("is {name:?}; write at most 253 lower-case letters, digits, '-' and '.'"),
                );
            }
            Some(value) if !value.is_null() => {
                problems.error(&at.field("name"), format!("is {value}; write text, in quotes"));
            }
            _ => problems.error(&at, "the field \"name\" is missing; it is required"),
        }
        match metadata.get("namespace") {
            None | Some(Value::Null) => {}
            Some(Value::String(namespace)) if is_label(namespace) => {
                namespace.clone_into(&mut head.namespace);
            }
            Some(value) => problems.error(
                &at.field("namespace"),
                format!("is {value}; write at most 63 lower-case letters, digits and '-'"),
            ),
        }
        // A Service's name is a part of a host name.
        if matches!(kind, Some(Kind::Service)) && !head.name.is_empty() && !is_label(&head.name) {
            problems.error(
                &at.field("name"),
                format!(
                    "is {:?}; a Service's name has at most 63 lower-case letters, digits and '-'",
                    head.name
                ),
            );
        }
        Self {
            labels: read_labels(metadata.get("labels"), &at, problems),
            created: read_created(metadata, &at, problems),
        }
    }
}

fn read_labels(labels: Option<&Value>, at: &At<'_>, problems: &mut Problems) -> BTreeMap<String, String> {
    let at = at.field("labels");
    let mut found = BTreeMap::new();
    match labels {
        None | Some(Value::Null) => {}
        Some(Value::Object(labels)) => {
            for (name, value) in labels {
                if let Some(value) = value.as_str() {
                    found.insert(name.clone(), value.to_owned());
                } else {
                    problems.error(&at.field(name), format!("is {value}; write text, in quotes"));
                }
            }
        }
        Some(_) => problems.error(&at, "write a mapping of text to text"),
    }
    found
}

fn read_created(metadata: &Map<String, Value>, at: &At<'_>, problems: &mut Problems) -> Option<Timestamp> {
    let value = metadata.get("creationTimestamp").filter(|value| !value.is_null())?;
    let created = value.as_str().and_then(|text| text.parse().ok());
    if created.is_none() {
        problems.error(
            &at.field("creationTimestamp"),
            format!("is {value}; write a time such as 2026-01-31T12:00:00Z"),
        );
    }
    created
}

/// An RFC 1123 label.
pub(super) fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// An RFC 1123 subdomain.
pub(super) fn is_subdomain(text: &str) -> bool {
    text.len() <= NAME_MAX && text.split('.').all(is_label)
}
