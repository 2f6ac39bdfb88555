//! What is judged again, and what is not.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::index::tests::object;
use weft_resource::{Age, decode};

fn route(name: &str, backend: &str) -> News {
    let resource = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": name}],
            "rules": [{"backendRefs": [{"name": backend, "port": 80}]}],
        },
    });
    let decoded = decode(&resource, Age::Written("test".into(), 0));
    News::Is(Box::new(Judged {
        key: Key { kind: Kind::HttpRoute, namespace: "shop".into(), name: name.into() },
        generation: 1,
        parents: vec![json!({"group": "", "kind": "Service", "name": name})],
        status: Vec::new(),
        resource_version: "1".to_owned(),
        object: decoded.object,
        problems: decoded.problems,
        dropped: Vec::new(),
    }))
}

/// Judges all that is due, and gives the names of what was.
fn judged(known: &mut Known, discovery: &Discovery) -> Vec<String> {
    let mut due: Vec<Key> = std::mem::take(&mut known.due).into_iter().collect();
    due.sort();
    for key in &due {
        discovery.inspect(|index| known.judge(key, index, "2026-01-01T00:00:00Z"));
    }
    due.into_iter().map(|key| key.name.to_string()).collect()
}

#[test]
fn only_what_rests_on_a_change_is_judged_again() {
    let discovery = Discovery::new("cluster.local".parse().unwrap());
    let changed = discovery.changes();
    let mut known = Known::default();
    known.take(route("cart", "cart-v1"));
    known.take(route("pay", "pay-v1"));
    assert_eq!(judged(&mut known, &discovery), ["cart", "pay"]);
    let service = "{apiVersion: v1, kind: Service, metadata: {name: cart-v1, namespace: shop}, spec: {ports: [{port: 80}]}}";
    let service = object(service, 0);
    discovery.apply(&[crate::index::Change::Put(Arc::new(service.clone()))]);
    known.changed(&changed.take());
    assert_eq!(judged(&mut known, &discovery), ["cart"]);
    known.changed(&changed.take());
    assert_eq!(judged(&mut known, &discovery), [""; 0]);
    // What is gone rests on nothing.
    let key = |name: &str| Key { kind: Kind::HttpRoute, namespace: "shop".into(), name: name.into() };
    known.take(News::Gone(key("cart")));
    known.take(News::Gone(key("pay")));
    discovery.apply(&[crate::index::Change::Remove(service.key)]);
    known.changed(&changed.take());
    assert_eq!(judged(&mut known, &discovery), [""; 0]);
    assert!(known.resting_on.is_empty() && known.dependencies.is_empty());
}

#[test]
fn what_could_not_be_written_is_judged_again_later() {
    let discovery = Discovery::new("cluster.local".parse().unwrap());
    let mut known = Known::default();
    known.take(route("cart", "cart-v1"));
    judged(&mut known, &discovery);
    known.failed.insert(Key { kind: Kind::HttpRoute, namespace: "shop".into(), name: "cart".into() });
    assert_eq!(judged(&mut known, &discovery), [""; 0]);
    known.retry();
    assert_eq!(judged(&mut known, &discovery), ["cart"]);
}
