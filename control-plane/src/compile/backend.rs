//! Services as places to send requests to, and references to them.

use weft_mesh::name::{ServiceName, ServicePort};
use weft_mesh::protocol::Protocol;
use weft_proto::v1;
use weft_proto::v1::hash_key;

use super::{Reader, duration, protocol, proxy_protocol, service_port, wire_duration};
use weft_resource::{
    Algorithm, BackendPolicySpec, BackendReference, BackendRetry, GrantFrom, HashKey, Hedging, Key, Kind,
    OutlierDetection, RetryBudget, Spec,
};

/// Attempts after the first where a resource turns retries on and gives no number.
const DEFAULT_RETRIES: u32 = 1;

/// A port of a service with the policy that is in force for it.
pub(super) fn service_backend(reader: &Reader<'_>, port: &ServicePort, spoken: Protocol) -> v1::Backend {
    let policy = reader.policies(&port.service).first().and_then(|object| match &object.spec {
        Spec::BackendPolicy(spec) => Some(policy(spec)),
        _ => None,
    });
    v1::Backend { service: Some(service_port(port)), protocol: protocol(spoken).into(), policy }
}

/// Why a reference leads nowhere.
#[derive(Debug)]
pub(crate) struct Unresolved {
    /// Gateway API's word for it (`RouteConditionReason`).
    pub(crate) reason: &'static str,
    /// What is wrong, and what to do.
    pub(crate) message: String,
}

impl Unresolved {
    fn new(reason: &'static str, message: String) -> Self {
        Self { reason, message }
    }
}

/// Who refers to a backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Referrer<'a> {
    /// The route, or what else it is.
    pub(crate) route: &'a Key,
    /// The Service whose requests are led by it.
    pub(crate) parent: Option<&'a ServiceName>,
}

/// Resolves a reference that a route makes; the error says why its share is answered with 500.
pub(crate) fn resolve(
    reader: &Reader<'_>,
    Referrer { route: from, parent }: Referrer<'_>,
    reference: &BackendReference,
) -> Result<v1::Backend, Unresolved> {
    let namespace = reference.namespace.as_deref().unwrap_or(&from.namespace);
    let kind = reference.kind.as_deref().unwrap_or("Service");
    let group = reference.group.as_deref().unwrap_or_default();
    let group = if group == "core" { "" } else { group };
    let known = [Kind::Service, Kind::ExternalService]
        .into_iter()
        .any(|known| known.as_str() == kind && known.group() == group);
    if !known {
        let message = format!("{group}/{kind} is no kind of backend; refer to a Service");
        return Err(Unresolved::new("InvalidKind", message));
    }
    // Requests that were sent to a Service may go on there: no grant is needed. That the Service is another parent of the same
    // route says nothing of requests to this one.
    let is_parent =
        parent.is_some_and(|parent| parent.namespace() == namespace && parent.name() == reference.name);
    if *namespace != *from.namespace
        && !is_parent
        && !is_granted(reader, from, group, kind, namespace, &reference.name)
    {
        let message = format!(
            "{kind} {namespace}/{} may not be referred to from namespace {}; add a ReferenceGrant to namespace {namespace}",
            reference.name, from.namespace
        );
        return Err(Unresolved::new("RefNotPermitted", message));
    }
    let absent = |message: String| Unresolved::new("BackendNotFound", message);
    let missing = || absent(format!("there is no {kind} {namespace}/{}", reference.name));
    let name = ServiceName::new(namespace, &reference.name).map_err(|_| missing())?;
    let service = reader.service(&name).filter(|service| service.is_external() == (kind != "Service"));
    let service = service.ok_or_else(missing)?;
    let number = match (reference.port, service.ports.as_slice()) {
        (Some(port), _) => port,
        (None, [only]) => only.number,
        (None, _) => return Err(absent(format!("{kind} {name} is referred to without a port"))),
    };
    let port = service.port(number).ok_or_else(|| {
        let ports: Vec<String> = service.ports.iter().map(|port| port.number.to_string()).collect();
        absent(format!("{kind} {name} has no port {number}; it has {}", ports.join(", ")))
    })?;
    if matches!(from.kind, Kind::HttpRoute | Kind::GrpcRoute)
        && matches!(port.protocol, Protocol::Tcp | Protocol::Tls)
    {
        let spoken = port.protocol.label();
        let message = format!(
            "port {number} of {kind} {name} is declared as {spoken}, in which no {} can be seen; declare http, http2 or grpc by its appProtocol or name, or use a TCPRoute",
            if from.kind == Kind::GrpcRoute { "calls" } else { "requests" }
        );
        return Err(Unresolved::new("UnsupportedProtocol", message));
    }
    Ok(service_backend(reader, &ServicePort::new(name, number), port.protocol))
}

/// ReferenceGrant: the namespace referred to has to allow it.
pub(super) fn is_granted(
    reader: &Reader<'_>,
    from: &Key,
    group: &str,
    kind: &str,
    namespace: &str,
    name: &str,
) -> bool {
    let allows_from = |grant: &GrantFrom| {
        grant.group == from.kind.group()
            && grant.kind == from.kind.as_str()
            && *grant.namespace == *from.namespace
    };
    reader.grants(namespace).iter().any(|object| match &object.spec {
        Spec::ReferenceGrant(spec) => {
            spec.from.iter().any(allows_from)
                && spec.to.iter().any(|to| {
                    to.group == group
                        && to.kind == kind
                        && to.name.as_deref().is_none_or(|allowed| allowed == name)
                })
        }
        _ => false,
    })
}

/// A limit as it travels: 0 is one that was left out, and the largest number is none.
fn limit(said: Option<u32>) -> u32 {
    match said {
        None => 0,
        Some(0) => u32::MAX,
        Some(limit) => limit,
    }
}

fn policy(spec: &BackendPolicySpec) -> v1::BackendPolicy {
    let balancing = spec.balancing.clone().unwrap_or_default();
    let limits = spec.limits.clone().unwrap_or_default();
    let timeouts = spec.timeouts.clone().unwrap_or_default();
    v1::BackendPolicy {
        balancer: balancer(balancing.algorithm).into(),
        hash_key: balancing.hash_key.as_ref().map(hash_key),
        max_connections: limit(limits.max_connections),
        max_pending_requests: limit(limits.max_pending_requests),
        max_requests: limits.max_requests.unwrap_or_default(),
        outlier_detection: spec.outlier_detection.as_ref().map(outlier_detection),
        retry_budget: spec.retry_budget.as_ref().map(retry_budget),
        connect_timeout: duration(timeouts.connect),
        idle_timeout: duration(timeouts.idle),
        max_connection_age: duration(timeouts.max_age),
        proxy_protocol: proxy_protocol(spec.proxy_protocol).into(),
        slow_start: duration(balancing.slow_start),
        retry: spec.retry.as_ref().map(retry),
        hedging: spec.hedging.as_ref().map(hedging),
        split_key: spec.split_key.as_ref().map(hash_key),
        // Zero says something here.
        stream_idle_timeout: timeouts.stream_idle.map(|idle| wire_duration(idle.0)),
    }
}

fn balancer(algorithm: Algorithm) -> v1::Balancer {
    match algorithm {
        Algorithm::PeakEwma => v1::Balancer::PeakEwma,
        Algorithm::LeastRequest => v1::Balancer::LeastRequest,
        Algorithm::RoundRobin => v1::Balancer::RoundRobin,
        Algorithm::Random => v1::Balancer::Random,
        Algorithm::RingHash => v1::Balancer::RingHash,
        Algorithm::Maglev => v1::Balancer::Maglev,
    }
}

pub(super) fn hash_key(key: &HashKey) -> v1::HashKey {
    let header = key.header.clone().map(hash_key::Key::Header);
    let cookie = || key.cookie.clone().map(hash_key::Key::Cookie);
    let source = || key.source_address.map(hash_key::Key::SourceAddress);
    v1::HashKey { key: header.or_else(cookie).or_else(source) }
}

fn outlier_detection(detection: &OutlierDetection) -> v1::OutlierDetection {
    v1::OutlierDetection {
        disabled: detection.disabled.unwrap_or_default(),
        consecutive_failures: detection.consecutive_failures.unwrap_or_default(),
        success_rate_percent: detection.success_rate_percent.unwrap_or_default(),
        success_rate_requests: detection.success_rate_requests.unwrap_or_default(),
        window: duration(detection.window),
        base_ejection: duration(detection.base_ejection),
        max_ejection: duration(detection.max_ejection),
        max_ejected_percent: detection.max_ejected_percent.unwrap_or_default(),
        consecutive_5xx: detection.consecutive_5xx.unwrap_or_default(),
    }
}

fn retry_budget(budget: &RetryBudget) -> v1::RetryBudget {
    v1::RetryBudget {
        percent: budget.percent.unwrap_or_default(),
        interval: duration(budget.interval),
        min_retries_per_second: budget.min_retries_per_second.unwrap_or_default(),
    }
}

fn retry(retry: &BackendRetry) -> v1::Retry {
    v1::Retry {
        attempts: retry.attempts.unwrap_or(DEFAULT_RETRIES),
        backoff: duration(retry.backoff),
        codes: retry.codes.iter().copied().map(u32::from).collect(),
        grpc_codes: retry.grpc_codes.iter().copied().map(u32::from).collect(),
    }
}

fn hedging(hedging: &Hedging) -> v1::Hedging {
    v1::Hedging {
        delay: duration(Some(hedging.delay)),
        attempts: hedging.attempts.unwrap_or_default(),
        all_methods: hedging.all_methods.unwrap_or_default(),
    }
}

/// When a rule of an HTTPRoute says to retry.
pub(super) fn route_retry(retry: &weft_resource::RouteRetry) -> v1::Retry {
    v1::Retry {
        attempts: retry.attempts.unwrap_or(DEFAULT_RETRIES),
        backoff: duration(retry.backoff),
        codes: retry.codes.iter().copied().map(u32::from).collect(),
        grpc_codes: Vec::new(),
    }
}
