//! Checks of Weft's policies.

use ipnet::IpNet;
use weft_mesh::authorization::{Rule, RuleSpec};
use weft_mesh::name::{Identity, TrustDomain};

use super::{method, selector, unique};
use crate::decode::is_label;
use crate::problem::{At, Problem, Problems, Segment, Severity};
use crate::{
    Action, AdaptiveConcurrency, Algorithm, AuthorizationFrom, AuthorizationPolicySpec, AuthorizationRule,
    AuthorizationTo, BackendPolicySpec, Balancing, HashKey, MeshPolicySpec,
};

pub(super) fn backend(spec: &BackendPolicySpec, at: &At<'_>, problems: &mut Problems) {
    let targets = at.field("targetRefs");
    for (index, target) in spec.target_refs.iter().enumerate() {
        let expected = match target.kind {
            crate::TargetKind::Service => "",
            crate::TargetKind::ExternalService => crate::kind::OWN_GROUP,
        };
        if target.group != expected && !(expected.is_empty() && target.group == "core") {
            problems.error(
                &targets.item(index).field("group"),
                format!("is {:?}; for a {:?} write {expected:?}", target.group, target.kind),
            );
        }
    }
    let names = spec.target_refs.iter().map(|target| &target.name).enumerate();
    unique(names, &targets, |name| format!("{name:?}"), problems);
    if let Some(settings) = &spec.balancing {
        balancing(settings, &at.field("balancing"), problems);
    }
    if let Some(detection) = &spec.outlier_detection
        && let (Some(base), Some(max)) = (detection.base_ejection, detection.max_ejection)
        && base > max
    {
        problems.error(
            &at.field("outlierDetection").field("maxEjection"),
            format!("is {max}, less than the first ejection of {base}; make it longer"),
        );
    }
    if let Some(key) = &spec.split_key {
        hash_key(key, &at.field("splitKey"), problems);
    }
    if let Some(hedging) = &spec.hedging
        && hedging.delay.0.is_zero()
    {
        problems.error(
            &at.field("hedging").field("delay"),
            "is 0s, so that every request would be sent twice; write a latency that few answers exceed",
        );
    }
}

fn balancing(settings: &Balancing, at: &At<'_>, problems: &mut Problems) {
    let hashing = matches!(settings.algorithm, Algorithm::RingHash | Algorithm::Maglev);
    let Some(key) = &settings.hash_key else {
        if hashing {
            problems
                .error(at, format!("the field \"hashKey\" is missing; {:?} needs it", settings.algorithm));
        }
        return;
    };
    let at_key = at.field("hashKey");
    if !hashing {
        problems.warn(
            &at_key,
            format!("has no effect with {:?}; RingHash and Maglev use it", settings.algorithm),
        );
    }
    hash_key(key, &at_key, problems);
}

/// Where a key is taken from.
pub(super) fn hash_key(key: &HashKey, at_key: &At<'_>, problems: &mut Problems) {
    let given = [key.header.is_some(), key.cookie.is_some(), key.source_address == Some(true)]
        .into_iter()
        .filter(|given| *given);
    if given.count() != 1 {
        problems.error(at_key, "write exactly one of header, cookie and sourceAddress: true");
    }
}

pub(super) fn authorization(spec: &AuthorizationPolicySpec, at: &At<'_>, problems: &mut Problems) {
    selector(spec.selector.as_ref(), at, problems);
    if spec.rules.is_empty() {
        let effect = match spec.action {
            Action::Allow => "nobody is let in by it, and so nobody at all unless another policy does",
            Action::Deny | Action::Audit => "it has no effect",
        };
        problems
            .warn(at, format!("has no rules: {effect}; for everybody write a rule without conditions, {{}}"));
    }
    let rules = at.field("rules");
    for (index, rule) in spec.rules.iter().enumerate() {
        let at = rules.item(index);
        if let Some(from) = &rule.from {
            caller(from, &at.field("from"), problems);
        }
        if let Some(to) = &rule.to {
            called(to, &at.field("to"), problems);
        }
        // The proxies' own reading has the last word; what is told already is told with its place.
        let told = |problem: &Problem| {
            let place = [Segment::Field("rules".to_owned()), Segment::Item(index)];
            problem.severity == Severity::Error && problem.path.0.iter().skip(1).take(2).eq(&place)
        };
        if let Err(error) = compiled(rule)
            && !problems.0.iter().any(told)
        {
            problems.error(&at, error.to_string());
        }
    }
}

/// A rule as proxies compile it; the trust domain makes no difference to what is taken.
fn compiled(rule: &AuthorizationRule) -> Result<Rule, weft_mesh::Error> {
    let from = rule.from.clone().unwrap_or_default();
    let to = rule.to.clone().unwrap_or_default();
    let spec = RuleSpec {
        identities: from.identities,
        namespaces: from.namespaces,
        ip_blocks: from.ip_blocks,
        ports: to.ports,
        methods: to.methods,
        paths: to.paths,
    };
    Rule::compile(&spec, &TrustDomain::new("cluster.local")?)
}

fn caller(from: &AuthorizationFrom, at: &At<'_>, problems: &mut Problems) {
    let identities = at.field("identities");
    for (index, identity) in from.identities.iter().enumerate() {
        let short = identity.split_once('/').is_some_and(|(namespace, account)| {
            is_label(namespace) && !account.is_empty() && !account.contains('/')
        });
        if !short && identity.parse::<Identity>().is_err() {
            problems.error(
                &identities.item(index),
                format!(
                    "is {identity:?}; write <namespace>/<service account> or \
                     spiffe://<trust domain>/ns/<namespace>/sa/<service account>"
                ),
            );
        }
    }
    ip_blocks(&from.ip_blocks, &at.field("ipBlocks"), problems);
}

fn called(to: &AuthorizationTo, at: &At<'_>, problems: &mut Problems) {
    for (index, name) in to.methods.iter().enumerate() {
        method(name, &at.field("methods").item(index), problems);
    }
}

pub(super) fn mesh(spec: &MeshPolicySpec, at: &At<'_>, problems: &mut Problems) {
    if let Some(limit) = &spec.rate_limit {
        super::filter::rate_limit(limit, &at.field("rateLimit"), problems);
    }
    if let Some(AdaptiveConcurrency { min_requests: Some(least), max_requests: Some(most), .. }) =
        spec.adaptive_concurrency
        && least > most
    {
        let problem =
            format!("minRequests is {least} and maxRequests {most}; write a minimum that is not above");
        problems.error(&at.field("adaptiveConcurrency"), problem);
    }
    selector(spec.selector.as_ref(), at, problems);
    if let Some(tls) = &spec.tls {
        let at = at.field("tls");
        let ports = tls.ports.iter().map(|port| port.port).enumerate();
        unique(ports, &at.field("ports"), |port| format!("port {port}"), problems);
    }
    let at = at.field("proxyProtocol");
    let ports = spec.proxy_protocol.iter().map(|port| port.port).enumerate();
    unique(ports, &at, |port| format!("port {port}"), problems);
    for (index, port) in spec.proxy_protocol.iter().enumerate() {
        let at = at.item(index);
        ip_blocks(&port.accept_from, &at.field("acceptFrom"), problems);
        if port.accept_from.is_empty() && port.send.is_none() {
            problems
                .error(&at, format!("says nothing of port {}; write acceptFrom, send or both", port.port));
        }
    }
}

fn ip_blocks(blocks: &[String], at: &At<'_>, problems: &mut Problems) {
    for (index, block) in blocks.iter().enumerate() {
        if block.parse::<IpNet>().is_err() && block.parse::<std::net::IpAddr>().is_err() {
            problems.error(&at.item(index), format!("is {block:?}; write a block such as 10.0.0.0/8"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{Age, decode};

    #[test]
    fn what_is_said_of_the_proxy_protocol_can_be_done() {
        let policy = json!({
            "apiVersion": "mesh.weft.dev/v1alpha1",
            "kind": "MeshPolicy",
            "metadata": {"name": "edge"},
            "spec": {"proxyProtocol": [
                {"port": 80, "acceptFrom": ["10.0.0.0/8", "2001:db8::1", "balancer"]},
                {"port": 81},
                {"port": 80, "send": "V2"},
            ]},
        });
        let problems = decode(&policy, Age::Written("edge.yaml".into(), 0)).problems;
        let said: Vec<_> =
            problems.iter().map(|problem| format!("{}: {}", problem.path, problem.reason)).collect();
        for expected in [
            "spec.proxyProtocol[0].acceptFrom[2]: is \"balancer\"; write a block such as 10.0.0.0/8",
            "spec.proxyProtocol[1]: says nothing of port 81; write acceptFrom, send or both",
            "port 80",
        ] {
            assert!(said.iter().any(|said| said.contains(expected)), "{expected}: {said:?}");
        }
        assert_eq!(said.len(), 3, "{said:?}");
    }
}
