//! What is in force, for people and programs. Holds no secret.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use weft_identity::{Fingerprint, Revoked, TrustBundle, Validity};
use weft_mesh::authorization::{Action, Policy};
use weft_mesh::balance::Endpoint;
use weft_mesh::filter::{Filters, GlobalLimit, HeaderChanges, LimitService};
use weft_mesh::name::Identity;
use weft_mesh::path::PathMode;
use weft_mesh::route::{HttpRule, ResourceRef, RouteTable, Target};
use weft_mesh::split::Split;

use crate::config::ProxyConfig;
use crate::observe::explain::{asks, health, hop};
use crate::runtime::shared::Shared;
use crate::runtime::status::Status;
use crate::runtime::wall_clock::text as time_text;
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
        "revoked": snapshot.tls.as_ref().map(|tls| revoked(tls.generation().bundle().revoked())),
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

/// What the workload believes no longer, though its certificates may not have expired.
fn revoked(revoked: &Revoked) -> Value {
    let identities = revoked.identities().map(
        |(identity, before)| json!({ "identity": identity.as_str(), "issued_before": before.map(time_text) }),
    );
    json!({ "tokens": revoked.tokens().collect::<Vec<_>>(), "identities": identities.collect::<Vec<_>>() })
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
    let rules = destination.routes.iter().flat_map(RouteTable::rules);
    json!({
        "name": name,
        "in_the_mesh": true,
        "service": destination.service.to_string(),
        "protocol": format!("{:?}", destination.protocol),
        "backend": backend(&destination.backend),
        "rules": rules.map(|(route, rule)| self::rule(route, rule)).collect::<Vec<_>>(),
        "tcp_backends": shares(&destination.tcp),
        "tls_routes": destination
            .tls
            .iter()
            .map(|route| json!({ "route": &*route.name, "backends": shares(&route.backends) }))
            .collect::<Vec<_>>(),
    })
}

fn rule(route: &ResourceRef, rule: &HttpRule<Arc<Backend>>) -> Value {
    let backends = rule.backends.iter().map(|(weight, backend)| {
        let mut described = share(weight, &backend.target);
        described["filters"] = filters(&backend.filters);
        described
    });
    let milliseconds = |time: Option<Duration>| time.map(|time| time.as_millis() as u64);
    json!({
        "route": &*route.name,
        "kind": &*route.kind,
        "namespace": &*route.namespace,
        "rule": rule.name.as_deref(),
        "matches": rule.matches.iter().map(asks).collect::<Vec<_>>(),
        "filters": filters(&rule.filters),
        "backends": backends.collect::<Vec<_>>(),
        "split_key": debug(rule.sticky.as_ref()),
        "session_persistence": debug(rule.session_persistence.as_ref()),
        "retry": debug(rule.retry.as_ref()),
        "request_timeout_ms": milliseconds(rule.timeouts.request),
        "backend_request_timeout_ms": milliseconds(rule.timeouts.backend_request),
        "stream_idle_timeout_ms": milliseconds(rule.timeouts.idle),
    })
}

/// What has no other form yet, as the code has it.
fn debug<T: fmt::Debug>(value: Option<&T>) -> Option<String> {
    value.map(|value| format!("{value:?}"))
}

fn shares(split: &Split<Target<Arc<Backend>>>) -> Vec<Value> {
    split.iter().map(|(weight, target)| share(weight, target)).collect()
}

fn share(weight: u32, target: &Target<Arc<Backend>>) -> Value {
    match target {
        Target::Valid(target) => json!({ "weight": weight, "service": target.service.to_string() }),
        Target::Invalid(problem) => json!({ "weight": weight, "invalid": &**problem }),
    }
}

/// What filters are there, each by its name.
fn filters(filters: &Filters<Arc<Backend>>) -> Value {
    let text = |changes: &HeaderChanges| (!changes.is_empty()).then(|| format!("{changes:?}"));
    let mirrors = filters.mirrors.iter().map(|mirror| {
        let service = mirror.backend.service.to_string();
        json!({ "service": service, "percent": mirror.fraction.as_percent() })
    });
    let mirrors: Vec<Value> = mirrors.collect();
    let named = [
        ("unresolved", filters.unresolved.clone()),
        ("cors", debug(filters.cors.as_ref())),
        ("rate_limit", filters.rate_limit.as_ref().map(ToString::to_string)),
        ("global_limit", filters.global_limit.as_ref().map(global_limit)),
        ("fault", debug(filters.fault.as_ref())),
        ("redirect", debug(filters.redirect.as_ref())),
        ("request_headers", text(&filters.request_headers)),
        ("rewrite", debug(filters.rewrite.as_ref())),
        ("response_headers", text(&filters.response_headers)),
    ];
    let given = named.into_iter().filter_map(|(name, said)| Some((name.to_owned(), said?.into())));
    let mirrors = (!mirrors.is_empty()).then(|| ("mirrors".to_owned(), mirrors.into()));
    Value::Object(given.chain(mirrors).collect())
}

fn global_limit(limit: &GlobalLimit<Arc<Backend>>) -> String {
    let service = match &limit.service {
        LimitService::Backend(backend) => backend.service.to_string(),
        LimitService::Address(address) => address.to_string(),
        LimitService::Invalid(problem) => format!("invalid: {problem}"),
    };
    let without = if limit.fail_closed { "refused" } else { "let through" };
    format!("asks {service}, {:?} at most; {without} without an answer", limit.timeout)
}

fn backend(backend: &Backend) -> Value {
    let policy = &backend.policy;
    let limit = |limit: u32| (limit > 0).then_some(limit);
    json!({
        "service": backend.service.to_string(),
        "protocol": format!("{:?}", backend.protocol),
        "balancer": format!("{:?}", policy.balance.algorithm),
        "hash_key": debug(policy.hash_key.as_ref()),
        "slow_start_ms": policy.balance.slow_start.as_millis() as u64,
        "outlier_detection": format!("{:?}", policy.balance.outlier),
        "max_connections": limit(policy.max_connections),
        "max_pending_requests": limit(policy.max_pending),
        "max_requests": limit(policy.max_requests),
        "retry_budget": format!("{:?}", policy.budget),
        "retry": debug(policy.retry.as_ref()),
        "hedging": debug(policy.hedging.as_ref()),
        "connect_timeout_ms": policy.connect_timeout.as_millis() as u64,
        "idle_timeout_ms": policy.idle_timeout.as_millis() as u64,
        "stream_idle_timeout_ms": policy.stream_idle.map(|time| time.as_millis() as u64),
        "max_connection_age_ms": policy.max_connection_age.map(|age| age.as_millis() as u64),
        "proxy_protocol": debug(policy.announce.as_ref()),
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
        "unreadable": inbound.unreadable,
    })
}

fn port(number: Option<u16>, port: &InboundPort) -> Value {
    let tls = match port.tls_mode {
        TlsMode::Permissive => "permissive",
        TlsMode::Strict => "strict",
        TlsMode::Disabled => "disabled",
    };
    let paths = match port.authorization.path_mode() {
        PathMode::EveryReading => "every_reading",
        PathMode::Normalize => "normalize",
        PathMode::Reject => "reject",
        PathMode::AsSent => "as_sent",
    };
    json!({
        "port": number,
        "protocol": format!("{:?}", port.protocol),
        "tls": tls,
        "path_mode": paths,
        "policies": port.authorization.policies().map(policy).collect::<Vec<_>>(),
        "default": if port.authorization.denies_by_default() { "deny" } else { "allow" },
        "rate_limit": port.rate_limit.as_ref().map(ToString::to_string),
        "global_limit": port.global_limit.as_ref().map(global_limit),
        "adaptive_concurrency": debug(port.concurrency.as_ref()),
        "proxy_protocol_from": format!("{:?}", port.announced_by),
        "proxy_protocol": debug(port.announce.as_ref()),
    })
}

fn policy(policy: &Policy) -> Value {
    let action = match policy.action() {
        Action::Allow => "allow",
        Action::Deny => "deny",
        Action::Audit => "audit",
    };
    let (rules, problem) = match policy.rules() {
        Ok(rules) => (rules.iter().map(ToString::to_string).collect::<Vec<_>>(), None),
        Err(problem) => (Vec::new(), Some(problem)),
    };
    json!({ "policy": policy.id().to_string(), "action": action, "rules": rules, "not_understood": problem })
}
