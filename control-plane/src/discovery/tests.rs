//! What is kept up to date is what would be built from nothing, and every difference is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use weft_proto::{Resource, v1};
use weft_xds::server::{ClientContext, Lookup, Members, ResourceSource};

use super::{Affected, Discovery};
use crate::index::tests::{Step, endpoint_names, names, steps};
use crate::index::{Index, Workload};
use weft_resource::{Key, Object};

fn client(namespace: &str) -> ClientContext {
    ClientContext {
        id: 1,
        identity: format!("spiffe://cluster.local/ns/{namespace}/sa/w").into(),
        namespace: namespace.into(),
        node_id: "test".into(),
    }
}

fn discovery() -> Discovery {
    Discovery::new("cluster.local".parse().unwrap())
}

/// Everything that clients of two namespaces can see.
fn everything(
    discovery: &Discovery,
    workloads: &BTreeMap<Arc<str>, Arc<Workload>>,
) -> BTreeMap<(String, String), String> {
    let mut seen = BTreeMap::new();
    for namespace in ["shop", "web"] {
        let client = client(namespace);
        for name in names() {
            let found = discovery.resource(&client, v1::Destination::TYPE_URL, &name);
            seen.insert((format!("destination {namespace}"), name), format!("{found:?}"));
        }
        for id in workloads.values().map(|workload| &*workload.name).chain(["gone"]) {
            let found = discovery.resource(&client, v1::Inbound::TYPE_URL, id);
            seen.insert((format!("inbound {namespace}"), id.to_owned()), format!("{found:?}"));
        }
    }
    for collection in endpoint_names() {
        let found = match discovery.members(&client("web"), v1::Endpoint::TYPE_URL, &collection) {
            Members::Found(members) => {
                for member in &members {
                    let alone = discovery.resource(&client("web"), v1::Endpoint::TYPE_URL, member.name());
                    assert_eq!(alone, Lookup::Found(Arc::clone(member)), "a member is found by its name too");
                    seen.insert(("endpoint".to_owned(), member.name().to_string()), format!("{member:?}"));
                }
                "exists"
            }
            _ => "absent",
        };
        seen.insert(("collection".to_owned(), collection), found.to_owned());
    }
    seen
}

fn is_told(affected: &Affected, kind: &str, name: &str) -> bool {
    match kind.split(' ').next() {
        Some("destination") => affected.destinations.contains(name),
        Some("inbound") => affected.inbounds.contains(name),
        _ => affected.endpoints.contains(name),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_is_kept_up_to_date_is_what_would_be_built_from_nothing(steps in steps()) {
        let kept = discovery();
        let mut objects: BTreeMap<Key, Arc<Object>> = BTreeMap::new();
        let mut workloads: BTreeMap<Arc<str>, Arc<Workload>> = BTreeMap::new();
        // What was offered once stays known.
        let mut left: Vec<Arc<Workload>> = Vec::new();
        for step in steps {
            let before = everything(&kept, &workloads);
            let affected = match step {
                Step::Put(object) => {
                    objects.insert(object.key.clone(), Arc::new(*object));
                    kept.set_objects(&objects)
                }
                Step::Remove(key) => {
                    objects.remove(&key);
                    kept.set_objects(&objects)
                }
                Step::Register(workload) => {
                    let workload = Arc::<Workload>::from(workload);
                    left.extend(workloads.insert(Arc::clone(&workload.id), Arc::clone(&workload)));
                    kept.set_workload(&workload)
                }
                Step::Leave(id) => {
                    left.extend(workloads.remove(&*id));
                    kept.remove_workload(&id)
                }
            };
            let after = everything(&kept, &workloads);
            let fresh = discovery();
            fresh.set_objects(&objects);
            for workload in &left {
                fresh.set_workload(workload);
                fresh.remove_workload(&workload.id);
            }
            for workload in workloads.values() {
                fresh.set_workload(workload);
            }
            prop_assert_eq!(&after, &everything(&fresh, &workloads));
            for (key, value) in before.iter().filter(|(key, value)| after.get(*key) != Some(*value)) {
                prop_assert!(is_told(&affected, &key.0, &key.1), "{:?} was {} and is {:?}", key, value, after.get(key));
            }
            for key in after.keys().filter(|key| !before.contains_key(*key) && key.0 == "endpoint") {
                prop_assert!(is_told(&affected, &key.0, &key.1), "{:?} appeared", key);
            }
        }
    }
}

#[test]
fn a_changed_endpoint_touches_no_destination() {
    let discovery = discovery();
    let workload = crate::index::tests::workload("shop", "cart-1", &[("cart", 80)], 1);
    discovery.set_workload(&Arc::new(workload.clone()));
    let client = client("shop");
    let Lookup::Found(first) = discovery.resource(&client, v1::Destination::TYPE_URL, "cart:80") else {
        panic!("cart:80 is there");
    };
    let second = crate::index::tests::workload("shop", "cart-2", &[("cart", 80)], 2);
    let affected = discovery.set_workload(&Arc::new(second));
    assert_eq!(
        affected.endpoints.iter().map(String::as_str).collect::<Vec<_>>(),
        ["shop/cart:80/shop.w~cart-2"]
    );
    assert!(affected.destinations.is_empty());
    let Lookup::Found(again) = discovery.resource(&client, v1::Destination::TYPE_URL, "cart:80") else {
        panic!("cart:80 is still there");
    };
    assert!(Arc::ptr_eq(&first, &again));
}

#[test]
fn no_external_service_takes_the_name_of_a_single_endpoint() {
    let discovery = discovery();
    discovery.set_workload(&Arc::new(crate::index::tests::workload("shop", "cart-1", &[("cart", 80)], 1)));
    let name = "ep-10-0-0-1-15080.cart";
    let lure = format!(
        "{{apiVersion: mesh.weft.dev/v1alpha1, kind: ExternalService, metadata: {{name: {name}, namespace: shop}}, spec: {{ports: [{{port: 80}}], endpoints: [{{address: 192.0.2.1}}]}}}}"
    );
    let lure = crate::index::tests::object(&lure, 0);
    discovery.set_objects(&BTreeMap::from([(lure.key.clone(), Arc::new(lure))]));
    let collection = format!("shop/{name}:80/*");
    let Members::Found(members) = discovery.members(&client("web"), v1::Endpoint::TYPE_URL, &collection)
    else {
        panic!("{collection} is there");
    };
    let names: Vec<&str> = members.iter().map(|member| &**member.name()).collect();
    assert_eq!(names, [format!("shop/{name}:80/shop.w~cart-1")]);
}

#[test]
fn callers_who_see_the_same_share_its_bytes() {
    let discovery = discovery();
    discovery.set_workload(&Arc::new(crate::index::tests::workload("shop", "cart-1", &[("cart", 80)], 1)));
    let seen = |namespace: &str| match discovery.resource(
        &client(namespace),
        v1::Destination::TYPE_URL,
        "cart.shop:80",
    ) {
        Lookup::Found(found) => found,
        other => panic!("{other:?}"),
    };
    assert!(Arc::ptr_eq(&seen("shop"), &seen("web")));
}

#[test]
fn an_inbound_is_for_the_workload_itself_alone() {
    let discovery = discovery();
    discovery.set_workload(&Arc::new(crate::index::tests::workload("shop", "cart-1", &[("cart", 80)], 1)));
    let of = |identity: &str| {
        let client = ClientContext { identity: identity.into(), ..client("shop") };
        matches!(discovery.resource(&client, v1::Inbound::TYPE_URL, "cart-1"), Lookup::Found(_))
    };
    assert!(of("spiffe://cluster.local/ns/shop/sa/w"));
    assert!(!of("spiffe://cluster.local/ns/shop/sa/other"));
}

/// A measure to look at, not a promise: run with `--ignored --nocapture` in a release build.
#[test]
#[ignore = "a measurement"]
fn an_endpoint_among_ten_thousand_costs_little() {
    let discovery = discovery();
    let mut index = Index::default();
    let begin = std::time::Instant::now();
    for number in 0..10_000_u32 {
        let workload =
            crate::index::tests::workload("shop", &format!("cart-{number}"), &[("cart", 80)], number);
        discovery.set_workload(&Arc::new(workload.clone()));
        index.set_workload(&Arc::new(workload));
    }
    println!("10,000 registrations: {:?}", begin.elapsed() / 2);
    let begin = std::time::Instant::now();
    for number in 0..1_000_u32 {
        let workload = crate::index::tests::workload("shop", "cart-5", &[("cart", 80)], 20_000 + number);
        discovery.set_workload(&Arc::new(workload));
    }
    println!("one change: {:?}", begin.elapsed() / 1_000);
}
