//! Routes as proxies get them: which of them are in force, and what of them travels.

use weft_proto::v1;
use weft_proto::v1::http_match::Path;
use weft_proto::v1::weighted_backend::Target;

use super::super::tests::{dialled, index, route, rules};

fn grpc_route(name: &str, rules: &str) -> String {
    format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: GRPCRoute, metadata: {{name: {name}, namespace: shop}}, spec: {{parentRefs: [{{group: '', kind: Service, name: cart}}], rules: [{rules}]}}}}"
    )
}

fn named(name: &str, created: Option<&str>, parent: &str) -> String {
    let created = created.map_or_else(String::new, |time| format!(", creationTimestamp: '{time}'"));
    format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: {name}, namespace: shop{created}}}, spec: {{parentRefs: [{{group: '', kind: Service, name: cart{parent}}}], rules: [{{backendRefs: [{{name: cart, port: 80}}]}}]}}}}"
    )
}

fn routes_of(resources: &[&str], dial: &str) -> Vec<String> {
    let found = dialled(&index(resources), dial, "shop").unwrap();
    found.http_routes.into_iter().map(|route| route.resource.unwrap().name).collect()
}

#[test]
fn the_oldest_route_comes_first_and_of_the_same_age_the_first_by_name() {
    let (older, newer) = (Some("2026-01-01T00:00:00Z"), Some("2026-01-02T00:00:00Z"));
    let resources = [named("c", newer, ""), named("b", older, ""), named("a", newer, "")];
    let resources: Vec<&str> = resources.iter().map(String::as_str).collect();
    assert_eq!(routes_of(&resources, "cart:80"), ["b", "a", "c"]);
}

#[test]
fn a_route_of_one_port_leaves_the_others_alone() {
    let service = "{apiVersion: v1, kind: Service, metadata: {name: cart, namespace: shop}, spec: {ports: [{name: web, port: 80}, {name: admin, port: 81}]}}";
    let resources = [
        service.to_owned(),
        named("by-number", None, ", port: 80"),
        named("by-name", None, ", sectionName: admin"),
        named("by-both", None, ", port: 80, sectionName: admin"),
        named("all", None, ""),
    ];
    let resources: Vec<&str> = resources.iter().map(String::as_str).collect();
    assert_eq!(routes_of(&resources, "cart:80"), ["by-number", "all"]);
    assert_eq!(routes_of(&resources, "cart:81"), ["by-name", "all"]);
}

#[test]
fn hostnames_of_a_services_route_do_not_travel() {
    let with = named("r", None, "").replace("spec: {", "spec: {hostnames: [a.example], ");
    let found = dialled(&index(&[&with]), "cart:80", "shop").unwrap();
    assert_eq!(found.http_routes[0].hostnames, [""; 0]);
}

#[test]
fn of_several_kinds_of_routes_only_the_most_specific_one_is_in_force() {
    let connection = |kind: &str| {
        format!(
            "{{apiVersion: gateway.networking.k8s.io/v1alpha2, kind: {kind}, metadata: {{name: {}, namespace: shop}}, spec: {{parentRefs: [{{group: '', kind: Service, name: cart}}], rules: [{{backendRefs: [{{name: cart, port: 80}}]}}]}}}}",
            kind.to_lowercase()
        )
    };
    let all =
        [connection("TCPRoute"), connection("TLSRoute"), named("http", None, ""), grpc_route("grpc", "{}")];
    let in_force = |count: usize| -> Vec<&str> {
        let resources: Vec<&str> = all.iter().take(count).map(String::as_str).collect();
        let found = dialled(&index(&resources), "cart:80", "shop").unwrap();
        let mut kinds = Vec::new();
        kinds.extend((!found.tcp_backends.is_empty()).then_some("TCPRoute"));
        kinds.extend((!found.tls_routes.is_empty()).then_some("TLSRoute"));
        kinds
            .extend(found.http_routes.iter().map(|route| if route.grpc { "GRPCRoute" } else { "HTTPRoute" }));
        kinds
    };
    assert_eq!(
        (1..=4).map(in_force).collect::<Vec<_>>(),
        [["TCPRoute"], ["TLSRoute"], ["HTTPRoute"], ["GRPCRoute"]]
    );
}

#[test]
fn a_backend_that_declares_no_http_is_invalid_for_requests_and_right_for_connections() {
    let database = "{apiVersion: v1, kind: Service, metadata: {name: db, namespace: shop}, spec: {ports: [{port: 5432, appProtocol: postgresql}]}}";
    let http = route("shop", "{backendRefs: [{name: db, port: 5432}]}");
    let rules = rules(&index(&[database, &http]));
    let Some(Target::Invalid(reason)) = &rules[0].backends[0].target else { panic!("{rules:?}") };
    assert!(reason.contains("declared as tcp"), "{reason}");
    let tcp = "{apiVersion: gateway.networking.k8s.io/v1alpha2, kind: TCPRoute, metadata: {name: tcp, namespace: shop}, spec: {parentRefs: [{group: '', kind: Service, name: cart}], rules: [{backendRefs: [{name: db, port: 5432}]}]}}";
    let found = dialled(&index(&[database, tcp]), "cart:80", "shop").unwrap();
    assert!(matches!(found.tcp_backends[0].target, Some(Target::Backend(_))), "{found:?}");
}

#[test]
fn conditions_on_grpc_methods_keep_their_kind() {
    let rules = "{matches: [{method: {service: a.B, method: C}}, {method: {service: a.B}}, {method: {method: C}}, {method: {type: RegularExpression, service: 'a.*'}}, {headers: [{name: x, value: z}]}]}, {}";
    let found = dialled(&index(&[&grpc_route("r", rules)]), "cart:80", "shop").unwrap();
    let paths: Vec<_> = found.http_routes[0]
        .rules
        .iter()
        .flat_map(|rule| &rule.matches)
        .map(|one| one.path.clone().unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            Path::PathExact("/a.B/C".into()),
            Path::PathPrefix("/a.B".into()),
            Path::PathGrpcMethod("C".into()),
            Path::PathRegex("/(?:a.*)/(?:[^/]+)".into()),
            Path::PathAny(true),
            Path::PathAny(true),
        ]
    );
}

#[test]
fn sessions_are_of_one_rule() {
    let route = route(
        "shop",
        "{sessionPersistence: {}}, {name: second, sessionPersistence: {type: Header, sessionName: x-sid, absoluteTimeout: 1h, idleTimeout: 10m}}, {sessionPersistence: {absoluteTimeout: 2h, cookieConfig: {lifetimeType: Permanent}}}",
    );
    let rules = rules(&index(&[&route]));
    let sessions: Vec<_> = rules.iter().map(|rule| rule.session_persistence.clone().unwrap()).collect();
    let names: Vec<_> = sessions.iter().map(|session| session.name.as_str()).collect();
    assert_eq!(names, ["weft-shop-cart-0", "x-sid", "weft-shop-cart-2"]);
    assert!(sessions[0].scope != sessions[1].scope && sessions[0].scope != sessions[2].scope);
    let seconds = |duration: &Option<prost_types::Duration>| duration.as_ref().map(|it| it.seconds);
    let [first, second, third] = &sessions[..] else { panic!("{sessions:?}") };
    assert_eq!(
        (first.kind(), seconds(&first.absolute_timeout), first.permanent),
        (v1::SessionKind::Cookie, None, false)
    );
    assert_eq!(
        (second.kind(), seconds(&second.absolute_timeout), seconds(&second.idle_timeout)),
        (v1::SessionKind::Header, Some(3600), Some(600))
    );
    assert_eq!((third.permanent, seconds(&third.absolute_timeout)), (true, Some(7200)));
}

#[test]
fn a_second_parent_is_no_grant_for_requests_to_the_first() {
    let route = "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: lure, namespace: web}, spec: {parentRefs: [{group: '', kind: Service, name: page}, {group: '', kind: Service, name: cart, namespace: shop}], rules: [{backendRefs: [{name: cart, namespace: shop, port: 80}]}]}}";
    let index = index(&[route]);
    let of = |name: &str, caller: &str| {
        let found = dialled(&index, name, caller).unwrap();
        match &found.http_routes[0].rules[0].backends[0].target {
            Some(Target::Backend(backend)) => backend.service.as_ref().unwrap().name.clone(),
            Some(Target::Invalid(reason)) => reason.clone(),
            None => panic!("{found:?}"),
        }
    };
    assert!(of("page.web:80", "shop").contains("add a ReferenceGrant to namespace shop"));
    assert_eq!(of("cart.shop:80", "web"), "cart", "where it was sent anyway");
}
