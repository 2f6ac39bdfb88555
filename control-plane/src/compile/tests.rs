//! What resources come to for a proxy.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_proto::v1;
use weft_proto::v1::global_rate_limit::Service;
use weft_proto::v1::http_filter::Filter;
use weft_proto::v1::http_match::Path;
use weft_proto::v1::rate_limit_entry::Value;
use weft_proto::v1::weighted_backend;

use super::{Reader, destination, find, has_consumer_routes, inbound};
use crate::compile::Target;
use crate::index::Index;
use crate::index::tests::{object, workload};

/// An index of these resources, and of a workload of each service of `shop` that they speak of.
pub(crate) fn index(resources: &[&str]) -> Index {
    let mut index = Index::default();
    let objects: BTreeMap<_, _> = (0..).zip(resources).map(|(age, yaml)| object(yaml, age)).fold(
        BTreeMap::new(),
        |mut objects, object| {
            objects.insert(object.key.clone(), Arc::new(object));
            objects
        },
    );
    index.set_objects(&objects);
    for (number, service) in (1..).zip(["cart", "pay"]) {
        let id = format!("{service}-1");
        index.set_workload(&Arc::new(workload("shop", &id, &[(service, 80)], number)));
    }
    index.set_workload(&Arc::new(workload("web", "page-1", &[("page", 80)], 9)));
    index
}

/// What a workload of this namespace gets for what it dials.
pub(crate) fn dialled(index: &Index, name: &str, namespace: &str) -> Option<v1::Destination> {
    let reader = Reader::new(index);
    let target = find(&reader, name, namespace).target()?;
    let consumer = match &target {
        Target::Service(port) => has_consumer_routes(&reader, &port.service, namespace).then_some(namespace),
        Target::Endpoint(..) => None,
    };
    destination(&reader, &target, consumer)
}

pub(super) fn rules(index: &Index) -> Vec<v1::HttpRule> {
    dialled(index, "cart:80", "shop").unwrap().http_routes.into_iter().flat_map(|it| it.rules).collect()
}

/// A rule's backends: where to or why not, and the weight.
fn backends(rule: &v1::HttpRule) -> Vec<(String, u32)> {
    let target = |backend: &v1::WeightedBackend| match backend.target.as_ref().unwrap() {
        weighted_backend::Target::Backend(backend) => {
            let service = backend.service.as_ref().unwrap();
            format!("{}/{}:{}", service.namespace, service.name, service.port)
        }
        weighted_backend::Target::Invalid(reason) => format!("invalid: {reason}"),
    };
    rule.backends.iter().map(|backend| (target(backend), backend.weight)).collect()
}

pub(super) fn route(namespace: &str, rule: &str) -> String {
    format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: cart, namespace: {namespace}}}, spec: {{parentRefs: [{{group: '', kind: Service, name: cart, namespace: shop}}], rules: [{rule}]}}}}"
    )
}

#[test]
fn a_service_without_routes_is_its_own_backend() {
    let index = index(&[]);
    let found = dialled(&index, "cart:80", "shop").unwrap();
    assert_eq!(found.http_routes, []);
    assert_eq!(found.protocol(), v1::Protocol::Http1);
    assert_eq!(found.backend.unwrap().service, found.service);
    assert_eq!(dialled(&index, "cart:81", "shop"), None);
    assert_eq!(dialled(&index, "cart:80", "web"), None, "it is another namespace's");
    assert!(dialled(&index, "cart.shop:80", "web").is_some());
}

#[test]
fn one_address_of_a_service_is_reached_alone_and_past_its_routes() {
    let route = route("shop", "{backendRefs: [{name: pay, port: 80}]}");
    let index = index(&[&route]);
    let found = dialled(&index, "10.0.0.1:15080", "shop").unwrap();
    assert_eq!(found.http_routes, []);
    assert_eq!(found.service.unwrap().name, "cart");
    assert_eq!(found.backend.unwrap().service.unwrap().name, "ep-10-0-0-1-15080.cart");
}

#[test]
fn a_split_has_its_weights_and_an_invalid_backend_keeps_its_share() {
    let route = route(
        "shop",
        "{backendRefs: [{name: cart, port: 80, weight: 90}, {name: pay, port: 80}, {name: pay, port: 81, weight: 0}, {name: gone, port: 80, weight: 9}, {name: page, namespace: web, port: 80, weight: 5}]}",
    );
    let rules = rules(&index(&[&route]));
    let found = backends(&rules[0]);
    assert_eq!(found[0], ("shop/cart:80".to_owned(), 90));
    assert_eq!(found[1], ("shop/pay:80".to_owned(), 1), "a backend weighs 1 unless told otherwise");
    assert_eq!(found[2], ("invalid: Service shop/pay has no port 81; it has 80".to_owned(), 0));
    assert_eq!(found[3], ("invalid: there is no Service shop/gone".to_owned(), 9));
    assert!(found[4].0.contains("add a ReferenceGrant to namespace web"), "{found:?}");
}

#[test]
fn a_grant_allows_what_it_names_and_nothing_else() {
    let route = route("shop", "{backendRefs: [{name: page, namespace: web, port: 80}]}");
    let granted = |from: &str, to: &str| {
        let grant = format!(
            "{{apiVersion: gateway.networking.k8s.io/v1beta1, kind: ReferenceGrant, metadata: {{name: grant, namespace: web}}, spec: {{from: [{{group: gateway.networking.k8s.io, kind: {from}, namespace: shop}}], to: [{{group: '', kind: Service{to}}}]}}}}"
        );
        backends(&rules(&index(&[&route, &grant]))[0])[0].0 == "web/page:80"
    };
    assert!(granted("HTTPRoute", ""));
    assert!(granted("HTTPRoute", ", name: page"));
    assert!(!granted("HTTPRoute", ", name: other"));
    assert!(!granted("GRPCRoute", ""));
}

#[test]
fn a_rule_without_conditions_is_for_every_path() {
    let route = route("shop", "{backendRefs: [{name: cart, port: 80}]}");
    let rules = rules(&index(&[&route]));
    assert_eq!(rules[0].matches.len(), 1);
    assert_eq!(rules[0].matches[0].path, Some(Path::PathPrefix("/".to_owned())));
}

#[test]
fn conditions_timeouts_and_retries_travel_as_written() {
    let route = route(
        "shop",
        "{name: main, matches: [{path: {type: Exact, value: /a}, method: GET, headers: [{name: x, value: one}], queryParams: [{name: q, type: RegularExpression, value: 'z+'}]}], timeouts: {request: 2s, backendRequest: 0s}, retry: {codes: [503], attempts: 2, backoff: 25ms}, backendRefs: [{name: cart, port: 80}]}",
    );
    let rule = rules(&index(&[&route])).remove(0);
    assert_eq!(rule.name, "main");
    let condition = &rule.matches[0];
    assert_eq!(condition.path, Some(Path::PathExact("/a".to_owned())));
    assert_eq!(condition.method, "GET");
    assert_eq!(condition.headers[0].value, Some(v1::value_match::Value::Exact("one".to_owned())));
    assert_eq!(condition.query[0].value, Some(v1::value_match::Value::Regex("z+".to_owned())));
    assert_eq!(rule.request_timeout.unwrap().seconds, 2);
    assert_eq!(rule.backend_request_timeout, None, "zero means none");
    // Whoever says how long a request may take says so of a quiet one, too.
    assert_eq!(rule.stream_idle_timeout, Some(prost_types::Duration::default()));
    let retry = rule.retry.unwrap();
    assert_eq!((retry.attempts, &retry.codes[..]), (2, &[503][..]));
    assert_eq!(retry.backoff.unwrap().nanos, 25_000_000);
}

#[test]
fn a_filter_that_is_missing_is_told_and_a_mirror_to_nowhere_is_left_out() {
    let route = route(
        "shop",
        "{filters: [{type: ExtensionRef, extensionRef: {group: mesh.weft.dev, kind: FaultFilter, name: slow}}, {type: RequestMirror, requestMirror: {backendRef: {name: gone, port: 80}}}], backendRefs: [{name: cart, port: 80}]}",
    );
    let without = rules(&index(&[&route])).remove(0).filters;
    assert_eq!(without.len(), 1);
    assert!(
        matches!(&without[0].filter, Some(Filter::Invalid(reason)) if reason.contains("slow")),
        "{without:?}"
    );
    let slow = "{apiVersion: mesh.weft.dev/v1alpha1, kind: FaultFilter, metadata: {name: slow, namespace: shop}, spec: {delay: {duration: 1s, percentage: 12.5}}}";
    let with = rules(&index(&[&route, slow])).remove(0).filters;
    let Some(Filter::Fault(fault)) = &with[0].filter else { panic!("{with:?}") };
    assert_eq!((fault.delay.unwrap().seconds, fault.delay_share), (1, 125_000));
}

#[test]
fn callers_with_routes_of_their_own_get_these_alone() {
    let of_shop = route("shop", "{name: shop, backendRefs: [{name: cart, port: 80}]}");
    let of_web = route("web", "{name: web, backendRefs: [{name: page, port: 80}]}");
    let index = index(&[&of_shop, &of_web]);
    let names = |namespace: &str| -> Vec<String> {
        let found = dialled(&index, "cart.shop:80", namespace).unwrap();
        found.http_routes.into_iter().flat_map(|route| route.rules).map(|rule| rule.name).collect()
    };
    assert_eq!(names("shop"), ["shop"]);
    assert_eq!(names("web"), ["web"]);
    assert_eq!(names("other"), ["shop"]);
}

#[test]
fn no_limit_can_be_said_and_is_not_the_default() {
    for (limits, expected) in [
        ("{}", (0, 0, 0)),
        ("{maxConnections: 0, maxPendingRequests: 0, maxRequests: 0}", (u32::MAX, u32::MAX, 0)),
        ("{maxConnections: 5, maxPendingRequests: 6, maxRequests: 7}", (5, 6, 7)),
    ] {
        let policy = format!(
            "{{apiVersion: mesh.weft.dev/v1alpha1, kind: BackendPolicy, metadata: {{name: cart, namespace: shop}}, spec: {{targetRefs: [{{kind: Service, name: cart}}], limits: {limits}}}}}"
        );
        let index = index(&[&policy]);
        let policy = dialled(&index, "cart:80", "shop").unwrap().backend.unwrap().policy.unwrap();
        assert_eq!((policy.max_connections, policy.max_pending_requests, policy.max_requests), expected);
    }
}

#[test]
fn a_policy_of_a_service_goes_with_it_wherever_it_is_a_backend() {
    let route = route("shop", "{backendRefs: [{name: pay, port: 80}]}");
    let policy = "{apiVersion: mesh.weft.dev/v1alpha1, kind: BackendPolicy, metadata: {name: pay, namespace: shop}, spec: {targetRefs: [{kind: Service, name: pay}], limits: {maxRequests: 7}, balancing: {algorithm: Random}}}";
    let index = index(&[&route, policy]);
    let rule = rules(&index).remove(0);
    let Some(weighted_backend::Target::Backend(backend)) = &rule.backends[0].target else {
        panic!("{rule:?}")
    };
    let policy = backend.policy.as_ref().unwrap();
    assert_eq!((policy.max_requests, policy.balancer()), (7, v1::Balancer::Random));
    assert_eq!(dialled(&index, "cart:80", "shop").unwrap().backend.unwrap().policy, None);
}

fn mesh_policy(namespace: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: mesh.weft.dev/v1alpha1, kind: MeshPolicy, metadata: {{name: mesh, namespace: {namespace}}}, spec: {spec}}}"
    )
}

/// The inbound of the workload that calls itself so.
fn inbound_of(index: &Index, name: &str) -> Option<v1::Inbound> {
    let workload = index.workloads().find(|workload| *workload.name == *name)?;
    inbound(&Reader::new(index), &workload.id)
}

fn port(index: &Index, id: &str, number: u32) -> v1::InboundPort {
    let found = inbound_of(index, id).unwrap();
    found.ports.into_iter().find(|port| port.port == number).unwrap()
}

#[test]
fn without_policies_a_workload_lets_everybody_in() {
    let index = index(&[]);
    let cart = port(&index, "cart-1", 80);
    assert_eq!(cart.tls_mode(), v1::TlsMode::Permissive);
    assert_eq!((cart.deny_by_default, cart.authorization.len()), (false, 0));
    assert_eq!(inbound_of(&index, "gone"), None);
}

#[test]
fn the_nearest_policy_that_says_something_decides() {
    let mesh = mesh_policy("weft-system", "{tls: {mode: STRICT}, defaultAuthorization: DENY}");
    let shop = mesh_policy("shop", "{tls: {mode: PERMISSIVE, ports: [{port: 80, mode: DISABLED}]}}");
    let index = index(&[&mesh, &shop]);
    let cart = port(&index, "cart-1", 80);
    assert_eq!(cart.tls_mode(), v1::TlsMode::Disabled);
    assert!(cart.deny_by_default, "the namespace says nothing of it");
    let rest = inbound_of(&index, "cart-1").unwrap().default_port.unwrap();
    assert_eq!(rest.tls_mode(), v1::TlsMode::Permissive);
    assert_eq!(port(&index, "page-1", 80).tls_mode(), v1::TlsMode::Strict);
}

#[test]
fn what_cannot_be_read_of_policies_goes_to_proxies_as_what_denies() {
    let policy = |namespace: &str, name: &str, spec: &str| {
        format!(
            "{{apiVersion: mesh.weft.dev/v1alpha1, kind: AuthorizationPolicy, metadata: {{name: {name}, namespace: {namespace}}}, spec: {spec}}}"
        )
    };
    let in_part = |action: &str| {
        format!(
            "{{action: {action}, rules: [{{from: {{ipBlocks: [10.0.0.0/33]}}}}, {{from: {{namespaces: [web]}}}}]}}"
        )
    };
    let resources = [
        policy("shop", "a", &in_part("DENY")),
        policy("shop", "b", &in_part("ALLOW")),
        policy("shop", "c", "{action: ASK, rules: []}"),
        policy("shop", "d", "{selector: {matchLabels: {app: pay}}, newer: 1}"),
        mesh_policy("shop", "{selector: 5}"),
        mesh_policy("weft-system", "{pathMode: REJECT}"),
    ];
    let index = index(&resources.iter().map(String::as_str).collect::<Vec<_>>());
    let cart = port(&index, "cart-1", 80);
    let told: Vec<_> = cart
        .authorization
        .iter()
        .map(|policy| {
            let name = &policy.resource.as_ref().unwrap().name;
            (name.as_str(), !policy.invalid.is_empty(), policy.rules.len())
        })
        .collect();
    assert_eq!(told, [("a", false, 2), ("c", true, 0), ("b", false, 2)]);
    // Proxies that don't know that a rule may be unreadable go by its lists.
    for (at, nobodys) in [(0, Vec::<String>::new()), (2, vec![String::new()])] {
        let rules = &cart.authorization[at].rules;
        assert!(rules[0].invalid.contains("10.0.0.0/33"), "{rules:?}");
        assert_eq!((&rules[0].namespaces, &rules[0].ip_blocks), (&nobodys, &Vec::new()));
        assert_eq!((&*rules[1].invalid, &*rules[1].namespaces), ("", &["web".to_owned()][..]));
    }
    assert!(cart.deny_by_default);
    assert_eq!((cart.tls_mode(), cart.path_mode()), (v1::TlsMode::Strict, v1::PathMode::Reject));
    let pay = port(&index, "pay-1", 80);
    assert!(pay.authorization.iter().any(|policy| policy.resource.as_ref().unwrap().name == "d"));
}

#[test]
fn limits_of_a_workload_go_to_its_proxy() {
    let shop = mesh_policy(
        "shop",
        "{adaptiveConcurrency: {maxRequests: 50}, rateLimit: {requests: 9, key: {header: x-user}}}",
    );
    let index = index(&[&shop]);
    let cart = port(&index, "cart-1", 80);
    let bounds = v1::AdaptiveConcurrency { max_requests: 50, ..v1::AdaptiveConcurrency::default() };
    assert_eq!(cart.adaptive_concurrency, Some(bounds));
    let key = v1::HashKey { key: Some(v1::hash_key::Key::Header("x-user".into())) };
    assert_eq!(
        cart.rate_limit,
        Some(v1::RateLimit { requests: 9, key: Some(key), ..v1::RateLimit::default() })
    );
    let page = port(&index, "page-1", 80);
    assert_eq!((page.adaptive_concurrency, page.rate_limit), (None, None));
}

/// What a limit of `global` comes to: where its service is, and its descriptors.
fn asked(limit: Option<v1::RateLimit>) -> (String, Vec<(String, Value)>) {
    let global = limit.unwrap().global.unwrap();
    let service = match global.service.unwrap() {
        Service::Backend(backend) => backend.service.unwrap().name,
        Service::Address(address) => address,
        Service::Invalid(problem) => format!("invalid: {problem}"),
    };
    let entries = global.descriptors.into_iter().flat_map(|it| it.entries);
    (service, entries.map(|entry| (entry.key, entry.value.unwrap())).collect())
}

#[test]
fn a_limit_for_all_proxies_names_its_service_and_what_requests_count_as() {
    let global = |service: &str| {
        format!(
            "{{global: {{{service}, domain: shop, descriptors: [{{entries: [{{header: x-user, key: user}}, {{value: all}}]}}]}}}}"
        )
    };
    let route = route(
        "shop",
        "{filters: [{type: ExtensionRef, extensionRef: {group: mesh.weft.dev, kind: RateLimitFilter, name: limit}}], backendRefs: [{name: cart, port: 80}]}",
    );
    let limit = format!(
        "{{apiVersion: mesh.weft.dev/v1alpha1, kind: RateLimitFilter, metadata: {{name: limit, namespace: shop}}, spec: {}}}",
        global("service: {name: pay, port: 80}")
    );
    let index_of = |service: &str| {
        let mesh = mesh_policy("weft-system", &format!("{{rateLimit: {}}}", global(service)));
        index(&[&route, &limit, &mesh])
    };
    let rule = rules(&index_of("address: 'limits.example.com:8081'")).remove(0);
    let Some(Filter::RateLimit(of_route)) = &rule.filters[0].filter else { panic!("{rule:?}") };
    let entries = vec![
        ("user".to_owned(), Value::Header("x-user".into())),
        ("generic_key".to_owned(), Value::Text("all".into())),
    ];
    assert_eq!(of_route.requests, 0);
    assert_eq!(asked(Some(of_route.clone())), ("pay".to_owned(), entries.clone()));
    for (service, expected) in [
        ("address: 'limits.example.com:8081'", "limits.example.com:8081"),
        ("service: {name: none, port: 80}", "invalid: there is no Service weft-system/none"),
        (
            "service: {name: pay, namespace: shop, port: 80}",
            "invalid: Service shop/pay may not be referred to from namespace weft-system; add a ReferenceGrant to namespace shop",
        ),
    ] {
        let (found, found_entries) = asked(port(&index_of(service), "cart-1", 80).rate_limit);
        assert_eq!((found.as_str(), &found_entries), (expected, &entries));
    }
}

#[test]
fn hedging_goes_with_the_policy_of_its_backend() {
    let policy = "{apiVersion: mesh.weft.dev/v1alpha1, kind: BackendPolicy, metadata: {name: cart, namespace: shop}, spec: {targetRefs: [{kind: Service, name: cart}], hedging: {delay: 80ms, allMethods: true}}}";
    let backend = dialled(&index(&[policy]), "cart:80", "shop").unwrap().backend.unwrap();
    let delay = Some(prost_types::Duration { seconds: 0, nanos: 80_000_000 });
    assert_eq!(backend.policy.unwrap().hedging, Some(v1::Hedging { delay, attempts: 0, all_methods: true }));
}

#[test]
fn a_fault_with_a_grpc_status_goes_with_its_rule() {
    let route = route(
        "shop",
        "{filters: [{type: ExtensionRef, extensionRef: {group: mesh.weft.dev, kind: FaultFilter, name: broken}}], backendRefs: [{name: cart, port: 80}]}",
    );
    let broken = "{apiVersion: mesh.weft.dev/v1alpha1, kind: FaultFilter, metadata: {name: broken, namespace: shop}, spec: {abort: {grpcStatus: 14, percentage: 50}}}";
    let rule = rules(&index(&[&route, broken])).remove(0);
    let Some(Filter::Fault(fault)) = &rule.filters[0].filter else { panic!("{rule:?}") };
    assert_eq!((fault.abort_status, fault.abort_grpc_status, fault.abort_share), (0, 14, 500_000));
}

#[test]
fn the_proxy_protocol_is_of_the_port_that_it_is_written_for() {
    let mesh = mesh_policy("weft-system", "{proxyProtocol: [{port: 80, send: V1}, {port: 81, send: V2}]}");
    let shop = mesh_policy("shop", "{proxyProtocol: [{port: 80, acceptFrom: [10.0.0.0/8], send: V2}]}");
    let index = index(&[&mesh, &shop]);
    let cart = port(&index, "cart-1", 80);
    assert_eq!(
        (cart.proxy_protocol_from.as_slice(), cart.proxy_protocol_to()),
        (&["10.0.0.0/8".to_owned()][..], v1::ProxyProtocol::V2)
    );
    let page = port(&index, "page-1", 80);
    assert_eq!((page.proxy_protocol_from.len(), page.proxy_protocol_to()), (0, v1::ProxyProtocol::V1));
    let rest = inbound_of(&index, "cart-1").unwrap().default_port.unwrap();
    assert_eq!(rest.proxy_protocol_to(), v1::ProxyProtocol::None);
}

#[test]
fn who_keeps_out_is_asked_before_who_lets_in_and_only_where_selected() {
    let policy = |namespace: &str, name: &str, spec: &str| {
        format!(
            "{{apiVersion: mesh.weft.dev/v1alpha1, kind: AuthorizationPolicy, metadata: {{name: {name}, namespace: {namespace}}}, spec: {{{spec}, rules: [{{from: {{namespaces: [web]}}, to: {{methods: [GET]}}}}]}}}}"
        )
    };
    let allow = policy("shop", "allow", "action: ALLOW");
    let deny = policy("shop", "deny", "selector: {matchLabels: {app: cart}}, action: DENY");
    let foreign = policy("web", "foreign", "action: DENY");
    let index = index(&[&allow, &deny, &foreign]);
    let names = |id: &str| -> Vec<String> {
        let policies = port(&index, id, 80).authorization;
        policies.into_iter().map(|policy| policy.resource.unwrap().name).collect()
    };
    assert_eq!(names("cart-1"), ["deny", "allow"]);
    assert_eq!(names("pay-1"), ["allow"]);
    assert_eq!(names("page-1"), ["foreign"]);
    let rule = &port(&index, "cart-1", 80).authorization[0].rules[0];
    assert_eq!((&rule.namespaces[..], &rule.methods[..]), (&["web".to_owned()][..], &["GET".to_owned()][..]));
}

#[test]
fn tls_routes_keep_their_hostnames_and_tcp_routes_their_weights() {
    let connection_route = |kind: &str, name: &str, hostnames: &str, to: &str| {
        format!(
            "{{apiVersion: gateway.networking.k8s.io/v1alpha2, kind: {kind}, metadata: {{name: {name}, namespace: shop}}, spec: {{parentRefs: [{{group: '', kind: Service, name: cart}}], {hostnames} rules: [{{backendRefs: [{to}]}}]}}}}"
        )
    };
    let weighted = "{name: cart, port: 80, weight: 3}, {name: pay, port: 80}, {name: none, port: 80}";
    let resources = [
        connection_route(
            "TLSRoute",
            "by-name",
            "hostnames: [pay.test, '*.pay.test'],",
            "{name: pay, port: 80}",
        ),
        connection_route("TCPRoute", "rest", "", weighted),
    ];
    let found = dialled(&index(&[&resources[0]]), "cart:80", "shop").unwrap();
    let [by_name] = &found.tls_routes[..] else { panic!("{:?}", found.tls_routes) };
    assert_eq!(by_name.hostnames, ["pay.test", "*.pay.test"]);
    assert_eq!(by_name.resource.as_ref().unwrap().name, "by-name");
    assert_eq!(by_name.backends.len(), 1);
    let found = dialled(&index(&[&resources[1]]), "cart:80", "shop").unwrap();
    let weights: Vec<_> = found.tcp_backends.iter().map(|backend| backend.weight).collect();
    assert_eq!(weights, [3, 1, 1]);
    assert!(matches!(found.tcp_backends[2].target, Some(weighted_backend::Target::Invalid(_))));
}

#[test]
fn a_consumers_route_may_lead_to_its_parent_without_a_grant() {
    let index = index(&[&route(
        "web",
        "{backendRefs: [{name: cart, namespace: shop, port: 80}, {name: pay, namespace: shop, port: 80}]}",
    )]);
    let found = dialled(&index, "cart.shop:80", "web").unwrap();
    let rule = &found.http_routes[0].rules[0];
    let backends = backends(rule);
    assert_eq!(backends[0].0, "shop/cart:80");
    assert!(backends[1].0.contains("may not be referred to from namespace web"), "{backends:?}");
}
