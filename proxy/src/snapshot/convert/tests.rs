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
fn an_endpoint_needs_an_address() {
    let wire = v1::Endpoint { address: "reviews".into(), port: 80, ..v1::Endpoint::default() };
    assert!(endpoint("a", &wire).unwrap_err().to_string().contains("reviews"));
    let wire = v1::Endpoint { address: "10.0.0.1".into(), port: 80, ..v1::Endpoint::default() };
    let endpoint = endpoint("a", &wire).unwrap();
    assert_eq!((endpoint.weight, endpoint.hop), (1, Hop::Plain));
}

#[test]
fn a_policy_that_is_not_understood_denies() {
    let wire = v1::Inbound {
        default_port: Some(v1::InboundPort {
            authorization: vec![v1::AuthorizationPolicy {
                resource: Some(v1::ResourceRef {
                    kind: "AuthorizationPolicy".into(),
                    ..v1::ResourceRef::default()
                }),
                rules: vec![v1::AuthorizationRule {
                    ip_blocks: vec!["everywhere".into()],
                    ..v1::AuthorizationRule::default()
                }],
                ..v1::AuthorizationPolicy::default()
            }],
            ..v1::InboundPort::default()
        }),
        ..v1::Inbound::default()
    };
    let inbound = inbound(&wire, &"cluster.local".parse().unwrap()).unwrap();
    let source = "127.0.0.1".parse().unwrap();
    let call = weft_mesh::authorization::Call { identity: None, source, port: 80, http: None };
    assert!(!inbound.port(80).authorization.decide(&call).allowed);
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
