//! `Destination`: what a client's proxy has to know of what was dialled.

use std::net::SocketAddr;
use std::sync::Arc;

use weft_mesh::name::{ServiceName, ServicePort};
use weft_proto::v1;

use super::backend::Referrer;
use super::name::{DialledName, parse, readings};
use super::{Reader, SYSTEM_NAMESPACE, backend, protocol, route, service_port};
use crate::index::{Standing, Withheld, direct_name, parent_refs};
use weft_resource::{Key, Kind, Object, Spec};

/// What a dialled name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// A port of a service.
    Service(ServicePort),
    /// One endpoint of a service's port, dialled by its own address. Routes are for services and leave it alone.
    Endpoint(ServicePort, SocketAddr),
}

/// What is known of a dialled name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It stands for this.
    Target(Target),
    /// It stands for nothing in the mesh.
    Nothing,
    /// A pod is said to have the address, and is not known yet. Callers wait for as long as for a name that was never
    /// answered.
    Waits,
}

impl Found {
    /// What the name stands for.
    pub(crate) fn target(self) -> Option<Target> {
        match self {
            Self::Target(target) => Some(target),
            Self::Nothing | Self::Waits => None,
        }
    }
}

impl From<Option<Target>> for Found {
    fn from(target: Option<Target>) -> Self {
        target.map_or(Self::Nothing, Self::Target)
    }
}

/// Finds what a name stands for when a workload of this namespace dials it.
pub(crate) fn find(reader: &Reader<'_>, name: &str, caller_namespace: &str) -> Found {
    match parse(name) {
        None => Found::Nothing,
        Some(DialledName::Address(address)) => find_address(reader, address, caller_namespace),
        Some(DialledName::Host { host, port }) => {
            let read = readings(&host, caller_namespace).into_iter();
            let mut services = read.filter_map(|(namespace, name)| ServiceName::new(namespace, name).ok());
            // What workloads call each other goes before what an ExternalService claims to be called.
            let found = services
                .find(|service| is_for(reader, service, caller_namespace))
                .or_else(|| claimant(reader, &host, caller_namespace));
            has_port(reader, found, port).map(Target::Service).into()
        }
    }
}

/// Whether there is a service of this name for callers of a namespace.
fn is_for(reader: &Reader<'_>, name: &ServiceName, namespace: &str) -> bool {
    let service = reader.service(name);
    service.is_some_and(|service| !service.is_external() || may_use(reader, name, namespace))
}

/// Whether an ExternalService is for callers of a namespace: their own, or one that exports it to them and that they take
/// it from. The mesh's own namespace needs nobody's leave.
fn may_use(reader: &Reader<'_>, name: &ServiceName, namespace: &str) -> bool {
    let owner = name.namespace();
    let exported = || reader.export_to(name).iter().any(|to| to == "*" || to == namespace);
    owner == namespace || exported() && (owner == SYSTEM_NAMESPACE || is_taken(reader, name, namespace))
}

/// Whether a namespace takes an ExternalService that another exports to it.
pub(super) fn is_taken(reader: &Reader<'_>, name: &ServiceName, namespace: &str) -> bool {
    let kind = Kind::ExternalService;
    let from = Key { kind, namespace: name.namespace().into(), name: name.name().into() };
    backend::is_granted(reader, &from, kind.group(), kind.as_str(), namespace, name.name())
}

/// The ExternalService that has a host name for callers of a namespace: one of their own, else one that is exported to them;
/// of several the oldest. A name without a dot is a name within a namespace, and of nobody else's.
pub(super) fn claimant(reader: &Reader<'_>, host: &str, namespace: &str) -> Option<ServiceName> {
    let claims = || reader.claiming(host).map(|(name, age)| (age, name));
    let own = claims().filter(|(_, name)| name.namespace() == namespace).min();
    let exported = || {
        let others = claims().filter(|(_, name)| name.namespace() != namespace && host.contains('.'));
        others.filter(|(_, name)| may_use(reader, name, namespace)).min()
    };
    own.or_else(exported).map(|(_, name)| name.clone())
}

/// An address is its Service's, else that of who is known to be there. Then come claims: those of the caller's namespace, and
/// what others export to it; none of them on an address of a node or of a pod.
fn find_address(reader: &Reader<'_>, address: SocketAddr, namespace: &str) -> Found {
    let ip = address.ip();
    if let Some(service) = reader.ip(ip) {
        return has_port(reader, Some(service.clone()), address.port()).map(Target::Service).into();
    }
    let of_pod = reader.is_pod(ip);
    let there = |standing| match standing {
        Standing::Pod | Standing::Withheld(Withheld::PodGone) => true,
        Standing::Registered => !of_pod,
        _ => false,
    };
    let first = |holds: &dyn Fn(&ServicePort, Standing) -> bool| {
        let held = reader.at(address).filter(|(port, endpoint)| holds(port, endpoint.standing));
        let first = held.map(|(port, _)| port).min()?;
        Some(Found::Target(Target::Endpoint(first.clone(), address)))
    };
    let waits = |standing| standing == Standing::Withheld(Withheld::PodUnknown);
    let claimed = |standing| standing == Standing::Claimed && !reader.is_node(ip);
    let own = |port: &ServicePort| port.service.namespace() == namespace;
    let exported = |port: &ServicePort| may_use(reader, &port.service, namespace);
    first(&|_, standing| there(standing))
        .or_else(|| first(&|port, standing| own(port) && (waits(standing) || claimed(standing))))
        .or_else(|| first(&|port, standing| claimed(standing) && exported(port)))
        .unwrap_or_else(|| {
            let awaited = reader.at(address).any(|(_, endpoint)| waits(endpoint.standing));
            if awaited && !of_pod { Found::Waits } else { Found::Nothing }
        })
}

fn has_port(reader: &Reader<'_>, service: Option<ServiceName>, port: u16) -> Option<ServicePort> {
    let service = service?;
    reader.service(&service)?.port(port)?;
    Some(ServicePort::new(service, port))
}

/// Whether callers of this namespace have routes of their own to a service.
pub(crate) fn has_consumer_routes(reader: &Reader<'_>, service: &ServiceName, namespace: &str) -> bool {
    service.namespace() != namespace
        && reader.routes(service).iter().any(|route| *route.key.namespace == *namespace)
}

/// Builds a destination. `consumer` is the namespace of the callers where they have routes of their own; these take
/// the place of the service's (Gateway API, GEP-1294: consumer routes).
pub(crate) fn destination(
    reader: &Reader<'_>,
    target: &Target,
    consumer: Option<&str>,
) -> Option<v1::Destination> {
    let (Target::Service(port) | Target::Endpoint(port, _)) = target;
    let service = reader.service(&port.service)?;
    let spoken = service.port(port.port)?;
    let mut backend = backend::service_backend(reader, port, spoken.protocol);
    let mut routes = Routes::default();
    match target {
        Target::Endpoint(_, address) => {
            let direct = direct_name(&port.service, *address)?;
            backend.service = Some(super::named_port(&direct, port.port));
        }
        Target::Service(_) => {
            let namespace = consumer.unwrap_or(port.service.namespace());
            for object in in_force(reader, port, &spoken.name, namespace) {
                routes.add(reader, object, &port.service);
            }
        }
    }
    Some(v1::Destination {
        service: Some(service_port(port)),
        protocol: protocol(spoken.protocol).into(),
        http_routes: routes.http,
        tcp_backends: routes.tcp.unwrap_or_default(),
        tls_routes: routes.tls,
        backend: Some(backend),
    })
}

/// The routes of a service's port that belong to this namespace and are in force, in the order of their precedence: of
/// several kinds only the most specific one is (GEP-1294, "Route types").
pub(crate) fn in_force<'a>(
    reader: &Reader<'a>,
    port: &ServicePort,
    port_name: &str,
    namespace: &str,
) -> Vec<&'a Arc<Object>> {
    let belong = reader.routes(&port.service).iter().filter(|route| *route.key.namespace == *namespace);
    let mut covering: Vec<_> = belong.filter(|object| covers(object, port, port_name)).collect();
    let specific = [Kind::GrpcRoute, Kind::HttpRoute, Kind::TlsRoute, Kind::TcpRoute];
    let wins = specific.into_iter().find(|kind| covering.iter().any(|object| object.key.kind == *kind));
    covering.retain(|object| Some(object.key.kind) == wins);
    covering
}

#[derive(Default)]
struct Routes {
    http: Vec<v1::HttpRoute>,
    /// Of the first route for connections: it takes all of them.
    tcp: Option<Vec<v1::WeightedBackend>>,
    tls: Vec<v1::TlsRoute>,
}

impl Routes {
    fn add(&mut self, reader: &Reader<'_>, object: &Arc<Object>, parent: &ServiceName) {
        let from = Referrer { route: &object.key, parent: Some(parent) };
        match &object.spec {
            Spec::HttpRoute(spec) => self.http.push(route::http(reader, from, spec)),
            Spec::GrpcRoute(spec) => self.http.push(route::grpc(reader, from, spec)),
            Spec::TlsRoute(spec) => self.tls.push(route::tls(reader, from, spec)),
            Spec::TcpRoute(spec) if self.tcp.is_none() => {
                self.tcp = Some(route::connections(reader, from, spec));
            }
            _ => {}
        }
    }
}

/// Whether a route that belongs to a service is for this port of it.
fn covers(object: &Object, port: &ServicePort, port_name: &str) -> bool {
    parent_refs(&object.spec).iter().any(|parent| {
        let namespace = parent.namespace.as_deref().unwrap_or(&object.key.namespace);
        parent.is_service()
            && parent.name == port.service.name()
            && namespace == port.service.namespace()
            && parent.means(port.port, port_name)
    })
}
