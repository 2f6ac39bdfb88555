//! Decisions, against the policies' plain meaning.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::name::TrustDomain;

fn trust_domain() -> TrustDomain {
    TrustDomain::new("mesh").unwrap()
}

fn rule(fill: impl FnOnce(&mut RuleSpec)) -> Rule {
    let mut spec = RuleSpec::default();
    fill(&mut spec);
    Rule::compile(&spec, &trust_domain()).unwrap()
}

fn policy(name: &str, action: Action, rules: Vec<Rule>) -> Policy {
    Policy::new(ResourceRef::new("AuthorizationPolicy", "ns", name), action, rules)
}

fn identity(namespace: &str, account: &str) -> Identity {
    Identity::new(&trust_domain(), namespace, account).unwrap()
}

fn call<'a>(identity: Option<&'a Identity>, http: Option<(&'a Method, &'a str)>) -> Call<'a> {
    let http = http.map(|(method, path)| HttpCall { method, path });
    Call { identity, source: "10.1.2.3".parse().unwrap(), port: 8080, http }
}

fn allowed(policies: Vec<Policy>, call: &Call<'_>) -> bool {
    Authorizer::new(policies, false).decide(call).allowed
}

#[test]
fn deny_goes_before_allow_and_says_which_rule_decided() {
    let shop = identity("shop", "cart");
    let by_account = rule(|rule| rule.identities = vec!["shop/cart".into()]);
    let by_method = rule(|rule| rule.methods = vec!["DELETE".into()]);
    let authorizer = Authorizer::new(
        [
            policy("allow", Action::Allow, vec![by_account]),
            policy("deny", Action::Deny, vec![rule(|rule| rule.ports = vec![1]), by_method]),
        ],
        false,
    );
    let decided = authorizer.decide(&call(Some(&shop), Some((&Method::DELETE, "/"))));
    assert!(!decided.allowed);
    assert!(
        matches!(decided.by, DecidedBy::Rule { policy, rule: 1, problem: None } if &*policy.name == "deny"),
        "{decided:?}"
    );
    let decided = authorizer.decide(&call(Some(&shop), Some((&Method::GET, "/"))));
    assert!(
        decided.allowed
            && matches!(decided.by, DecidedBy::Rule { policy, rule: 0, problem: None } if &*policy.name == "allow")
    );
    let other = identity("shop", "other");
    let decided = authorizer.decide(&call(Some(&other), Some((&Method::GET, "/"))));
    assert_eq!(decided, Decision { allowed: false, by: DecidedBy::NothingAllows });
}

#[test]
fn without_allow_policies_the_default_decides() {
    let unmatched = || policy("deny", Action::Deny, vec![rule(|rule| rule.ports = vec![1])]);
    for deny_by_default in [true, false] {
        for policies in [vec![], vec![unmatched()]] {
            let authorizer = Authorizer::new(policies, deny_by_default);
            let decided = authorizer.decide(&call(None, None));
            assert_eq!(decided, Decision { allowed: !deny_by_default, by: DecidedBy::Default });
        }
    }
}

#[test]
fn an_allow_policy_without_rules_allows_nothing_and_an_empty_rule_everything() {
    assert!(!allowed(vec![policy("a", Action::Allow, vec![])], &call(None, None)));
    assert!(allowed(vec![policy("a", Action::Allow, vec![rule(|_| {})])], &call(None, None)));
    assert!(!allowed(vec![policy("a", Action::Deny, vec![rule(|_| {})])], &call(None, None)));
}

#[test]
fn what_was_not_understood_denies_unless_it_is_an_audit() {
    let id = || ResourceRef::new("AuthorizationPolicy", "ns", "broken");
    let everything = || policy("all", Action::Allow, vec![rule(|_| {})]);
    for (action, expected) in [(Action::Allow, false), (Action::Deny, false), (Action::Audit, true)] {
        let policies = vec![everything(), Policy::not_understood(id(), action, "unknown field")];
        assert_eq!(allowed(policies, &call(None, None)), expected, "{action:?}");
    }
    let authorizer = Authorizer::new([Policy::not_understood(id(), Action::Deny, "unknown field")], false);
    let decided = authorizer.decide(&call(None, None));
    assert!(matches!(decided.by, DecidedBy::NotUnderstood { problem: "unknown field", .. }));
}

#[test]
fn audit_policies_report_and_decide_nothing() {
    let authorizer = Authorizer::new(
        [policy(
            "watch",
            Action::Audit,
            vec![rule(|rule| rule.ports = vec![1]), rule(|rule| rule.ports = vec![8080])],
        )],
        false,
    );
    let call = call(None, None);
    assert!(authorizer.decide(&call).allowed);
    let audited: Vec<_> =
        authorizer.audit(&call).map(|(policy, rule)| (policy.name.to_string(), rule)).collect();
    assert_eq!(audited, [("watch".to_owned(), 1)]);
}

#[test]
fn conditions_on_requests_are_safe_where_requests_cannot_be_seen() {
    let by_method = || vec![rule(|rule| rule.methods = vec!["GET".into()])];
    assert!(!allowed(vec![policy("a", Action::Allow, by_method())], &call(None, None)));
    assert!(!allowed(vec![policy("d", Action::Deny, by_method())], &call(None, None)));
}

#[test]
fn paths_with_two_readings_are_denied_by_either_and_allowed_by_both() {
    let by_path = |path: &str| vec![rule(|rule| rule.paths = vec![path.into()])];
    let sneaky = call(None, Some((&Method::GET, "/public/../admin")));
    assert!(!allowed(vec![policy("d", Action::Deny, by_path("/admin*"))], &sneaky));
    assert!(!allowed(vec![policy("a", Action::Allow, by_path("/public/*"))], &sneaky));
    assert!(!allowed(vec![policy("a", Action::Allow, by_path("/admin*"))], &sneaky));
    assert!(allowed(vec![policy("a", Action::Allow, by_path("*"))], &sneaky));
}

#[test]
fn callers_match_by_identity_namespace_and_block() {
    let shop = identity("shop", "cart");
    let foreign: Identity = "spiffe://elsewhere/ns/shop/sa/cart".parse().unwrap();
    let who = |fill: fn(&mut RuleSpec), identity: Option<&Identity>| {
        allowed(vec![policy("a", Action::Allow, vec![rule(fill)])], &call(identity, None))
    };
    assert!(who(|rule| rule.identities = vec!["spiffe://mesh/ns/shop/sa/cart".into()], Some(&shop)));
    assert!(who(|rule| rule.identities = vec!["*".into()], Some(&foreign)));
    assert!(!who(|rule| rule.identities = vec!["*".into()], None));
    assert!(!who(|rule| rule.identities = vec!["shop/cart".into()], Some(&foreign)));
    assert!(who(|rule| rule.namespaces = vec!["shop".into()], Some(&shop)));
    assert!(!who(|rule| rule.namespaces = vec!["shop".into()], Some(&foreign)));
    assert!(!who(|rule| rule.namespaces = vec!["shop".into()], None));
    assert!(who(|rule| rule.ip_blocks = vec!["10.0.0.0/8".into()], None));
    assert!(who(|rule| rule.ip_blocks = vec!["10.1.2.3".into()], None));
    assert!(!who(|rule| rule.ip_blocks = vec!["10.2.0.0/16".into(), "::/0".into()], None));
}

#[test]
fn mapped_addresses_are_read_as_the_addresses_that_they_are() {
    let authorizer = Authorizer::new(
        [policy("d", Action::Deny, vec![rule(|rule| rule.ip_blocks = vec!["10.0.0.0/8".into()])])],
        false,
    );
    let mapped = Call { source: "::ffff:10.0.0.1".parse().unwrap(), ..call(None, None) };
    assert!(!authorizer.decide(&mapped).allowed);
}

#[test]
fn rules_say_what_they_ask_for() {
    let said = rule(|rule| {
        rule.identities = vec!["shop/web".into(), "shop/cart".into()];
        rule.ip_blocks = vec!["10.0.0.0/8".into()];
        rule.paths = vec!["/a*".into(), "*.png".into()];
    });
    assert_eq!(
        said.to_string(),
        "identities spiffe://mesh/ns/shop/sa/cart, spiffe://mesh/ns/shop/sa/web; IP blocks 10.0.0.0/8; paths /a*, *.png"
    );
    assert_eq!(rule(|_| {}).to_string(), "everything");
    assert_eq!(Rule::not_understood("odd", &trust_domain()).to_string(), "is not understood: odd");
}

#[test]
fn a_rule_that_was_not_understood_matches_where_it_denies_and_says_so() {
    let odd = || Rule::not_understood("odd", &trust_domain());
    let authorizer = Authorizer::new([policy("p", Action::Deny, vec![odd()])], false);
    let decided = authorizer.decide(&call(None, None));
    assert!(matches!(decided.by, DecidedBy::Rule { rule: 0, problem: Some("odd"), .. }), "{decided:?}");
    assert!(!allowed(vec![policy("p", Action::Allow, vec![odd()])], &call(None, None)));
    assert!(allowed(vec![policy("p", Action::Allow, vec![odd(), rule(|_| {})])], &call(None, None)));
    assert!(allowed(vec![policy("p", Action::Audit, vec![odd()])], &call(None, None)));
}

#[test]
fn malformed_conditions_are_refused() {
    let refused = |fill: fn(&mut RuleSpec)| {
        let mut spec = RuleSpec::default();
        fill(&mut spec);
        Rule::compile(&spec, &trust_domain()).is_err()
    };
    assert!(refused(|rule| rule.identities = vec!["cart".into()]));
    assert!(refused(|rule| rule.identities = vec!["spiffe://mesh/cart".into()]));
    assert!(refused(|rule| rule.ip_blocks = vec!["10.0.0.0/33".into()]));
    assert!(refused(|rule| rule.methods = vec!["G T".into()]));
    assert!(refused(|rule| rule.paths = vec!["admin".into()]));
}

fn any_rule() -> impl Strategy<Value = RuleSpec> {
    let some = |values: &'static [&'static str]| {
        subsequence(values, 0..=values.len())
            .prop_map(|values| values.into_iter().map(str::to_owned).collect::<Vec<_>>())
    };
    (
        some(&["a/x", "b/y"]),
        some(&["a", "b"]),
        some(&["10.1.0.0/16", "10.2.0.0/16"]),
        subsequence(vec![80_u16, 81], 0..=2),
        some(&["GET", "PUT"]),
        some(&["/p", "/q*"]),
    )
        .prop_map(|(identities, namespaces, ip_blocks, ports, methods, paths)| RuleSpec {
            identities,
            namespaces,
            ip_blocks,
            ports,
            methods,
            paths,
        })
}

/// A rule read from its text, for calls without surprises.
fn naive(rule: &RuleSpec, who: (&str, &str), source: &str, port: u16, method: &str, path: &str) -> bool {
    let any = |list: &[String], matches: &dyn Fn(&str) -> bool| {
        list.is_empty() || list.iter().any(|item| matches(item))
    };
    any(&rule.identities, &|item| item == format!("{}/{}", who.0, who.1))
        && any(&rule.namespaces, &|item| item == who.0)
        && any(&rule.ip_blocks, &|item| source.starts_with(item.trim_end_matches("0.0/16")))
        && (rule.ports.is_empty() || rule.ports.contains(&port))
        && any(&rule.methods, &|item| item == method)
        && any(&rule.paths, &|item| {
            item.strip_suffix('*').map_or(path == item, |prefix| path.starts_with(prefix))
        })
}

proptest! {
    #[test]
    fn decisions_agree_with_reading_the_policies(
        policies in prop::collection::vec((any::<bool>(), prop::collection::vec(any_rule(), 0..3)), 0..5),
        who in select(&[("a", "x"), ("a", "y"), ("b", "y")][..]),
        source in select(&["10.1.0.1", "10.2.0.1", "10.3.0.1"][..]),
        port in 80_u16..82,
        method in select(&["GET", "PUT"][..]),
        path in select(&["/p", "/q", "/qq", "/r"][..]),
        deny_by_default: bool,
    ) {
        let matches = |deny: bool| {
            policies.iter().filter(|(is_deny, _)| *is_deny == deny).flat_map(|(_, rules)| rules)
                .any(|rule| naive(rule, who, source, port, method, path))
        };
        let any_allow = policies.iter().any(|(is_deny, _)| !is_deny);
        let expected = !matches(true) && if any_allow { matches(false) } else { !deny_by_default };

        let compiled = policies.iter().map(|(is_deny, rules)| {
            let action = if *is_deny { Action::Deny } else { Action::Allow };
            policy("p", action, rules.iter().map(|rule| Rule::compile(rule, &trust_domain()).unwrap()).collect())
        });
        let authorizer = Authorizer::new(compiled, deny_by_default);
        let (caller, method) = (identity(who.0, who.1), method.parse().unwrap());
        let http = Some(HttpCall { method: &method, path });
        let call = Call { identity: Some(&caller), source: source.parse().unwrap(), port, http };
        prop_assert_eq!(authorizer.decide(&call).allowed, expected);
    }
}
