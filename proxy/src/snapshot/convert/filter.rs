//! Filters.

use std::sync::Arc;
use std::time::Duration;

use weft_mesh::Error;
use weft_mesh::affinity::KeySource;
use weft_mesh::filter::{
    Abort, Cors, Descriptors, Entry, Fault, Filters, GlobalLimit, HeaderChanges, LimitService, Mirror,
    OriginPattern, PathChange, RateLimit, Redirect, Rewrite, Scheme, ValueSource,
};
use weft_mesh::fraction::Fraction;
use weft_proto::v1;
use weft_proto::v1::global_rate_limit::Service;
use weft_proto::v1::http_filter::Filter;
use weft_proto::v1::rate_limit_entry::Value;

use super::kept::Permit;
use super::{backend, duration, required};
use crate::snapshot::Backend;

/// Time for the answer of a service that keeps a limit: every request waits for it. Envoy has the same.
const LIMIT_TIMEOUT: Duration = Duration::from_millis(20);
/// Shares of faults are in millionths.
const MILLION: u32 = 1_000_000;

/// The filters of a rule or of one of its backends.
pub(super) fn filters(wire: &[v1::HttpFilter], place: &Permit<'_>) -> Result<Filters<Arc<Backend>>, Error> {
    let mut filters = Filters::default();
    for (index, wire) in wire.iter().enumerate() {
        add(&mut filters, wire, place).map_err(|error| error.within(format!("filters[{index}]")))?;
    }
    Ok(filters)
}

fn add(filters: &mut Filters<Arc<Backend>>, wire: &v1::HttpFilter, place: &Permit<'_>) -> Result<(), Error> {
    match required(wire.filter.as_ref(), "filter")? {
        Filter::RequestHeaders(wire) => filters.request_headers = header_changes(wire)?,
        Filter::ResponseHeaders(wire) => filters.response_headers = header_changes(wire)?,
        Filter::Redirect(wire) => filters.redirect = Some(redirect(wire)?),
        Filter::Rewrite(wire) => {
            filters.rewrite = Some(Rewrite::new(some(&wire.hostname), path(wire.path.as_ref())?)?);
        }
        Filter::Mirror(wire) => filters.mirrors.push(mirror(wire)?),
        Filter::Fault(wire) => filters.fault = Some(fault(wire)?),
        Filter::Cors(wire) => filters.cors = Some(cors(wire)?),
        Filter::RateLimit(wire) => {
            filters.rate_limit = rate_limit(wire, place)?;
            filters.global_limit = global_limit(wire)?;
        }
        Filter::Invalid(problem) => filters.unresolved = Some(problem.clone()),
    }
    Ok(())
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn header_changes(wire: &v1::HeaderModifier) -> Result<HeaderChanges, Error> {
    fn pair(header: &v1::Header) -> (&str, &str) {
        (&header.name, &header.value)
    }
    HeaderChanges::new(
        wire.set.iter().map(pair),
        wire.add.iter().map(pair),
        wire.remove.iter().map(String::as_str),
    )
}

fn path(wire: Option<&v1::PathModifier>) -> Result<Option<PathChange>, Error> {
    match wire.and_then(|wire| wire.path.as_ref()) {
        None => Ok(None),
        Some(v1::path_modifier::Path::Full(path)) => PathChange::full(path).map(Some),
        Some(v1::path_modifier::Path::Prefix(prefix)) => PathChange::prefix(prefix).map(Some),
    }
}

fn redirect(wire: &v1::Redirect) -> Result<Redirect, Error> {
    let scheme = match wire.scheme.as_str() {
        "" => None,
        "http" => Some(Scheme::Http),
        "https" => Some(Scheme::Https),
        other => return Err(Error::invalid("redirect scheme", other, "write http or https")),
    };
    let port = if wire.port == 0 { None } else { Some(super::port(wire.port)?) };
    let status = if wire.status == 0 { 302 } else { u16::try_from(wire.status).unwrap_or(u16::MAX) };
    Redirect::new(scheme, some(&wire.hostname), path(wire.path.as_ref())?, port, status)
}

fn mirror(wire: &v1::Mirror) -> Result<Mirror<Arc<Backend>>, Error> {
    let fraction = match (wire.numerator, wire.denominator) {
        (_, 0) => Fraction::new(1, 1)?,
        (numerator, denominator) => Fraction::new(numerator, denominator)?,
    };
    Ok(Mirror { backend: Arc::new(backend(required(wire.backend.as_ref(), "mirror backend")?)?), fraction })
}

fn fault(wire: &v1::Fault) -> Result<Fault, Error> {
    let delay = match duration(wire.delay.as_ref(), "delay")? {
        None => None,
        Some(delay) => Some((Fraction::new(wire.delay_share, MILLION)?, delay)),
    };
    let code = |code: u32| u8::try_from(code).unwrap_or(u8::MAX);
    let abort = match (wire.abort_status, wire.abort_grpc_status) {
        (0, 0) => None,
        (0, grpc) => Some(Abort::grpc(code(grpc))?),
        (status, 0) => Some(Abort::http(u16::try_from(status).unwrap_or(u16::MAX))?),
        (status, grpc) => {
            let both = format!("{status} and gRPC {grpc}");
            return Err(Error::invalid("abort status", both, "give one of the two"));
        }
    };
    let abort = match abort {
        None => None,
        Some(abort) => Some((Fraction::new(wire.abort_share, MILLION)?, abort)),
    };
    Ok(Fault { delay, abort })
}

fn cors(wire: &v1::Cors) -> Result<Cors, Error> {
    fn names(list: &[String]) -> Vec<&str> {
        list.iter().map(String::as_str).collect()
    }
    Cors::new(
        wire.allow_origins.iter().map(|origin| OriginPattern::new(origin)).collect::<Result<_, _>>()?,
        wire.allow_credentials,
        &names(&wire.allow_methods),
        &names(&wire.allow_headers),
        &names(&wire.expose_headers),
        if wire.max_age_seconds == 0 { 5 } else { wire.max_age_seconds },
    )
}

/// A limit on requests: of all together, or of each key.
fn rate_limit(wire: &v1::RateLimit, place: &Permit<'_>) -> Result<Option<RateLimit>, Error> {
    let key = limit_key(wire)?;
    let for_key = |limit: RateLimit| if key.is_some() { limit.for_each(key) } else { limit };
    Ok(whole_limit(wire, place)?.map(for_key))
}

/// A limit on the requests of each caller, and of each key of its.
pub(super) fn rate_limit_for_each(
    wire: &v1::RateLimit,
    place: &Permit<'_>,
) -> Result<Option<RateLimit>, Error> {
    let key = limit_key(wire)?;
    Ok(whole_limit(wire, place)?.map(|limit| limit.for_each(key)))
}

fn limit_key(wire: &v1::RateLimit) -> Result<Option<KeySource>, Error> {
    wire.key.as_ref().and_then(|key| key.key.as_ref()).map(super::hash_key).transpose()
}

fn whole_limit(wire: &v1::RateLimit, place: &Permit<'_>) -> Result<Option<RateLimit>, Error> {
    if wire.requests == 0 && wire.global.is_some() {
        return Ok(None);
    }
    let interval = duration(wire.interval.as_ref(), "interval")?.unwrap_or(Duration::from_secs(1));
    RateLimit::new(wire.requests, interval, wire.requests, place.bucket()).map(Some)
}

/// The part of a limit that a service keeps.
pub(super) fn global_limit(wire: &v1::RateLimit) -> Result<Option<GlobalLimit<Arc<Backend>>>, Error> {
    let Some(wire) = &wire.global else { return Ok(None) };
    let within = |error: Error| error.within("global");
    let descriptors = wire
        .descriptors
        .iter()
        .map(|descriptor| descriptor.entries.iter().map(limit_entry).collect::<Result<Vec<_>, _>>());
    let descriptors = descriptors.collect::<Result<Vec<_>, _>>().map_err(within)?;
    Ok(Some(GlobalLimit {
        service: match required(wire.service.as_ref(), "service").map_err(within)? {
            Service::Backend(wire) => LimitService::Backend(Arc::new(backend(wire).map_err(within)?)),
            Service::Address(address) => LimitService::Address(address.as_str().into()),
            Service::Invalid(problem) => LimitService::Invalid(problem.as_str().into()),
        },
        domain: wire.domain.as_str().into(),
        descriptors: Descriptors::new(descriptors),
        timeout: duration(wire.timeout.as_ref(), "timeout")?.unwrap_or(LIMIT_TIMEOUT),
        fail_closed: wire.fail_closed,
    }))
}

fn limit_entry(wire: &v1::RateLimitEntry) -> Result<Entry, Error> {
    let value = match required(wire.value.as_ref(), "value")? {
        Value::Text(text) => ValueSource::Text(text.as_str().into()),
        Value::Header(name) => ValueSource::Header(name.parse().map_err(|_| {
            Error::invalid("descriptor header", name.as_str(), "write a header field's name")
        })?),
        Value::RemoteAddress(_) => ValueSource::RemoteAddress,
        Value::Identity(_) => ValueSource::Identity,
        Value::Path(_) => ValueSource::Path,
        Value::Method(_) => ValueSource::Method,
    };
    Entry::new(&wire.key, value)
}
