use std::net::SocketAddr;

use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use weft_mesh::name::ServicePort;
use weft_proto::v1;

use super::*;
use crate::compile::{Reader, inbound};
use crate::index::{Hop, Index};

mod watching;

fn trust_domain() -> TrustDomain {
    "cluster.local".parse().unwrap()
}

fn resource(kind: Kind) -> ApiResource {
    let version = kind.versions()[0];
    ApiResource::from_gvk(&GroupVersionKind::gvk(kind.group(), version, kind.as_str()))
}

/// What the API server says of a resource, as news.
fn told(kind: Kind, value: Value) -> News {
    let object: DynamicObject = serde_json::from_value(value).unwrap();
    translate::object(translate::key(kind, &object), &resource(kind), object)
}

fn pod(name: &str, labels: &Value) -> ClusterPod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "shop", "labels": labels},
        "spec": {
            "serviceAccountName": "cart",
            "containers": [{"name": "app", "ports": [{"name": "web", "containerPort": 8080}]}],
        },
    }))
    .unwrap()
}

fn news_of(pod: &ClusterPod) -> News {
    translate::pod(translate::pod_id(pod), pod, &trust_domain())
}

fn service() -> News {
    let ports = json!([
        {"name": "http", "port": 80, "targetPort": "web", "appProtocol": "http", "protocol": "TCP"},
        {"name": "db", "port": 5432, "protocol": "TCP"},
    ]);
    told(
        Kind::Service,
        json!({
            "metadata": {
                "name": "cart", "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z",
                "managedFields": [{"manager": "kubectl"}], "uid": "1",
            },
            "spec": {"ports": ports, "selector": {"app": "cart"}, "clusterIP": "10.96.0.7", "fieldOfTomorrow": {"a": 1}},
            "status": {"loadBalancer": {}},
        }),
    )
}

fn slice() -> News {
    told(
        Kind::EndpointSlice,
        json!({
            "metadata": {"name": "cart-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "cart"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [{
                "addresses": ["10.244.0.9"],
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": "node1",
                "targetRef": {"kind": "Pod", "name": "cart-1", "namespace": "shop", "uid": "2"},
                "zone": "z1",
                "somethingNew": true,
            }],
        }),
    )
}

fn endpoint(index: &Index) -> Option<(SocketAddr, Hop, Option<String>)> {
    let port = ServicePort::new("shop/cart".parse().unwrap(), 80);
    let (_, found) = index.endpoints(&port).next()?;
    Some((found.address, found.hop, found.identity.as_ref().map(|it| it.as_str().to_owned())))
}

#[test]
fn a_slices_endpoint_is_in_the_mesh_when_its_pod_is() {
    let mut index = Index::default();
    for news in [service(), slice()] {
        assert!(news.judged.iter().all(|(_, problems)| problems.is_empty()), "{news:?}");
        index.apply(&news.changes);
    }
    let address = "10.244.0.9:8080".parse().unwrap();
    assert_eq!(endpoint(&index), Some((address, Hop::Plain, None)));
    let meshed = pod("cart-1", &json!({"app": "cart", "mesh.weft.dev/proxy": "0.1.0"}));
    let touched = index.apply(&news_of(&meshed).changes);
    assert_eq!(touched.endpoints.len(), 1);
    let identity = "spiffe://cluster.local/ns/shop/sa/cart".to_owned();
    assert_eq!(endpoint(&index), Some((address, Hop::Weft, Some(identity))));
    index.apply(&[Change::RemovePod("cart-1.shop".into())]);
    assert_eq!(endpoint(&index), Some((address, Hop::Plain, None)));
}

#[test]
fn a_pods_inbound_has_the_target_ports_of_the_services_that_select_it() {
    let mut index = Index::default();
    index.apply(&service().changes);
    index.apply(&news_of(&pod("cart-1", &json!({"app": "cart"}))).changes);
    index.apply(&news_of(&pod("other-1", &json!({"app": "other"}))).changes);
    let ports = |id: &str| -> Vec<(u32, v1::Protocol)> {
        let found = inbound(&Reader::new(&index), id).unwrap();
        found.ports.iter().map(|port| (port.port, port.protocol())).collect()
    };
    assert_eq!(ports("cart-1.shop"), [(5432, v1::Protocol::Detect), (8080, v1::Protocol::Http1)]);
    assert_eq!(ports("other-1.shop"), []);
    assert_eq!(inbound(&Reader::new(&index), "gone-1.shop"), None);
}

#[test]
fn a_pod_that_has_ended_is_none() {
    let mut ended = pod("job-1", &json!({}));
    ended.status = serde_json::from_value(json!({"phase": "Succeeded"})).unwrap();
    assert!(matches!(&*news_of(&ended).changes, [Change::RemovePod(id)] if &**id == "job-1.shop"));
}

#[test]
fn a_list_that_is_read_anew_says_what_has_gone() {
    let mut kept = Kept::new(translate::pod_id);
    let mut take = |event| {
        let translate = |id, pod: ClusterPod| translate::pod(id, &pod, &trust_domain());
        kept.take(event, translate, Change::RemovePod)
    };
    for name in ["a", "b"] {
        assert!(take(Event::InitApply(pod(name, &json!({})))).is_none());
    }
    let first = take(Event::InitDone).unwrap();
    assert_eq!((first.changes.len(), first.whole), (2, true));
    assert!(take(Event::Init).is_none());
    assert!(take(Event::InitApply(pod("b", &json!({})))).is_none());
    let again = take(Event::InitDone).unwrap().changes;
    assert!(matches!(&*again, [Change::PutPod(_), Change::RemovePod(id)] if &**id == "a.shop"), "{again:?}");
}

#[test]
fn what_is_wrong_changes_nothing_and_is_told() {
    let policy = |mode: &str| {
        told(
            Kind::MeshPolicy,
            json!({
                "metadata": {"name": "all", "namespace": "shop"},
                "spec": {"tls": {"mode": mode}, "status": {}},
            }),
        )
    };
    let wrong = policy("sometimes");
    assert!(wrong.changes.is_empty());
    assert!(wrong.judged.iter().any(|(_, problems)| problems.len() >= 2), "{wrong:?}");
}
