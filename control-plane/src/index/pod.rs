//! Pods: who is behind the addresses of EndpointSlices.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use weft_mesh::name::{Identity, ServiceName};
use weft_mesh::protocol::Protocol;

use super::workload::set_in;
use super::{Changes, DependencyKey, Index, Origin, selects};
use weft_resource::{Key, Kind, Object, PortOrName, Spec};

/// What matters of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Id of the workload, `<pod>.<namespace>`.
    pub(crate) id: Arc<str>,
    /// Which of all pods that ever had its name.
    pub(crate) uid: Arc<str>,
    /// Its addresses; none before it has one.
    pub(crate) ips: Vec<IpAddr>,
    /// Addresses of the node that it runs on.
    pub(crate) node_ips: Vec<IpAddr>,
    /// Whether its addresses are its node's, so that others may have them too.
    pub(crate) host_network: bool,
    /// That of its service account; its namespace is the pod's.
    pub(crate) identity: Identity,
    pub(crate) labels: BTreeMap<String, String>,
    /// Numbers of the ports that its containers name.
    pub(crate) ports: BTreeMap<String, u16>,
    /// Version of its proxy, if it has one; empty if that is not known.
    pub(crate) proxy: Option<String>,
    /// Whether it could take requests when its node last said how its containers are, and is not being ended.
    pub(crate) able: bool,
}

impl Pod {
    /// The id of a pod's workload.
    pub(crate) fn id(namespace: &str, name: &str) -> Arc<str> {
        format!("{name}.{namespace}").into()
    }

    /// The version that it says it is of.
    pub(crate) fn version(&self) -> &str {
        let label = |name: &str| self.labels.get(name);
        label("version").or_else(|| label("app.kubernetes.io/version")).map_or("", String::as_str)
    }

    /// The addresses that are its own.
    pub(super) fn own_ips(&self) -> &[IpAddr] {
        if self.host_network { &[] } else { &self.ips }
    }

    /// The number of its port that a Service's port leads to.
    fn port(&self, target: &PortOrName) -> Option<u16> {
        match target {
            PortOrName::Number(number) => u16::try_from(*number).ok(),
            PortOrName::Name(name) => self.ports.get(name).copied(),
        }
    }
}

impl Index {
    /// Adds a pod or changes it.
    pub(super) fn put_pod(&mut self, pod: &Arc<Pod>, changes: &mut Changes) {
        let old = self.pods.insert(Arc::clone(&pod.id), Arc::clone(pod));
        if old.as_ref() != Some(pod) {
            self.pod_changed(old.as_deref(), Some(pod), changes);
        }
    }

    /// Removes a pod.
    pub(super) fn remove_pod(&mut self, id: &str, changes: &mut Changes) {
        if let Some(old) = self.pods.remove(id) {
            self.pod_changed(Some(&old), None, changes);
        }
    }

    fn pod_changed(&mut self, old: Option<&Pod>, new: Option<&Pod>, changes: &mut Changes) {
        let Some(id) = new.or(old).map(|pod| Arc::clone(&pod.id)) else { return };
        changes.dependency(DependencyKey::Workload(Arc::clone(&id)));
        let mut slices = self.slices_of_pod.get(&id).cloned().unwrap_or_default();
        for ip in self.set_pod_ips(old, new, changes) {
            slices.extend(self.claimants.get(&ip).into_iter().flatten().cloned());
        }
        self.give_again(slices, changes);
    }

    /// Notes which pods a slice speaks of, or spoke of.
    pub(super) fn link_pods(&mut self, slice: &Object, present: bool) {
        let Spec::EndpointSlice(spec) = &slice.spec else { return };
        let pods = spec.endpoints.iter().filter_map(|endpoint| endpoint.target_ref.as_ref());
        let names: BTreeSet<&str> =
            pods.filter(|pod| pod.is_pod()).filter_map(|pod| pod.name.as_deref()).collect();
        for name in names {
            let id = Pod::id(&slice.key.namespace, name);
            set_in(&mut self.slices_of_pod, &id, &slice.key, present);
        }
    }

    /// Brings the endpoints that these EndpointSlices and ExternalServices give up to date.
    pub(super) fn give_again(&mut self, keys: BTreeSet<Key>, changes: &mut Changes) {
        for key in keys {
            if let Some(service) = self.service_of(&key) {
                self.give(&Origin::Object(key), &service, changes);
            }
        }
    }

    /// The service that an EndpointSlice or ExternalService gives endpoints to.
    fn service_of(&self, key: &Key) -> Option<ServiceName> {
        if key.kind == Kind::ExternalService {
            return ServiceName::new(&key.namespace, &key.name).ok();
        }
        let object = self.objects.get(key)?;
        ServiceName::new(&key.namespace, object.labels.get(weft_resource::SLICE_SERVICE_LABEL)?).ok()
    }

    /// The pod of this id.
    pub(crate) fn pod(&self, id: &str) -> Option<&Arc<Pod>> {
        self.pods.get(id)
    }

    pub(crate) fn pod_count(&self) -> usize {
        self.pods.len()
    }

    /// The ports of a pod that Services lead to, with what is spoken on them. Where Services disagree about a port, what
    /// one of them declares goes before what none does; then the first by name decides.
    pub(crate) fn ports_of(&self, pod: &Pod) -> BTreeMap<u16, Protocol> {
        let mut ports = BTreeMap::new();
        let selecting = self.selecting.get(pod.identity.namespace()).into_iter().flatten();
        for service in selecting.filter_map(|name| self.services.get(name)) {
            if !service.selector().is_some_and(|selector| selects(selector, &pod.labels)) {
                continue;
            }
            for port in &service.ports {
                let Some(number) = pod.port(&port.target) else { continue };
                let spoken = ports.entry(number).or_insert(port.protocol);
                if *spoken == Protocol::Detect {
                    *spoken = port.protocol;
                }
            }
        }
        ports
    }
}
