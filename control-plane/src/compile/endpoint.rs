//! `Endpoint`: one address of a service's port.

use weft_mesh::name::ServicePort;
use weft_proto::v1;

use super::service_port;
use crate::index::{Endpoint, Health, Hop};

/// An endpoint as it travels.
pub(crate) fn endpoint(port: &ServicePort, endpoint: &Endpoint) -> v1::Endpoint {
    let hop = match endpoint.hop {
        Hop::Plain => v1::Hop::Plain,
        Hop::Weft => v1::Hop::Weft,
    };
    let health = match endpoint.health {
        Health::Ready => v1::Health::Ready,
        Health::NotReady => v1::Health::NotReady,
        Health::Draining => v1::Health::Draining,
        Health::Unknown => v1::Health::Unknown,
    };
    let locality = &endpoint.locality;
    let known = !locality.region.is_empty() || !locality.zone.is_empty();
    v1::Endpoint {
        service: Some(service_port(port)),
        address: endpoint.address.ip().to_string(),
        port: endpoint.address.port().into(),
        identities: endpoint.identity.iter().map(|identity| identity.as_str().to_owned()).collect(),
        hop: hop.into(),
        weight: endpoint.weight,
        health: health.into(),
        locality: known
            .then(|| v1::Locality { region: locality.region.clone(), zone: locality.zone.clone() }),
        workload: endpoint.workload.to_string(),
        version: endpoint.version.to_string(),
    }
}
