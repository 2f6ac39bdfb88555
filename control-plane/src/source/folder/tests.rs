//! What stays in force, whatever happens to the files.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Folder, Outcome, Texts};
use crate::index::Index;
use crate::source::{Registered, lint};
use weft_resource::Severity;

const BROKEN: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: [}\n";

/// A service in a document of its own.
fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{ports: [{{port: {port}}}]}}\n"
    )
}

fn texts(files: &[(&str, &str)]) -> Texts {
    files.iter().map(|(name, text)| ((*name).to_owned(), Ok((*text).to_owned()))).collect()
}

/// The resources in force, each with its content.
fn in_force(outcome: &Outcome) -> Vec<String> {
    let text = |port: &serde_json::Value| port["port"].to_string();
    let resources = outcome.objects.values().map(|object| {
        let spec = match &object.spec {
            weft_resource::Spec::Service(spec) => serde_json::to_value(spec).unwrap(),
            other => panic!("{other:?}"),
        };
        let ports: Vec<String> = spec["ports"].as_array().unwrap().iter().map(text).collect();
        format!("{}:{}", object.key.name, ports.join("+"))
    });
    resources.collect()
}

fn errors(outcome: &Outcome) -> Vec<String> {
    let errors = outcome.diagnostics.iter().filter(|it| it.severity == Severity::Error);
    errors.map(ToString::to_string).collect()
}

#[test]
fn a_file_that_breaks_stays_in_force_as_it_was_and_holds_no_other_back() {
    let mut folder = Folder::default();
    let first = folder.update(texts(&[("a.yaml", &service("a", 1)), ("b.yaml", &service("b", 1))]));
    assert_eq!(in_force(&first), ["a:1", "b:1"]);
    let second = folder.update(texts(&[("a.yaml", BROKEN), ("b.yaml", &service("b", 2))]));
    assert_eq!(in_force(&second), ["a:1", "b:2"]);
    assert_eq!(errors(&second).len(), 1, "{second:?}");
    assert!(errors(&second)[0].starts_with("a.yaml:3:"), "{second:?}");
    let third = folder.update(texts(&[("a.yaml", &service("a", 3)), ("b.yaml", &service("b", 2))]));
    assert_eq!(in_force(&third), ["a:3", "b:2"]);
    assert_eq!(errors(&third), [""; 0]);
}

#[test]
fn one_wrong_resource_holds_back_its_whole_file() {
    let mut folder = Folder::default();
    folder.update(texts(&[("a.yaml", &service("a", 1))]));
    let both = format!("{}---\n{}", service("a", 2), service("b", 0));
    let outcome = folder.update(texts(&[("a.yaml", &both)]));
    assert_eq!(in_force(&outcome), ["a:1"], "half of a change is none");
    assert!(errors(&outcome)[0].contains("Service/b"), "{outcome:?}");
}

#[test]
fn a_file_that_was_never_right_adds_nothing_and_one_that_is_gone_takes_its_resources_along() {
    let mut folder = Folder::default();
    let never = folder.update(texts(&[("a.yaml", BROKEN), ("b.yaml", &service("b", 1))]));
    assert_eq!(in_force(&never), ["b:1"]);
    let gone = folder.update(texts(&[("a.yaml", BROKEN)]));
    assert_eq!(in_force(&gone), [""; 0]);
    assert_eq!(errors(&gone).len(), 1, "{gone:?}");
}

#[test]
fn a_file_that_can_not_be_read_stays_in_force() {
    let mut folder = Folder::default();
    folder.update(texts(&[("a.yaml", &service("a", 1))]));
    let outcome = folder.update(Texts::from([("a.yaml".to_owned(), Err("can't be read".to_owned()))]));
    assert_eq!(in_force(&outcome), ["a:1"]);
    assert_eq!(errors(&outcome), ["a.yaml: can't be read"]);
}

#[test]
fn a_resource_belongs_to_the_file_that_had_it_first() {
    let mut folder = Folder::default();
    folder.update(texts(&[("z.yaml", &service("cart", 1))]));
    let rivals = texts(&[("a.yaml", &service("cart", 2)), ("z.yaml", &service("cart", 1))]);
    let outcome = folder.update(rivals);
    assert_eq!(in_force(&outcome), ["cart:1"]);
    assert!(errors(&outcome)[0].starts_with("a.yaml:1:"), "{outcome:?}");
    assert!(errors(&outcome)[0].contains("in z.yaml"), "{outcome:?}");
    let freed = folder.update(texts(&[("a.yaml", &service("cart", 2))]));
    assert_eq!(in_force(&freed), ["cart:2"]);
    assert_eq!(errors(&freed), [""; 0]);
}

#[test]
fn a_resource_may_move_to_another_file() {
    let mut folder = Folder::default();
    folder.update(texts(&[("a.yaml", &service("cart", 1)), ("b.yaml", &service("pay", 1))]));
    let both = format!("{}---\n{}", service("pay", 1), service("cart", 2));
    let outcome = folder.update(texts(&[("a.yaml", ""), ("b.yaml", &both)]));
    assert_eq!(in_force(&outcome), ["cart:2", "pay:1"]);
    assert_eq!(errors(&outcome), [""; 0]);
}

#[test]
fn a_resource_that_is_in_a_file_twice_is_refused() {
    let mut folder = Folder::default();
    let twice = format!("{}---\n{}", service("a", 1), service("a", 2));
    let outcome = folder.update(texts(&[("a.yaml", &twice)]));
    assert_eq!(in_force(&outcome), [""; 0]);
    assert!(errors(&outcome)[0].contains("in line 1"), "{outcome:?}");
}

#[test]
fn the_version_is_that_of_what_is_in_force() {
    let mut folder = Folder::default();
    let first = folder.update(texts(&[("a.yaml", &service("a", 1))]));
    let broken = folder.update(texts(&[("a.yaml", BROKEN)]));
    assert_eq!(broken.version, first.version);
    let second = folder.update(texts(&[("a.yaml", &service("a", 2))]));
    assert_ne!(second.version, first.version);
    let back = folder.update(texts(&[("a.yaml", &service("a", 1))]));
    assert_eq!(back.version, first.version);
}

/// Three files with what they may hold.
fn any_texts() -> impl Strategy<Value = Texts> {
    let contents = prop::sample::select(vec![
        None,
        Some(BROKEN.to_owned()),
        Some(String::new()),
        Some(service("a", 1)),
        Some(service("a", 2)),
        Some(service("b", 1)),
        Some(format!("{}---\n{}", service("a", 3), service("b", 3))),
    ]);
    prop::collection::vec(contents, 3).prop_map(|contents| {
        let named = contents.into_iter().zip(["x.yaml", "y.yaml", "z.yaml"]);
        named.filter_map(|(text, name)| Some((name.to_owned(), Ok(text?)))).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// After a restart at any moment, what was written down brings back what was in force.
    #[test]
    fn a_restart_changes_nothing(history in prop::collection::vec(any_texts(), 1..5)) {
        let mut folder = Folder::default();
        for texts in history {
            let before = folder.update(texts.clone());
            let again = folder.update(texts.clone());
            prop_assert_eq!(in_force(&before), in_force(&again), "the same files are no change");
            let after = Folder::new(before.last_good.clone()).update(texts);
            prop_assert_eq!(in_force(&before), in_force(&after));
            prop_assert_eq!(&before.version, &after.version);
            prop_assert_eq!(&before.last_good, &after.last_good);
            prop_assert_eq!(errors(&before), errors(&after));
        }
    }

    /// Files that are all right and in nobody's way are in force as a whole, whatever was before.
    #[test]
    fn right_files_are_in_force(history in prop::collection::vec(any_texts(), 0..4)) {
        let mut folder = Folder::default();
        for texts in history {
            folder.update(texts);
        }
        let last = folder.update(texts(&[("x.yaml", &service("a", 7)), ("y.yaml", &service("b", 8))]));
        prop_assert_eq!(in_force(&last), vec!["a:7", "b:8"]);
        prop_assert_eq!(last.last_good.keys().collect::<Vec<_>>(), vec!["x.yaml", "y.yaml"]);
    }
}

#[test]
fn texts_of_files_that_are_gone_are_forgotten() {
    let last_good = BTreeMap::from([("a.yaml".to_owned(), service("a", 1))]);
    let outcome = Folder::new(last_good).update(Texts::new());
    assert_eq!(in_force(&outcome), [""; 0]);
    assert_eq!(outcome.last_good, BTreeMap::new());
}

#[test]
fn whatever_a_file_holds_it_is_refused_or_taken_and_says_where_it_is_wrong() {
    let examples = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples"));
    let mut seeds = vec![service("a", 80).into_bytes(), BROKEN.as_bytes().to_vec()];
    for folder in ["mesh", "splits"] {
        seeds.extend(weft_testkit::mutation::seeds(&examples.join(folder)));
    }
    assert!(seeds.len() > 4, "the examples have moved");
    weft_testkit::mutation::inputs(&seeds, 2000, |input| {
        let text = String::from_utf8_lossy(input).into_owned();
        let lines = text.lines().count() as u64 + 1;
        let outcome = Folder::default().update(texts(&[("a.yaml", &text)]));
        for diagnostic in &outcome.diagnostics {
            assert!(diagnostic.line <= lines, "{diagnostic}");
        }
    });
}

/// What is in force of AuthorizationPolicies and MeshPolicies: name, and whether it can be read.
fn policies(outcome: &Outcome) -> Vec<(String, bool)> {
    let policies = outcome.objects.values().filter_map(|object| {
        let readable = match &object.spec {
            weft_resource::Spec::AuthorizationPolicy(spec) => {
                spec.unreadable.is_none() && spec.rules.iter().all(|rule| rule.unreadable.is_none())
            }
            weft_resource::Spec::MeshPolicy(spec) => !spec.unreadable,
            _ => return None,
        };
        Some((format!("{}/{}", object.key.namespace, object.key.name), readable))
    });
    policies.collect()
}

fn policy(name: &str, rules: &str) -> String {
    format!(
        "apiVersion: mesh.weft.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{action: DENY, rules: {rules}}}\n"
    )
}

#[test]
fn of_a_file_that_was_never_right_the_policies_are_in_force_and_those_that_cannot_be_read_deny() {
    let wrong = policy("wrong", "[{from: {ipBlocks: [10.0.0.0/33, 192.168.0.0/16]}}]");
    let file = format!("{wrong}---\n{}---\n{}", policy("right", "[{}]"), service("a", 1));
    let outcome = Folder::default().update(texts(&[("a.yaml", &file)]));
    assert_eq!(policies(&outcome), [("shop/right".to_owned(), true), ("shop/wrong".to_owned(), false)]);
    assert_eq!(outcome.objects.len(), 2, "nothing else of it");
    assert!(errors(&outcome).iter().any(|it| it.contains("denies everything until")), "{outcome:?}");
    assert!(outcome.last_good.is_empty());

    let mut folder = Folder::default();
    let right = folder.update(texts(&[("a.yaml", &policy("p", "[{}]"))]));
    let broken = folder.update(texts(&[("a.yaml", &policy("p", "[{from: {newer: 1}}]"))]));
    assert_eq!(policies(&broken), policies(&right), "what it said when it was right");
    let restarted =
        Folder::new(broken.last_good).update(texts(&[("a.yaml", &policy("p", "[{from: {newer: 1}}]"))]));
    assert_eq!(policies(&restarted), policies(&right));
    let forgotten = Folder::default().update(texts(&[("a.yaml", &policy("p", "[{from: {newer: 1}}]"))]));
    assert_eq!(policies(&forgotten), [("shop/p".to_owned(), false)]);
    let mended = folder.update(texts(&[("a.yaml", &policy("p", "[]"))]));
    assert_ne!(mended.version, forgotten.version);
}

#[test]
fn a_text_that_is_no_yaml_denies_in_the_namespaces_of_the_policies_that_it_speaks_of() {
    let broken = "kind: AuthorizationPolicy\nmetadata:\n  name: p\n  namespace: \"bank\"\nspec: {rules: [}\n";
    let file = format!("{}---\n{broken}---\nkind: MeshPolicy\nmetadata: {{\n", policy("right", "[{}]"));
    let outcome = Folder::default().update(texts(&[("a.yaml", &file)]));
    let expected = [("bank/unread", false), ("shop/right", true), ("default/unread", false)];
    assert_eq!(policies(&outcome), expected.map(|(name, readable)| (name.to_owned(), readable)));
    assert!(errors(&outcome).iter().any(|it| it.contains("closed in namespace bank")), "{outcome:?}");
    let harmless = Folder::default().update(texts(&[("a.yaml", BROKEN)]));
    assert_eq!(policies(&harmless), []);
}

#[test]
fn a_route_that_names_a_port_that_its_service_has_not_is_told() {
    let route = |fields: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r, namespace: shop}}\nspec:\n  parentRefs: [{{group: '', kind: Service, name: a, {fields}}}]\n  rules: [{{backendRefs: [{{name: a, port: 80}}]}}]\n"
        )
    };
    for (fields, told) in [
        ("port: 80", None),
        ("port: 81", Some("Service shop/a has not port 81, so the route has no effect on it; it has 80")),
        ("sectionName: web", Some("Service shop/a has not a port named \"web\"")),
    ] {
        let file = format!("{}---\n{}", service("a", 80), route(fields));
        let outcome = Folder::default().update(texts(&[("a.yaml", &file)]));
        let mut index = Index::default();
        index.set_objects(&outcome.objects);
        let said = outcome.places.locate(lint(&index, Registered::Unknown));
        let said: Vec<String> = said.iter().map(ToString::to_string).collect();
        assert_eq!((said.len(), errors(&outcome).len()), (usize::from(told.is_some()), 0), "{said:?}");
        assert!(
            told.is_none_or(|told| said[0].contains(told) && said[0].contains("spec.parentRefs[0]")),
            "{said:?}"
        );
    }
}
