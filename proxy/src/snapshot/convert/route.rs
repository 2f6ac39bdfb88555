//! Routes.

use std::sync::Arc;
use std::time::Duration;

use weft_mesh::Error;
use weft_mesh::affinity::{Life, SessionPersistence};
use weft_mesh::deadline::Timeouts;
use weft_mesh::route::{self as mesh, HostPattern, HttpMatch, HttpRoute, HttpRule, PathMatch, ValueMatch};
use weft_mesh::split::Split;
use weft_proto::v1;

use super::filter::filters;
use super::kept::Permit;
use super::{duration, resource, retry, target, tcp_backend};
use crate::snapshot::{Backend, TlsRoute};

/// An HTTPRoute or GRPCRoute.
pub(super) fn http_route(
    wire: &v1::HttpRoute,
    service: &Permit<'_>,
) -> Result<HttpRoute<Arc<Backend>>, Error> {
    let id = resource(wire.resource.as_ref())?;
    let place = service.part(&id);
    let rules = wire
        .rules
        .iter()
        .enumerate()
        .map(|(index, wire)| {
            // By its name, so that it is the same one when rules are put before it.
            let place = if wire.name.is_empty() {
                place.part(format_args!("#{index}"))
            } else {
                place.part(&wire.name)
            };
            rule(wire, &place).map_err(|error| error.within(format!("rules[{index}]")))
        })
        .collect::<Result<_, _>>()?;
    Ok(HttpRoute {
        id,
        hostnames: wire.hostnames.iter().map(|name| HostPattern::new(name)).collect::<Result<_, _>>()?,
        rules,
    })
}

/// A TLSRoute, with its server names.
pub(super) fn tls_route(wire: &v1::TlsRoute) -> Result<(Vec<HostPattern>, TlsRoute), Error> {
    let backends = wire.backends.iter().map(tcp_backend).collect::<Result<Vec<_>, _>>()?;
    let names = wire.hostnames.iter().map(|name| HostPattern::new(name)).collect::<Result<_, _>>()?;
    let name = resource(wire.resource.as_ref())?.name;
    Ok((names, TlsRoute { name, backends: Split::new(backends) }))
}

fn rule(wire: &v1::HttpRule, place: &Permit<'_>) -> Result<HttpRule<Arc<Backend>>, Error> {
    let backends = wire.backends.iter().enumerate();
    let backends = backends.map(|(index, wire)| backend(wire, &place.part(format_args!("backend {index}"))));
    let backends = backends.collect::<Result<Vec<_>, _>>()?;
    Ok(HttpRule {
        name: (!wire.name.is_empty()).then(|| wire.name.as_str().into()),
        matches: wire
            .matches
            .iter()
            .enumerate()
            .map(|(index, wire)| http_match(wire).map_err(|error| error.within(format!("matches[{index}]"))))
            .collect::<Result<_, _>>()?,
        filters: filters(&wire.filters, place)?,
        timeouts: Timeouts {
            request: not_zero(duration(wire.request_timeout.as_ref(), "request_timeout")?),
            backend_request: not_zero(duration(
                wire.backend_request_timeout.as_ref(),
                "backend_request_timeout",
            )?),
            idle: duration(wire.stream_idle_timeout.as_ref(), "stream_idle_timeout")?,
        },
        retry: wire.retry.as_ref().map(retry).transpose()?,
        session_persistence: wire.session_persistence.as_ref().map(session).transpose()?,
        ..HttpRule::to(Split::new(backends))
    })
}

/// Zero is no limit (GEP-1742).
fn not_zero(timeout: Option<Duration>) -> Option<Duration> {
    timeout.filter(|timeout| !timeout.is_zero())
}

fn backend(
    wire: &v1::WeightedBackend,
    place: &Permit<'_>,
) -> Result<(String, u32, mesh::Backend<Arc<Backend>>), Error> {
    let (name, target) = target(wire)?;
    Ok((name, wire.weight, mesh::Backend { target, filters: filters(&wire.filters, place)? }))
}

fn http_match(wire: &v1::HttpMatch) -> Result<HttpMatch, Error> {
    let path = match &wire.path {
        None => PathMatch::prefix("/")?,
        Some(v1::http_match::Path::PathExact(path)) => PathMatch::exact(path)?,
        Some(v1::http_match::Path::PathPrefix(path)) => PathMatch::prefix(path)?,
        Some(v1::http_match::Path::PathRegex(path)) => PathMatch::regex(path)?,
        Some(v1::http_match::Path::PathGrpcMethod(method)) => PathMatch::GrpcMethod(method.as_str().into()),
        Some(v1::http_match::Path::PathAny(_)) => PathMatch::Any,
    };
    let mut compiled = HttpMatch::path(path);
    if !wire.method.is_empty() {
        compiled = compiled.method(&wire.method)?;
    }
    for header in &wire.headers {
        compiled = compiled.header(&header.name, value(header)?)?;
    }
    for parameter in &wire.query {
        compiled = compiled.query(&parameter.name, value(parameter)?);
    }
    Ok(compiled)
}

fn value(wire: &v1::ValueMatch) -> Result<ValueMatch, Error> {
    match &wire.value {
        Some(v1::value_match::Value::Exact(exact)) => Ok(ValueMatch::exact(exact)),
        Some(v1::value_match::Value::Regex(regex)) => ValueMatch::regex(regex),
        None => Err(Error::invalid("value", wire.name.as_str(), "a match needs a value")),
    }
}

fn session(wire: &v1::SessionPersistence) -> Result<SessionPersistence, Error> {
    let life = Life {
        absolute: not_zero(duration(wire.absolute_timeout.as_ref(), "absolute_timeout")?),
        idle: not_zero(duration(wire.idle_timeout.as_ref(), "idle_timeout")?),
    };
    let persistence = match wire.kind() {
        v1::SessionKind::Cookie => SessionPersistence::cookie(&wire.name, life, wire.permanent)?,
        v1::SessionKind::Header => SessionPersistence::header(&wire.name, life)?,
    };
    Ok(persistence.of_rule(&wire.scope))
}
