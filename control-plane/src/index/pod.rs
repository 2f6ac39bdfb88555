//! Pods: who is behind the addresses of EndpointSlices.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_mesh::name::{Identity, ServiceName};
use weft_mesh::protocol::Protocol;

use super::workload::set_in;
use super::{Changes, Fact, Index, Origin, selects};
use crate::resource::{Key, Object, PortOrName, Spec};

/// What matters of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Id of the workload, `<pod>.<namespace>`.
    pub(crate) id: Arc<str>,
    /// That of its service account; its namespace is the pod's.
    pub(crate) identity: Identity,
    pub(crate) labels: BTreeMap<String, String>,
    /// Numbers of the ports that its containers name.
    pub(crate) ports: BTreeMap<String, u16>,
    /// Version of its proxy, if it has one.
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
            self.pod_changed(&pod.id, changes);
        }
    }

    /// Removes a pod.
    pub(super) fn remove_pod(&mut self, id: &str, changes: &mut Changes) {
        if let Some(old) = self.pods.remove(id) {
            self.pod_changed(&old.id, changes);
        }
    }

    fn pod_changed(&mut self, id: &Arc<str>, changes: &mut Changes) {
        changes.fact(Fact::Workload(Arc::clone(id)));
        for slice in self.slices_of_pod.get(id).cloned().unwrap_or_default() {
            if let Some(service) = self.service_of_slice(&slice) {
                self.give(&Origin::Object(slice), &service, changes);
            }
        }
    }

    /// Notes which pods a slice speaks of, or spoke of.
    pub(super) fn link_pods(&mut self, slice: &Object, present: bool) {
        let Spec::EndpointSlice(spec) = &slice.spec else { return };
        let names =
            spec.endpoints.iter().filter_map(|endpoint| endpoint.target_ref.as_ref()?.name.as_deref());
        for name in names {
            let id = Pod::id(&slice.key.namespace, name);
            set_in(&mut self.slices_of_pod, &id, &slice.key, present);
        }
    }

    fn service_of_slice(&self, slice: &Key) -> Option<ServiceName> {
        let object = self.objects.get(slice)?;
        ServiceName::new(&slice.namespace, object.labels.get(super::SLICE_SERVICE_LABEL)?).ok()
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
