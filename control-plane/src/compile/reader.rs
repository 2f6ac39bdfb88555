//! Reading the index while noting what was read.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use weft_mesh::name::{ServiceName, ServicePort};
use weft_mesh::protocol::Protocol;

use crate::index::{Fact, Index, Pod, Service, Workload, parents};
use crate::resource::{Key, Object};

/// The index, and the facts that were read of it so far. What is not there was read too: it may appear.
pub(crate) struct Reader<'a> {
    index: &'a Index,
    read: RefCell<HashSet<Fact>>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(index: &'a Index) -> Self {
        Self { index, read: RefCell::default() }
    }

    /// The facts that were read.
    pub(crate) fn into_facts(self) -> HashSet<Fact> {
        self.read.into_inner()
    }

    pub(super) fn service(&self, name: &ServiceName) -> Option<&'a Arc<Service>> {
        self.note(Fact::Service(name.clone()));
        self.index.service(name)
    }

    pub(super) fn routes(&self, service: &ServiceName) -> &'a [Arc<Object>] {
        self.note(Fact::Routes(service.clone()));
        self.index.routes(service)
    }

    /// Whether a route belongs to a service. Its own change is the service's routes'.
    pub(super) fn is_parent(&self, route: &Key, service: &ServiceName) -> bool {
        parents(self.index.object(route)).contains(service)
    }

    pub(super) fn policies(&self, service: &ServiceName) -> &'a [Arc<Object>] {
        self.note(Fact::Policies(service.clone()));
        self.index.policies(service)
    }

    pub(super) fn filter(&self, key: &Key) -> Option<&'a Arc<Object>> {
        self.note(Fact::Filter(key.clone()));
        self.index.object(key)
    }

    pub(super) fn grants(&self, namespace: &str) -> &'a [Arc<Object>] {
        self.note(Fact::Grants(namespace.into()));
        self.index.grants(namespace)
    }

    pub(super) fn workload_policies(&self, namespace: &str) -> &'a [Arc<Object>] {
        self.note(Fact::WorkloadPolicies(namespace.into()));
        self.index.workload_policies(namespace)
    }

    pub(super) fn workload(&self, id: &str) -> Option<&'a Arc<Workload>> {
        self.note(Fact::Workload(id.into()));
        self.index.workload(id)
    }

    pub(crate) fn pod(&self, id: &str) -> Option<&'a Arc<Pod>> {
        self.note(Fact::Workload(id.into()));
        self.index.pod(id)
    }

    /// The ports of a pod that Services lead to.
    pub(super) fn ports_of(&self, pod: &Pod) -> BTreeMap<u16, Protocol> {
        self.note(Fact::Selecting(pod.identity.namespace().into()));
        self.index.ports_of(pod)
    }

    pub(super) fn host(&self, host: &str) -> Option<&'a ServiceName> {
        self.note(Fact::Host(host.into()));
        self.index.host(host)
    }

    pub(super) fn ip(&self, ip: IpAddr) -> Option<&'a ServiceName> {
        self.note(Fact::Ip(ip));
        self.index.ip(ip)
    }

    pub(super) fn address(&self, address: SocketAddr) -> Option<&'a ServicePort> {
        self.note(Fact::Address(address));
        self.index.address(address).map(|(port, _)| port)
    }

    fn note(&self, fact: Fact) {
        self.read.borrow_mut().insert(fact);
    }
}
