//! A small universe to try things in, and the index's own rules.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use weft_mesh::name::{Identity, ServicePort};
use weft_mesh::protocol::Protocol;

use weft_identity::Grants;

use super::{Health, Index, Locality, Offer, Workload};
use weft_resource::{Age, Key, Object, decode_in_part};

/// A change of the universe.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Put(Box<Object>),
    Remove(Key),
    Register(Box<Workload>),
    Leave(String),
}

pub(crate) fn workload(namespace: &str, id: &str, offers: &[(&str, u16)], address: u32) -> Workload {
    let identity = Identity::new(&"cluster.local".parse().unwrap(), namespace, "w").unwrap();
    let offer = |(service, port): &(&str, u16)| Offer {
        service: (*service).to_owned(),
        port: *port,
        port_name: String::new(),
        protocol: Protocol::Http1,
        address: SocketAddr::new(Ipv4Addr::from(0x0a00_0000 + address).into(), 15_000 + port),
        application_port: *port,
    };
    Workload {
        id: Workload::id(&identity, id),
        name: id.into(),
        identity,
        grants: Grants::new(Some(vec!["*".to_owned()]), Vec::new()).unwrap(),
        token: None,
        labels: BTreeMap::from([("app".to_owned(), id.split('-').next().unwrap_or_default().to_owned())]),
        offers: offers.iter().map(offer).collect(),
        locality: Locality::default(),
        health: Health::Ready,
        proxy_version: String::new(),
    }
}

/// Decodes YAML that has to be right, or a policy, which counts as something also where it can't be read.
pub(crate) fn object(yaml: &str, age: u32) -> Object {
    let value: serde_json::Value = serde_saphyr::from_str(yaml).unwrap();
    let decoded = decode_in_part(&value, Age::Written("test".into(), age));
    decoded.object.unwrap_or_else(|| panic!("{yaml}: {:?}", decoded.problems))
}

/// Names that may be dialled.
pub(crate) fn names() -> Vec<String> {
    let mut names = vec!["10.9.0.1:80".to_owned(), "api.example.com:443".to_owned(), "x:1".to_owned()];
    for service in ["cart", "pay"] {
        for port in [80, 90] {
            names.push(format!("{service}:{port}"));
            for namespace in ["shop", "web"] {
                names.push(format!("{service}.{namespace}:{port}"));
                names.push(format!("{service}.{namespace}.svc.cluster.local:{port}"));
            }
        }
    }
    for address in 1..4 {
        names.push(format!("10.0.0.{address}:15080"));
    }
    names
}

/// Collections of endpoints.
pub(crate) fn endpoint_names() -> Vec<String> {
    let mut names = vec!["shop/api:443/*".to_owned()];
    for service in ["cart", "pay", "ep-10-0-0-1-15080.cart", "ep-10-0-0-2-15080.pay"] {
        for namespace in ["shop", "web"] {
            for port in [80, 90] {
                names.push(format!("{namespace}/{service}:{port}/*"));
            }
        }
    }
    names
}

const TEMPLATES: &[&str] = &[
    "{apiVersion: v1, kind: Service, metadata: {name: SVC, namespace: NS}, spec: {clusterIP: 10.9.0.1, selector: {app: cart}, ports: [{port: PORT, appProtocol: PROTO}]}}",
    "{apiVersion: v1, kind: Service, metadata: {name: SVC, namespace: NS}, spec: {ports: [{port: 80, targetPort: 8080, name: http}, {port: 90, name: tcp}]}}",
    "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: slice-SVC, namespace: NS, labels: {kubernetes.io/service-name: SVC}}, addressType: IPv4, ports: [{name: http, port: 15080}], endpoints: [{addresses: [10.0.0.ADDR]}, {addresses: [10.0.0.3], conditions: {ready: false}}]}",
    "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: route-ADDR, namespace: NS}, spec: {parentRefs: [{group: '', kind: Service, name: SVC, namespace: shop}], rules: [{backendRefs: [{name: pay, port: PORT, weight: ADDR}, {name: cart, namespace: web, port: 80}], filters: [{type: ExtensionRef, extensionRef: {group: mesh.weft.dev, kind: FaultFilter, name: slow}}]}]}}",
    "{apiVersion: gateway.networking.k8s.io/v1, kind: GRPCRoute, metadata: {name: grpc, namespace: NS}, spec: {parentRefs: [{group: '', kind: Service, name: SVC, namespace: shop, port: PORT}], rules: [{matches: [{method: {service: a.B}}], backendRefs: [{name: pay, port: 80}]}]}}",
    "{apiVersion: gateway.networking.k8s.io/v1alpha2, kind: TCPRoute, metadata: {name: tcp, namespace: NS}, spec: {parentRefs: [{group: '', kind: Service, name: SVC, namespace: shop}], rules: [{backendRefs: [{name: pay, port: 80}]}]}}",
    "{apiVersion: gateway.networking.k8s.io/v1beta1, kind: ReferenceGrant, metadata: {name: grant, namespace: web}, spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: NS}], to: [{group: '', kind: Service}]}}",
    "{apiVersion: mesh.weft.dev/v1alpha1, kind: BackendPolicy, metadata: {name: policy-ADDR, namespace: NS}, spec: {targetRefs: [{kind: Service, name: SVC}], limits: {maxRequests: ADDR}}}",
    "{apiVersion: mesh.weft.dev/v1alpha1, kind: AuthorizationPolicy, metadata: {name: authz, namespace: NS}, spec: {selector: {matchLabels: {app: SVC}}, action: DENY, rules: [{from: {namespaces: [web]}}]}}",
    "{apiVersion: mesh.weft.dev/v1alpha1, kind: MeshPolicy, metadata: {name: mesh, namespace: weft-system}, spec: {tls: {mode: STRICT}, defaultAuthorization: DENY}}",
    "{apiVersion: mesh.weft.dev/v1alpha1, kind: FaultFilter, metadata: {name: slow, namespace: NS}, spec: {delay: {duration: ADDRs}}}",
    "{apiVersion: mesh.weft.dev/v1alpha1, kind: ExternalService, metadata: {name: api, namespace: NS}, spec: {hosts: [api.example.com], ports: [{port: 443}], endpoints: [{address: 192.0.2.ADDR}]}}",
];

fn any_object() -> impl Strategy<Value = Object> {
    let age = 0..3_u32;
    let namespace = select(vec!["shop", "web"]);
    let service = select(vec!["cart", "pay"]);
    (select(TEMPLATES), namespace, service, 1..4_u8, any::<bool>(), age).prop_map(
        |(template, namespace, service, address, other, age)| {
            let yaml = template
                .replace("NS", namespace)
                .replace("SVC", service)
                .replace("ADDR", &address.to_string())
                .replace("PORT", if other { "90" } else { "80" })
                .replace("PROTO", if other { "grpc" } else { "http" });
            object(&yaml, age)
        },
    )
}

fn any_workload() -> impl Strategy<Value = Workload> {
    let offers = proptest::collection::vec((select(vec!["cart", "pay"]), select(vec![80_u16, 90])), 0..3);
    let id = select(vec!["cart-1", "cart-2", "pay-1"]);
    (select(vec!["shop", "web"]), id, offers, 1..4_u32, any::<bool>()).prop_map(
        |(namespace, id, mut offers, address, ready)| {
            offers.sort_unstable();
            offers.dedup();
            let mut workload = workload(namespace, &format!("{id}.{namespace}"), &offers, address);
            workload.health = if ready { Health::Ready } else { Health::NotReady };
            workload
        },
    )
}

/// Any course of events.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => any_object().prop_map(|object| Step::Put(Box::new(object))),
        1 => any_object().prop_map(|object| Step::Remove(object.key)),
        3 => any_workload().prop_map(Box::new).prop_map(Step::Register),
        1 => any_workload().prop_map(|workload| Step::Leave(workload.id.to_string())),
    ];
    proptest::collection::vec(step, 1..14)
}

fn addresses(index: &Index, port: &str) -> Vec<String> {
    let port: ServicePort = port.parse().unwrap();
    index.endpoints(&port).map(|(id, endpoint)| format!("{id} {}", endpoint.address)).collect()
}

#[test]
fn a_service_without_a_resource_is_made_of_those_who_offer_it() {
    let mut index = Index::default();
    index.set_workload(&Arc::new(workload("shop", "a", &[("cart", 80)], 1)));
    index.set_workload(&Arc::new(workload("web", "b", &[("cart", 80)], 2)));
    assert_eq!(addresses(&index, "shop/cart:80"), ["shop.w~a 10.0.0.1:15080"]);
    assert_eq!(addresses(&index, "web/cart:80"), ["web.w~b 10.0.0.2:15080"]);
    index.remove_workload("shop.w~a");
    let left = index.service(&"shop/cart".parse().unwrap()).unwrap();
    assert_eq!(left.ports.len(), 1, "who calls it is told that nobody serves it now");
    assert_eq!(addresses(&index, "shop/cart:80"), [""; 0]);
    index.set_workload(&Arc::new(workload("shop", "c", &[("cart", 90)], 3)));
    assert_eq!(addresses(&index, "shop/cart:90"), ["shop.w~c 10.0.0.3:15090"]);
    assert!(index.service(&"shop/cart".parse().unwrap()).unwrap().port(80).is_none());
}

#[test]
fn a_service_resource_decides_alone_by_its_selector() {
    let mut index = Index::default();
    let service = object(
        "{apiVersion: v1, kind: Service, metadata: {name: cart, namespace: shop}, spec: {selector: {app: cart}, ports: [{port: 80, targetPort: 9090}]}}",
        0,
    );
    index.set_objects(&BTreeMap::from([(service.key.clone(), Arc::new(service))]));
    // Offers the service's very port.
    index.set_workload(&Arc::new(workload("shop", "cart-1", &[("cart", 80), ("other", 9090)], 1)));
    // Offers the target port under another name.
    index.set_workload(&Arc::new(workload("shop", "cart-2", &[("x", 70), ("other", 9090)], 2)));
    // Has only one offer.
    index.set_workload(&Arc::new(workload("shop", "cart-3", &[("x", 70)], 3)));
    // Has nothing that fits.
    index.set_workload(&Arc::new(workload("shop", "cart-4", &[("x", 70), ("y", 71)], 4)));
    // Is not selected, though it offers the service.
    index.set_workload(&Arc::new(workload("shop", "pay-1", &[("cart", 80)], 5)));
    // Is in another namespace.
    index.set_workload(&Arc::new(workload("web", "cart-6", &[("cart", 80)], 6)));
    assert_eq!(
        addresses(&index, "shop/cart:80"),
        ["shop.w~cart-1 10.0.0.1:15080", "shop.w~cart-2 10.0.0.2:24090", "shop.w~cart-3 10.0.0.3:15070"]
    );
}

#[test]
fn routes_are_in_the_order_of_age_then_name() {
    let mut index = Index::default();
    let route = |name: &str, created: &str, age| {
        let yaml = format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: {name}, namespace: shop{created}}}, spec: {{parentRefs: [{{group: '', kind: Service, name: cart}}], rules: [{{backendRefs: [{{name: cart, port: 80}}]}}]}}}}"
        );
        let object = object(&yaml, age);
        (object.key.clone(), Arc::new(object))
    };
    let created = ", creationTimestamp: '2026-01-01T00:00:00Z'";
    let objects = [route("d", "", 1), route("c", "", 2), route("b", created, 3), route("a", created, 4)];
    index.set_objects(&BTreeMap::from(objects));
    let names: Vec<&str> =
        index.routes(&"shop/cart".parse().unwrap()).iter().map(|route| &*route.key.name).collect();
    assert_eq!(names, ["a", "b", "d", "c"]);
}

#[test]
fn whoever_registers_serves_only_what_it_was_granted_whatever_it_says_of_itself() {
    let mut index = Index::default();
    let service = object(
        "{apiVersion: v1, kind: Service, metadata: {name: cart, namespace: shop}, spec: {selector: {app: cart}, ports: [{port: 80}]}}",
        0,
    );
    index.set_objects(&BTreeMap::from([(service.key.clone(), Arc::new(service))]));
    let own = |name: &str, offers: &[(&str, u16)], address| Workload {
        grants: Grants::default(),
        ..workload("shop", name, offers, address)
    };
    // Its labels are those that the Service selects by; its account is `w`.
    index.set_workload(&Arc::new(own("cart-1", &[("w", 80)], 1)));
    assert_eq!(addresses(&index, "shop/cart:80"), [""; 0]);
    assert_eq!(addresses(&index, "shop/w:80"), ["shop.w~cart-1 10.0.0.1:15080"]);
    index.set_workload(&Arc::new(workload("shop", "cart-2", &[("w", 80)], 2)));
    assert_eq!(addresses(&index, "shop/cart:80"), ["shop.w~cart-2 10.0.0.2:15080"]);
}

#[test]
fn no_registration_has_the_id_of_a_pod_or_of_an_address() {
    for name in ["10-0-0-1-8080", "cart-7f.shop", "a"] {
        let id = workload("shop", name, &[], 1).id;
        assert_ne!(&*id, name);
        assert_eq!(Workload::name_of(&id), name);
        assert_ne!(id, workload("web", name, &[], 1).id);
    }
}
