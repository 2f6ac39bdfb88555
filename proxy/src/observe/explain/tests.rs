use weft_mesh::balance::TunnelProtocol;
use weft_proto::v1;

use super::*;
use crate::snapshot::convert;

fn service(name: &str) -> v1::ServicePort {
    v1::ServicePort { namespace: "shop".into(), name: name.into(), port: 9080 }
}

fn backend(name: &str) -> v1::Backend {
    v1::Backend { service: Some(service(name)), ..v1::Backend::default() }
}

fn valid(name: &str, weight: u32) -> v1::WeightedBackend {
    let target = v1::weighted_backend::Target::Backend(backend(name));
    v1::WeightedBackend { weight, target: Some(target), filters: Vec::new() }
}

fn destination(rules: Vec<v1::HttpRule>) -> Destination {
    let resource =
        v1::ResourceRef { kind: "HTTPRoute".into(), namespace: "shop".into(), name: "canary".into() };
    let wire = v1::Destination {
        service: Some(service("reviews")),
        backend: Some(backend("reviews")),
        http_routes: vec![v1::HttpRoute { resource: Some(resource), rules, ..v1::HttpRoute::default() }],
        ..v1::Destination::default()
    };
    convert::destination("reviews:9080", &wire).unwrap()
}

fn query(method: &str, uri: &str) -> Query {
    Query {
        method: method.parse().unwrap(),
        uri: uri.parse().unwrap(),
        headers: HeaderMap::new(),
        server_name: None,
        source: None,
    }
}

/// Nothing is known but where requests go.
fn known(destination: Option<&Destination>) -> Known<'_> {
    Known { destination, endpoints: &|_| None, ejected_by: &|_, _| 0, inbound: &|_| None, caller: None }
}

fn ask(query: &Query, destination: Option<&Destination>) -> Explanation {
    explain(query, &known(destination))
}

#[test]
fn what_was_taken_is_what_a_request_meets_and_others_say_why_not() {
    let prefix = |path: &str| v1::HttpMatch {
        path: Some(v1::http_match::Path::PathPrefix(path.into())),
        ..v1::HttpMatch::default()
    };
    let destination = destination(vec![
        v1::HttpRule {
            matches: vec![prefix("/a")],
            backends: vec![valid("reviews", 1)],
            ..v1::HttpRule::default()
        },
        v1::HttpRule {
            matches: vec![prefix("/a/b")],
            backends: vec![valid("next", 1)],
            ..v1::HttpRule::default()
        },
    ]);
    let explained = ask(&query("GET", "http://reviews:9080/a/b/c"), Some(&destination));
    assert_eq!(explained.backends[0].service.as_deref(), Some("shop/next:9080"));
    let told: Vec<_> = explained.considered.iter().map(|it| (&*it.rule, it.taken)).collect();
    assert_eq!(told, [("rules[1]", true), ("rules[0]", false)]);
    assert!(explained.considered[1].why.contains("goes before it"), "{explained}");
    let missed = ask(&query("GET", "http://reviews:9080/x"), Some(&destination));
    assert_eq!((missed.outcome.sent, missed.outcome.status), (false, Some(404)));
    assert!(missed.considered.iter().all(|it| it.why == "the path is /x"), "{missed}");
}

#[test]
fn an_invalid_backend_keeps_its_share_of_500() {
    let invalid = v1::weighted_backend::Target::Invalid("there is no Service shop/gone".into());
    let gone = v1::WeightedBackend { weight: 1, target: Some(invalid), filters: Vec::new() };
    let destination = destination(vec![v1::HttpRule {
        backends: vec![valid("reviews", 3), gone],
        ..v1::HttpRule::default()
    }]);
    let explained = ask(&query("GET", "http://reviews:9080/"), Some(&destination));
    let shares: Vec<_> = explained.backends.iter().map(|it| (it.percent, it.invalid.is_some())).collect();
    assert_eq!(shares, [(75.0, false), (25.0, true)]);
    assert!(
        explained.outcome.sent && explained.outcome.why.contains("25.0 % answered with 500"),
        "{explained}"
    );
}

#[test]
fn the_policies_of_the_service_are_asked_where_they_are_known() {
    let destination =
        destination(vec![v1::HttpRule { backends: vec![valid("reviews", 1)], ..v1::HttpRule::default() }]);
    // Lets nobody in.
    let inbound = |_: &ServicePort| Some(Arc::new(Inbound::default()));
    let known = Known { inbound: &inbound, ..known(Some(&destination)) };
    let explained = explain(&query("GET", "http://reviews:9080/"), &known);
    assert_eq!((explained.outcome.sent, explained.outcome.status), (false, Some(403)));
    assert!(explained.to_string().contains("denies the caller: no policy says anything"), "{explained}");
}

#[test]
fn a_service_without_endpoints_answers_503_and_a_name_outside_the_mesh_is_passed_on() {
    let destination =
        destination(vec![v1::HttpRule { backends: vec![valid("reviews", 1)], ..v1::HttpRule::default() }]);
    let none = |_: &ServicePort| Some(Arc::new(EndpointSet::default()));
    let known = Known { endpoints: &none, ..known(Some(&destination)) };
    let explained = explain(&query("CONNECT", "reviews:9080"), &known);
    assert_eq!((explained.outcome.sent, explained.outcome.status), (false, Some(503)));
    assert!(ask(&query("GET", "http://elsewhere/"), None).outcome.sent);
}

#[test]
fn endpoints_that_are_ejected_are_shown() {
    let destination =
        destination(vec![v1::HttpRule { backends: vec![valid("reviews", 1)], ..v1::HttpRule::default() }]);
    let endpoint = |id: &str| {
        let wire = v1::Endpoint { address: "10.0.0.1".into(), port: 80, ..v1::Endpoint::default() };
        Arc::new(convert::endpoint(id, &wire).unwrap())
    };
    let endpoints =
        |_: &ServicePort| Some(Arc::new(EndpointSet::new([endpoint("well"), endpoint("failing")])));
    let ejected_by = |service: &ServicePort, id: &str| {
        assert_eq!(service.to_string(), "shop/reviews:9080");
        if id == "failing" { 2 } else { 0 }
    };
    let known = Known { endpoints: &endpoints, ejected_by: &ejected_by, ..known(Some(&destination)) };
    let explained = explain(&query("GET", "http://reviews:9080/"), &known);
    let shown: Vec<_> = explained.backends[0].endpoints.iter().flatten().map(|it| it.ejected_by).collect();
    assert_eq!(shown, [0, 2]);
    assert_eq!(explained.to_string().matches("ejected by 2 workers").count(), 1, "{explained}");
}

#[test]
fn endpoints_that_nobody_heard_of_are_shown_with_what_comes_of_it() {
    let destination =
        destination(vec![v1::HttpRule { backends: vec![valid("reviews", 1)], ..v1::HttpRule::default() }]);
    let ask = |healths: &[v1::Health]| {
        let endpoint = |(number, health): (usize, &v1::Health)| {
            let health = (*health).into();
            let wire =
                v1::Endpoint { address: "10.0.0.1".into(), port: 80, health, ..v1::Endpoint::default() };
            Arc::new(convert::endpoint(&number.to_string(), &wire).unwrap())
        };
        let set = Arc::new(EndpointSet::new(healths.iter().enumerate().map(endpoint)));
        let endpoints = |_: &ServicePort| Some(Arc::clone(&set));
        let known = Known { endpoints: &endpoints, ..known(Some(&destination)) };
        explain(&query("GET", "http://reviews:9080/"), &known)
    };
    let all = ask(&[v1::Health::Unknown]);
    assert!(all.outcome.sent && all.to_string().contains(": unknown, used, weight 1"), "{all}");
    let one = ask(&[v1::Health::Unknown, v1::Health::Ready]);
    assert!(one.outcome.sent && one.to_string().contains(": unknown, not used, weight 1"), "{one}");
    let none = ask(&[v1::Health::NotReady, v1::Health::Draining]);
    assert_eq!((none.outcome.sent, none.outcome.status), (false, Some(503)));
}

#[test]
fn an_explanation_is_the_same_after_a_trip_as_json() {
    let destination =
        destination(vec![v1::HttpRule { backends: vec![valid("reviews", 1)], ..v1::HttpRule::default() }]);
    let explained = ask(&query("GET", "http://reviews:9080/"), Some(&destination));
    let json = serde_json::to_string(&explained).unwrap();
    assert_eq!(serde_json::from_str::<Explanation>(&json).unwrap(), explained);
}

#[test]
fn a_connection_of_tls_goes_by_its_server_name_and_others_say_why_not() {
    let route = |name: &str, hostname: &str, to: &str| v1::TlsRoute {
        resource: Some(v1::ResourceRef {
            kind: "TLSRoute".into(),
            namespace: "shop".into(),
            name: name.into(),
        }),
        hostnames: vec![hostname.into()],
        backends: vec![valid(to, 1)],
    };
    let wire = v1::Destination {
        service: Some(service("reviews")),
        backend: Some(backend("reviews")),
        tls_routes: vec![route("all", "*.test", "reviews"), route("one", "a.test", "next")],
        ..v1::Destination::default()
    };
    let destination = convert::destination("reviews:9080", &wire).unwrap();
    let named = |name: &str| {
        let query = Query { server_name: Some(name.into()), ..query("CONNECT", "reviews:9080") };
        ask(&query, Some(&destination))
    };
    let exact = named("a.test");
    assert_eq!(exact.backends[0].service.as_deref(), Some("shop/next:9080"));
    let told: Vec<_> = exact.considered.iter().map(|it| (&*it.route, it.taken)).collect();
    assert_eq!(told, [("TLSRoute one", true), ("TLSRoute all", false)]);
    assert!(exact.considered[1].why.contains("goes before it"), "{exact}");
    assert_eq!(named("b.test").backends[0].service.as_deref(), Some("shop/reviews:9080"));
    let none = named("b.example");
    assert_eq!((none.outcome.sent, none.considered.len()), (false, 2), "{none}");
    assert!(none.outcome.why.contains("no TLSRoute"), "{none}");
    let other = ask(&query("CONNECT", "reviews:9080"), Some(&destination));
    assert_eq!(other.backends[0].service.as_deref(), Some("shop/reviews:9080"), "what is no TLS");
}

#[test]
fn policies_on_addresses_are_asked_about_the_callers() {
    let destination =
        destination(vec![v1::HttpRule { backends: vec![valid("reviews", 1)], ..v1::HttpRule::default() }]);
    let rule =
        v1::AuthorizationRule { ip_blocks: vec!["10.0.0.0/8".into()], ..v1::AuthorizationRule::default() };
    let resource =
        v1::ResourceRef { kind: "AuthorizationPolicy".into(), namespace: "shop".into(), name: "near".into() };
    let policy = v1::AuthorizationPolicy {
        resource: Some(resource),
        rules: vec![rule],
        ..v1::AuthorizationPolicy::default()
    };
    let port = v1::InboundPort { authorization: vec![policy], ..v1::InboundPort::default() };
    let wire = v1::Inbound { default_port: Some(port), ..v1::Inbound::default() };
    let inbound =
        |_: &ServicePort| convert::inbound(&wire, &"cluster.local".parse().unwrap()).ok().map(Arc::new);
    for (source, allowed) in [(Some("10.1.2.3"), true), (Some("192.0.2.1"), false), (None, false)] {
        let source = source.map(|source| source.parse().unwrap());
        let query = Query { source, ..query("GET", "http://reviews:9080/") };
        let known = Known { inbound: &inbound, ..known(Some(&destination)) };
        assert_eq!(explain(&query, &known).outcome.sent, allowed, "{source:?}");
    }
}

/// What is made of a rule whose filters abort a share of its requests.
fn aborting(share: u32) -> Explanation {
    let fault = v1::Fault { abort_status: 418, abort_share: share, ..v1::Fault::default() };
    let filter = v1::HttpFilter { filter: Some(v1::http_filter::Filter::Fault(fault)) };
    let rule = v1::HttpRule {
        filters: vec![filter],
        backends: vec![valid("reviews", 1)],
        ..v1::HttpRule::default()
    };
    ask(&query("GET", "http://reviews:9080/"), Some(&destination(vec![rule])))
}

#[test]
fn what_is_aborted_always_is_never_said_to_be_sent_on() {
    let always = aborting(1_000_000);
    assert_eq!((always.outcome.sent, always.outcome.status), (false, Some(418)), "{always}");
    let partly = aborting(250_000);
    assert!(partly.outcome.sent && partly.outcome.why.contains("25.0 % are aborted on purpose"), "{partly}");
    assert!(partly.steps.iter().any(|step| step == "aborts 25 % with 418, on purpose"), "{partly}");
}

#[test]
fn what_the_filters_of_a_backend_answer_is_not_sent_on() {
    let fault = v1::Fault { abort_status: 418, abort_share: 1_000_000, ..v1::Fault::default() };
    let filter = v1::HttpFilter { filter: Some(v1::http_filter::Filter::Fault(fault)) };
    let aborted = || v1::WeightedBackend { filters: vec![filter.clone()], ..valid("next", 1) };
    let of = |backends| {
        let rule = v1::HttpRule { backends, ..v1::HttpRule::default() };
        ask(&query("GET", "http://reviews:9080/"), Some(&destination(vec![rule])))
    };
    let alone = of(vec![aborted()]);
    assert_eq!((alone.outcome.sent, alone.outcome.status), (false, Some(418)), "{alone}");
    let beside = of(vec![aborted(), valid("reviews", 1)]);
    assert!(beside.outcome.sent && beside.outcome.why.contains("50.0 % answered by the filters"), "{beside}");
}

#[test]
fn nothing_is_promised_where_the_policies_of_the_service_are_not_known() {
    let destination =
        destination(vec![v1::HttpRule { backends: vec![valid("reviews", 1)], ..v1::HttpRule::default() }]);
    let mut asked = ask(&query("GET", "http://reviews:9080/"), Some(&destination));
    assert!(asked.outcome.why.contains("policies of the service that are not known here"), "{asked}");
    let endpoint = |hop: &str| EndpointState {
        address: "10.0.0.1:80".to_owned(),
        workload: String::new(),
        health: String::new(),
        takes_requests: true,
        hop: hop.to_owned(),
        weight: 1,
        ejected_by: 0,
    };
    for (at, expected) in [(TunnelProtocol::Plain, "sent on"), (TunnelProtocol::Weft, &*asked.outcome.why)] {
        let mut shares = asked.backends.clone();
        shares[0].endpoints = Some(vec![endpoint(hop(at))]);
        assert_eq!(outcome(&shares, 0.0).why, expected, "{at:?}: what has no sidecar has no policies");
    }
    asked.admit("shop/reviews:9080", &Admission { allowed: false, why: "no".to_owned() });
    assert_eq!((asked.outcome.sent, asked.outcome.status), (false, Some(403)), "{asked}");
    asked.admit("shop/reviews:9080", &Admission { allowed: true, why: "yes".to_owned() });
    assert_eq!((asked.outcome.sent, &*asked.outcome.why), (true, "sent on"));
}

#[test]
fn a_request_with_a_key_is_told_which_backend_it_keeps() {
    let mut wire_backend = backend("reviews");
    let key = v1::HashKey { key: Some(v1::hash_key::Key::Header("x-user".into())) };
    wire_backend.policy = Some(v1::BackendPolicy { split_key: Some(key), ..v1::BackendPolicy::default() });
    let rule = v1::HttpRule { backends: vec![valid("one", 1), valid("two", 1)], ..v1::HttpRule::default() };
    let resource = v1::ResourceRef { kind: "HTTPRoute".into(), namespace: "shop".into(), name: "r".into() };
    let wire = v1::Destination {
        service: Some(service("reviews")),
        backend: Some(wire_backend),
        http_routes: vec![v1::HttpRoute {
            resource: Some(resource),
            rules: vec![rule],
            ..v1::HttpRoute::default()
        }],
        ..v1::Destination::default()
    };
    let destination = convert::destination("reviews:9080", &wire).unwrap();
    let of = |user: Option<&'static str>| {
        let mut query = query("GET", "http://reviews:9080/");
        if let Some(user) = user {
            query.headers.insert("x-user", http::HeaderValue::from_static(user));
        }
        ask(&query, Some(&destination))
    };
    let shares = |explained: &Explanation| explained.backends.iter().map(|it| it.percent).collect::<Vec<_>>();
    assert_eq!(shares(&of(None)), [50.0, 50.0]);
    let mut seen = std::collections::BTreeSet::new();
    for user in ["ann", "bob", "eve", "joe", "kim", "lea", "max", "zoe"] {
        let explained = of(Some(user));
        let kept = explained.backends.iter().find(|it| it.percent > 99.0).unwrap();
        let service = kept.service.clone().unwrap();
        let step = format!("keeps this request's key at {service}");
        assert!(explained.steps.contains(&step), "{explained}");
        seen.insert(service);
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
}
