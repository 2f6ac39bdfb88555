//! What is to be said of a resource, as a function of what there is.

use serde_json::{Value, json};

use super::CONTROLLER;
use crate::compile::{Reader, check_extension, resolve};
use crate::index::Index;
use crate::resource::{
    BackendReference, ConnectionBackend, Key, Kind, OWN_GROUP, Object, ParentRef, Problem, RouteBackend,
    RouteFilter, Severity, Spec,
};
use weft_mesh::name::ServiceName;

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
}

/// The field of the status that a kind has its list in.
pub(super) fn field(kind: Kind) -> &'static str {
    if kind.group() == OWN_GROUP { "conditions" } else { "parents" }
}

/// That field as it should be; none when it is so already. Other controllers' entries stay.
pub(super) fn wanted(route: &Judged, index: &Index, now: &str) -> Option<Vec<Value>> {
    if route.key.kind.group() == OWN_GROUP {
        return super::own::wanted(route, index, now);
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
            let before =
                ours.iter().find(|status| status["parentRef"] == *raw).map(|status| &status["conditions"]);
            let conditions = conditions(route, &parent, index).into_iter();
            let conditions: Vec<Value> =
                conditions.map(|condition| written(&condition, route.generation, before, now)).collect();
            Some(json!({"parentRef": raw, "controllerName": CONTROLLER, "conditions": conditions}))
        })
        .collect();
    if said.len() == ours.len() && said.iter().zip(&ours).all(|(new, old)| new == *old) {
        return None;
    }
    Some(others.into_iter().cloned().chain(said).collect())
}

/// A condition with its time, which stays as long as the condition neither comes nor goes.
pub(super) fn written(condition: &Condition, generation: i64, before: Option<&Value>, now: &str) -> Value {
    let status = if condition.holds { "True" } else { "False" };
    let earlier = before.and_then(Value::as_array).into_iter().flatten();
    let same = |it: &&Value| it["type"] == condition.kind && it["status"] == status;
    let time = earlier.clone().find(same).and_then(|it| it["lastTransitionTime"].as_str()).unwrap_or(now);
    json!({
        "type": condition.kind,
        "status": status,
        "reason": condition.reason,
        "message": condition.message,
        "observedGeneration": generation,
        "lastTransitionTime": time,
    })
}

fn conditions(route: &Judged, parent: &ParentRef, index: &Index) -> [Condition; 2] {
    [accepted(route, parent, index), resolved(route, index)]
}

fn accepted(route: &Judged, parent: &ParentRef, index: &Index) -> Condition {
    let refuse = |reason, message| Condition { kind: "Accepted", holds: false, reason, message };
    let errors = route.problems.iter().filter(|problem| problem.severity == Severity::Error);
    let errors: Vec<String> = errors.map(|problem| format!("{}: {}", problem.path, problem.reason)).collect();
    if !errors.is_empty() {
        return refuse("UnsupportedValue", errors.join("; "));
    }
    let namespace = parent.namespace.as_deref().unwrap_or(&route.key.namespace);
    let service = ServiceName::new(namespace, &parent.name).ok();
    let Some(service) = service.as_ref().and_then(|name| index.service(name)) else {
        return refuse("NoMatchingParent", format!("there is no Service {namespace}/{}", parent.name));
    };
    let matches = service.ports.iter().any(|port| {
        parent.port.is_none_or(|number| number == port.number)
            && parent.section_name.as_deref().is_none_or(|section| section == port.name)
    });
    if !matches {
        let ports: Vec<String> = service.ports.iter().map(|port| port.number.to_string()).collect();
        return refuse(
            "NoMatchingParent",
            format!("Service {namespace}/{} has no such port; it has {}", parent.name, ports.join(", ")),
        );
    }
    Condition { kind: "Accepted", holds: true, reason: "Accepted", message: "in force".to_owned() }
}

fn resolved(route: &Judged, index: &Index) -> Condition {
    let reader = Reader::new(index);
    let mut first: Option<(&'static str, String)> = None;
    let mut note = |reason, message| {
        first.get_or_insert((reason, message));
    };
    if let Some(object) = &route.object {
        for reference in backends(object) {
            if let Err(unresolved) = resolve(&reader, &route.key, &reference) {
                note(unresolved.reason, unresolved.message);
            }
        }
        for filter in filters(object) {
            if let Some(extension) = &filter.extension_ref
                && let Err(problem) = check_extension(&reader, &route.key, extension)
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

/// The `parentRefs` of a route that was decoded; for tests of what the API server would hold.
#[cfg(test)]
fn raw_parents(object: &Object) -> Vec<Value> {
    crate::index::parent_refs(&object.spec)
        .iter()
        .map(|parent| serde_json::to_value(parent).unwrap())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::index::tests::object;

    const SERVICES: [&str; 3] = [
        "{apiVersion: v1, kind: Service, metadata: {name: cart, namespace: shop}, spec: {ports: [{name: http, port: 80}]}}",
        "{apiVersion: v1, kind: Service, metadata: {name: pay, namespace: bank}, spec: {ports: [{port: 80}]}}",
        "{apiVersion: v1, kind: Service, metadata: {name: open, namespace: bank}, spec: {ports: [{port: 80}]}}",
    ];
    const GRANT: &str = "{apiVersion: gateway.networking.k8s.io/v1beta1, kind: ReferenceGrant, metadata: {name: g, namespace: bank}, spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}], to: [{group: '', kind: Service, name: open}]}}";

    fn index() -> Index {
        let mut index = Index::default();
        let objects: BTreeMap<_, _> = (0..)
            .zip(SERVICES.iter().chain([&GRANT]))
            .map(|(age, yaml)| Arc::new(object(yaml, age)))
            .map(|object| (object.key.clone(), object))
            .collect();
        index.set_objects(&objects);
        index
    }

    fn route(parent: &str, rule: &str) -> Judged {
        let object = object(
            &format!(
                "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: r, namespace: shop}}, spec: {{parentRefs: [{parent}], rules: [{rule}]}}}}"
            ),
            9,
        );
        Judged {
            key: object.key.clone(),
            generation: 3,
            parents: raw_parents(&object),
            status: Vec::new(),
            resource_version: "1".to_owned(),
            object: Some(object),
            problems: Vec::new(),
        }
    }

    fn said(route: &Judged) -> Vec<(String, String)> {
        let parents = wanted(route, &index(), "2026-01-01T00:00:00Z").unwrap();
        let conditions = parents[0]["conditions"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        conditions.iter().map(|it| (text(&it["status"]), text(&it["reason"]))).collect()
    }

    fn pair(accepted: (&str, &str), resolved: (&str, &str)) -> Vec<(String, String)> {
        [accepted, resolved].map(|(status, reason)| (status.to_owned(), reason.to_owned())).into()
    }

    const CART: &str = "{group: '', kind: Service, name: cart}";

    #[test]
    fn a_route_is_accepted_by_a_service_that_is_there_and_has_the_port() {
        let fine = ("True", "ResolvedRefs");
        assert_eq!(said(&route(CART, "{}")), pair(("True", "Accepted"), fine));
        for parent in [
            "{group: '', kind: Service, name: gone}",
            "{group: '', kind: Service, name: cart, port: 81}",
            "{group: '', kind: Service, name: cart, sectionName: grpc}",
        ] {
            assert_eq!(said(&route(parent, "{}")), pair(("False", "NoMatchingParent"), fine), "{parent}");
        }
    }

    #[test]
    fn references_are_resolved_with_the_standards_reasons() {
        for (backend, reason) in [
            ("{name: gone, port: 80}", "BackendNotFound"),
            ("{name: cart, port: 81}", "BackendNotFound"),
            ("{name: pay, namespace: bank, port: 80}", "RefNotPermitted"),
            ("{group: x.io, kind: Bucket, name: b, port: 80}", "InvalidKind"),
        ] {
            let route = route(CART, &format!("{{backendRefs: [{backend}]}}"));
            assert_eq!(said(&route), pair(("True", "Accepted"), ("False", reason)), "{backend}");
        }
        let granted = route(CART, "{backendRefs: [{name: open, namespace: bank, port: 80}]}");
        assert_eq!(said(&granted), pair(("True", "Accepted"), ("True", "ResolvedRefs")));
    }

    #[test]
    fn what_is_wrong_with_a_route_is_told() {
        let mut wrong = route(CART, "{}");
        wrong.object = None;
        let decoded = crate::resource::decode(
            &json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "r"}}),
            crate::resource::Age::Written("x".into(), 0),
        );
        wrong.problems = decoded.problems;
        assert_eq!(said(&wrong)[0], ("False".to_owned(), "UnsupportedValue".to_owned()));
    }

    #[test]
    fn what_is_written_already_is_not_written_again_and_others_entries_stay() {
        let mut route = route(CART, "{}");
        let other = json!({"parentRef": {"name": "gateway"}, "controllerName": "somebody.else/controller", "conditions": []});
        route.status = vec![other.clone()];
        let first = wanted(&route, &index(), "2026-01-01T00:00:00Z").unwrap();
        assert_eq!((first.len(), &first[0]), (2, &other));
        route.status = first.clone();
        assert_eq!(wanted(&route, &index(), "2026-02-02T00:00:00Z"), None);
        // A new generation is a change; what held before has held since then.
        route.generation = 4;
        let second = wanted(&route, &index(), "2026-02-02T00:00:00Z").unwrap();
        assert_eq!(second[1]["conditions"][0]["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert_eq!(second[1]["conditions"][0]["observedGeneration"], 4);
        // A parent that the route no longer names is forgotten.
        route.parents.clear();
        assert_eq!(wanted(&route, &index(), "2026-02-02T00:00:00Z").unwrap(), [other]);
    }
}
