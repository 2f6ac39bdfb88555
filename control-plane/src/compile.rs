//! From what there is to the resources that proxies get.
//!
//! Everything here is a function of the index. Each reads it through a [`Reader`], which notes the dependencies that the
//! result rests on: a change of none of them can't change the result.

mod backend;
mod destination;
mod endpoint;
mod external;
mod filter;
mod inbound;
mod name;
mod reader;
mod revoked;
mod route;

use std::time::Duration;

pub(crate) use backend::{Referrer, Unresolved, resolve};
pub(crate) use destination::{Found, Target, destination, find, has_consumer_routes, in_force};
pub(crate) use endpoint::endpoint;
pub(crate) use external::conflicts;
pub(crate) use filter::check_extension;
pub(crate) use inbound::inbound;

pub(crate) use reader::Reader;
pub(crate) use revoked::revocations;

use weft_mesh::name::{ServiceName, ServicePort};
use weft_mesh::protocol::Protocol;
use weft_proto::v1;

use weft_resource::{GatewayDuration, Key, ProxyProtocolVersion};

/// Namespace of the control plane, whose MeshPolicies are for the whole mesh.
pub(crate) const SYSTEM_NAMESPACE: &str = "weft-system";

fn service_port(port: &ServicePort) -> v1::ServicePort {
    named_port(&port.service, port.port)
}

fn named_port(service: &ServiceName, port: u16) -> v1::ServicePort {
    v1::ServicePort {
        namespace: service.namespace().to_owned(),
        name: service.name().to_owned(),
        port: port.into(),
    }
}

fn resource_ref(key: &Key) -> v1::ResourceRef {
    v1::ResourceRef {
        kind: key.kind.as_str().to_owned(),
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
    }
}

fn proxy_protocol(version: Option<ProxyProtocolVersion>) -> v1::ProxyProtocol {
    match version {
        None => v1::ProxyProtocol::None,
        Some(ProxyProtocolVersion::V1) => v1::ProxyProtocol::V1,
        Some(ProxyProtocolVersion::V2) => v1::ProxyProtocol::V2,
    }
}

/// The contracts' name of a protocol.
pub(crate) fn protocol(protocol: Protocol) -> v1::Protocol {
    match protocol {
        Protocol::Detect => v1::Protocol::Detect,
        Protocol::Http1 => v1::Protocol::Http1,
        Protocol::Http2 => v1::Protocol::Http2,
        Protocol::Grpc => v1::Protocol::Grpc,
        Protocol::Tcp => v1::Protocol::Tcp,
        Protocol::Tls => v1::Protocol::Tls,
    }
}

/// A duration of a resource; zero means none (GEP-1742).
fn duration(duration: Option<GatewayDuration>) -> Option<prost_types::Duration> {
    duration.filter(|duration| !duration.0.is_zero()).map(|duration| wire_duration(duration.0))
}

fn wire_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
