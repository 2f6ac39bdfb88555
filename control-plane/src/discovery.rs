//! What discovery answers, kept up to date.
//!
//! A resource is built when someone asks for it, once for all who get the same. It stays until a fact that it rests on
//! changes; then those who subscribe to it are told, and whoever asks next has it built anew.

mod cache;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;
use weft_identity::TrustBundle;
use weft_mesh::name::{Identity, ServiceName, ServicePort, TrustDomain};
use weft_proto::{Resource, v1};
use weft_xds::EncodedResource;
use weft_xds::server::{ClientContext, Lookup, Members, Notifier, ResourceSource};

use self::cache::{Cache, Cached};
use crate::compile::{self, Found, Reader, Target};
use crate::index::{
    Change, Changes, DependencyKey, Endpoint, EndpointId, Index, Workload, direct_name, parse_direct_name,
};
use weft_resource::{Key, Object};

/// The index and what was compiled of it.
pub(crate) struct Discovery {
    state: Mutex<State>,
    notifier: Notifier,
    /// Those who want to hear of what changed, as long as they do.
    listeners: Mutex<Vec<Weak<Heard>>>,
    trust_domain: TrustDomain,
}

/// What has changed since it was last looked at. Gathered as long as this is held.
#[derive(Debug)]
pub(crate) struct FactsChanged(Arc<Heard>);

#[derive(Debug, Default)]
struct Heard {
    dependencies: Mutex<HashSet<DependencyKey>>,
    wake: Notify,
}

impl FactsChanged {
    /// Waits until something may have changed. May be dropped at any time.
    pub(crate) async fn wait(&self) {
        self.0.wake.notified().await;
    }

    /// What has changed since this was last called.
    pub(crate) fn take(&self) -> HashSet<DependencyKey> {
        std::mem::take(&mut self.0.dependencies.lock())
    }
}

#[derive(Default)]
struct State {
    index: Index,
    cache: Cache,
    /// Whether anyone ever asked for endpoints by address: only then are such names told of.
    direct: bool,
    bundle: Option<Arc<EncodedResource>>,
}

/// The names that a change concerns, by type.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Affected {
    pub(crate) destinations: BTreeSet<Arc<str>>,
    pub(crate) inbounds: BTreeSet<Arc<str>>,
    /// Endpoints, and collections that appeared or disappeared.
    pub(crate) endpoints: BTreeSet<String>,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) objects: usize,
    pub(crate) services: usize,
    pub(crate) endpoints: usize,
    pub(crate) withheld: usize,
    pub(crate) workloads: usize,
    pub(crate) compiled: usize,
}

impl Discovery {
    pub(crate) fn new(trust_domain: TrustDomain) -> Self {
        Self { state: Mutex::default(), notifier: Notifier::new(), listeners: Mutex::default(), trust_domain }
    }

    /// From here on pods are known; to be said before there is anything else.
    pub(crate) fn watch_pods(&self) {
        self.state.lock().index.watch_pods();
    }

    /// Through which streams hear of changes.
    pub(crate) fn notifier(&self) -> &Notifier {
        &self.notifier
    }

    /// Gathers what changes from now on.
    pub(crate) fn changes(&self) -> FactsChanged {
        let heard = Arc::default();
        self.listeners.lock().push(Arc::downgrade(&heard));
        FactsChanged(heard)
    }

    /// Looks at what there is.
    pub(crate) fn inspect<R>(&self, look: impl FnOnce(&Index) -> R) -> R {
        look(&self.state.lock().index)
    }

    /// Makes the resources of the configuration the given ones.
    pub(crate) fn set_objects(&self, objects: &BTreeMap<Key, Arc<Object>>) -> Affected {
        self.change(|index| index.set_objects(objects))
    }

    /// Applies changes of resources and pods.
    pub(crate) fn apply(&self, batch: &[Change]) -> Affected {
        self.change(|index| index.apply(batch))
    }

    /// Adds a workload or changes it.
    pub(crate) fn set_workload(&self, workload: &Arc<Workload>) -> Affected {
        self.change(|index| index.set_workload(workload))
    }

    /// Removes a workload.
    pub(crate) fn remove_workload(&self, id: &str) -> Affected {
        self.change(|index| index.remove_workload(id))
    }

    /// Makes the roots of the trust domain, and what is revoked, the given ones.
    pub(crate) fn set_bundle(&self, bundle: &TrustBundle) {
        let roots = bundle.roots(&self.trust_domain).iter().map(|root| root.to_vec().into()).collect();
        let message = v1::TrustBundle {
            trust_domain: self.trust_domain.as_str().to_owned(),
            roots,
            revoked: compile::revocations(bundle.revoked()),
        };
        let encoded = EncodedResource::new(v1::TrustBundle::TYPE_URL, self.trust_domain.as_str(), &message);
        self.state.lock().bundle = Some(Arc::new(encoded));
        self.notifier.changed(v1::TrustBundle::TYPE_URL, [self.trust_domain.as_str()]);
    }

    /// The resources in force, `Kind/namespace/name`, in order.
    pub(crate) fn keys(&self) -> Vec<String> {
        let state = self.state.lock();
        let name = |object: &Arc<Object>| {
            let Key { kind, namespace, name } = &object.key;
            format!("{kind}/{namespace}/{name}")
        };
        let mut keys: Vec<String> = state.index.objects().map(name).collect();
        keys.sort();
        keys
    }

    pub(crate) fn counts(&self) -> Counts {
        let state = self.state.lock();
        Counts {
            objects: state.index.objects().count(),
            services: state.index.service_count(),
            endpoints: state.index.endpoint_count(),
            withheld: state.index.withheld().count(),
            workloads: state.index.workloads().count() + state.index.pod_count(),
            compiled: state.cache.len(),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Index) -> Changes) -> Affected {
        let mut state = self.state.lock();
        let changes = change(&mut state.index);
        let affected = state.affected(&changes);
        drop(state);
        self.tell(&changes.dependencies);
        self.notifier.changed(v1::Destination::TYPE_URL, affected.destinations.iter().map(|name| &**name));
        self.notifier.changed(v1::Inbound::TYPE_URL, affected.inbounds.iter().map(|name| &**name));
        self.notifier.changed(v1::Endpoint::TYPE_URL, affected.endpoints.iter().map(String::as_str));
        affected
    }

    fn tell(&self, dependencies: &HashSet<DependencyKey>) {
        self.listeners.lock().retain(|listener| {
            let Some(heard) = listener.upgrade() else { return false };
            if !dependencies.is_empty() {
                heard.dependencies.lock().extend(dependencies.iter().cloned());
                heard.wake.notify_one();
            }
            true
        });
    }

    fn destination(&self, namespace: &Arc<str>, name: &str) -> Lookup {
        let mut state = self.state.lock();
        let State { index, cache, .. } = &mut *state;
        if let Some(found) = cache.destination(name, namespace) {
            return found;
        }
        let reader = Reader::new(index);
        let target = match compile::find(&reader, name, namespace) {
            Found::Target(target) => Some(target),
            Found::Nothing => None,
            Found::Waits => {
                cache.insert_destination(name, namespace, None, Lookup::Pending, reader.into_facts());
                return Lookup::Pending;
            }
        };
        let consumer = match &target {
            Some(Target::Service(port)) => {
                compile::has_consumer_routes(&reader, &port.service, namespace).then(|| Arc::clone(namespace))
            }
            _ => None,
        };
        let build = || {
            let target = target.as_ref()?;
            let message = compile::destination(&reader, target, consumer.as_deref())?;
            Some(Arc::new(EncodedResource::new(v1::Destination::TYPE_URL, name, &message)))
        };
        let build = || lookup(build());
        // Callers of other namespaces may have had it built; its dependencies are the same then, and were noted.
        let variant = (target.clone(), consumer.clone());
        let found = cache.variant(name, &variant).unwrap_or_else(build);
        cache.insert_destination(name, namespace, Some(variant), found.clone(), reader.into_facts());
        cache.sweep(|cached| match cached {
            Cached::Destination(name) => self.notifier.subscribers(v1::Destination::TYPE_URL, name) > 0,
            Cached::Inbound(id) => {
                self.notifier.subscribers(v1::Inbound::TYPE_URL, Workload::name_of(id)) > 0
            }
        });
        found
    }

    /// Whom a pod runs as; `None`: no pod of this id is known.
    pub(crate) fn pod_identity(&self, id: &str) -> Option<Identity> {
        self.state.lock().index.pod(id).map(|pod| pod.identity.clone())
    }

    /// A workload's policies are for its own proxy: a name means a pod of the identity that asks, or what it registered.
    fn inbound(&self, identity: &str, name: &str) -> Lookup {
        let Ok(identity) = identity.parse::<Identity>() else { return Lookup::Absent };
        let id = Workload::id(&identity, name);
        let mut state = self.state.lock();
        let State { index, cache, .. } = &mut *state;
        if let Some(found) = cache.inbound(&id) {
            return lookup(found);
        }
        let reader = Reader::new(index);
        let of_pod = reader.pod(name).is_some_and(|pod| pod.identity == identity);
        let built = compile::inbound(&reader, if of_pod { name } else { &id })
            .map(|message| Arc::new(EncodedResource::new(v1::Inbound::TYPE_URL, name, &message)));
        cache.insert_inbound(&id, built.clone(), reader.into_facts());
        lookup(built)
    }
}

impl ResourceSource for Discovery {
    fn resource(&self, client: &ClientContext, type_url: &str, name: &str) -> Lookup {
        match type_url {
            v1::Destination::TYPE_URL => self.destination(&client.namespace, name),
            v1::Endpoint::TYPE_URL => lookup(self.state.lock().endpoint(name)),
            v1::Inbound::TYPE_URL => self.inbound(&client.identity, name),
            v1::TrustBundle::TYPE_URL if name == self.trust_domain.as_str() => {
                lookup(self.state.lock().bundle.clone())
            }
            _ => Lookup::Absent,
        }
    }

    fn members(&self, _: &ClientContext, type_url: &str, collection: &str) -> Members {
        if type_url != v1::Endpoint::TYPE_URL {
            return Members::Absent;
        }
        self.state.lock().endpoints(collection).map_or(Members::Absent, Members::Found)
    }
}

fn lookup(found: Option<Arc<EncodedResource>>) -> Lookup {
    found.map_or(Lookup::Absent, Lookup::Found)
}

/// What a name of endpoints before its last `/` means.
enum Place {
    /// A port of a service.
    Service(ServicePort),
    /// One address of a port of a service.
    Address(ServicePort, SocketAddr),
}

impl State {
    fn place(&mut self, text: &str) -> Option<Place> {
        let port: ServicePort = text.parse().ok()?;
        // An ExternalService may have such a name, and does not get who dials the address.
        if let Some((service, address)) = parse_direct_name(&port.service) {
            self.direct = true;
            return Some(Place::Address(ServicePort::new(service, port.port), address));
        }
        let service = self.index.service(&port.service)?;
        service.port(port.port).map(|_| Place::Service(port))
    }

    fn endpoint(&mut self, name: &str) -> Option<Arc<EncodedResource>> {
        let (place, id) = name.rsplit_once('/')?;
        match self.place(place)? {
            Place::Service(port) => {
                self.index.endpoint(&port, id).map(|endpoint| encoded(&port, id, endpoint))
            }
            Place::Address(port, address) => {
                let id = self.index.at_address(&port, address).find(|at| ***at == *id)?;
                self.direct_endpoint(&port, address, id)
            }
        }
    }

    fn endpoints(&mut self, collection: &str) -> Option<Vec<Arc<EncodedResource>>> {
        match self.place(collection.strip_suffix("/*")?)? {
            Place::Service(port) => {
                let endpoints = self.index.endpoints(&port);
                Some(endpoints.map(|(id, endpoint)| encoded(&port, id, endpoint)).collect())
            }
            Place::Address(port, address) => {
                let ids = self.index.at_address(&port, address);
                let found: Vec<_> = ids.filter_map(|id| self.direct_endpoint(&port, address, id)).collect();
                Some(found).filter(|found| !found.is_empty())
            }
        }
    }

    fn direct_endpoint(
        &self,
        port: &ServicePort,
        address: SocketAddr,
        id: &EndpointId,
    ) -> Option<Arc<EncodedResource>> {
        let endpoint = self.index.endpoint(port, id)?;
        let direct = direct_port(port, address)?;
        let message = compile::endpoint(&direct, endpoint);
        Some(Arc::new(EncodedResource::new(v1::Endpoint::TYPE_URL, format!("{direct}/{id}"), &message)))
    }

    /// Forgets what rests on what changed, and says who is to be told.
    fn affected(&mut self, changes: &Changes) -> Affected {
        let mut affected = Affected::default();
        for cached in self.cache.invalidate(&changes.dependencies) {
            match cached {
                Cached::Destination(name) => affected.destinations.insert(name),
                Cached::Inbound(id) => affected.inbounds.insert(Workload::name_of(&id).into()),
            };
        }
        for ((port, id), addresses) in &changes.endpoints {
            affected.endpoints.insert(format!("{port}/{id}"));
            for direct in
                addresses.iter().filter(|_| self.direct).filter_map(|address| direct_port(port, *address))
            {
                affected.endpoints.insert(format!("{direct}/{id}"));
                affected.endpoints.insert(format!("{direct}/*"));
            }
        }
        for port in &changes.ports {
            affected.endpoints.insert(format!("{port}/*"));
        }
        affected
    }
}

/// The port of the service of one address.
fn direct_port(port: &ServicePort, address: SocketAddr) -> Option<ServicePort> {
    let service: ServiceName = direct_name(&port.service, address)?;
    Some(ServicePort::new(service, port.port))
}

fn encoded(port: &ServicePort, id: &str, endpoint: &Endpoint) -> Arc<EncodedResource> {
    let encode = || {
        let message = compile::endpoint(port, endpoint);
        Arc::new(EncodedResource::new(v1::Endpoint::TYPE_URL, format!("{port}/{id}"), &message))
    };
    Arc::clone(endpoint.encoded.get_or_init(encode))
}

#[cfg(test)]
mod tests;
