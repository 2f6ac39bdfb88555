use serde_json::json;

use super::*;
use crate::{decode, decode_in_part};

fn document(kind: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "mesh.weft.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": "p", "namespace": "shop"},
        "spec": spec,
    })
}

fn taken(kind: &str, spec: &Value) -> (Object, Vec<String>) {
    let document = document(kind, spec);
    assert!(decode(&document, Age::Written("f".into(), 0)).object.is_none(), "not wrong: {document}");
    let decoded = decode_in_part(&document, Age::Written("f".into(), 0));
    let told = decoded.problems.iter().map(|it| format!("{}: {}", it.path, it.reason)).collect();
    (decoded.object.unwrap(), told)
}

fn policy(spec: &Value) -> (AuthorizationPolicySpec, Vec<String>) {
    let (object, told) = taken("AuthorizationPolicy", spec);
    let Spec::AuthorizationPolicy(spec) = object.spec else { panic!("{object:?}") };
    (spec, told)
}

fn mesh_policy(spec: &Value) -> MeshPolicySpec {
    let (object, told) = taken("MeshPolicy", spec);
    assert!(!told.is_empty());
    let Spec::MeshPolicy(spec) = object.spec else { panic!("{object:?}") };
    spec
}

#[test]
fn of_a_policy_the_rules_that_can_be_read_are_in_force_and_the_others_count_as_unreadable() {
    for action in ["ALLOW", "DENY", "AUDIT"] {
        let (spec, told) = policy(&json!({
            "action": action,
            "selector": {"matchLabels": {"app": "cart"}},
            "rules": [
                {"from": {"ipBlocks": ["10.0.0.0/33", "192.168.0.0/16"]}},
                {"from": {"namespaces": ["shop"]}},
                {"from": {"namespaces": ["shop"]}, "when": [{"key": "a field of a newer version"}]},
            ],
        }));
        let unreadable: Vec<bool> = spec.rules.iter().map(|rule| rule.unreadable.is_some()).collect();
        assert_eq!(unreadable, [true, false, true]);
        assert_eq!(spec.unreadable, None);
        assert_eq!(spec.selector.unwrap().match_labels["app"], "cart");
        let effect = match action {
            "ALLOW" => "allows nothing",
            "DENY" => "denies everything",
            _ => "counts nothing",
        };
        let said = |index: usize| {
            told.iter().any(|it| it.starts_with(&format!("spec.rules[{index}]: ")) && it.contains(effect))
        };
        assert!(said(0) && !said(1) && said(2), "{told:?}");
    }
}

#[test]
fn a_policy_that_cannot_be_read_as_a_whole_denies_for_its_workloads_or_its_namespace() {
    let selector = json!({"matchLabels": {"app": "cart"}});
    for (spec, selects) in [
        (json!({"selector": selector, "rules": [{}], "exceptions": []}), true),
        (json!({"selector": selector, "action": "CUSTOM", "rules": [{}]}), true),
        (json!({"selector": selector, "rules": {}}), true),
        (json!({"selector": {"matchExpressions": []}, "rules": [{}]}), false),
        (json!({"rules": [{}], "selector": "cart"}), false),
        (json!([]), false),
        (json!(null), false),
    ] {
        let (read, told) = policy(&spec);
        assert!(read.unreadable.is_some(), "{spec}");
        assert_eq!(read.selector.is_some(), selects, "{spec}");
        assert!(told.iter().any(|it| it.starts_with("spec: can't be read")), "{told:?}");
    }
    let audit = policy(&json!({"action": "AUDIT", "rules": [{}], "unknown": 1})).0;
    assert_eq!(audit.action, Action::Audit);
}

#[test]
fn what_keeps_people_out_counts_as_the_strictest_where_it_cannot_be_read() {
    let tls = mesh_policy(&json!({"tls": {"mode": "MUTUAL"}, "defaultAuthorization": "ALLOW"}));
    assert_eq!(tls.tls.unwrap().mode, Some(TlsMode::Strict));
    assert_eq!((tls.default_authorization, tls.unreadable), (Some(DefaultAuthorization::Allow), false));
    let default = mesh_policy(&json!({"tls": {"mode": "PERMISSIVE"}, "defaultAuthorization": "ASK"}));
    assert_eq!(default.tls.unwrap().mode, Some(TlsMode::Permissive));
    assert_eq!(default.default_authorization, Some(DefaultAuthorization::Deny));
    let paths = mesh_policy(&json!({"pathMode": "DECODE"}));
    assert_eq!(
        (paths.path_mode, paths.tls, paths.default_authorization),
        (Some(PathMode::EveryReading), None, None)
    );
    let other = mesh_policy(&json!({"tls": {"mode": "STRICT"}, "newer": {}, "rateLimit": 5}));
    assert_eq!(other.tls.unwrap().mode, Some(TlsMode::Strict));
    assert_eq!((other.rate_limit, other.default_authorization), (None, None));
    for whole in [json!({"selector": 5, "tls": {"mode": "PERMISSIVE"}}), json!([]), json!(null)] {
        let closed = mesh_policy(&whole);
        assert!(closed.unreadable && closed.selector.is_none(), "{whole}");
        assert_eq!(closed.tls.unwrap().mode, Some(TlsMode::Strict));
        assert_eq!(closed.default_authorization, Some(DefaultAuthorization::Deny));
    }
}

#[test]
fn lists_and_conditions_that_say_nothing_are_refused_rather_than_taken_for_everyone() {
    for rule in [
        json!({"from": {}}),
        json!({"to": {}}),
        json!({"from": {"identities": []}}),
        json!({"to": {"paths": []}}),
    ] {
        let (spec, _) = policy(&json!({"rules": [rule]}));
        assert!(spec.rules[0].unreadable.is_some(), "{rule}");
    }
}

#[test]
fn what_a_proxy_could_not_compile_is_refused() {
    for identity in ["shop/a b", "shop/..", "spiffe://mesh/ns/shop/sa/a%20b"] {
        let (spec, _) = policy(&json!({"rules": [{"from": {"identities": [identity]}}]}));
        assert!(spec.rules[0].unreadable.is_some(), "{identity}");
    }
}
