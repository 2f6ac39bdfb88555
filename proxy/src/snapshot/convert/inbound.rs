//! What a workload lets in.

use std::sync::Arc;

use weft_mesh::Error;
use weft_mesh::authorization::{Action, Authorizer, Policy, Rule, RuleSpec};
use weft_mesh::concurrency::ConcurrencyPolicy;
use weft_mesh::name::TrustDomain;
use weft_mesh::proxy_protocol::Senders;
use weft_proto::v1;

use super::filter::{global_limit, rate_limit_for_each};
use super::{or, protocol, proxy_protocol, resource};
use crate::snapshot::{Inbound, InboundPort, NameMap, TlsMode};

/// What the workload's own proxy has to know; identities without a trust domain are of `trust_domain`.
pub fn inbound(wire: &v1::Inbound, trust_domain: &TrustDomain) -> Result<Inbound, Error> {
    let mut ports = NameMap::default();
    for (index, wire) in wire.ports.iter().enumerate() {
        let place = |error: Error| error.within(format!("ports[{index}]"));
        let number = super::port(wire.port).map_err(place)?;
        ports.insert(number, Arc::new(port(wire, trust_domain).map_err(place)?));
    }
    let default_port = match &wire.default_port {
        Some(wire) => port(wire, trust_domain).map_err(|error| error.within("default_port"))?,
        None => InboundPort::default(),
    };
    Ok(Inbound { ports, default_port: Arc::new(default_port) })
}

fn port(wire: &v1::InboundPort, trust_domain: &TrustDomain) -> Result<InboundPort, Error> {
    let policies = wire
        .authorization
        .iter()
        .enumerate()
        .map(|(index, wire)| {
            policy(wire, trust_domain).map_err(|error| error.within(format!("authorization[{index}]")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(InboundPort {
        protocol: protocol(wire.protocol()),
        tls_mode: match wire.tls_mode() {
            v1::TlsMode::Permissive => TlsMode::Permissive,
            v1::TlsMode::Strict => TlsMode::Strict,
            v1::TlsMode::Disabled => TlsMode::Disabled,
        },
        authorization: Authorizer::new(policies, wire.deny_by_default),
        rate_limit: wire.rate_limit.as_ref().map(rate_limit_for_each).transpose()?.flatten(),
        global_limit: wire.rate_limit.as_ref().map(global_limit).transpose()?.flatten(),
        concurrency: wire.adaptive_concurrency.as_ref().map(concurrency).transpose()?,
        announced_by: Senders::new(&wire.proxy_protocol_from)
            .map_err(|error| error.within("proxy_protocol_from"))?,
        announce: proxy_protocol(wire.proxy_protocol_to()),
    })
}

fn concurrency(wire: &v1::AdaptiveConcurrency) -> Result<ConcurrencyPolicy, Error> {
    let defaults = ConcurrencyPolicy::default();
    let (least, most) = (or(wire.min_requests, defaults.least), or(wire.max_requests, defaults.most));
    if least > most {
        let advice = "write a minimum that is not above the maximum";
        return Err(Error::invalid("adaptive_concurrency", format!("{least} to {most}"), advice));
    }
    let tolerance = match wire.tolerance_percent {
        0 => defaults.tolerance,
        percent @ 1..100 => {
            return Err(Error::invalid("tolerance_percent", percent.to_string(), "write at least 100"));
        }
        percent => f64::from(percent) / 100.0,
    };
    Ok(ConcurrencyPolicy { least, most, first: defaults.first.clamp(least, most), tolerance })
}

/// A policy that cannot be compiled denies, rather than being left out.
fn policy(wire: &v1::AuthorizationPolicy, trust_domain: &TrustDomain) -> Result<Policy, Error> {
    let id = resource(wire.resource.as_ref())?;
    let action = match wire.action() {
        v1::AuthorizationAction::Allow => Action::Allow,
        v1::AuthorizationAction::Deny => Action::Deny,
        v1::AuthorizationAction::Audit => Action::Audit,
    };
    if !wire.invalid.is_empty() {
        return Ok(Policy::not_understood(id, action, &wire.invalid));
    }
    let rules = wire.rules.iter().map(|wire| rule(wire, trust_domain)).collect::<Result<Vec<_>, _>>();
    Ok(match rules {
        Ok(rules) => Policy::new(id, action, rules),
        Err(error) => Policy::not_understood(id, action, &error.to_string()),
    })
}

fn rule(wire: &v1::AuthorizationRule, trust_domain: &TrustDomain) -> Result<Rule, Error> {
    let spec = RuleSpec {
        identities: wire.identities.clone(),
        namespaces: wire.namespaces.clone(),
        ip_blocks: wire.ip_blocks.clone(),
        ports: wire.ports.iter().map(|port| super::port(*port)).collect::<Result<_, _>>()?,
        methods: wire.methods.clone(),
        paths: wire.paths.clone(),
    };
    Rule::compile(&spec, trust_domain)
}
