//! Services as they are in force, whoever defines them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use weft_mesh::name::{ServiceName, ServicePort};
use weft_mesh::protocol::Protocol;

use super::workload::set_in;
use super::{Changes, DependencyKey, Index, Origin, Workload};
use weft_resource::{
    Age, ExternalServiceSpec, Key, Kind, PortOrName, ServiceSpec, ServiceType, Spec, Transport,
};

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// Ports, ascending.
    pub(crate) ports: Vec<Port>,
    pub(super) members: MembersOf,
    pub(super) hosts: Vec<Arc<str>>,
    pub(super) ips: Vec<IpAddr>,
    /// Of an ExternalService: for whom else it is, and since when it is there.
    pub(super) claim: Option<Claim>,
}

/// What an ExternalService claims beyond its own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Other namespaces that it is meant for; `*` for all.
    pub(super) export_to: Vec<String>,
    /// Of two claims the older one counts.
    pub(super) age: Age,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) number: u16,
    pub(crate) name: String,
    pub(crate) protocol: Protocol,
    pub(super) target: PortOrName,
}

/// What a service is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MembersOf {
    /// Workloads with these labels.
    Selector(BTreeMap<String, String>),
    /// What its EndpointSlices say alone.
    Slices,
    /// Workloads that offer it.
    Offers,
    /// The addresses of the ExternalService.
    External,
}

impl Service {
    pub(crate) fn port(&self, number: u16) -> Option<&Port> {
        self.ports.iter().find(|port| port.number == number)
    }

    /// Its ports, for people.
    pub(crate) fn described(&self) -> String {
        let port = |port: &Port| match &*port.name {
            "" => port.number.to_string(),
            name => format!("{} ({name})", port.number),
        };
        match self.ports.len() {
            0 => "none".to_owned(),
            _ => self.ports.iter().map(port).collect::<Vec<_>>().join(", "),
        }
    }

    pub(crate) fn is_external(&self) -> bool {
        self.members == MembersOf::External
    }

    fn selects(&self) -> bool {
        self.selector().is_some()
    }

    pub(super) fn selector(&self) -> Option<&BTreeMap<String, String>> {
        match &self.members {
            MembersOf::Selector(selector) => Some(selector),
            _ => None,
        }
    }

    fn from_spec(spec: &ServiceSpec) -> Option<Self> {
        if spec.r#type == Some(ServiceType::ExternalName) {
            return None;
        }
        let tcp = spec.ports.iter().filter(|port| port.protocol.unwrap_or_default() == Transport::Tcp);
        let ports = tcp.map(|port| Port {
            number: port.port,
            name: port.name.clone().unwrap_or_default(),
            protocol: Protocol::declared(port.app_protocol.as_deref(), port.name.as_deref()),
            target: port.target_port.clone().unwrap_or(PortOrName::Number(port.port.into())),
        });
        let ips = spec.cluster_ip.iter().chain(&spec.cluster_ips).filter_map(|ip| ip.parse().ok());
        let ips: BTreeSet<IpAddr> = ips.collect();
        let members = if spec.selector.is_empty() {
            MembersOf::Slices
        } else {
            MembersOf::Selector(spec.selector.clone())
        };
        let ips = ips.into_iter().collect();
        Some(Self { ports: sorted(ports), members, hosts: Vec::new(), ips, claim: None })
    }

    /// A service as these workloads offer it.
    fn offered<'a>(name: &ServiceName, workloads: impl Iterator<Item = &'a Workload>) -> Self {
        let mut ports: BTreeMap<u16, Port> = BTreeMap::new();
        for offer in workloads.flat_map(|workload| &workload.offers) {
            if offer.service == name.name() {
                ports.entry(offer.port).or_insert_with(|| Port {
                    number: offer.port,
                    name: offer.port_name.clone(),
                    protocol: offer.protocol,
                    target: PortOrName::Number(offer.port.into()),
                });
            }
        }
        let ports = ports.into_values().collect();
        Self { ports, members: MembersOf::Offers, hosts: Vec::new(), ips: Vec::new(), claim: None }
    }

    fn from_external(spec: &ExternalServiceSpec, age: &Age) -> Self {
        let ports = spec.ports.iter().map(|port| Port {
            number: port.port,
            name: port.name.clone().unwrap_or_default(),
            protocol: Protocol::declared(port.app_protocol.as_deref(), port.name.as_deref()),
            target: PortOrName::Number(port.target_port.unwrap_or(port.port).into()),
        });
        let hosts = spec.hosts.iter().map(|host| host.as_str().into()).collect();
        let claim = Some(Claim { export_to: spec.export_to.clone(), age: age.clone() });
        Self { ports: sorted(ports), members: MembersOf::External, hosts, ips: Vec::new(), claim }
    }
}

fn sorted(ports: impl Iterator<Item = Port>) -> Vec<Port> {
    let mut ports: Vec<Port> = ports.collect();
    ports.sort_by_key(|port| port.number);
    ports
}

impl Index {
    /// Brings a service up to date with what defines it, and its endpoints if it changed.
    pub(super) fn derive_service(&mut self, name: &ServiceName, changes: &mut Changes) {
        let new = self.define(name).map(Arc::new);
        let old = self.services.get(name).cloned();
        if old == new {
            return;
        }
        let namespace: Arc<str> = name.namespace().into();
        for (service, present) in [(&old, false), (&new, true)] {
            let Some(service) = service else { continue };
            for host in &service.hosts {
                set_in(&mut self.hosts, host, name, present);
                changes.dependency(DependencyKey::Host(Arc::clone(host)));
            }
            for ip in &service.ips {
                set_in(&mut self.ips, ip, name, present);
                changes.dependency(DependencyKey::Ip(*ip));
            }
            if service.selects() {
                set_in(&mut self.selecting, &namespace, name, present);
                changes.dependency(DependencyKey::Selecting(Arc::clone(&namespace)));
            }
        }
        let ports = |service: &Option<Arc<Service>>| -> BTreeSet<u16> {
            service.iter().flat_map(|service| &service.ports).map(|port| port.number).collect()
        };
        for port in ports(&old).symmetric_difference(&ports(&new)) {
            changes.ports.insert(ServicePort::new(name.clone(), *port));
        }
        let both = || [&old, &new].into_iter().flatten();
        let selecting = both().any(|service| service.selects());
        let claimed = both().flat_map(|service| &service.ips).filter_map(|ip| self.claimants.get(ip));
        let claimants: BTreeSet<Key> = claimed.flatten().cloned().collect();
        match new {
            Some(new) => self.services.insert(name.clone(), new),
            None => self.services.remove(name),
        };
        changes.dependency(DependencyKey::Service(name.clone()));
        for origin in self.origins(name, selecting) {
            self.give(&origin, name, changes);
        }
        self.give_again(claimants, changes);
    }

    /// A Service decides alone; then an ExternalService; then the workloads that offer it.
    fn define(&self, name: &ServiceName) -> Option<Service> {
        let object = |kind| self.objects.get(&key_of(kind, name));
        if let Some(Spec::Service(spec)) = object(Kind::Service).map(|object| &object.spec) {
            return Service::from_spec(spec);
        }
        match object(Kind::ExternalService).map(|object| (&object.spec, &object.age)) {
            Some((Spec::ExternalService(spec), age)) => Some(Service::from_external(spec, age)),
            _ => self.define_by_offers(name),
        }
    }

    /// Where workloads disagree about a port, the first by its id decides.
    fn define_by_offers(&self, name: &ServiceName) -> Option<Service> {
        let Some(offering) = self.offering.get(name) else { return self.departed.get(name).cloned() };
        let workloads = offering.iter().filter_map(|id| self.workloads.get(id));
        Some(Service::offered(name, workloads.map(|workload| &**workload)))
    }

    /// Remembers a service that this workload was the last to offer. Gives the service that is forgotten for it, if any.
    pub(super) fn remember(&mut self, name: &ServiceName, workload: &Workload) -> Option<ServiceName> {
        let service = Service::offered(name, [workload].into_iter());
        self.departed.insert(name, service).filter(|forgotten| forgotten != name)
    }

    /// Everything that may give endpoints to a service, now or until now.
    fn origins(&self, name: &ServiceName, selecting: bool) -> Vec<Origin> {
        let mut workloads: BTreeSet<&Arc<str>> = self.offering.get(name).into_iter().flatten().collect();
        if selecting {
            workloads.extend(self.by_namespace.get(name.namespace()).into_iter().flatten());
        }
        let workloads = workloads.into_iter().map(|id| Origin::Workload(Arc::clone(id)));
        let slices = self.slices.get(name).into_iter().flatten().map(|key| Origin::Object(key.clone()));
        let external = Origin::Object(key_of(Kind::ExternalService, name));
        workloads.chain(slices).chain([external]).collect()
    }
}

/// The key of the resource of this kind with a service's name.
pub(super) fn key_of(kind: Kind, name: &ServiceName) -> Key {
    Key { kind, namespace: name.namespace().into(), name: name.name().into() }
}
