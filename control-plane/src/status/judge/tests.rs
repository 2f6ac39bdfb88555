//! What is said of routes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::index::Index;
use crate::index::tests::object;

/// The `parentRefs` of a route that was decoded; for tests of what the API server would hold.
fn raw_parents(object: &Object) -> Vec<Value> {
    crate::index::parent_refs(&object.spec)
        .iter()
        .map(|parent| serde_json::to_value(parent).unwrap())
        .collect()
}

const SERVICES: [&str; 3] = [
    "{apiVersion: v1, kind: Service, metadata: {name: cart, namespace: shop}, spec: {ports: [{name: http, port: 80}]}}",
    "{apiVersion: v1, kind: Service, metadata: {name: pay, namespace: bank}, spec: {ports: [{port: 80}]}}",
    "{apiVersion: v1, kind: Service, metadata: {name: open, namespace: bank}, spec: {ports: [{port: 80}]}}",
];
const GRANT: &str = "{apiVersion: gateway.networking.k8s.io/v1beta1, kind: ReferenceGrant, metadata: {name: g, namespace: bank}, spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}], to: [{group: '', kind: Service, name: open}]}}";

fn index() -> Index {
    index_with(&[])
}

/// As above, with these resources too.
fn index_with(more: &[&str]) -> Index {
    let mut index = Index::default();
    let objects: BTreeMap<_, _> = (0..)
        .zip(SERVICES.iter().chain([&GRANT]).chain(more))
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
        dropped: Vec::new(),
    }
}

fn said(route: &Judged) -> Vec<(String, String)> {
    said_by(route, &index())
}

fn said_by(route: &Judged, index: &Index) -> Vec<(String, String)> {
    let parents = wanted(route, &Reader::new(index), "2026-01-01T00:00:00Z").unwrap();
    let conditions = parents[0]["conditions"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    conditions.iter().map(|it| (text(&it["status"]), text(&it["reason"]))).collect()
}

fn pair(accepted: (&str, &str), resolved: (&str, &str)) -> Vec<(String, String)> {
    [accepted, resolved].map(|(status, reason)| (status.to_owned(), reason.to_owned())).into()
}

const CART: &str = "{group: '', kind: Service, name: cart}";

#[test]
fn a_rule_that_no_request_can_meet_is_told_of_a_route_that_is_accepted() {
    let mut route = route(CART, "{}");
    let place = weft_resource::FieldPath(vec![weft_resource::Segment::Field("spec".to_owned())]);
    route.problems.push(Problem {
        severity: Severity::Warning,
        path: place,
        reason: "no request".to_owned(),
    });
    let parents = wanted(&route, &Reader::new(&index()), "2026-01-01T00:00:00Z").unwrap();
    assert_eq!(parents[0]["conditions"][0]["message"], "in force; spec: no request");
    assert_eq!(parents[0]["conditions"][0]["status"], "True");
}

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
fn a_backend_that_no_requests_can_be_sent_to_is_told() {
    let database = "{apiVersion: v1, kind: Service, metadata: {name: db, namespace: shop}, spec: {ports: [{port: 5432, appProtocol: postgresql}]}}";
    let index = index_with(&[database]);
    let route = route(CART, "{backendRefs: [{name: db, port: 5432}]}");
    assert_eq!(said_by(&route, &index), pair(("True", "Accepted"), ("False", "UnsupportedProtocol")));
}

#[test]
fn of_several_kinds_of_routes_only_the_most_specific_one_is_accepted() {
    let grpc = "{apiVersion: gateway.networking.k8s.io/v1, kind: GRPCRoute, metadata: {name: calls, namespace: shop}, spec: {parentRefs: [{group: '', kind: Service, name: cart}]}}";
    let fine = ("True", "ResolvedRefs");
    let index = index_with(&[grpc]);
    assert_eq!(said_by(&route(CART, "{}"), &index), pair(("False", "Conflicted"), fine));
    let mut calls = route(CART, "{}");
    calls.object = Some(object(grpc, 10));
    calls.key = calls.object.as_ref().unwrap().key.clone();
    assert_eq!(said_by(&calls, &index), pair(("True", "Accepted"), fine));
    // Consumers' routes are a matter of their own.
    let elsewhere = grpc
        .replace("namespace: shop", "namespace: bank")
        .replace("name: cart", "name: cart, namespace: shop");
    assert_eq!(said_by(&route(CART, "{}"), &index_with(&[&elsewhere])), pair(("True", "Accepted"), fine));
}

#[test]
fn rules_that_are_wrong_are_dropped_and_told_while_others_stay() {
    let document = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "r", "namespace": "shop"},
        "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "cart"}], "rules": [
            {"name": "right"}, {"filters": [{"type": "Unheard"}]},
        ]},
    });
    let decoded = weft_resource::decode_in_part(&document, weft_resource::Age::Written("x".into(), 0));
    let mut route = route(CART, "{}");
    (route.object, route.problems, route.dropped) = (decoded.object, decoded.problems, decoded.dropped);
    let Some(Spec::HttpRoute(spec)) = route.object.as_ref().map(|object| &object.spec) else { panic!() };
    assert_eq!(spec.rules.len(), 1);
    let parents = wanted(&route, &Reader::new(&index()), "2026-01-01T00:00:00Z").unwrap();
    assert_eq!(parents[0]["conditions"][0]["status"], "True");
    let told = &parents[0]["conditions"][2];
    assert_eq!(
        (&told["type"], &told["status"], &told["reason"]),
        (&json!("PartiallyInvalid"), &json!("True"), &json!("UnsupportedValue"))
    );
    let message = told["message"].as_str().unwrap();
    assert!(message.starts_with("Dropped Rule rules[1]: spec.rules[1].filters[0].type: "), "{message}");
    // Mended, nothing is said of it any more.
    (route.problems, route.dropped, route.status) = (Vec::new(), Vec::new(), parents);
    let parents = wanted(&route, &Reader::new(&index()), "2026-02-02T00:00:00Z").unwrap();
    assert_eq!(parents[0]["conditions"].as_array().unwrap().len(), 2);
}

#[test]
fn values_that_are_not_known_are_unsupported() {
    for rule in [
        json!({"matches": [{"path": {"type": "Glob", "value": "/*"}}]}),
        json!({"matches": [{"method": "BREW"}]}),
        json!({"filters": [{"type": "ExternalAuth", "externalAuth": {}}]}),
        json!({"filters": [{"type": "RequestRedirect", "requestRedirect": {"statusCode": 304}}]}),
    ] {
        let document = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "r", "namespace": "shop"},
            "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "cart"}], "rules": [rule]},
        });
        let decoded = weft_resource::decode_in_part(&document, weft_resource::Age::Written("x".into(), 0));
        let mut route = route(CART, "{}");
        (route.object, route.problems, route.dropped) = (decoded.object, decoded.problems, decoded.dropped);
        assert_eq!(said(&route)[0], ("False".to_owned(), "UnsupportedValue".to_owned()), "{document}");
    }
}

#[test]
fn conditions_of_others_and_of_a_newer_generation_stay() {
    let mut route = route(CART, "{}");
    let mut first = wanted(&route, &Reader::new(&index()), "2026-01-01T00:00:00Z").unwrap();
    let other = json!({"type": "example.com/Audited", "status": "True"});
    let conditions = first[0]["conditions"].as_array_mut().unwrap();
    conditions.insert(0, other.clone());
    conditions[1]["observedGeneration"] = json!(9);
    let newer = conditions[1].clone();
    route.status = first;
    route.generation = 4;
    let second = wanted(&route, &Reader::new(&index()), "2026-02-02T00:00:00Z").unwrap();
    let conditions = second[0]["conditions"].as_array().unwrap();
    assert_eq!((conditions.len(), &conditions[0], &conditions[1]), (3, &other, &newer));
    assert_eq!(conditions[2]["observedGeneration"], 4);
}

#[test]
fn what_is_wrong_with_a_route_is_told() {
    let mut wrong = route(CART, "{}");
    wrong.object = None;
    let decoded = weft_resource::decode(
        &json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "r"}}),
        weft_resource::Age::Written("x".into(), 0),
    );
    wrong.problems = decoded.problems;
    assert_eq!(said(&wrong)[0], ("False".to_owned(), "UnsupportedValue".to_owned()));
}

#[test]
fn what_is_written_already_is_not_written_again_and_others_entries_stay() {
    let mut route = route(CART, "{}");
    let other = json!({"parentRef": {"name": "gateway"}, "controllerName": "somebody.else/controller", "conditions": []});
    route.status = vec![other.clone()];
    let first = wanted(&route, &Reader::new(&index()), "2026-01-01T00:00:00Z").unwrap();
    assert_eq!((first.len(), &first[0]), (2, &other));
    route.status = first.clone();
    assert_eq!(wanted(&route, &Reader::new(&index()), "2026-02-02T00:00:00Z"), None);
    // A new generation is a change; what held before has held since then.
    route.generation = 4;
    let second = wanted(&route, &Reader::new(&index()), "2026-02-02T00:00:00Z").unwrap();
    assert_eq!(second[1]["conditions"][0]["lastTransitionTime"], "2026-01-01T00:00:00Z");
    assert_eq!(second[1]["conditions"][0]["observedGeneration"], 4);
    // A parent that the route no longer names is forgotten.
    route.parents.clear();
    assert_eq!(wanted(&route, &Reader::new(&index()), "2026-02-02T00:00:00Z").unwrap(), [other]);
}
