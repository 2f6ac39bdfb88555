//! What a workload lets in.

use std::sync::Arc;

use weft_mesh::Error;
use weft_mesh::authorization::{Action, Authorizer, Policy, Rule, RuleSpec};
use weft_mesh::concurrency::ConcurrencyPolicy;
use weft_mesh::name::TrustDomain;
use weft_mesh::path::PathMode;
use weft_mesh::proxy_protocol::Senders;
use weft_mesh::route::ResourceRef;
use weft_proto::v1;

use super::filter::{global_limit, rate_limit_for_each};
use super::kept::{Kept, Permit};
use super::{or, protocol, proxy_protocol, resource};
use crate::snapshot::{Inbound, InboundPort, NameMap, TlsMode};

/// What the workload's own proxy has to know, with limits of which nothing was used; identities without a trust domain are of
/// `trust_domain`. A port that can't be read lets nobody in.
///
/// # Errors
/// It can't be told of which ports something is said.
pub fn inbound(wire: &v1::Inbound, trust_domain: &TrustDomain) -> Result<Inbound, Error> {
    inbound_keeping(wire, trust_domain, &Kept::default())
}

/// The same, with what is kept of it.
pub fn inbound_keeping(
    wire: &v1::Inbound,
    trust_domain: &TrustDomain,
    kept: &Kept,
) -> Result<Inbound, Error> {
    let workload = kept.at("inbound");
    let mut unreadable = None;
    let mut read = |wire: &v1::InboundPort, place: String, kept: &Permit<'_>| {
        port(wire, trust_domain, kept).unwrap_or_else(|error| {
            let problem = error.within(place).to_string();
            let closed = InboundPort::closed(&problem);
            unreadable.get_or_insert(problem);
            closed
        })
    };
    let mut ports = NameMap::default();
    for (index, wire) in wire.ports.iter().enumerate() {
        let place = || format!("ports[{index}]");
        let number = super::port(wire.port).map_err(|error| error.within(place()))?;
        ports.insert(number, Arc::new(read(wire, place(), &workload.part(number))));
    }
    let default_port = match &wire.default_port {
        Some(wire) => read(wire, "default_port".to_owned(), &workload.part("default")),
        None => InboundPort::default(),
    };
    Ok(Inbound { ports, default_port: Arc::new(default_port), unreadable })
}

/// Whether this proxy knows a revision of the contract.
fn known(requires: u32) -> Result<(), Error> {
    if requires <= weft_proto::AUTHORIZATION_REVISION {
        return Ok(());
    }
    let advice = format!(
        "this proxy knows revision {} of who is let in; give the workload a newer one",
        weft_proto::AUTHORIZATION_REVISION
    );
    Err(Error::invalid("requires", requires.to_string(), advice))
}

fn port(
    wire: &v1::InboundPort,
    trust_domain: &TrustDomain,
    place: &Permit<'_>,
) -> Result<InboundPort, Error> {
    known(wire.requires)?;
    let policies = wire.authorization.iter().map(|wire| policy(wire, trust_domain));
    let paths = match v1::PathMode::try_from(wire.path_mode) {
        Ok(v1::PathMode::Normalize) => PathMode::Normalize,
        Ok(v1::PathMode::Reject) => PathMode::Reject,
        Ok(v1::PathMode::AsSent) => PathMode::AsSent,
        // What is not known is taken as the one that lets in least and changes nothing.
        Ok(v1::PathMode::EveryReading) | Err(_) => PathMode::EveryReading,
    };
    Ok(InboundPort {
        protocol: protocol(wire.protocol()),
        tls_mode: match v1::TlsMode::try_from(wire.tls_mode) {
            Ok(v1::TlsMode::Permissive) => TlsMode::Permissive,
            Ok(v1::TlsMode::Disabled) => TlsMode::Disabled,
            Ok(v1::TlsMode::Strict) | Err(_) => TlsMode::Strict,
        },
        authorization: Authorizer::new(policies, wire.deny_by_default).reading_paths(paths),
        rate_limit: wire
            .rate_limit
            .as_ref()
            .map(|wire| rate_limit_for_each(wire, place))
            .transpose()?
            .flatten(),
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

/// A policy or rule that cannot be compiled is one that was not understood, rather than being left out.
fn policy(wire: &v1::AuthorizationPolicy, trust_domain: &TrustDomain) -> Policy {
    let id = resource(wire.resource.as_ref())
        .unwrap_or_else(|_| ResourceRef::new("AuthorizationPolicy", "", "without a name"));
    let action = match v1::AuthorizationAction::try_from(wire.action) {
        Ok(v1::AuthorizationAction::Allow) => Action::Allow,
        Ok(v1::AuthorizationAction::Deny) => Action::Deny,
        Ok(v1::AuthorizationAction::Audit) => Action::Audit,
        Err(_) => {
            let problem = format!("there is no action {} that this proxy knows", wire.action);
            return Policy::not_understood(id, Action::Deny, &problem);
        }
    };
    if !wire.invalid.is_empty() {
        return Policy::not_understood(id, action, &wire.invalid);
    }
    if let Err(error) = known(wire.requires) {
        return Policy::not_understood(id, action, &error.to_string());
    }
    let rules = wire.rules.iter().map(|wire| {
        rule(wire, trust_domain).unwrap_or_else(|problem| Rule::not_understood(&problem, trust_domain))
    });
    Policy::new(id, action, rules)
}

fn rule(wire: &v1::AuthorizationRule, trust_domain: &TrustDomain) -> Result<Rule, String> {
    if !wire.invalid.is_empty() {
        return Err(wire.invalid.clone());
    }
    let read = || {
        known(wire.requires)?;
        let spec = RuleSpec {
            identities: wire.identities.clone(),
            namespaces: wire.namespaces.clone(),
            ip_blocks: wire.ip_blocks.clone(),
            ports: wire.ports.iter().map(|port| super::port(*port)).collect::<Result<_, _>>()?,
            methods: wire.methods.clone(),
            paths: wire.paths.clone(),
        };
        Rule::compile(&spec, trust_domain)
    };
    read().map_err(|error: Error| error.to_string())
}
