//! What there is: resources and workloads in compact form, and what follows from them.
//!
//! Every change yields exactly what it affected: dependencies that compiled resources may rest on, and endpoints. The
//! compiler notes the dependencies that it reads, so that a change reaches the resources it concerns and no others.

mod address;
mod claim;
mod departed;
mod endpoint;
mod object;
mod pod;
mod service;
mod workload;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use weft_mesh::name::{ServiceName, ServicePort};

use self::departed::Departed;
use weft_resource::{Key, Object};

pub(crate) use address::{direct_name, parse_direct_name};
pub(crate) use claim::{Standing, Withheld};
pub(crate) use endpoint::{Endpoint, EndpointId, Hop, selects};
pub(crate) use object::{parent_refs, parents};
pub(crate) use pod::Pod;
pub(crate) use service::{Port, Service};
pub(crate) use workload::{Health, Locality, Offer, Workload};

/// Something that a compiled resource may rest on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum DependencyKey {
    /// Whether a service exists, its ports and what is spoken on them.
    Service(ServiceName),
    /// The routes that belong to a service.
    Routes(ServiceName),
    /// The BackendPolicies of a service.
    Policies(ServiceName),
    /// A filter that a route refers to.
    Filter(Key),
    /// The ReferenceGrants of a namespace.
    Grants(Arc<str>),
    /// The policies for the workloads of a namespace.
    WorkloadPolicies(Arc<str>),
    /// A workload.
    Workload(Arc<str>),
    /// Which service a host name stands for.
    Host(Arc<str>),
    /// Which service an address stands for, and whether it is a node's or a pod's.
    Ip(IpAddr),
    /// Which endpoints have an address and port.
    Address(SocketAddr),
    /// The Services of a namespace that select pods, with their ports.
    Selecting(Arc<str>),
}

/// A change of what there is.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Put(Arc<Object>),
    Remove(Key),
    PutPod(Arc<Pod>),
    RemovePod(Arc<str>),
}

/// What a change affected.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) dependencies: HashSet<DependencyKey>,
    /// Endpoints that appeared, changed or disappeared, with the addresses that they have or had.
    pub(crate) endpoints: HashMap<(ServicePort, EndpointId), HashSet<SocketAddr>>,
    /// Service ports that appeared or disappeared.
    pub(crate) ports: HashSet<ServicePort>,
}

impl Changes {
    fn dependency(&mut self, fact: DependencyKey) {
        self.dependencies.insert(fact);
    }
}

/// Where endpoints come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Origin {
    Workload(Arc<str>),
    Object(Key),
}

/// What is said of one endpoint, and by whom.
type Said = Vec<(Origin, Arc<Endpoint>)>;

/// Resources and workloads, and what follows from them.
#[derive(Debug, Default)]
pub(crate) struct Index {
    objects: HashMap<Key, Arc<Object>>,
    workloads: HashMap<Arc<str>, Arc<Workload>>,
    pods: HashMap<Arc<str>, Arc<Pod>>,

    /// Routes by parent, in the order of their precedence.
    routes: HashMap<ServiceName, Vec<Arc<Object>>>,
    /// BackendPolicies by target, the one in force first.
    policies: HashMap<ServiceName, Vec<Arc<Object>>>,
    grants: HashMap<Arc<str>, Vec<Arc<Object>>>,
    workload_policies: HashMap<Arc<str>, Vec<Arc<Object>>>,

    services: HashMap<ServiceName, Arc<Service>>,
    /// Services that select workloads, by namespace.
    selecting: HashMap<Arc<str>, BTreeSet<ServiceName>>,
    hosts: HashMap<Arc<str>, BTreeSet<ServiceName>>,
    ips: HashMap<IpAddr, BTreeSet<ServiceName>>,

    slices: HashMap<ServiceName, BTreeSet<Key>>,
    /// The EndpointSlices that speak of a pod, by its id.
    slices_of_pod: HashMap<Arc<str>, BTreeSet<Key>>,
    /// Pods by the addresses that are their own, and by those of their nodes.
    pods_at: HashMap<IpAddr, BTreeSet<Arc<str>>>,
    nodes_at: HashMap<IpAddr, BTreeSet<Arc<str>>>,
    /// EndpointSlices and ExternalServices by the addresses that they speak of without naming a pod.
    claimants: HashMap<IpAddr, BTreeSet<Key>>,
    /// Whether pods are known, so that an EndpointSlice's pod that is not is awaited.
    watches_pods: bool,
    offering: HashMap<ServiceName, BTreeSet<Arc<str>>>,
    by_namespace: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Services that workloads offered, and that nobody offers now.
    departed: Departed,

    /// What is said of each endpoint and by whom, what is in force first.
    endpoints: HashMap<ServicePort, BTreeMap<EndpointId, Said>>,
    addresses: HashMap<SocketAddr, BTreeSet<(ServicePort, EndpointId)>>,
    /// Endpoints that proxies are not told of.
    withheld: BTreeSet<(ServicePort, EndpointId)>,
    /// The endpoints that each origin gives to each service.
    given: HashMap<(Origin, ServiceName), Vec<(ServicePort, EndpointId)>>,
}

impl Index {
    /// From here on pods are known, those that an EndpointSlice names first among them: one that is not known yet is awaited.
    /// To be said before there is anything else.
    pub(crate) fn watch_pods(&mut self) {
        self.watches_pods = true;
    }

    /// Makes the resources the given ones.
    pub(crate) fn set_objects(&mut self, objects: &BTreeMap<Key, Arc<Object>>) -> Changes {
        let mut changes = Changes::default();
        let gone: Vec<Key> = self.objects.keys().filter(|key| !objects.contains_key(*key)).cloned().collect();
        for key in gone {
            self.remove_object(&key, &mut changes);
        }
        for (key, object) in objects {
            if self.objects.get(key).is_none_or(|old| !Arc::ptr_eq(old, object) && **old != **object) {
                self.put_object(object, &mut changes);
            }
        }
        changes
    }

    /// Applies changes in their order.
    pub(crate) fn apply(&mut self, batch: &[Change]) -> Changes {
        let mut changes = Changes::default();
        for change in batch {
            match change {
                Change::Put(object) => {
                    if self.objects.get(&object.key).is_none_or(|old| **old != **object) {
                        self.put_object(object, &mut changes);
                    }
                }
                Change::Remove(key) => self.remove_object(key, &mut changes),
                Change::PutPod(pod) => self.put_pod(pod, &mut changes),
                Change::RemovePod(id) => self.remove_pod(id, &mut changes),
            }
        }
        changes
    }

    /// Adds a workload or changes it.
    pub(crate) fn set_workload(&mut self, workload: &Arc<Workload>) -> Changes {
        let mut changes = Changes::default();
        let old = self.workloads.insert(Arc::clone(&workload.id), Arc::clone(workload));
        if old.as_ref().is_some_and(|old| **old == **workload) {
            return changes;
        }
        self.workload_changed(old.as_deref(), Some(workload), &mut changes);
        changes
    }

    /// Removes a workload.
    pub(crate) fn remove_workload(&mut self, id: &str) -> Changes {
        let mut changes = Changes::default();
        if let Some(old) = self.workloads.remove(id) {
            self.workload_changed(Some(&old), None, &mut changes);
        }
        changes
    }

    pub(crate) fn object(&self, key: &Key) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values()
    }

    pub(crate) fn workload(&self, id: &str) -> Option<&Arc<Workload>> {
        self.workloads.get(id)
    }

    pub(crate) fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.workloads.values()
    }

    pub(crate) fn service(&self, name: &ServiceName) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    pub(crate) fn service_names(&self) -> impl Iterator<Item = &ServiceName> {
        self.services.keys()
    }

    pub(crate) fn service_count(&self) -> usize {
        self.services.len()
    }

    pub(crate) fn endpoint_count(&self) -> usize {
        self.endpoints.values().map(BTreeMap::len).sum()
    }

    /// The routes of a service, in the order of their precedence.
    pub(crate) fn routes(&self, service: &ServiceName) -> &[Arc<Object>] {
        self.routes.get(service).map_or(&[], Vec::as_slice)
    }

    /// The BackendPolicies of a service, the one in force first.
    pub(crate) fn policies(&self, service: &ServiceName) -> &[Arc<Object>] {
        self.policies.get(service).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn grants(&self, namespace: &str) -> &[Arc<Object>] {
        self.grants.get(namespace).map_or(&[], Vec::as_slice)
    }

    /// The AuthorizationPolicies and MeshPolicies of a namespace, in the order of their precedence.
    pub(crate) fn workload_policies(&self, namespace: &str) -> &[Arc<Object>] {
        self.workload_policies.get(namespace).map_or(&[], Vec::as_slice)
    }

    /// The service that an address stands for.
    pub(crate) fn ip(&self, ip: IpAddr) -> Option<&ServiceName> {
        self.ips.get(&ip).and_then(BTreeSet::first)
    }

    /// The endpoints of a service's port with this address.
    pub(crate) fn at_address<'a>(
        &'a self,
        port: &'a ServicePort,
        address: SocketAddr,
    ) -> impl Iterator<Item = &'a EndpointId> {
        let found = self.addresses.get(&address).into_iter().flatten();
        found.filter(move |(at, _)| at == port).map(|(_, id)| id)
    }

    /// An endpoint, if proxies are told of it.
    pub(crate) fn endpoint(&self, port: &ServicePort, id: &str) -> Option<&Arc<Endpoint>> {
        in_force(self.endpoints.get(port)?.get(id)?)
    }

    /// The endpoints of a service's port that proxies are told of.
    pub(crate) fn endpoints(
        &self,
        port: &ServicePort,
    ) -> impl Iterator<Item = (&EndpointId, &Arc<Endpoint>)> {
        let places = self.endpoints.get(port).into_iter().flatten();
        places.filter_map(|(id, claims)| Some((id, in_force(claims)?)))
    }
}

fn in_force(claims: &[(Origin, Arc<Endpoint>)]) -> Option<&Arc<Endpoint>> {
    claims.first().map(|(_, endpoint)| endpoint).filter(|endpoint| endpoint.is_told())
}

#[cfg(test)]
pub(crate) mod tests;
