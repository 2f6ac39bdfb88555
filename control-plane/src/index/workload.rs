//! Workloads that registered, and the services that they offer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weft_identity::Grants;
use weft_mesh::name::{Identity, ServiceName};
use weft_mesh::protocol::Protocol;

use super::{Changes, DependencyKey, Index, Origin};

/// Stands between identity and name in the id of a workload that registered. No name has it, nor has the id of a pod or of
/// an address, so that a registration can't take the place of either.
const OF: char = '~';

/// A workload as it registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Workload {
    /// Unique in the mesh: [`Self::id`] of identity and name.
    pub id: Arc<str>,
    /// What it calls itself: unique among the workloads of its identity.
    pub name: Arc<str>,
    /// Who it is; its namespace is the workload's.
    pub identity: Identity,
    /// What the join token allows that its certificate descends from.
    pub grants: Grants,
    /// The id of that token, if it is known.
    pub token: Option<String>,
    /// Labels that Services and policies select by.
    pub labels: BTreeMap<String, String>,
    /// What it serves.
    pub offers: Vec<Offer>,
    /// Where it runs.
    pub locality: Locality,
    /// Whether it takes requests.
    pub health: Health,
    /// Version of its proxy.
    pub proxy_version: String,
}

impl Workload {
    /// The id of what an identity registers by a name. Two identities never have the same.
    pub(crate) fn id(identity: &Identity, name: &str) -> Arc<str> {
        format!("{}.{}{OF}{name}", identity.namespace(), identity.service_account()).into()
    }

    /// What the workload of an id calls itself; a pod's name is its id.
    pub(crate) fn name_of(id: &str) -> &str {
        id.rsplit_once(OF).map_or(id, |(_, name)| name)
    }

    /// Whether it may be an endpoint of a service: one of its own namespace that it was granted. What it offers and the
    /// labels that a Service selects by are its own words.
    pub(crate) fn may_serve(&self, service: &ServiceName) -> bool {
        self.identity.namespace() == service.namespace()
            && self.grants.allow_service(&self.identity, service.name())
    }

    /// The service that an offer is of.
    pub(crate) fn service(&self, offer: &Offer) -> Option<ServiceName> {
        ServiceName::new(self.identity.namespace(), &offer.service).ok()
    }

    /// The services that it offers, each once.
    pub(crate) fn services(&self) -> Vec<ServiceName> {
        let mut services: Vec<ServiceName> =
            self.offers.iter().filter_map(|offer| self.service(offer)).collect();
        services.sort();
        services.dedup();
        services
    }

    /// Its version, by its labels.
    pub(crate) fn version(&self) -> &str {
        let label = |name: &str| self.labels.get(name);
        label("version").or_else(|| label("app.kubernetes.io/version")).map_or("", String::as_str)
    }
}

/// One port of one service that a workload serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Name of the service.
    pub service: String,
    /// Port of the service.
    pub port: u16,
    /// Name of the port; may be empty.
    pub port_name: String,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// Where the workload's proxy takes connections.
    pub address: SocketAddr,
    /// Where the application itself listens.
    pub application_port: u16,
}

/// Where a workload runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Locality {
    /// Region; may be empty.
    pub region: String,
    /// Zone; may be empty.
    pub zone: String,
}

/// Whether a workload takes requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Health {
    /// Takes requests.
    #[default]
    Ready,
    /// Takes none.
    NotReady,
    /// Takes no new ones.
    Draining,
    /// Took them when it was last heard of; nobody has said anything since.
    Unknown,
}

impl Index {
    /// Brings what follows from a workload up to date.
    pub(super) fn workload_changed(
        &mut self,
        old: Option<&Workload>,
        new: Option<&Workload>,
        changes: &mut Changes,
    ) {
        let Some(any) = new.or(old) else { return };
        let id = &any.id;
        changes.dependency(DependencyKey::Workload(Arc::clone(id)));
        let mut affected = Vec::new();
        for (workload, present) in old.map(|old| (old, false)).into_iter().chain(new.map(|new| (new, true))) {
            let namespace: Arc<str> = workload.identity.namespace().into();
            for service in workload.services() {
                set_in(&mut self.offering, &service, id, present);
                affected.push(service);
            }
            affected.extend(self.selecting.get(&namespace).into_iter().flatten().cloned());
            set_in(&mut self.by_namespace, &namespace, id, present);
        }
        for service in old.map(Workload::services).unwrap_or_default() {
            if let (None, Some(old)) = (self.offering.get(&service), old) {
                affected.extend(self.remember(&service, old));
            }
        }
        affected.sort();
        affected.dedup();
        let origin = Origin::Workload(Arc::clone(id));
        for service in affected {
            // A service that only workloads define may have changed with them.
            self.derive_service(&service, changes);
            self.give(&origin, &service, changes);
        }
    }
}

/// Adds a value to the set of a key or removes it; no key keeps an empty set.
pub(super) fn set_in<K, V>(
    sets: &mut std::collections::HashMap<K, std::collections::BTreeSet<V>>,
    key: &K,
    value: &V,
    present: bool,
) where
    K: Clone + Eq + std::hash::Hash,
    V: Clone + Ord,
{
    if present {
        sets.entry(key.clone()).or_default().insert(value.clone());
    } else if let Some(set) = sets.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}
