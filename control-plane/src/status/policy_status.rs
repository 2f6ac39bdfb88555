//! What is to be said of a resource of one of our own kinds: whether the mesh goes by it (`metav1.Condition`, type
//! `Accepted`), and whether parts of it have no effect because they are others' (type `Conflicted`).

use serde_json::Value;
use weft_mesh::name::ServiceName;

use super::judge::{Condition, Judged, written};
use crate::compile::{Reader, conflicts};
use weft_resource::{BackendPolicySpec, Severity, Spec, TargetKind};

/// Conflicts that are said one by one: a message has an end.
const SAID: usize = 16;

/// The conditions that are spoken of here.
const OURS: [&str; 2] = ["Accepted", "Conflicted"];

/// `status.conditions` as it should be; none when it is so already. Conditions of other types stay.
pub(super) fn wanted(judged: &Judged, reader: &Reader<'_>, now: &str) -> Option<Vec<Value>> {
    let said = [Some(accepted(judged, reader)), conflicted(judged, reader)];
    let said: Vec<Value> = said
        .iter()
        .flatten()
        .map(|condition| written(condition, judged.generation, &judged.status, now))
        .collect();
    let is_ours = |condition: &&Value| OURS.iter().any(|kind| condition["type"] == *kind);
    let ours: Vec<&Value> = judged.status.iter().filter(is_ours).collect();
    if ours.len() == said.len() && said.iter().all(|condition| ours.contains(&condition)) {
        return None;
    }
    let others = judged.status.iter().filter(|condition| !is_ours(condition)).cloned();
    Some(others.chain(said).collect())
}

/// That parts of an ExternalService have no effect; not said of one that is whole.
fn conflicted(judged: &Judged, reader: &Reader<'_>) -> Option<Condition> {
    let Spec::ExternalService(spec) = &judged.object.as_ref()?.spec else { return None };
    let name = ServiceName::new(&judged.key.namespace, &judged.key.name).ok()?;
    let found = conflicts(reader, &name, spec);
    let said = found.iter().take(SAID).map(|it| format!("{}: {}", it.path, it.reason));
    let more = found.len().checked_sub(SAID + 1).map(|rest| format!("and {} more", rest + 1));
    let said: Vec<String> = said.chain(more).collect();
    let condition = |message| Condition { kind: "Conflicted", holds: true, reason: "NotTaken", message };
    (!said.is_empty()).then(|| condition(said.join("; ")))
}

fn accepted(judged: &Judged, reader: &Reader<'_>) -> Condition {
    let condition = |holds, reason, message| Condition { kind: "Accepted", holds, reason, message };
    let errors = judged.problems.iter().filter(|problem| problem.severity == Severity::Error);
    let errors: Vec<String> = errors.map(|problem| format!("{}: {}", problem.path, problem.reason)).collect();
    if !errors.is_empty() {
        return condition(false, "Invalid", errors.join("; "));
    }
    if let Some(Spec::BackendPolicy(spec)) = judged.object.as_ref().map(|object| &object.spec) {
        let missing = missing(spec, &judged.key.namespace, reader);
        let said = missing.join(", ");
        if missing.len() == spec.target_refs.len() {
            return condition(false, "TargetNotFound", format!("there is no {said}"));
        }
        if !missing.is_empty() {
            return condition(true, "Accepted", format!("in force where it can be; there is no {said}"));
        }
    }
    condition(true, "Accepted", "in force".to_owned())
}

/// The targets of a policy that are not there.
fn missing(spec: &BackendPolicySpec, namespace: &str, reader: &Reader<'_>) -> Vec<String> {
    let there = |kind: TargetKind, name: &str| {
        let service = ServiceName::new(namespace, name).ok();
        let service = service.as_ref().and_then(|name| reader.service(name));
        service.is_some_and(|service| service.is_external() == (kind == TargetKind::ExternalService))
    };
    let missing = spec.target_refs.iter().filter(|target| !there(target.kind, &target.name));
    missing.map(|target| format!("{:?} {namespace}/{}", target.kind, target.name)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::index::Index;
    use crate::index::tests::object;
    use weft_resource::{Age, decode_in_part};

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn index() -> Index {
        let mut index = Index::default();
        let services = [
            "{apiVersion: v1, kind: Service, metadata: {name: cart, namespace: shop}, spec: {ports: [{port: 80}]}}",
            "{apiVersion: mesh.weft.dev/v1alpha1, kind: ExternalService, metadata: {name: bank, namespace: shop}, spec: {ports: [{port: 443}], endpoints: [{address: 192.0.2.1}]}}",
        ];
        let objects: BTreeMap<_, _> = (0..)
            .zip(services)
            .map(|(age, yaml)| Arc::new(object(yaml, age)))
            .map(|object| (object.key.clone(), object))
            .collect();
        index.set_objects(&objects);
        index
    }

    fn judged(kind: &str, spec: &Value) -> Judged {
        let resource = json!({
            "apiVersion": "mesh.weft.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": "p", "namespace": "shop"},
            "spec": spec,
        });
        let decoded = decode_in_part(&resource, Age::Written("p".into(), 0));
        let kind = weft_resource::Kind::ALL.into_iter().find(|it| it.as_str() == kind).unwrap();
        Judged {
            key: weft_resource::Key { kind, namespace: "shop".into(), name: "p".into() },
            generation: 2,
            parents: Vec::new(),
            status: Vec::new(),
            resource_version: "1".to_owned(),
            object: decoded.object,
            problems: decoded.problems,
            dropped: Vec::new(),
        }
    }

    fn said(judged: &Judged) -> (String, String, String) {
        let conditions = wanted(judged, &Reader::new(&index()), NOW).unwrap();
        let text = |field: &str| conditions[0][field].as_str().unwrap().to_owned();
        (text("status"), text("reason"), text("message"))
    }

    fn targets(names: &[(&str, &str)]) -> Value {
        let refs: Vec<Value> = names
            .iter()
            .map(|(kind, name)| {
                let group = if *kind == "Service" { "" } else { "mesh.weft.dev" };
                json!({"group": group, "kind": kind, "name": name})
            })
            .collect();
        json!({ "targetRefs": refs })
    }

    #[test]
    fn what_is_right_is_accepted() {
        let policy = judged("MeshPolicy", &json!({"tls": {"mode": "STRICT"}}));
        assert_eq!(said(&policy), ("True".into(), "Accepted".into(), "in force".into()));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let (status, reason, message) = said(&judged("FaultFilter", &json!({})));
        assert_eq!((&*status, &*reason), ("False", "Invalid"));
        assert!(message.contains("write delay, abort, or both"), "{message}");
    }

    #[test]
    fn what_a_policy_that_cannot_be_read_denies_is_told() {
        let policy = judged(
            "AuthorizationPolicy",
            &json!({"action": "DENY", "rules": [{"from": {"ipBlocks": ["10.0.0.0/33"]}}]}),
        );
        let (status, reason, message) = said(&policy);
        assert_eq!((&*status, &*reason), ("False", "Invalid"));
        assert!(message.contains("10.0.0.0/33") && message.contains("denies everything until"), "{message}");
    }

    #[test]
    fn a_policy_without_any_of_its_targets_is_not_accepted() {
        let there = judged("BackendPolicy", &targets(&[("Service", "cart"), ("ExternalService", "bank")]));
        assert_eq!(said(&there).2, "in force");
        let some = judged("BackendPolicy", &targets(&[("Service", "cart"), ("Service", "gone")]));
        assert_eq!(said(&some).0, "True");
        assert!(said(&some).2.contains("no Service shop/gone"), "{:?}", said(&some));
        let none = judged("BackendPolicy", &targets(&[("ExternalService", "cart")]));
        let expected = ("False", "TargetNotFound", "there is no ExternalService shop/cart");
        assert_eq!(said(&none), (expected.0.into(), expected.1.into(), expected.2.into()));
    }

    #[test]
    fn what_is_others_of_an_external_service_is_told_until_it_is_not() {
        let external = |hosts: &[&str]| {
            let endpoints = json!([{"address": "192.0.2.1"}]);
            judged(
                "ExternalService",
                &json!({"hosts": hosts, "ports": [{"port": 443}], "endpoints": endpoints}),
            )
        };
        let mut taken = external(&["cart", "api.example.com"]);
        let conditions = wanted(&taken, &Reader::new(&index()), NOW).unwrap();
        let text = |number: usize, field: &str| conditions[number][field].as_str().unwrap().to_owned();
        assert_eq!((text(0, "type"), text(0, "status")), ("Accepted".to_owned(), "True".to_owned()));
        assert_eq!((text(1, "type"), text(1, "status")), ("Conflicted".to_owned(), "True".to_owned()));
        assert!(text(1, "message").contains("spec.hosts[0]: \"cart\" is the name of Service shop/cart"));
        taken.status = conditions;
        assert_eq!(wanted(&taken, &Reader::new(&index()), NOW), None);
        let right = Judged { status: taken.status, ..external(&["api.example.com"]) };
        assert_eq!(wanted(&right, &Reader::new(&index()), NOW).unwrap().len(), 1);
    }

    #[test]
    fn what_is_written_already_is_not_written_again_and_others_conditions_stay() {
        let mut policy = judged("MeshPolicy", &json!({}));
        let other = json!({"type": "Seen", "status": "True"});
        policy.status = vec![other.clone()];
        let first = wanted(&policy, &Reader::new(&index()), NOW).unwrap();
        assert_eq!((first.len(), &first[0]), (2, &other));
        policy.status = first;
        assert_eq!(wanted(&policy, &Reader::new(&index()), "2026-02-02T00:00:00Z"), None);
        policy.generation = 3;
        let second = wanted(&policy, &Reader::new(&index()), "2026-02-02T00:00:00Z").unwrap();
        assert_eq!(second[1]["observedGeneration"], 3);
        assert_eq!(second[1]["lastTransitionTime"], NOW);
    }
}
