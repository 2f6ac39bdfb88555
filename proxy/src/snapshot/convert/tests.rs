use super::*;

#[allow(clippy::unnecessary_wraps)] // As the contracts have it.
fn service(name: &str) -> Option<v1::ServicePort> {
    Some(v1::ServicePort { namespace: "shop".into(), name: name.into(), port: 80 })
}

fn wire_backend(name: &str) -> v1::Backend {
    v1::Backend { service: service(name), ..v1::Backend::default() }
}

fn wire_destination(rule: v1::HttpRule) -> v1::Destination {
    v1::Destination {
        service: service("cart"),
        backend: Some(wire_backend("cart")),
        http_routes: vec![v1::HttpRoute {
            resource: Some(v1::ResourceRef {
                kind: "HTTPRoute".into(),
                namespace: "shop".into(),
                name: "r".into(),
            }),
            rules: vec![rule],
            ..v1::HttpRoute::default()
        }],
        ..v1::Destination::default()
    }
}

#[test]
fn a_destination_without_routes_leads_to_its_service() {
    let wire = v1::Destination { http_routes: vec![], ..wire_destination(v1::HttpRule::default()) };
    let destination = destination("cart:80", &wire).unwrap();
    assert!(destination.routes.is_none());
    assert_eq!(destination.backend.service.to_string(), "shop/cart:80");
    assert_eq!(destination.tcp_backend(0).unwrap().service, destination.service);
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_value() {
    let rule = v1::HttpRule {
        matches: vec![v1::HttpMatch {
            path: Some(v1::http_match::Path::PathRegex("(".into())),
            ..v1::HttpMatch::default()
        }],
        ..v1::HttpRule::default()
    };
    let error = destination("cart:80", &wire_destination(rule)).unwrap_err().to_string();
    for part in ["http_routes[0]", "rules[0]", "matches[0]", "("] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn an_invalid_backend_keeps_its_share() {
    let share = |target| v1::WeightedBackend { weight: 1, target: Some(target), filters: vec![] };
    let wire = v1::Destination {
        tcp_backends: vec![
            share(v1::weighted_backend::Target::Backend(wire_backend("cart"))),
            share(v1::weighted_backend::Target::Invalid("there is no Service shop/none".into())),
        ],
        ..wire_destination(v1::HttpRule::default())
    };
    let destination = destination("cart:80", &wire).unwrap();
    let chosen: Vec<_> = (0..16).map(|i| destination.tcp_backend(u64::MAX / 16 * i)).collect();
    let failures: Vec<_> = chosen.iter().filter_map(|chosen| chosen.as_ref().err()).collect();
    assert!((1..16).contains(&failures.len()));
    assert!(failures.iter().all(|failure| failure.reason == weft_mesh::reason::Reason::InvalidBackend));
}

#[test]
fn limits_are_the_default_none_or_what_is_said() {
    for (wire, expected) in [(0, 1024), (u32::MAX, 0), (7, 7)] {
        let wire = v1::BackendPolicy {
            max_connections: wire,
            max_pending_requests: wire,
            ..v1::BackendPolicy::default()
        };
        let policy = policy(&wire).unwrap();
        assert_eq!((policy.max_connections, policy.max_pending), (expected, expected));
    }
}

#[test]
fn an_endpoint_needs_an_address() {
    let wire = v1::Endpoint { address: "reviews".into(), port: 80, ..v1::Endpoint::default() };
    assert!(endpoint("a", &wire).unwrap_err().to_string().contains("reviews"));
    let wire = v1::Endpoint { address: "10.0.0.1".into(), port: 80, ..v1::Endpoint::default() };
    let endpoint = endpoint("a", &wire).unwrap();
    assert_eq!((endpoint.weight, endpoint.hop), (1, TunnelProtocol::Plain));
}

#[test]
fn what_is_spoken_to_an_endpoint_is_never_plain_text_by_mistake() {
    let of = |hop: i32, identities: &[&str]| {
        let identities = identities.iter().map(|identity| (*identity).to_owned()).collect();
        let address = "10.0.0.1".to_owned();
        endpoint("a", &v1::Endpoint { address, port: 80, hop, identities, ..v1::Endpoint::default() })
    };
    let (plain, weft) = (i32::from(v1::Hop::Plain), i32::from(v1::Hop::Weft));
    let cart = "spiffe://cluster.local/ns/shop/sa/cart";
    assert_eq!(of(plain, &[]).unwrap().hop, TunnelProtocol::Plain);
    assert_eq!(of(weft, &[cart]).unwrap().hop, TunnelProtocol::Weft);
    for (hop, identities) in [(plain, &[cart][..]), (weft, &[]), (99, &[cart]), (99, &[])] {
        assert!(of(hop, identities).is_err(), "{hop} {identities:?}");
    }
}

/// Whether a call without identity is let in to port 80 by what is said of it.
fn lets_in(port: v1::InboundPort) -> bool {
    let wire = v1::Inbound { default_port: Some(port), ..v1::Inbound::default() };
    let inbound = inbound(&wire, &"cluster.local".parse().unwrap()).unwrap();
    let source = "127.0.0.1".parse().unwrap();
    let call = weft_mesh::authorization::Call { identity: None, source, port: 80, http: None };
    inbound.port(80).authorization.decide(&call).allowed
}

fn wire_policy(
    action: v1::AuthorizationAction,
    rules: Vec<v1::AuthorizationRule>,
) -> v1::AuthorizationPolicy {
    v1::AuthorizationPolicy {
        resource: Some(v1::ResourceRef { kind: "AuthorizationPolicy".into(), ..v1::ResourceRef::default() }),
        action: action.into(),
        rules,
        ..v1::AuthorizationPolicy::default()
    }
}

fn with_policies(authorization: Vec<v1::AuthorizationPolicy>) -> v1::InboundPort {
    v1::InboundPort { authorization, ..v1::InboundPort::default() }
}

#[test]
fn a_rule_that_is_not_understood_matches_where_it_denies_and_nowhere_else() {
    use v1::AuthorizationAction::{Allow, Audit, Deny};
    let everyone = v1::AuthorizationRule::default;
    let unreadable = || v1::AuthorizationRule { ip_blocks: vec!["everywhere".into()], ..everyone() };
    let told = || v1::AuthorizationRule { invalid: "a field that is not known".into(), ..everyone() };
    let newer = || v1::AuthorizationRule { requires: weft_proto::AUTHORIZATION_REVISION + 1, ..everyone() };
    for rule in [unreadable(), told(), newer()] {
        assert!(!lets_in(with_policies(vec![wire_policy(Deny, vec![rule.clone()])])), "{rule:?}");
        assert!(!lets_in(with_policies(vec![wire_policy(Allow, vec![rule.clone()])])), "{rule:?}");
        assert!(lets_in(with_policies(vec![wire_policy(Audit, vec![rule.clone()])])), "{rule:?}");
        let beside = vec![rule.clone(), everyone()];
        assert!(lets_in(with_policies(vec![wire_policy(Allow, beside)])), "{rule:?}");
    }
}

#[test]
fn what_a_newer_control_plane_says_of_who_is_let_in_is_not_left_out() {
    let newer = weft_proto::AUTHORIZATION_REVISION + 1;
    let open = || wire_policy(v1::AuthorizationAction::Allow, vec![v1::AuthorizationRule::default()]);
    assert!(lets_in(with_policies(vec![open()])));
    let told = v1::AuthorizationPolicy { invalid: "not understood".into(), ..open() };
    let requires = v1::AuthorizationPolicy { requires: newer, ..open() };
    let action = v1::AuthorizationPolicy { action: 17, ..open() };
    for policy in [told, requires, action] {
        assert!(!lets_in(with_policies(vec![open(), policy.clone()])), "{policy:?}");
    }
    assert!(!lets_in(v1::InboundPort { requires: newer, ..with_policies(vec![open()]) }));
    let mode = v1::InboundPort { tls_mode: 17, ..v1::InboundPort::default() };
    let wire = v1::Inbound { default_port: Some(mode), ..v1::Inbound::default() };
    let read = inbound(&wire, &"cluster.local".parse().unwrap()).unwrap();
    assert_eq!(read.port(80).tls_mode, crate::snapshot::TlsMode::Strict);
}

#[test]
fn a_port_of_which_something_cannot_be_read_lets_nobody_in() {
    let wire = v1::Inbound {
        ports: vec![v1::InboundPort {
            port: 80,
            proxy_protocol_from: vec!["everywhere".into()],
            ..v1::InboundPort::default()
        }],
        default_port: Some(v1::InboundPort::default()),
    };
    let read = inbound(&wire, &"cluster.local".parse().unwrap()).unwrap();
    let source = "127.0.0.1".parse().unwrap();
    let allowed = |port: u16| {
        let call = weft_mesh::authorization::Call { identity: None, source, port, http: None };
        read.port(port).authorization.decide(&call).allowed
    };
    assert!(!allowed(80) && allowed(81));
    assert_eq!(read.port(80).tls_mode, crate::snapshot::TlsMode::Strict);
    assert!(read.unreadable.unwrap().contains("ports[0]"));
}

/// The control plane is trusted, yet a version of it that is older, newer or broken must not end the proxy.
#[test]
fn whatever_the_control_plane_says_it_is_refused_or_taken() {
    use prost::Message as _;
    let rule = v1::HttpRule {
        backends: vec![v1::WeightedBackend {
            weight: 1,
            target: Some(v1::weighted_backend::Target::Backend(wire_backend("cart"))),
            filters: Vec::new(),
        }],
        ..v1::HttpRule::default()
    };
    let port = v1::InboundPort { deny_by_default: true, ..v1::InboundPort::default() };
    let seeds = [
        wire_destination(rule).encode_to_vec(),
        v1::Endpoint {
            service: service("cart"),
            address: "10.0.0.1".into(),
            port: 80,
            ..v1::Endpoint::default()
        }
        .encode_to_vec(),
        v1::Inbound { default_port: Some(port), ..v1::Inbound::default() }.encode_to_vec(),
    ];
    weft_testkit::mutation::inputs(&seeds, 5000, |input| {
        let _ = v1::Destination::decode(input).map(|wire| destination("cart:80", &wire).map(drop));
        let _ = v1::Endpoint::decode(input).map(|wire| endpoint("e", &wire).map(drop));
        let _ =
            v1::Inbound::decode(input).map(|wire| inbound(&wire, &"mesh.test".parse().unwrap()).map(drop));
    });
}
