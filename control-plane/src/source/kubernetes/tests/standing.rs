//! Who is at an address, whatever is heard of first.

use std::net::IpAddr;

use super::*;
use crate::compile::{Found, Target, find};
use crate::index::Withheld;

const ADDRESS: &str = "10.244.0.9:8080";

fn meshed() -> ClusterPod {
    pod("cart-1", &json!({"app": "cart", "mesh.weft.dev/proxy": "0.1.0"}))
}

/// A pod with another uid, or other things that the API server may say of it.
fn changed(pod: &ClusterPod, change: impl FnOnce(&mut Value)) -> ClusterPod {
    let mut value = serde_json::to_value(pod).unwrap();
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

/// A Service and an EndpointSlice of it that somebody wrote by hand.
fn by_hand(namespace: &str, endpoints: &Value) -> Vec<Change> {
    let service = json!({
        "metadata": {"name": "hand", "namespace": namespace},
        "spec": {"ports": [{"port": 80}]},
    });
    let slice = json!({
        "metadata": {"name": "hand-1", "namespace": namespace, "labels": {"kubernetes.io/service-name": "hand"}},
        "addressType": "IPv4",
        "ports": [{"port": 8080}],
        "endpoints": endpoints,
    });
    let mut changes = told(Kind::Service, service).changes;
    changes.extend(told(Kind::EndpointSlice, slice).changes);
    changes
}

/// The endpoints of the service that was written by hand, as proxies get them.
fn of_hand(index: &Index, namespace: &str) -> Vec<(SocketAddr, Hop)> {
    let port = ServicePort::new(format!("{namespace}/hand").parse().unwrap(), 80);
    index.endpoints(&port).map(|(_, found)| (found.address, found.hop)).collect()
}

fn withheld(index: &Index) -> Vec<Withheld> {
    index.withheld().map(|(.., why)| why).collect()
}

fn dialled(index: &Index, address: &str, namespace: &str) -> Found {
    find(&Reader::new(index), address, namespace)
}

fn of(service: &str, address: &str) -> Found {
    Found::Target(Target::Endpoint(service.parse().unwrap(), address.parse().unwrap()))
}

fn identity() -> String {
    "spiffe://cluster.local/ns/shop/sa/cart".to_owned()
}

#[test]
fn an_endpoint_is_told_once_its_pod_is_known_in_whatever_order_they_come() {
    let address = ADDRESS.parse().unwrap();
    let (service, slice, pod) = (service().changes, slice().changes, news_of(&meshed()).changes);
    for order in [[&service, &slice, &pod], [&pod, &slice, &service], [&slice, &pod, &service]] {
        let mut index = index();
        for (position, changes) in order.into_iter().enumerate() {
            let found = endpoint(&index);
            assert_eq!(found, None, "after {position}");
            index.apply(changes);
        }
        assert_eq!(endpoint(&index), Some((address, Hop::Weft, Some(identity()))));
        assert_eq!(withheld(&index), []);
    }
}

#[test]
fn an_endpoint_whose_pod_is_not_known_waits_and_is_never_plain_text() {
    let mut index = index();
    index.apply(&service().changes);
    index.apply(&slice().changes);
    assert_eq!((endpoint(&index), withheld(&index)), (None, vec![Withheld::PodUnknown]));
    let affected = index.apply(&news_of(&meshed()).changes);
    assert_eq!(affected.endpoints.len(), 1, "proxies are told");
    assert_eq!(endpoint(&index), Some((ADDRESS.parse().unwrap(), Hop::Weft, Some(identity()))));
    // A pod that goes before its slice does.
    let affected = index.apply(&[Change::RemovePod("cart-1.shop".into())]);
    assert_eq!(affected.endpoints.len(), 1, "proxies are told");
    assert_eq!((endpoint(&index), withheld(&index)), (None, vec![Withheld::PodGone]));
    // Another one of its name and address, without a sidecar: that is a change that says so.
    let next = changed(&pod("cart-1", &json!({})), |pod| pod["metadata"]["uid"] = json!("3"));
    index.apply(&news_of(&next).changes);
    assert_eq!(
        (endpoint(&index), withheld(&index)),
        (None, vec![Withheld::PodGone]),
        "the slice means another"
    );
    let mut of_next = slice().changes;
    let [Change::Put(object)] = &mut of_next[..] else { panic!("{of_next:?}") };
    let weft_resource::Spec::EndpointSlice(spec) = &mut Arc::make_mut(object).spec else { panic!() };
    spec.endpoints[0].target_ref.as_mut().unwrap().uid = Some("3".to_owned());
    index.apply(&of_next);
    assert_eq!(endpoint(&index), Some((ADDRESS.parse().unwrap(), Hop::Plain, None)));
}

#[test]
fn a_pod_of_another_uid_or_address_is_not_the_one_that_is_meant() {
    let uid = changed(&pod("cart-1", &json!({})), |pod| pod["metadata"]["uid"] = json!("1"));
    let moved = changed(&pod("cart-1", &json!({})), |pod| {
        pod["status"] = json!({"podIP": "10.244.0.8", "podIPs": [{"ip": "10.244.0.8"}]});
    });
    let young = changed(&pod("cart-1", &json!({})), |pod| pod["status"] = json!({}));
    for other in [uid, moved, young] {
        let mut index = index();
        for changes in [service().changes, slice().changes, news_of(&other).changes] {
            index.apply(&changes);
        }
        assert_eq!((endpoint(&index), withheld(&index)), (None, vec![Withheld::PodUnknown]));
    }
}

#[test]
fn a_sidecar_is_there_whatever_becomes_of_the_label() {
    let mut index = index();
    for changes in [service().changes, slice().changes, news_of(&meshed()).changes] {
        index.apply(&changes);
    }
    let with_sidecar = |labels: &Value| {
        changed(&pod("cart-1", labels), |pod| {
            pod["spec"]["initContainers"] = json!([{"name": "weft-proxy"}]);
        })
    };
    index.apply(&news_of(&with_sidecar(&json!({"mesh.weft.dev/proxy": "0.1.0"}))).changes);
    index.apply(&news_of(&with_sidecar(&json!({}))).changes);
    assert_eq!(endpoint(&index), Some((ADDRESS.parse().unwrap(), Hop::Weft, Some(identity()))));
}

#[test]
fn an_address_without_a_pods_name_is_the_pods_that_has_it() {
    let mut index = index();
    index.apply(&by_hand("shop", &json!([{"addresses": ["10.244.0.9"]}])));
    let address = ADDRESS.parse().unwrap();
    assert_eq!(of_hand(&index, "shop"), [(address, Hop::Plain)], "nobody has it yet");
    index.apply(&news_of(&meshed()).changes);
    assert_eq!(of_hand(&index, "shop"), [(address, Hop::Weft)]);
    index.apply(&[Change::RemovePod("cart-1.shop".into())]);
    assert_eq!((of_hand(&index, "shop"), withheld(&index)), (vec![], vec![Withheld::PodGone]));
    // Whoever writes the address anew says that it is another's.
    index.apply(&by_hand("shop", &json!([{"addresses": ["192.0.2.7"]}])));
    index.apply(&by_hand("shop", &json!([{"addresses": ["10.244.0.9"]}])));
    assert_eq!(of_hand(&index, "shop"), [(address, Hop::Plain)]);
}

#[test]
fn an_address_of_another_namespaces_pod_is_not_given() {
    let mut index = index();
    for endpoint in [
        json!({"addresses": ["10.244.0.9"]}),
        json!({"addresses": ["10.244.0.9"], "targetRef": {"kind": "Pod", "name": "cart-1", "namespace": "shop"}}),
        json!({"addresses": ["10.244.0.9"], "targetRef": {"kind": "Pod", "name": "cart-1"}}),
    ] {
        index.apply(&by_hand("aaa", &json!([endpoint])));
        for changes in [service().changes, slice().changes, news_of(&meshed()).changes] {
            index.apply(&changes);
        }
        assert_eq!(of_hand(&index, "aaa"), [], "{endpoint}");
        assert_eq!(withheld(&index).len(), 1);
        for caller in ["shop", "web", "aaa"] {
            assert_eq!(dialled(&index, ADDRESS, caller), of("shop/cart:80", ADDRESS), "{endpoint}");
        }
    }
}

#[test]
fn an_external_service_has_no_address_of_a_pod_or_a_service_and_claims_none_of_a_node() {
    let mut index = index();
    let external = told(
        Kind::ExternalService,
        json!({
            "metadata": {"name": "a", "namespace": "aaa", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {
                "exportTo": ["*"],
                "ports": [{"port": 8080}],
                "endpoints": [{"address": "10.244.0.9"}, {"address": "10.96.0.7"}, {"address": "192.0.2.10"}],
            },
        }),
    );
    index.apply(&external.changes);
    assert_eq!(dialled(&index, ADDRESS, "web"), Found::Nothing, "nobody takes what aaa exports");
    for changes in [service().changes, slice().changes, news_of(&meshed()).changes] {
        index.apply(&changes);
    }
    let port = ServicePort::new("aaa/a".parse().unwrap(), 8080);
    let told: Vec<IpAddr> = index.endpoints(&port).map(|(_, endpoint)| endpoint.address.ip()).collect();
    assert_eq!(told, ["192.0.2.10".parse::<IpAddr>().unwrap()]);
    for caller in ["shop", "web", "aaa"] {
        assert_eq!(dialled(&index, ADDRESS, caller), of("shop/cart:80", ADDRESS));
        assert_eq!(dialled(&index, "192.0.2.10:8080", caller), Found::Nothing);
    }
    let said: Vec<String> = crate::source::claims(&index)
        .into_iter()
        .map(|(_, it)| format!("{}: {}", it.path, it.reason))
        .collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("spec.endpoints[0]: 10.244.0.9 is the address of a pod"), "{said:?}");
    assert!(
        said[1].starts_with("spec.endpoints[1]: 10.96.0.7 is the address of Service shop/cart"),
        "{said:?}"
    );
    index.apply(&[Change::RemovePod("cart-1.shop".into())]);
    assert_eq!(index.endpoints(&port).count(), 2, "the address is free again");
}

#[test]
fn who_dials_an_address_whose_pod_is_awaited_waits() {
    let mut index = index();
    index.apply(&service().changes);
    index.apply(&slice().changes);
    assert_eq!(
        dialled(&index, ADDRESS, "shop"),
        of("shop/cart:80", ADDRESS),
        "it has no endpoints, and so fails"
    );
    assert_eq!(dialled(&index, ADDRESS, "web"), Found::Waits);
    index.apply(&news_of(&meshed()).changes);
    assert_eq!(dialled(&index, ADDRESS, "web"), of("shop/cart:80", ADDRESS));
    index.apply(&[Change::RemovePod("cart-1.shop".into())]);
    assert_eq!(
        dialled(&index, ADDRESS, "web"),
        of("shop/cart:80", ADDRESS),
        "it was in the mesh a moment ago"
    );
}

#[test]
fn addresses_of_the_nodes_network_are_shared() {
    let on_host = changed(&pod("agent-1", &json!({})), |pod| {
        pod["spec"]["hostNetwork"] = json!(true);
        pod["status"] =
            json!({"podIP": "192.0.2.10", "podIPs": [{"ip": "192.0.2.10"}], "hostIP": "192.0.2.10"});
    });
    let mut index = index();
    index.apply(&news_of(&on_host).changes);
    // As the API server's own Service has the addresses of nodes.
    index.apply(&by_hand("default", &json!([{"addresses": ["192.0.2.10"]}])));
    assert_eq!(of_hand(&index, "default"), [("192.0.2.10:8080".parse().unwrap(), Hop::Plain)]);
    index.apply(&by_hand(
        "shop",
        &json!([{"addresses": ["192.0.2.10"], "targetRef": {"kind": "Pod", "name": "agent-1"}}]),
    ));
    assert_eq!(of_hand(&index, "shop").len(), 1);
}

#[test]
fn overlapping_slices_hold_an_address_together() {
    let mut index = index();
    for changes in [service().changes, news_of(&meshed()).changes, slice().changes] {
        index.apply(&changes);
    }
    let mut twin = slice().changes;
    let [Change::Put(object)] = &mut twin[..] else { panic!("{twin:?}") };
    let first = object.key.clone();
    Arc::make_mut(object).key.name = "cart-y".into();
    let second = object.key.clone();
    let affected = index.apply(&twin);
    assert!(affected.endpoints.is_empty(), "nothing changed for proxies: {affected:?}");
    let there = Some((ADDRESS.parse().unwrap(), Hop::Weft, Some(identity())));
    let affected = index.apply(&[Change::Remove(first)]);
    assert!(affected.endpoints.is_empty(), "{affected:?}");
    assert_eq!(endpoint(&index), there);
    index.apply(&[Change::Remove(second)]);
    assert_eq!(endpoint(&index), None);
}
