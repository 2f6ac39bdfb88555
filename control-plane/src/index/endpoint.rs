//! Endpoints: which addresses a service's port has.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use weft_mesh::name::{Identity, ServiceName, ServicePort};
use weft_xds::EncodedResource;

use super::service::{MembersOf, Port, Service};
use super::workload::set_in;
use super::{Changes, Fact, Health, Index, Locality, Offer, Origin, Pod, SLICE_SERVICE_LABEL, Workload};
use crate::resource::{
    AddressType, EndpointSliceSpec, ExternalServiceSpec, Object, PortOrName, SliceEndpoint, Spec, Transport,
};

/// What tells an endpoint from the others of its service's port.
pub(crate) type EndpointId = Arc<str>;

/// What is spoken to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hop {
    /// What the application speaks.
    Plain,
    /// Mesh TLS with our own framing.
    Weft,
}

/// One address of a service's port.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) identity: Option<Identity>,
    pub(crate) hop: Hop,
    pub(crate) weight: u32,
    pub(crate) health: Health,
    pub(crate) locality: Locality,
    pub(crate) workload: Arc<str>,
    pub(crate) version: Arc<str>,
    /// What clients get, encoded when the first of them asks.
    pub(crate) encoded: OnceLock<Arc<EncodedResource>>,
}

/// The encoded form follows from the rest.
impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        let rest = |e: &Self| (e.address, e.hop, e.weight, e.health);
        rest(self) == rest(other)
            && self.identity == other.identity
            && self.locality == other.locality
            && self.workload == other.workload
            && self.version == other.version
    }
}

/// The endpoints that one origin gives to one service.
type Gift = BTreeMap<(ServicePort, EndpointId), Arc<Endpoint>>;

impl Index {
    /// Brings the endpoints that an origin gives to a service up to date.
    pub(super) fn give(&mut self, origin: &Origin, name: &ServiceName, changes: &mut Changes) {
        let gift = self.gift(origin, name);
        let key = (origin.clone(), name.clone());
        for given in self.given.remove(&key).unwrap_or_default() {
            if !gift.contains_key(&given) {
                self.put_endpoint(&given, None, changes);
            }
        }
        if !gift.is_empty() {
            self.given.insert(key, gift.keys().cloned().collect());
        }
        for (at, endpoint) in gift {
            self.put_endpoint(&at, Some(endpoint), changes);
        }
    }

    fn gift(&self, origin: &Origin, name: &ServiceName) -> Gift {
        let Some(service) = self.services.get(name) else { return Gift::new() };
        match origin {
            Origin::Workload(id) => self
                .workloads
                .get(id)
                .map(|workload| of_workload(workload, name, service))
                .unwrap_or_default(),
            Origin::Object(key) => {
                self.objects.get(key).map(|object| self.of_object(object, name, service)).unwrap_or_default()
            }
        }
    }

    fn put_endpoint(
        &mut self,
        at: &(ServicePort, EndpointId),
        endpoint: Option<Arc<Endpoint>>,
        changes: &mut Changes,
    ) {
        let (port, id) = at;
        let old = self.endpoints.get(port).and_then(|endpoints| endpoints.get(id)).cloned();
        if old == endpoint {
            return;
        }
        let addresses = changes.endpoints.entry(at.clone()).or_default();
        addresses.extend([&old, &endpoint].into_iter().flatten().map(|endpoint| endpoint.address));
        let address = |endpoint: &Option<Arc<Endpoint>>| endpoint.as_ref().map(|endpoint| endpoint.address);
        if address(&old) != address(&endpoint) {
            for (address, present) in [(address(&old), false), (address(&endpoint), true)] {
                let Some(address) = address else { continue };
                let before = self.addresses.get(&address).and_then(|at| at.first()).cloned();
                set_in(&mut self.addresses, &address, at, present);
                // Only the first of an address is what dialling it means.
                if self.addresses.get(&address).and_then(|at| at.first()) != before.as_ref() {
                    changes.fact(Fact::Address(address));
                }
            }
        }
        match endpoint {
            Some(endpoint) => {
                self.endpoints.entry(port.clone()).or_default().insert(Arc::clone(id), endpoint);
            }
            None => {
                if let Some(endpoints) = self.endpoints.get_mut(port) {
                    endpoints.remove(id);
                    if endpoints.is_empty() {
                        self.endpoints.remove(port);
                    }
                }
            }
        }
    }
}

fn of_workload(workload: &Workload, name: &ServiceName, service: &Service) -> Gift {
    if !workload.may_serve(name) {
        return Gift::new();
    }
    let chosen = |port: &Port| match &service.members {
        MembersOf::Selector(selector) if selects(selector, &workload.labels) => {
            offer_for(workload, name, port)
        }
        MembersOf::Offers => {
            workload.offers.iter().find(|offer| offer.service == name.name() && offer.port == port.number)
        }
        _ => None,
    };
    let endpoint = |offer: &Offer| Endpoint {
        address: offer.address,
        identity: Some(workload.identity.clone()),
        hop: Hop::Weft,
        weight: 1,
        health: workload.health,
        locality: workload.locality.clone(),
        workload: Arc::clone(&workload.name),
        version: workload.version().into(),
        encoded: OnceLock::new(),
    };
    let at = |port: &Port| (ServicePort::new(name.clone(), port.number), Arc::clone(&workload.id));
    service.ports.iter().filter_map(|port| Some((at(port), Arc::new(endpoint(chosen(port)?))))).collect()
}

/// The offer that serves a port of a service that selects the workload: the one for just this port, else the one for
/// its target port, else the only one there is.
fn offer_for<'a>(workload: &'a Workload, name: &ServiceName, port: &Port) -> Option<&'a Offer> {
    let own = |offer: &&Offer| offer.service == name.name() && offer.port == port.number;
    let target = |offer: &&Offer| match &port.target {
        PortOrName::Number(number) => {
            *number == u64::from(offer.application_port) || *number == u64::from(offer.port)
        }
        PortOrName::Name(name) => offer.port_name == *name,
    };
    let offers = &workload.offers;
    let only = || offers.first().filter(|_| offers.len() == 1);
    offers.iter().find(own).or_else(|| offers.iter().find(target)).or_else(only)
}

pub(crate) fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}

impl Index {
    fn of_object(&self, object: &Object, name: &ServiceName, service: &Service) -> Gift {
        match &object.spec {
            Spec::EndpointSlice(slice)
                if !service.is_external()
                    && *object.key.namespace == *name.namespace()
                    && object.labels.get(SLICE_SERVICE_LABEL).is_some_and(|label| label == name.name()) =>
            {
                self.of_slice(slice, name, service)
            }
            Spec::ExternalService(spec) if service.is_external() => of_external(spec, name, service),
            _ => Gift::new(),
        }
    }

    fn of_slice(&self, slice: &EndpointSliceSpec, name: &ServiceName, service: &Service) -> Gift {
        let mut gift = Gift::new();
        if slice.address_type == AddressType::Fqdn {
            return gift;
        }
        for port in &service.ports {
            let same = slice.ports.iter().find(|candidate| {
                candidate.name.as_deref().unwrap_or_default() == port.name
                    && candidate.protocol.unwrap_or_default() == Transport::Tcp
            });
            let Some(number) = same.and_then(|same| same.port) else { continue };
            for endpoint in &slice.endpoints {
                let Some(ip) = endpoint.addresses.first().and_then(|address| address.parse().ok()) else {
                    continue;
                };
                let given = self.of_slice_endpoint(endpoint, SocketAddr::new(ip, number), name.namespace());
                let at = (ServicePort::new(name.clone(), port.number), id_of(given.address));
                gift.insert(at, Arc::new(given));
            }
        }
        gift
    }

    /// An endpoint of a slice; who it is and whether it is in the mesh is its pod's to say.
    fn of_slice_endpoint(&self, endpoint: &SliceEndpoint, address: SocketAddr, namespace: &str) -> Endpoint {
        let name = endpoint.target_ref.as_ref().and_then(|target| target.name.as_deref());
        let pod = name.and_then(|name| self.pods.get(&*Pod::id(namespace, name)));
        let health = slice_health(endpoint, pod.is_some_and(|pod| pod.able));
        let plain = plain(address, 1, health, endpoint.zone.as_deref(), name);
        let Some(pod) = pod else { return plain };
        let meshed = pod.proxy.is_some();
        Endpoint {
            identity: meshed.then(|| pod.identity.clone()),
            hop: if meshed { Hop::Weft } else { Hop::Plain },
            workload: Arc::clone(&pod.id),
            version: pod.version().into(),
            ..plain
        }
    }
}

/// The health of a slice's endpoint, whose pod was able to take requests by what its own node said last.
///
/// When nothing is heard of a node, Kubernetes says of each of its pods that it is not ready, though none has said so.
/// After the API server was away for longer than a node may be silent, that is every pod of the cluster.
fn slice_health(endpoint: &SliceEndpoint, able: bool) -> Health {
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    let terminating = conditions.terminating.unwrap_or(false);
    if conditions.ready.unwrap_or(true) {
        Health::Ready
    } else if terminating && conditions.serving.unwrap_or(false) {
        Health::Draining
    } else if !terminating && able {
        Health::Unknown
    } else {
        Health::NotReady
    }
}

fn of_external(spec: &ExternalServiceSpec, name: &ServiceName, service: &Service) -> Gift {
    let mut gift = Gift::new();
    for port in &service.ports {
        let PortOrName::Number(target) = port.target else { continue };
        for endpoint in &spec.endpoints {
            let Ok(ip) = endpoint.address.parse() else { continue };
            let address = SocketAddr::new(ip, target as u16);
            let weight = endpoint.weight.unwrap_or(1);
            let health = if weight == 0 { Health::NotReady } else { Health::Ready };
            let given = plain(address, weight, health, endpoint.zone.as_deref(), None);
            gift.insert((ServicePort::new(name.clone(), port.number), id_of(address)), Arc::new(given));
        }
    }
    gift
}

/// An endpoint outside the mesh.
fn plain(
    address: SocketAddr,
    weight: u32,
    health: Health,
    zone: Option<&str>,
    workload: Option<&str>,
) -> Endpoint {
    Endpoint {
        address,
        identity: None,
        hop: Hop::Plain,
        weight,
        health,
        locality: Locality { region: String::new(), zone: zone.unwrap_or_default().to_owned() },
        workload: workload.unwrap_or_default().into(),
        version: "".into(),
        encoded: OnceLock::new(),
    }
}

/// `<address>-<port>`, with the colons of IPv6 as dashes.
fn id_of(address: SocketAddr) -> EndpointId {
    format!("{}-{}", address.ip().to_string().replace(':', "-"), address.port()).into()
}
