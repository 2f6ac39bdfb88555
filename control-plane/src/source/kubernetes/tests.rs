use std::net::SocketAddr;

use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use weft_mesh::name::ServicePort;
use weft_proto::v1;

use super::*;
use crate::compile::{Reader, inbound};
use crate::index::{Health, Hop, Index};

mod standing;
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
        "metadata": {"name": name, "namespace": "shop", "uid": "2", "labels": labels},
        "spec": {
            "serviceAccountName": "cart",
            "containers": [{"name": "app", "ports": [{"name": "web", "containerPort": 8080}]}],
        },
        "status": {"phase": "Running", "podIP": "10.244.0.9", "podIPs": [{"ip": "10.244.0.9"}], "hostIP": "192.0.2.10"},
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
    slice_with(&json!({"ready": true, "serving": true, "terminating": false}))
}

fn slice_with(conditions: &Value) -> News {
    told(
        Kind::EndpointSlice,
        json!({
            "metadata": {"name": "cart-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "cart"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [{
                "addresses": ["10.244.0.9"],
                "conditions": conditions,
                "nodeName": "node1",
                "targetRef": {"kind": "Pod", "name": "cart-1", "namespace": "shop", "uid": "2"},
                "zone": "z1",
                "somethingNew": true,
            }],
        }),
    )
}

fn index() -> Index {
    let mut index = Index::default();
    index.watch_pods();
    index
}

fn endpoint(index: &Index) -> Option<(SocketAddr, Hop, Option<String>)> {
    let port = ServicePort::new("shop/cart".parse().unwrap(), 80);
    let (_, found) = index.endpoints(&port).next()?;
    Some((found.address, found.hop, found.identity.as_ref().map(|it| it.as_str().to_owned())))
}

#[test]
fn an_endpoint_is_unknown_when_it_is_said_to_be_unready_and_its_own_node_never_said_so() {
    let of_pod = |spec: Value, conditions: &[(&str, &str)], deleted: bool, slice: Value| {
        let mut index = index();
        let mut pod = serde_json::to_value(pod("cart-1", &json!({}))).unwrap();
        pod["spec"]["readinessGates"] = spec;
        let conditions = conditions.iter().map(|(name, status)| json!({"type": name, "status": status}));
        pod["status"]["conditions"] = conditions.collect();
        if deleted {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let pod = serde_json::from_value(pod).unwrap();
        for news in [service(), slice_with(&slice), news_of(&pod)] {
            index.apply(&news.changes);
        }
        let (_, found) = index.endpoints(&ServicePort::new("shop/cart".parse().unwrap(), 80)).next().unwrap();
        found.health
    };
    let (none, gate) = (json!([]), json!([{"conditionType": "example.com/in-balance"}]));
    let ready = || json!({"ready": true, "serving": true, "terminating": false});
    let unready = || json!({"ready": false, "serving": false, "terminating": false});
    // As a node lifecycle controller leaves it, and as it is before and after that, whichever is heard of first.
    let silent = [("Ready", "False"), ("ContainersReady", "True")];
    let well = [("Ready", "True"), ("ContainersReady", "True")];
    assert_eq!(of_pod(none.clone(), &silent, false, unready()), Health::Unknown);
    assert_eq!(of_pod(none.clone(), &well, false, unready()), Health::Unknown);
    assert_eq!(of_pod(none.clone(), &silent, false, ready()), Health::Ready);
    // What its node says itself holds, as do gates, and the end of a pod.
    let failing = [("Ready", "False"), ("ContainersReady", "False")];
    assert_eq!(of_pod(none.clone(), &failing, false, unready()), Health::NotReady);
    assert_eq!(of_pod(none.clone(), &[], false, unready()), Health::NotReady);
    assert_eq!(of_pod(gate.clone(), &silent, false, unready()), Health::NotReady);
    let open = [("Ready", "False"), ("ContainersReady", "True"), ("example.com/in-balance", "True")];
    assert_eq!(of_pod(gate.clone(), &open, false, unready()), Health::Unknown);
    let shut = [("Ready", "False"), ("ContainersReady", "True"), ("example.com/in-balance", "False")];
    assert_eq!(of_pod(gate, &shut, false, unready()), Health::NotReady);
    assert_eq!(of_pod(none.clone(), &silent, true, unready()), Health::NotReady);
    let ending = json!({"ready": false, "serving": false, "terminating": true});
    assert_eq!(of_pod(none.clone(), &silent, false, ending), Health::NotReady);
    let draining = json!({"ready": false, "serving": true, "terminating": true});
    assert_eq!(of_pod(none, &well, true, draining), Health::Draining);
}

#[test]
fn a_pods_inbound_has_the_target_ports_of_the_services_that_select_it() {
    let mut index = index();
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
    let mut store = Store::new(translate::pod_id);
    let mut take = |event| {
        let translate = |id, pod: ClusterPod| translate::pod(id, &pod, &trust_domain());
        store.take(event, translate, Change::RemovePod)
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
    let wrong = told(
        Kind::BackendPolicy,
        json!({
            "metadata": {"name": "all", "namespace": "shop"},
            "spec": {"targetRefs": [{"kind": "Service", "name": "cart"}], "balancing": {"algorithm": "sometimes"}, "status": {}},
        }),
    );
    assert!(wrong.changes.is_empty());
    assert!(wrong.judged.iter().any(|(_, problems)| problems.len() >= 2), "{wrong:?}");
}

#[test]
fn a_policy_that_cannot_be_read_is_in_force_whatever_it_said_before_and_a_grant_that_cannot_grants_nothing() {
    let policy = |field: &str| {
        let spec = json!({"action": "DENY", "rules": [{"from": {field: ["shop"]}}]});
        told(Kind::AuthorizationPolicy, json!({"metadata": {"name": "p", "namespace": "shop"}, "spec": spec}))
    };
    let right = policy("namespaces");
    let wrong = policy("fieldOfTomorrow");
    assert_eq!(right.judged, [(right.judged[0].0.clone(), Vec::new())]);
    let [Change::Put(object)] = &wrong.changes[..] else { panic!("{wrong:?}") };
    let weft_resource::Spec::AuthorizationPolicy(spec) = &object.spec else { panic!("{object:?}") };
    assert!(spec.rules[0].unreadable.as_ref().unwrap().contains("fieldOfTomorrow"));
    assert!(!wrong.judged[0].1.is_empty(), "it is told");

    let grant = told(
        Kind::ReferenceGrant,
        json!({"metadata": {"name": "g", "namespace": "shop"}, "spec": {"from": "everybody"}}),
    );
    assert!(matches!(&grant.changes[..], [Change::Remove(key)] if &*key.name == "g"), "{grant:?}");
}
