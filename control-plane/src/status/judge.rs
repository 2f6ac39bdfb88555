//! What is to be said of a resource, as a function of what there is.

use serde_json::{Value, json};

use super::CONTROLLER;
use weft_mesh::name::{ServiceName, ServicePort};

use crate::compile::{Reader, Referrer, check_extension, in_force, resolve};
use crate::index::Port;
use weft_resource::{
    BackendReference, ConnectionBackend, Key, Kind, OWN_GROUP, Object, ParentRef, Problem, RouteBackend,
    RouteFilter, Severity, Spec,
};

/// A condition without its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) kind: &'static str,
    pub(super) holds: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// A route, or a resource of one of our own kinds, as the API server has it.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) key: Key,
    pub(super) generation: i64,
    /// `spec.parentRefs` as they are written.
    pub(super) parents: Vec<Value>,
    /// What stands in its field of the status, as it is written.
    pub(super) status: Vec<Value>,
    pub(super) resource_version: String,
    /// What it says; none when that is wrong.
    pub(super) object: Option<Object>,
    pub(super) problems: Vec<Problem>,
    /// Its rules that are left out because they are wrong.
    pub(super) dropped: Vec<usize>,
}

/// The field of the status that a kind has its list in.
pub(super) fn field(kind: Kind) -> &'static str {
    if kind.group() == OWN_GROUP { "conditions" } else { "parents" }
}

/// That field as it should be; none when it is so already. Other controllers' entries stay.
pub(super) fn wanted(route: &Judged, reader: &Reader<'_>, now: &str) -> Option<Vec<Value>> {
    if route.key.kind.group() == OWN_GROUP {
        return super::policy_status::wanted(route, reader, now);
    }
    let (ours, others): (Vec<&Value>, Vec<&Value>) =
        route.status.iter().partition(|status| status["controllerName"] == CONTROLLER);
    let said: Vec<Value> = route
        .parents
        .iter()
        .filter_map(|raw| {
            let parent: ParentRef = serde_json::from_value(raw.clone()).ok()?;
            if !parent.is_service() {
                return None;
            }
            let before = ours.iter().find(|status| status["parentRef"] == *raw);
            let before = before.and_then(|status| status["conditions"].as_array());
            let before = before.map(Vec::as_slice).unwrap_or_default();
            let conditions = conditions(route, &parent, reader);
            let conditions = merged(&conditions, route.generation, before, now);
            Some(json!({"parentRef": raw, "controllerName": CONTROLLER, "conditions": conditions}))
        })
        .collect();
    if said.len() == ours.len() && said.iter().zip(&ours).all(|(new, old)| new == *old) {
        return None;
    }
    Some(others.into_iter().cloned().chain(said).collect())
}

/// What is to be said, in the places of what was said before. What others say beside it is not ours to remove or to move.
fn merged(conditions: &[Condition], generation: i64, before: &[Value], now: &str) -> Vec<Value> {
    let write = |condition: &Condition| written(condition, generation, before, now);
    let kept = before.iter().filter_map(|old| {
        let new = conditions.iter().find(|condition| old["type"] == condition.kind);
        let of_others = || !OURS.iter().any(|kind| old["type"] == *kind);
        new.map(write).or_else(|| of_others().then(|| old.clone()))
    });
    let is_new = |condition: &&Condition| !before.iter().any(|old| old["type"] == condition.kind);
    kept.chain(conditions.iter().filter(is_new).map(write)).collect()
}

/// A condition with its time, which stays as long as the condition neither comes nor goes. What is said of a newer
/// generation than is known here stays as it is (Gateway API, `RouteParentStatus.conditions`).
pub(super) fn written(condition: &Condition, generation: i64, before: &[Value], now: &str) -> Value {
    let earlier = before.iter().find(|it| it["type"] == condition.kind);
    if let Some(newer) = earlier.filter(|it| it["observedGeneration"].as_i64() > Some(generation)) {
        return newer.clone();
    }
    let status = if condition.holds { "True" } else { "False" };
    let since = earlier.filter(|it| it["status"] == status);
    let time = since.and_then(|it| it["lastTransitionTime"].as_str()).unwrap_or(now);
    json!({
        "type": condition.kind,
        "status": status,
        "reason": condition.reason,
        "message": condition.message,
        "observedGeneration": generation,
        "lastTransitionTime": time,
    })
}

/// The conditions that are spoken of here.
const OURS: [&str; 3] = ["Accepted", "ResolvedRefs", "PartiallyInvalid"];

fn conditions(route: &Judged, parent: &ParentRef, reader: &Reader<'_>) -> Vec<Condition> {
    let accepted = accepted(route, parent, reader);
    let in_part = partially_invalid(route).filter(|_| accepted.holds);
    [accepted, resolved(route, parent, reader)].into_iter().chain(in_part).collect()
}

/// That some rules are left out; never said of a route of which nothing is in force, or all.
fn partially_invalid(route: &Judged) -> Option<Condition> {
    if route.dropped.is_empty() {
        return None;
    }
    let rules: Vec<String> = route.dropped.iter().map(|index| format!("rules[{index}]")).collect();
    let message = format!("Dropped Rule {}: {}", rules.join(", "), errors(route).join("; "));
    Some(Condition { kind: "PartiallyInvalid", holds: true, reason: "UnsupportedValue", message })
}

fn errors(route: &Judged) -> Vec<String> {
    let errors = route.problems.iter().filter(|problem| problem.severity == Severity::Error);
    errors.map(|problem| format!("{}: {}", problem.path, problem.reason)).collect()
}

fn accepted(route: &Judged, parent: &ParentRef, reader: &Reader<'_>) -> Condition {
    let refuse = |reason, message| Condition { kind: "Accepted", holds: false, reason, message };
    if route.object.is_none() {
        return refuse("UnsupportedValue", errors(route).join("; "));
    }
    let namespace = parent.namespace.as_deref().unwrap_or(&route.key.namespace);
    let service = ServiceName::new(namespace, &parent.name).ok();
    let found = service.and_then(|name| Some((reader.service(&name)?, name)));
    let Some((service, name)) = found else {
        return refuse("NoMatchingParent", format!("there is no Service {namespace}/{}", parent.name));
    };
    let mut covered = service.ports.iter().filter(|port| parent.means(port.number, &port.name));
    let Some(first) = covered.clone().next() else {
        return refuse(
            "NoMatchingParent",
            format!(
                "Service {namespace}/{} has not {}; it has {}",
                parent.name,
                parent.described(),
                service.described()
            ),
        );
    };
    let kind_in_force = |port: &Port| {
        let port_of = ServicePort::new(name.clone(), port.number);
        let routes = in_force(reader, &port_of, &port.name, &route.key.namespace);
        routes.first().map(|object| object.key.kind)
    };
    // One that is not in the index yet is about to be: nothing can be in its way that is less specific.
    if !covered.any(|port| kind_in_force(port).is_none_or(|kind| kind == route.key.kind)) {
        let other = kind_in_force(first).map_or("another kind", Kind::as_str);
        return refuse(
            "Conflicted",
            format!(
                "routes of kind {other} belong to Service {namespace}/{} too and are more specific; remove one kind",
                parent.name
            ),
        );
    }
    let doubts = route.problems.iter().filter(|problem| problem.severity == Severity::Warning);
    let doubts: Vec<String> =
        doubts.map(|problem| format!("; {}: {}", problem.path, problem.reason)).collect();
    let message = format!("in force{}", doubts.concat());
    Condition { kind: "Accepted", holds: true, reason: "Accepted", message }
}

fn resolved(route: &Judged, parent: &ParentRef, reader: &Reader<'_>) -> Condition {
    let parent = ServiceName::new(parent.namespace.as_deref().unwrap_or(&route.key.namespace), &parent.name);
    let from = Referrer { route: &route.key, parent: parent.as_ref().ok() };
    let mut first: Option<(&'static str, String)> = None;
    let mut note = |reason, message| {
        first.get_or_insert((reason, message));
    };
    if let Some(object) = &route.object {
        for reference in backends(object) {
            if let Err(unresolved) = resolve(reader, from, &reference) {
                note(unresolved.reason, unresolved.message);
            }
        }
        for filter in filters(object) {
            if let Some(extension) = &filter.extension_ref
                && let Err(problem) = check_extension(reader, &route.key, extension)
            {
                note("InvalidFilter", problem);
            }
        }
    }
    match first {
        None => Condition {
            kind: "ResolvedRefs",
            holds: true,
            reason: "ResolvedRefs",
            message: "everything that is referred to is there".to_owned(),
        },
        Some((reason, message)) => Condition { kind: "ResolvedRefs", holds: false, reason, message },
    }
}

/// Every backend that a route refers to, mirrors included.
fn backends(object: &Object) -> Vec<BackendReference> {
    let mut found: Vec<BackendReference> = match &object.spec {
        Spec::HttpRoute(spec) => {
            spec.rules.iter().flat_map(|rule| &rule.backend_refs).map(RouteBackend::reference).collect()
        }
        Spec::GrpcRoute(spec) => {
            spec.rules.iter().flat_map(|rule| &rule.backend_refs).map(RouteBackend::reference).collect()
        }
        Spec::TcpRoute(spec) | Spec::TlsRoute(spec) => {
            spec.rules.iter().flat_map(|rule| &rule.backend_refs).map(ConnectionBackend::reference).collect()
        }
        _ => Vec::new(),
    };
    let mirrors = filters(object).into_iter().filter_map(|filter| filter.request_mirror.as_ref());
    found.extend(mirrors.map(|mirror| mirror.backend_ref.clone()));
    found
}

fn filters(object: &Object) -> Vec<&RouteFilter> {
    match &object.spec {
        Spec::HttpRoute(spec) => {
            let rules = spec.rules.iter();
            rules
                .flat_map(|rule| {
                    rule.filters.iter().chain(rule.backend_refs.iter().flat_map(|it| &it.filters))
                })
                .collect()
        }
        Spec::GrpcRoute(spec) => {
            let rules = spec.rules.iter();
            rules
                .flat_map(|rule| {
                    rule.filters.iter().chain(rule.backend_refs.iter().flat_map(|it| &it.filters))
                })
                .collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
