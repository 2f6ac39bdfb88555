//! `Destination`: what a client's proxy has to know of what was dialled.

use std::net::SocketAddr;
use std::sync::Arc;

use weft_mesh::name::{ServiceName, ServicePort};
use weft_proto::v1;

use super::name::{DialledName, parse, readings};
use super::{Reader, backend, protocol, route, service_port};
use crate::index::{direct_name, parent_refs};
use crate::resource::{Kind, Object, Spec};

/// What a dialled name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// A port of a service.
    Service(ServicePort),
    /// One endpoint of a service's port, dialled by its own address. Routes are for services and leave it alone.
    Endpoint(ServicePort, SocketAddr),
}

/// Finds what a name stands for when a workload of this namespace dials it; `None` is not in the mesh.
pub(crate) fn find(reader: &Reader<'_>, name: &str, caller_namespace: &str) -> Option<Target> {
    match parse(name)? {
        DialledName::Address(address) => find_address(reader, address),
        DialledName::Host { host, port } => {
            let external = reader.host(&host).cloned();
            let read = readings(&host, caller_namespace).into_iter();
            let services = read.filter_map(|(namespace, name)| ServiceName::new(namespace, name).ok());
            // What workloads call each other goes before what an ExternalService claims to be called.
            let found = services.chain(external).find(|service| reader.service(service).is_some())?;
            has_port(reader, found, port).map(Target::Service)
        }
    }
}

fn find_address(reader: &Reader<'_>, address: SocketAddr) -> Option<Target> {
    if let Some(service) = reader.ip(address.ip()) {
        return has_port(reader, service.clone(), address.port()).map(Target::Service);
    }
    let port = reader.address(address)?;
    Some(Target::Endpoint(port.clone(), address))
}

fn has_port(reader: &Reader<'_>, service: ServiceName, port: u16) -> Option<ServicePort> {
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
                routes.add(reader, object);
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
    fn add(&mut self, reader: &Reader<'_>, object: &Arc<Object>) {
        match &object.spec {
            Spec::HttpRoute(spec) => self.http.push(route::http(reader, &object.key, spec)),
            Spec::GrpcRoute(spec) => self.http.push(route::grpc(reader, &object.key, spec)),
            Spec::TlsRoute(spec) => self.tls.push(route::tls(reader, &object.key, spec)),
            Spec::TcpRoute(spec) if self.tcp.is_none() => {
                self.tcp = Some(route::connections(reader, &object.key, spec));
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
