//! What follows from resources.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use weft_mesh::name::ServiceName;

use super::workload::set_in;
use super::{Changes, DependencyKey, Index, Origin};
use weft_resource::{Key, Kind, Object, ParentRef, Spec};

impl Index {
    pub(super) fn put_object(&mut self, object: &Arc<Object>, changes: &mut Changes) {
        let old = self.objects.insert(object.key.clone(), Arc::clone(object));
        self.object_changed(old.as_ref(), Some(object), changes);
    }

    pub(super) fn remove_object(&mut self, key: &Key, changes: &mut Changes) {
        if let Some(old) = self.objects.remove(key) {
            self.object_changed(Some(&old), None, changes);
        }
    }

    fn object_changed(
        &mut self,
        old: Option<&Arc<Object>>,
        new: Option<&Arc<Object>>,
        changes: &mut Changes,
    ) {
        let Some(key) = new.or(old).map(|object| object.key.clone()) else { return };
        let namespace = &key.namespace;
        match key.kind {
            Kind::Service | Kind::ExternalService => {
                self.link_addresses(old, new);
                self.service_object_changed(&key, changes);
            }
            Kind::EndpointSlice => self.slice_changed(&key, old, new, changes),
            Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute => {
                list_in(
                    &mut self.routes,
                    &parents(old.map(|it| &**it)),
                    &parents(new.map(|it| &**it)),
                    &key,
                    new,
                    |name| {
                        changes.dependencies.insert(DependencyKey::Routes(name));
                    },
                );
            }
            Kind::BackendPolicy => {
                list_in(&mut self.policies, &targets(old), &targets(new), &key, new, |name| {
                    changes.dependencies.insert(DependencyKey::Policies(name));
                });
            }
            Kind::ReferenceGrant => {
                let at = BTreeSet::from([Arc::clone(namespace)]);
                list_in(&mut self.grants, &at, &at, &key, new, |namespace| {
                    changes.dependencies.insert(DependencyKey::Grants(namespace));
                });
            }
            Kind::AuthorizationPolicy | Kind::MeshPolicy => {
                let at = BTreeSet::from([Arc::clone(namespace)]);
                list_in(&mut self.workload_policies, &at, &at, &key, new, |namespace| {
                    changes.dependencies.insert(DependencyKey::WorkloadPolicies(namespace));
                });
            }
            Kind::FaultFilter | Kind::RateLimitFilter => {
                changes.dependencies.insert(DependencyKey::Filter(key));
            }
            Kind::Namespace => {}
        }
    }

    fn service_object_changed(&mut self, key: &Key, changes: &mut Changes) {
        let Ok(name) = ServiceName::new(&key.namespace, &key.name) else { return };
        self.derive_service(&name, changes);
        // The addresses of an ExternalService are no part of what a service is, so they may change alone.
        self.give(&Origin::Object(key.clone()), &name, changes);
    }

    fn slice_changed(
        &mut self,
        key: &Key,
        old: Option<&Arc<Object>>,
        new: Option<&Arc<Object>>,
        changes: &mut Changes,
    ) {
        let mut affected = BTreeSet::new();
        self.link_addresses(old, new);
        for (object, present) in [(old, false), (new, true)] {
            if let Some(object) = object {
                self.link_pods(object, present);
            }
            let service = object.and_then(|object| {
                let name = object.labels.get(weft_resource::SLICE_SERVICE_LABEL)?;
                ServiceName::new(&object.key.namespace, name).ok()
            });
            if let Some(service) = service {
                set_in(&mut self.slices, &service, key, present);
                affected.insert(service);
            }
        }
        for service in affected {
            self.give(&Origin::Object(key.clone()), &service, changes);
        }
    }
}

/// The services that a route belongs to.
pub(crate) fn parents(object: Option<&Object>) -> BTreeSet<ServiceName> {
    let Some(object) = object else { return BTreeSet::new() };
    let refs = parent_refs(&object.spec).iter().filter(|parent| parent.is_service());
    refs.filter_map(|parent| {
        let namespace = parent.namespace.as_deref().unwrap_or(&object.key.namespace);
        ServiceName::new(namespace, &parent.name).ok()
    })
    .collect()
}

/// The `parentRefs` of a route.
pub(crate) fn parent_refs(spec: &Spec) -> &[ParentRef] {
    match spec {
        Spec::HttpRoute(spec) => &spec.parent_refs,
        Spec::GrpcRoute(spec) => &spec.parent_refs,
        Spec::TlsRoute(spec) | Spec::TcpRoute(spec) => &spec.parent_refs,
        _ => &[],
    }
}

/// The services that a BackendPolicy is for.
fn targets(object: Option<&Arc<Object>>) -> BTreeSet<ServiceName> {
    let Some(object) = object else { return BTreeSet::new() };
    let Spec::BackendPolicy(spec) = &object.spec else { return BTreeSet::new() };
    let names = spec.target_refs.iter();
    names.filter_map(|target| ServiceName::new(&object.key.namespace, &target.name).ok()).collect()
}

/// Replaces a resource in the lists of what it was about by itself in the lists of what it is about. Each list is in
/// the order of precedence: age, then namespace and name (Gateway API). Tells the lists that changed.
fn list_in<K: Clone + Eq + Hash + Ord>(
    lists: &mut HashMap<K, Vec<Arc<Object>>>,
    old: &BTreeSet<K>,
    new: &BTreeSet<K>,
    key: &Key,
    object: Option<&Arc<Object>>,
    mut changed: impl FnMut(K),
) {
    for at in old | new {
        let list = lists.entry(at.clone()).or_default();
        let before = list.clone();
        list.retain(|other| other.key != *key);
        if let (Some(object), true) = (object, new.contains(&at)) {
            let rank = |object: &Object| {
                let Key { kind, namespace, name } = object.key.clone();
                (object.age.clone(), namespace, name, kind)
            };
            let position = list.partition_point(|other| rank(other) < rank(object));
            list.insert(position, Arc::clone(object));
        }
        // An age that moves nothing is no change.
        let same =
            |a: &Arc<Object>, b: &Arc<Object>| a.key == b.key && a.labels == b.labels && a.spec == b.spec;
        let unchanged = before.len() == list.len() && before.iter().zip(list.iter()).all(|(a, b)| same(a, b));
        if list.is_empty() {
            lists.remove(&at);
        }
        if !unchanged {
            changed(at);
        }
    }
}
