//! Endpoints: which addresses a service's port has.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use weft_mesh::name::{Identity, ServiceName, ServicePort};
use weft_xds::EncodedResource;

use super::claim::{Behind, Standing, Withheld};
use super::service::{MembersOf, Port, Service};
use super::workload::set_in;
use super::{Changes, DependencyKey, Health, Index, Locality, Offer, Origin, Workload};
use weft_resource::{
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
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) identity: Option<Identity>,
    pub(crate) hop: Hop,
    pub(crate) weight: u32,
    pub(crate) health: Health,
    pub(crate) locality: Locality,
    pub(crate) workload: Arc<str>,
    pub(crate) version: Arc<str>,
    pub(crate) standing: Standing,
    /// What clients get, encoded when the first of them asks.
    pub(crate) encoded: OnceLock<Arc<EncodedResource>>,
}

/// The encoded form follows from the rest.
impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        let rest = |e: &Self| (e.address, e.hop, e.weight, e.health, e.standing);
        rest(self) == rest(other)
            && self.identity == other.identity
            && self.locality == other.locality
            && self.workload == other.workload
            && self.version == other.version
    }
}

impl Endpoint {
    /// Whether proxies are told of it.
    pub(crate) fn is_told(&self) -> bool {
        !matches!(self.standing, Standing::Withheld(_))
    }

    /// Which of several that are given for one place is in force: the least.
    fn rank(&self) -> impl Ord + use<> {
        let health = match self.health {
            Health::Ready => 0,
            Health::Unknown => 1,
            Health::Draining => 2,
            Health::NotReady => 3,
        };
        (self.standing.rank(), self.hop != Hop::Weft, health)
    }
}

/// Where an endpoint is: the port of its service, and its id there.
type Place = (ServicePort, EndpointId);

/// The endpoints that one origin gives to one service.
type Gift = BTreeMap<Place, Arc<Endpoint>>;

impl Index {
    /// Brings the endpoints that an origin gives to a service up to date.
    pub(super) fn give(&mut self, origin: &Origin, name: &ServiceName, changes: &mut Changes) {
        let mut gift = self.gift(origin, name);
        for (at, endpoint) in &mut gift {
            self.keep_from_plain_text(at, origin, endpoint);
        }
        let key = (origin.clone(), name.clone());
        for given in self.given.remove(&key).unwrap_or_default() {
            if !gift.contains_key(&given) {
                self.put_endpoint(&given, origin, None, changes);
            }
        }
        if !gift.is_empty() {
            self.given.insert(key, gift.keys().cloned().collect());
        }
        for (at, endpoint) in gift {
            self.put_endpoint(&at, origin, Some(endpoint), changes);
        }
    }

    /// An address at which a pod was with a sidecar is not spoken to in plain text because the pod is gone: only another
    /// pod there says that it may be, or whoever takes the address away and gives it again.
    fn keep_from_plain_text(&self, at: &Place, origin: &Origin, endpoint: &mut Arc<Endpoint>) {
        let Some((_, old)) = self.claims_of(at).iter().find(|(by, _)| by == origin) else { return };
        let was_meshed = old.standing == Standing::Pod && old.hop == Hop::Weft
            || old.standing == Standing::Withheld(Withheld::PodGone);
        let nobody_known =
            matches!(endpoint.standing, Standing::Claimed | Standing::Withheld(Withheld::PodUnknown));
        if was_meshed && nobody_known {
            Arc::make_mut(endpoint).standing = Standing::Withheld(Withheld::PodGone);
        }
    }

    /// What is said of a place, what is in force first.
    pub(super) fn claims_of(&self, at: &Place) -> &[(Origin, Arc<Endpoint>)] {
        self.endpoints.get(&at.0).and_then(|ids| ids.get(&at.1)).map_or(&[], Vec::as_slice)
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

    /// Makes what an origin says of a place this. Others may say something of the same place, as EndpointSlices that
    /// overlap do: one of them is in force, and the place is there as long as any of them says so.
    fn put_endpoint(
        &mut self,
        at: &Place,
        origin: &Origin,
        endpoint: Option<Arc<Endpoint>>,
        changes: &mut Changes,
    ) {
        let (port, id) = at;
        let claims = self.endpoints.entry(port.clone()).or_default().entry(Arc::clone(id)).or_default();
        let old = claims.first().map(|(_, endpoint)| Arc::clone(endpoint));
        // What stays equal stays the same, with what was encoded of it.
        let known = claims.iter().position(|(by, known)| by == origin && Some(known) == endpoint.as_ref());
        if known.is_none() {
            claims.retain(|(by, _)| by != origin);
            claims.extend(endpoint.map(|endpoint| (origin.clone(), endpoint)));
            claims.sort_by(|(a, first), (b, second)| (first.rank(), a).cmp(&(second.rank(), b)));
        }
        let new = claims.first().map(|(_, endpoint)| Arc::clone(endpoint));
        if claims.is_empty()
            && let Some(endpoints) = self.endpoints.get_mut(port)
        {
            endpoints.remove(id);
            if endpoints.is_empty() {
                self.endpoints.remove(port);
            }
        }
        if old != new {
            self.endpoint_changed(at, old.as_deref(), new.as_deref(), changes);
        }
    }

    fn endpoint_changed(
        &mut self,
        at: &Place,
        old: Option<&Endpoint>,
        new: Option<&Endpoint>,
        changes: &mut Changes,
    ) {
        let both = || [old, new].into_iter().flatten();
        changes.endpoints.entry(at.clone()).or_default().extend(both().map(|endpoint| endpoint.address));
        // What dialling an address means rests on who is there, and not on how they are.
        let meaning = |endpoint: Option<&Endpoint>| endpoint.map(|it| (it.address, it.standing));
        if meaning(old) != meaning(new) {
            for (endpoint, present) in [(old, false), (new, true)] {
                let Some(endpoint) = endpoint else { continue };
                set_in(&mut self.addresses, &endpoint.address, at, present);
                changes.dependency(DependencyKey::Address(endpoint.address));
            }
        }
        if new.is_some_and(|endpoint| !endpoint.is_told()) {
            self.withheld.insert(at.clone());
        } else {
            self.withheld.remove(at);
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
        standing: Standing::Registered,
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
                    && object
                        .labels
                        .get(weft_resource::SLICE_SERVICE_LABEL)
                        .is_some_and(|label| label == name.name()) =>
            {
                self.of_slice(slice, name, service)
            }
            Spec::ExternalService(spec) if service.is_external() => self.of_external(spec, name, service),
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
        let behind = self.behind(endpoint, address.ip(), namespace);
        let able = matches!(behind, Behind::Pod(pod) if pod.able);
        let zone = endpoint.zone.as_deref();
        let plain = plain(address, 1, slice_health(endpoint, able), zone, name);
        match behind {
            Behind::Nobody => plain,
            Behind::Unknown(why) => Endpoint { standing: Standing::Withheld(why), ..plain },
            Behind::Pod(pod) => {
                let meshed = pod.proxy.is_some();
                Endpoint {
                    identity: meshed.then(|| pod.identity.clone()),
                    hop: if meshed { Hop::Weft } else { Hop::Plain },
                    workload: Arc::clone(&pod.id),
                    version: pod.version().into(),
                    standing: Standing::Pod,
                    ..plain
                }
            }
        }
    }

    fn of_external(&self, spec: &ExternalServiceSpec, name: &ServiceName, service: &Service) -> Gift {
        let mut gift = Gift::new();
        for port in &service.ports {
            let PortOrName::Number(target) = port.target else { continue };
            for endpoint in &spec.endpoints {
                let Ok(ip) = endpoint.address.parse() else { continue };
                let address = SocketAddr::new(ip, target as u16);
                let weight = endpoint.weight.unwrap_or(1);
                let health = if weight == 0 { Health::NotReady } else { Health::Ready };
                let mut given = plain(address, weight, health, endpoint.zone.as_deref(), None);
                if self.is_in_mesh(ip) {
                    given.standing = Standing::Withheld(Withheld::InMesh);
                }
                gift.insert((ServicePort::new(name.clone(), port.number), id_of(address)), Arc::new(given));
            }
        }
        gift
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
        standing: Standing::Claimed,
        encoded: OnceLock::new(),
    }
}

/// `<address>-<port>`, with the colons of IPv6 as dashes.
fn id_of(address: SocketAddr) -> EndpointId {
    format!("{}-{}", address.ip().to_string().replace(':', "-"), address.port()).into()
}
