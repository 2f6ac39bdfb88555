//! Reading the index while noting what was read.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use weft_mesh::name::{ServiceName, ServicePort};
use weft_mesh::protocol::Protocol;

use crate::index::{DependencyKey, Endpoint, Index, Pod, Service, Workload};
use weft_resource::{Age, Key, Object};

/// The index, and the dependencies that were read of it so far. What is not there was read too: it may appear.
pub(crate) struct Reader<'a> {
    index: &'a Index,
    read: RefCell<HashSet<DependencyKey>>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(index: &'a Index) -> Self {
        Self { index, read: RefCell::default() }
    }

    /// The dependencies that were read.
    pub(crate) fn into_facts(self) -> HashSet<DependencyKey> {
        self.read.into_inner()
    }

    pub(crate) fn service(&self, name: &ServiceName) -> Option<&'a Arc<Service>> {
        self.note(DependencyKey::Service(name.clone()));
        self.index.service(name)
    }

    pub(super) fn routes(&self, service: &ServiceName) -> &'a [Arc<Object>] {
        self.note(DependencyKey::Routes(service.clone()));
        self.index.routes(service)
    }

    pub(super) fn policies(&self, service: &ServiceName) -> &'a [Arc<Object>] {
        self.note(DependencyKey::Policies(service.clone()));
        self.index.policies(service)
    }

    pub(super) fn filter(&self, key: &Key) -> Option<&'a Arc<Object>> {
        self.note(DependencyKey::Filter(key.clone()));
        self.index.object(key)
    }

    pub(super) fn grants(&self, namespace: &str) -> &'a [Arc<Object>] {
        self.note(DependencyKey::Grants(namespace.into()));
        self.index.grants(namespace)
    }

    pub(super) fn workload_policies(&self, namespace: &str) -> &'a [Arc<Object>] {
        self.note(DependencyKey::WorkloadPolicies(namespace.into()));
        self.index.workload_policies(namespace)
    }

    pub(super) fn workload(&self, id: &str) -> Option<&'a Arc<Workload>> {
        self.note(DependencyKey::Workload(id.into()));
        self.index.workload(id)
    }

    pub(crate) fn pod(&self, id: &str) -> Option<&'a Arc<Pod>> {
        self.note(DependencyKey::Workload(id.into()));
        self.index.pod(id)
    }

    /// The ports of a pod that Services lead to.
    pub(super) fn ports_of(&self, pod: &Pod) -> BTreeMap<u16, Protocol> {
        self.note(DependencyKey::Selecting(pod.identity.namespace().into()));
        self.index.ports_of(pod)
    }

    /// The ExternalServices that claim a host name, with since when.
    pub(super) fn claiming(&self, host: &str) -> impl Iterator<Item = (&'a ServiceName, &'a Age)> {
        self.note(DependencyKey::Host(host.into()));
        self.index.claiming(host)
    }

    /// The namespaces that an ExternalService is exported to; none of any other service.
    pub(super) fn export_to(&self, name: &ServiceName) -> &'a [String] {
        self.note(DependencyKey::Service(name.clone()));
        self.index.export_to(name)
    }

    pub(super) fn ip(&self, ip: IpAddr) -> Option<&'a ServiceName> {
        self.note(DependencyKey::Ip(ip));
        self.index.ip(ip)
    }

    /// Whether an address is that of a pod.
    pub(super) fn is_pod(&self, ip: IpAddr) -> bool {
        self.note(DependencyKey::Ip(ip));
        self.index.is_pod(ip)
    }

    /// Whether an address is that of a node.
    pub(super) fn is_node(&self, ip: IpAddr) -> bool {
        self.note(DependencyKey::Ip(ip));
        self.index.is_node(ip)
    }

    /// The endpoints at an address, those that proxies are not told of among them.
    pub(super) fn at(
        &self,
        address: SocketAddr,
    ) -> impl Iterator<Item = (&'a ServicePort, &'a Arc<Endpoint>)> + use<'a> {
        self.note(DependencyKey::Address(address));
        self.index.at(address)
    }

    fn note(&self, fact: DependencyKey) {
        self.read.borrow_mut().insert(fact);
    }
}
