//! Requests against routes and authorization: no panic, and an explanation takes what the lookup takes.
#![no_main]

use http::{HeaderMap, Method};
use libfuzzer_sys::fuzz_target;
use weft_mesh::authorization::{Action, Authorizer, Call, HttpCall, Policy, Rule, RuleSpec};
use weft_mesh::name::TrustDomain;
use weft_mesh::route::{
    Backend, HostPattern, HttpMatch, HttpRoute, HttpRule, PathMatch, RequestParts, ResourceRef, RouteTable,
    ValueMatch, Verdict,
};
use weft_mesh::split::Split;

fuzz_target!(|bytes: &[u8]| {
    let mut lines =
        bytes.split(|byte| *byte == b'\n').map(|line| std::str::from_utf8(line).unwrap_or_default());
    let mut next = || lines.next().unwrap_or_default();
    let (host, path, query) = (next(), next(), next());
    let mut matches = Vec::new();
    let (mut hostnames, mut rule) = (Vec::new(), RuleSpec::default());
    for _ in 0..4 {
        let value = next();
        matches.extend(PathMatch::prefix(value).map(HttpMatch::path));
        matches.extend(PathMatch::exact(value).map(HttpMatch::path));
        matches.extend(PathMatch::regex(value).map(HttpMatch::path));
        matches.push(HttpMatch::default().query(value, ValueMatch::exact(value)));
        hostnames.extend(HostPattern::new(value));
        rule.paths.push(value.to_owned());
    }
    let route = |hostnames| HttpRoute {
        id: ResourceRef::new("HTTPRoute", "a", "b"),
        hostnames,
        rules: vec![HttpRule {
            matches: matches.clone(),
            ..HttpRule::to(Split::single("c", Backend::new(())))
        }],
    };
    let table = RouteTable::compile([route(hostnames), route(Vec::new())]);
    let headers = HeaderMap::new();
    let request = RequestParts { method: &Method::GET, host, path, query: Some(query), headers: &headers };
    let found = table.find(&request).map(|found| (found.route_index, found.rule_index));
    let taken = table.explain(&request).into_iter().any(|considered| considered.verdict == Verdict::Taken);
    assert_eq!(found.is_some(), taken);

    if let Ok(trust_domain) = TrustDomain::new("mesh")
        && let Ok(rule) = Rule::compile(&rule, &trust_domain)
    {
        let decide = |action| {
            let policy =
                Policy::new(ResourceRef::new("AuthorizationPolicy", "a", "b"), action, [rule.clone()]);
            let http = Some(HttpCall { method: &Method::GET, path });
            let call = Call { identity: None, source: [10, 0, 0, 1].into(), port: 80, http };
            Authorizer::new([policy], false).decide(&call).allowed
        };
        // What is surely allowed is possibly denied by the same condition, never the other way round.
        assert!(!(decide(Action::Allow) && decide(Action::Deny)));
    }
});
