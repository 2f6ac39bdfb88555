//! What is in force, for people and programs. Holds no secret.

use std::net::SocketAddr;

use serde_json::{Value, json};
use weft_identity::{Fingerprint, TrustBundle, Validity};
use weft_mesh::balance::Endpoint;
use weft_mesh::name::Identity;
use weft_mesh::route::{RouteTable, Target};

use crate::config::ProxyConfig;
use crate::control::{Status, time_text};
use crate::explain::{health, hop};
use crate::shared::Shared;
use crate::snapshot::{Backend, Destination, Inbound, InboundPort, TlsMode};

/// The snapshot in force, with names in order.
pub(super) fn describe(shared: &Shared, status: &Status, workload: &str, control_plane: &str) -> Value {
    let snapshot = shared.snapshot.load();
    let mut destinations: Vec<_> = snapshot.destinations.iter().collect();
    destinations.sort_by_key(|(name, _)| (*name).clone());
    let mut services: Vec<_> = snapshot.endpoints.iter().collect();
    services.sort_by_key(|(service, _)| service.to_string());
    json!({
        "workload": workload,
        "version": env!("CARGO_PKG_VERSION"),
        "control_plane": { "address": control_plane, "connected": status.is_connected() },
        "waiting_for": status.waiting_for(),
        "troubles": status.troubles(),
        "snapshot": snapshot.number,
        "certificate": snapshot.tls.as_ref().map(|tls| json!({
            "identity": tls.identity().as_str(),
            "serial": tls.serial,
            "not_after": time_text(tls.not_after()),
        })),
        "trust": snapshot.tls.as_ref().map(|tls| trust(tls.generation().bundle())),
        "destinations": destinations
            .into_iter()
            .map(|(name, known)| match known {
                None => json!({ "name": &**name, "in_the_mesh": false }),
                Some(known) => destination(name, known),
            })
            .collect::<Vec<_>>(),
        "endpoints": services
            .into_iter()
            .map(|(service, set)| json!({
                "service": service.to_string(),
                "endpoints": set
                    .endpoints()
                    .iter()
                    .map(|it| endpoint(it, shared.ejected.by(service, &it.id)))
                    .collect::<Vec<_>>(),
            }))
            .collect::<Vec<_>>(),
        "inbound": inbound(&snapshot.inbound),
    })
}

/// Where the proxy listens, as it was told.
pub(super) fn listeners(config: &ProxyConfig) -> Value {
    let listener =
        |address: SocketAddr, takes: &str| json!({ "address": address.to_string(), "takes": takes });
    let some = |address: Option<SocketAddr>, takes: &str| address.map(|address| listener(address, takes));
    let upstreams =
        config.upstreams.iter().map(|it| listener(it.listen, &format!("what is for {}", it.destination)));
    let offers = config.services.iter().map(|it| {
        listener(it.listen, &format!("what is for port {} of {}", it.port, it.services.join(", ")))
    });
    let fixed = [
        some(config.transparent_outbound, "what leaves the workload, redirected"),
        some(config.transparent_inbound, "what arrives at the workload, redirected"),
        some(config.outbound, "what leaves the workload, as an HTTP proxy"),
        some(config.monitor, "probes, readiness and metrics"),
        Some(listener(config.admin, "this, the admin server")),
    ];
    fixed.into_iter().flatten().chain(upstreams).chain(offers).collect()
}

/// The roots that the workload believes.
fn trust(bundle: &TrustBundle) -> Value {
    let roots = bundle.trust_domains().flat_map(|trust_domain| {
        bundle.roots(trust_domain).iter().map(move |root| {
            let until = Validity::of(root).ok().map(|it| time_text(it.not_after));
            json!({
                "trust_domain": trust_domain.as_str(),
                "fingerprint": Fingerprint::of(root).to_string(),
                "not_after": until,
            })
        })
    });
    roots.collect()
}

fn destination(name: &str, destination: &Destination) -> Value {
    let rules = destination.routes.iter().flat_map(RouteTable::rules).map(|(route, rule)| {
        let backends = rule.backends.iter().map(|(weight, backend)| match &backend.target {
            Target::Valid(target) => json!({ "weight": weight, "service": target.service.to_string() }),
            Target::Invalid(problem) => json!({ "weight": weight, "invalid": &**problem }),
        });
        json!({
            "route": &*route.name,
            "rule": rule.name.as_deref(),
            "backends": backends.collect::<Vec<_>>(),
            "request_timeout_ms": rule.timeouts.request.map(|time| time.as_millis() as u64),
            "backend_request_timeout_ms": rule.timeouts.backend_request.map(|time| time.as_millis() as u64),
        })
    });
    json!({
        "name": name,
        "in_the_mesh": true,
        "service": destination.service.to_string(),
        "protocol": format!("{:?}", destination.protocol),
        "backend": backend(&destination.backend),
        "rules": rules.collect::<Vec<_>>(),
    })
}

fn backend(backend: &Backend) -> Value {
    let policy = &backend.policy;
    json!({
        "service": backend.service.to_string(),
        "balancer": format!("{:?}", policy.balance.algorithm),
        "max_connections": policy.max_connections,
        "max_pending_requests": policy.max_pending,
        "max_requests": policy.max_requests,
        "connect_timeout_ms": policy.connect_timeout.as_millis() as u64,
    })
}

fn endpoint(endpoint: &Endpoint, ejected_by: usize) -> Value {
    json!({
        "id": &*endpoint.id,
        "workload": &*endpoint.workload,
        "address": endpoint.address.to_string(),
        "health": health(endpoint.health),
        "hop": hop(endpoint.hop),
        "weight": endpoint.weight,
        "ejected_by": ejected_by,
        "version": &*endpoint.version,
        "identities": endpoint.identities.iter().map(Identity::as_str).collect::<Vec<_>>(),
    })
}

fn inbound(inbound: &Inbound) -> Value {
    let mut ports: Vec<_> = inbound.ports.iter().collect();
    ports.sort_by_key(|(port, _)| **port);
    json!({
        "ports": ports.into_iter().map(|(number, it)| port(Some(*number), it)).collect::<Vec<_>>(),
        "other_ports": port(None, &inbound.default_port),
    })
}

fn port(number: Option<u16>, port: &InboundPort) -> Value {
    let tls = match port.tls_mode {
        TlsMode::Permissive => "permissive",
        TlsMode::Strict => "strict",
        TlsMode::Disabled => "disabled",
    };
    json!({ "port": number, "protocol": format!("{:?}", port.protocol), "tls": tls })
}
