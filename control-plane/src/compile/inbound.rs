//! `Inbound`: what a workload's own proxy has to know to let connections in.

use std::collections::BTreeMap;

use weft_mesh::name::Identity;
use weft_mesh::protocol::Protocol;
use weft_proto::v1;

use super::filter::rate_limit;
use super::{Reader, SYSTEM_NAMESPACE, protocol, proxy_protocol, resource_ref};
use crate::index::selects;
use weft_resource::{
    Action, AdaptiveConcurrency, AuthorizationPolicySpec, AuthorizationRule, DefaultAuthorization, Key,
    MeshPolicySpec, PathMode, PortProxyProtocol, Selector, Spec, TlsMode,
};

/// Builds the `Inbound` of a workload; `None` if there is no such workload.
pub(crate) fn inbound(reader: &Reader<'_>, id: &str) -> Option<v1::Inbound> {
    let (policies, ports) = if let Some(pod) = reader.pod(id) {
        (Policies::of(reader, &pod.identity, &pod.labels), reader.ports_of(pod))
    } else {
        let workload = reader.workload(id)?;
        // Where two services have one port, the proxy goes by what each listener was declared to be; this is for policies.
        let mut ports: BTreeMap<u16, Protocol> = BTreeMap::new();
        for offer in &workload.offers {
            ports.entry(offer.application_port).or_insert(offer.protocol);
        }
        (Policies::of(reader, &workload.identity, &workload.labels), ports)
    };
    let ports = ports.into_iter().map(|(port, spoken)| policies.port(port, spoken)).collect();
    Some(v1::Inbound { ports, default_port: Some(policies.port(0, Protocol::Detect)) })
}

/// The policies for one workload.
struct Policies<'a> {
    /// The nearest first: those that select the workload, then its namespace's, then the mesh's; what can't be read and may
    /// be any of these before them all.
    mesh: Vec<&'a MeshPolicySpec>,
    rate_limit: Option<v1::RateLimit>,
    authorization: Vec<v1::AuthorizationPolicy>,
}

impl<'a> Policies<'a> {
    fn of(reader: &Reader<'a>, identity: &Identity, labels: &BTreeMap<String, String>) -> Self {
        let namespace = identity.namespace();
        let own = reader.workload_policies(namespace);
        // The system namespace's policies are the mesh's: listed once if the workload is there itself.
        let mesh_wide =
            if namespace == SYSTEM_NAMESPACE { &[] } else { reader.workload_policies(SYSTEM_NAMESPACE) };
        let mut found = Vec::new();
        let mut authorization = Vec::new();
        for (mesh_wide, object) in
            own.iter().map(|own| (false, own)).chain(mesh_wide.iter().map(|all| (true, all)))
        {
            match &object.spec {
                Spec::MeshPolicy(spec) if applies(spec.selector.as_ref(), labels) => {
                    let selecting =
                        spec.selector.as_ref().is_some_and(|selector| !selector.match_labels.is_empty());
                    found.push((!spec.unreadable, mesh_wide, !selecting, &object.key, spec));
                }
                // Who may call a workload is for its own namespace to say.
                Spec::AuthorizationPolicy(spec) if !mesh_wide && applies(spec.selector.as_ref(), labels) => {
                    authorization.push(authorization_policy(&object.key, spec));
                }
                _ => {}
            }
        }
        found.sort_by_key(|(readable, mesh_wide, whole, ..)| (*readable, *mesh_wide, *whole));
        let rate_limit = found.iter().find_map(|(.., key, policy)| {
            policy.rate_limit.as_ref().map(|limit| rate_limit(reader, key, limit))
        });
        // The order of evaluation; the sort keeps the order of age among equals.
        authorization.sort_by_key(|policy: &v1::AuthorizationPolicy| {
            policy.action != i32::from(v1::AuthorizationAction::Deny)
        });
        Self { mesh: found.into_iter().map(|(.., spec)| spec).collect(), rate_limit, authorization }
    }

    fn port(&self, port: u16, spoken: Protocol) -> v1::InboundPort {
        let announced = self.proxy_protocol(port);
        let deny = self.mesh.iter().find_map(|policy| policy.default_authorization);
        v1::InboundPort {
            port: port.into(),
            protocol: protocol(spoken).into(),
            tls_mode: self.tls_mode(port).into(),
            authorization: self.authorization.clone(),
            deny_by_default: deny == Some(DefaultAuthorization::Deny),
            rate_limit: self.rate_limit.clone(),
            adaptive_concurrency: self
                .mesh
                .iter()
                .find_map(|policy| policy.adaptive_concurrency.as_ref())
                .map(adaptive_concurrency),
            proxy_protocol_from: announced.map(|on_port| on_port.accept_from.clone()).unwrap_or_default(),
            proxy_protocol_to: proxy_protocol(announced.and_then(|on_port| on_port.send)).into(),
            path_mode: self.path_mode().into(),
            requires: 0,
        }
    }

    fn proxy_protocol(&self, port: u16) -> Option<&'a PortProxyProtocol> {
        self.mesh.iter().find_map(|policy| policy.proxy_protocol.iter().find(|on_port| on_port.port == port))
    }

    fn path_mode(&self) -> v1::PathMode {
        match self.mesh.iter().find_map(|policy| policy.path_mode) {
            None | Some(PathMode::EveryReading) => v1::PathMode::EveryReading,
            Some(PathMode::Normalize) => v1::PathMode::Normalize,
            Some(PathMode::Reject) => v1::PathMode::Reject,
            Some(PathMode::AsSent) => v1::PathMode::AsSent,
        }
    }

    fn tls_mode(&self, port: u16) -> v1::TlsMode {
        let of_policy = |policy: &&MeshPolicySpec| {
            let tls = policy.tls.as_ref()?;
            let of_port = tls.ports.iter().find(|of_port| of_port.port == port && port != 0);
            of_port.map(|of_port| of_port.mode).or(tls.mode)
        };
        match self.mesh.iter().find_map(of_policy) {
            None | Some(TlsMode::Permissive) => v1::TlsMode::Permissive,
            Some(TlsMode::Strict) => v1::TlsMode::Strict,
            Some(TlsMode::Disabled) => v1::TlsMode::Disabled,
        }
    }
}

fn adaptive_concurrency(bounds: &AdaptiveConcurrency) -> v1::AdaptiveConcurrency {
    v1::AdaptiveConcurrency {
        min_requests: bounds.min_requests.unwrap_or_default(),
        max_requests: bounds.max_requests.unwrap_or_default(),
        tolerance_percent: bounds.tolerance_percent.unwrap_or_default(),
    }
}

fn applies(selector: Option<&Selector>, labels: &BTreeMap<String, String>) -> bool {
    selector.is_none_or(|selector| selects(&selector.match_labels, labels))
}

fn authorization_policy(key: &Key, spec: &AuthorizationPolicySpec) -> v1::AuthorizationPolicy {
    let action = match spec.action {
        Action::Allow => v1::AuthorizationAction::Allow,
        Action::Deny => v1::AuthorizationAction::Deny,
        Action::Audit => v1::AuthorizationAction::Audit,
    };
    v1::AuthorizationPolicy {
        resource: Some(resource_ref(key)),
        action: action.into(),
        rules: spec.rules.iter().map(|rule| authorization_rule(rule, spec.action)).collect(),
        invalid: spec.unreadable.clone().unwrap_or_default(),
        requires: 0,
    }
}

fn authorization_rule(rule: &AuthorizationRule, action: Action) -> v1::AuthorizationRule {
    let from = rule.from.clone().unwrap_or_default();
    let to = rule.to.clone().unwrap_or_default();
    let mut wire = v1::AuthorizationRule {
        identities: from.identities,
        namespaces: from.namespaces,
        ip_blocks: from.ip_blocks,
        ports: to.ports.into_iter().map(u32::from).collect(),
        methods: to.methods,
        paths: to.paths,
        invalid: rule.unreadable.clone().unwrap_or_default(),
        requires: 0,
    };
    // Proxies that don't know `invalid` go by the lists: without any the rule matches everything, and nobody is in this
    // namespace.
    if rule.unreadable.is_some() && action != Action::Deny {
        wire.namespaces = vec![String::new()];
    }
    wire
}
