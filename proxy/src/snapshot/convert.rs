//! From the resources of the control plane to what workers read. An error names the field and its value: it is what the
//! control plane is told when it refuses a resource.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use weft_mesh::Error;
use weft_mesh::affinity::KeySource;
use weft_mesh::balance::{Algorithm, BalancePolicy, Endpoint, Health, Locality, TunnelProtocol};
use weft_mesh::budget::BudgetPolicy;
use weft_mesh::hedge::HedgePolicy;
use weft_mesh::name::{Identity, ServiceName, ServicePort};
use weft_mesh::outlier::OutlierPolicy;
use weft_mesh::protocol::Protocol;
use weft_mesh::proxy_protocol::Version;
use weft_mesh::retry::RetryPolicy;
use weft_mesh::route::{ResourceRef, RouteTable, ServerNames, Target};
use weft_mesh::split::Split;
use weft_proto::v1;

use super::{Backend, BackendPolicy, Destination};

mod filter;
mod inbound;
mod kept;
mod route;

pub use inbound::{inbound, inbound_keeping};
pub use kept::Kept;

/// What is said of a destination, with limits of which nothing was used.
pub fn destination(name: &str, wire: &v1::Destination) -> Result<Destination, Error> {
    destination_keeping(name, wire, &Kept::default())
}

/// What is said of a destination, with what is kept of it. It is kept by the name of the service, which several destinations
/// may stand for.
pub fn destination_keeping(name: &str, wire: &v1::Destination, kept: &Kept) -> Result<Destination, Error> {
    let service = service_port(wire.service.as_ref())?;
    let backend =
        backend(required(wire.backend.as_ref(), "backend")?).map_err(|error| error.within("backend"))?;
    let mut routes = wire
        .http_routes
        .iter()
        .enumerate()
        .map(|(index, wire)| {
            route::http_route(wire, &kept.at(&service))
                .map_err(|error| error.within(format!("http_routes[{index}]")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(key) = split_key(wire).map_err(|error| error.within("backend.policy"))? {
        for rule in routes.iter_mut().flat_map(|route| &mut route.rules) {
            rule.sticky = Some(key.clone());
        }
    }
    let tcp = wire
        .tcp_backends
        .iter()
        .enumerate()
        .map(|(index, wire)| {
            tcp_backend(wire).map_err(|error| error.within(format!("tcp_backends[{index}]")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let tls = wire
        .tls_routes
        .iter()
        .enumerate()
        .map(|(index, wire)| {
            route::tls_route(wire).map_err(|error| error.within(format!("tls_routes[{index}]")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Destination {
        name: name.into(),
        service,
        protocol: protocol(wire.protocol()),
        routes: (!routes.is_empty()).then(|| RouteTable::compile(routes)),
        tcp: Split::new(tcp),
        tls: ServerNames::new(tls),
        backend: Arc::new(backend),
        used: AtomicU64::new(0),
    })
}

/// What keeps a request at one backend of a rule that splits.
fn split_key(wire: &v1::Destination) -> Result<Option<KeySource>, Error> {
    let policy = wire.backend.as_ref().and_then(|backend| backend.policy.as_ref());
    let key = policy.and_then(|policy| policy.split_key.as_ref()).and_then(|key| key.key.as_ref());
    key.map(hash_key).transpose()
}

fn tcp_backend(wire: &v1::WeightedBackend) -> Result<(String, u32, Target<Arc<Backend>>), Error> {
    let (name, target) = target(wire)?;
    Ok((name, wire.weight, target))
}

/// The target of a share, and the name that sticky keys are bound to.
fn target(wire: &v1::WeightedBackend) -> Result<(String, Target<Arc<Backend>>), Error> {
    match required(wire.target.as_ref(), "target")? {
        v1::weighted_backend::Target::Backend(wire) => {
            let backend = backend(wire)?;
            Ok((backend.service.to_string(), Target::Valid(Arc::new(backend))))
        }
        v1::weighted_backend::Target::Invalid(problem) => {
            Ok((problem.clone(), Target::Invalid(problem.as_str().into())))
        }
    }
}

fn backend(wire: &v1::Backend) -> Result<Backend, Error> {
    Ok(Backend {
        service: service_port(wire.service.as_ref())?,
        protocol: protocol(wire.protocol()),
        policy: wire.policy.as_ref().map(policy).transpose()?.unwrap_or_default(),
    })
}

fn policy(wire: &v1::BackendPolicy) -> Result<BackendPolicy, Error> {
    let defaults = BackendPolicy::default();
    Ok(BackendPolicy {
        balance: BalancePolicy {
            algorithm: match wire.balancer() {
                v1::Balancer::PeakEwma => Algorithm::PeakEwma,
                v1::Balancer::LeastRequest => Algorithm::LeastRequest,
                v1::Balancer::RoundRobin => Algorithm::RoundRobin,
                v1::Balancer::Random => Algorithm::Random,
                v1::Balancer::RingHash => Algorithm::RingHash,
                v1::Balancer::Maglev => Algorithm::Maglev,
            },
            slow_start: duration(wire.slow_start.as_ref(), "slow_start")?.unwrap_or_default(),
            outlier: wire.outlier_detection.as_ref().map(outlier).transpose()?.unwrap_or_default(),
        },
        hash_key: wire.hash_key.as_ref().and_then(|key| key.key.as_ref()).map(hash_key).transpose()?,
        max_connections: limit(wire.max_connections, defaults.max_connections),
        max_pending: limit(wire.max_pending_requests, defaults.max_pending),
        max_requests: wire.max_requests,
        budget: wire.retry_budget.as_ref().map(budget).transpose()?.unwrap_or_default(),
        retry: wire.retry.as_ref().map(retry).transpose()?,
        hedging: wire.hedging.as_ref().map(hedging).transpose()?,
        connect_timeout: duration(wire.connect_timeout.as_ref(), "connect_timeout")?
            .unwrap_or(defaults.connect_timeout),
        idle_timeout: duration(wire.idle_timeout.as_ref(), "idle_timeout")?.unwrap_or(defaults.idle_timeout),
        max_connection_age: duration(wire.max_connection_age.as_ref(), "max_connection_age")?
            .filter(|age| !age.is_zero()),
        announce: proxy_protocol(wire.proxy_protocol()),
        stream_idle: duration(wire.stream_idle_timeout.as_ref(), "stream_idle_timeout")?,
    })
}

pub(super) fn hash_key(wire: &v1::hash_key::Key) -> Result<KeySource, Error> {
    Ok(match wire {
        v1::hash_key::Key::Header(name) => {
            KeySource::Header(name.parse().map_err(|_| {
                Error::invalid("hash_key.header", name.as_str(), "write a header field's name")
            })?)
        }
        v1::hash_key::Key::Cookie(name) => KeySource::Cookie(name.as_str().into()),
        v1::hash_key::Key::SourceAddress(_) => KeySource::SourceAddress,
    })
}

fn outlier(wire: &v1::OutlierDetection) -> Result<OutlierPolicy, Error> {
    let defaults = OutlierPolicy::default();
    let share =
        |percent: u32, default: f64| if percent == 0 { default } else { f64::from(percent.min(100)) / 100.0 };
    Ok(OutlierPolicy {
        enabled: !wire.disabled,
        consecutive_failures: or(wire.consecutive_failures, defaults.consecutive_failures),
        consecutive_5xx: or(wire.consecutive_5xx, defaults.consecutive_5xx),
        success_rate: share(wire.success_rate_percent, defaults.success_rate),
        success_rate_requests: or(wire.success_rate_requests, defaults.success_rate_requests),
        window: duration(wire.window.as_ref(), "window")?.unwrap_or(defaults.window),
        base_ejection: duration(wire.base_ejection.as_ref(), "base_ejection")?
            .unwrap_or(defaults.base_ejection),
        max_ejection: duration(wire.max_ejection.as_ref(), "max_ejection")?.unwrap_or(defaults.max_ejection),
        max_ejected: share(wire.max_ejected_percent, defaults.max_ejected),
        ..defaults
    })
}

fn budget(wire: &v1::RetryBudget) -> Result<BudgetPolicy, Error> {
    let defaults = BudgetPolicy::default();
    Ok(BudgetPolicy {
        ratio: if wire.percent == 0 { defaults.ratio } else { f64::from(wire.percent.min(100)) / 100.0 },
        window: duration(wire.interval.as_ref(), "interval")?.unwrap_or(defaults.window),
        min_per_second: if wire.min_retries_per_second == 0 {
            defaults.min_per_second
        } else {
            f64::from(wire.min_retries_per_second)
        },
    })
}

fn retry(wire: &v1::Retry) -> Result<RetryPolicy, Error> {
    let codes = wire.codes.iter().filter_map(|code| u16::try_from(*code).ok());
    let grpc = wire.grpc_codes.iter().filter_map(|code| u8::try_from(*code).ok());
    Ok(RetryPolicy::new(wire.attempts, codes, grpc, duration(wire.backoff.as_ref(), "backoff")?))
}

fn hedging(wire: &v1::Hedging) -> Result<HedgePolicy, Error> {
    let delay = duration(wire.delay.as_ref(), "delay")?.unwrap_or_default();
    HedgePolicy::new(delay, or(wire.attempts, 2), wire.all_methods).map_err(|error| error.within("hedging"))
}

/// One address of a service port; `id` is the last part of the resource's name.
pub fn endpoint(id: &str, wire: &v1::Endpoint) -> Result<Endpoint, Error> {
    let address: IpAddr = wire
        .address
        .parse()
        .map_err(|_| Error::invalid("address", wire.address.as_str(), "write an IP address"))?;
    let identities: Arc<[Identity]> =
        wire.identities.iter().map(|identity| identity.parse::<Identity>()).collect::<Result<_, _>>()?;
    // What is not understood is not spoken to in plain text.
    let hop = match v1::Hop::try_from(wire.hop) {
        Ok(v1::Hop::Plain) => TunnelProtocol::Plain,
        Ok(v1::Hop::Weft) => TunnelProtocol::Weft,
        Ok(v1::Hop::Standard) => TunnelProtocol::Standard,
        Err(_) => {
            return Err(Error::invalid("hop", wire.hop.to_string(), "this proxy is too old to speak it"));
        }
    };
    if identities.is_empty() != (hop == TunnelProtocol::Plain) {
        let expected = "plain text is for endpoints without identities, and for no others";
        return Err(Error::invalid("identities", format!("{:?}", wire.identities), expected));
    }
    let locality = wire.locality.clone().unwrap_or_default();
    Ok(Endpoint {
        id: id.into(),
        address: SocketAddr::new(address, port(wire.port)?),
        identities,
        hop,
        weight: or(wire.weight, 1),
        health: match wire.health() {
            v1::Health::Ready => Health::Ready,
            v1::Health::NotReady => Health::NotReady,
            v1::Health::Draining => Health::Draining,
            v1::Health::Unknown => Health::Unknown { trusted: false },
        },
        locality: Locality { region: locality.region.into(), zone: locality.zone.into() },
        workload: wire.workload.as_str().into(),
        version: wire.version.as_str().into(),
        own: false,
    })
}

/// A limit, where 0 is none.
fn limit(wire: u32, default: u32) -> u32 {
    if wire == u32::MAX { 0 } else { or(wire, default) }
}

fn or(value: u32, default: u32) -> u32 {
    if value == 0 { default } else { value }
}

fn protocol(wire: v1::Protocol) -> Protocol {
    match wire {
        v1::Protocol::Detect => Protocol::Detect,
        v1::Protocol::Http1 => Protocol::Http1,
        v1::Protocol::Http2 => Protocol::Http2,
        v1::Protocol::Grpc => Protocol::Grpc,
        v1::Protocol::Tcp => Protocol::Tcp,
        v1::Protocol::Tls => Protocol::Tls,
    }
}

fn proxy_protocol(wire: v1::ProxyProtocol) -> Option<Version> {
    match wire {
        v1::ProxyProtocol::None => None,
        v1::ProxyProtocol::V1 => Some(Version::V1),
        v1::ProxyProtocol::V2 => Some(Version::V2),
    }
}

fn service_port(wire: Option<&v1::ServicePort>) -> Result<ServicePort, Error> {
    let wire = required(wire, "service")?;
    Ok(ServicePort::new(ServiceName::new(&wire.namespace, &wire.name)?, port(wire.port)?))
}

fn port(wire: u32) -> Result<u16, Error> {
    u16::try_from(wire)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| Error::invalid("port", wire.to_string(), "write a number from 1 to 65535"))
}

fn resource(wire: Option<&v1::ResourceRef>) -> Result<ResourceRef, Error> {
    let wire = required(wire, "resource")?;
    Ok(ResourceRef::new(&wire.kind, &wire.namespace, &wire.name))
}

fn required<'a, T>(field: Option<&'a T>, name: &'static str) -> Result<&'a T, Error> {
    field.ok_or_else(|| Error::invalid(name, "", "it is required"))
}

fn duration(wire: Option<&prost_types::Duration>, name: &'static str) -> Result<Option<Duration>, Error> {
    let Some(wire) = wire else { return Ok(None) };
    Duration::try_from(*wire).map(Some).map_err(|_| {
        Error::invalid(
            name,
            format!("{} s {} ns", wire.seconds, wire.nanos),
            "write a duration that is not negative",
        )
    })
}

#[cfg(test)]
mod tests;
