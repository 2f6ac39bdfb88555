//! What is said of a request, in words.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use weft_mesh::balance::{Health, TunnelProtocol};
use weft_mesh::filter::{Abort, Fault, Filters, LimitService};
use weft_mesh::route::{Considered, HttpMatch, HttpRule, Mismatch, PathMatch, Verdict};

use super::{ConsideredMatch, EndpointState, Explanation, Query};
use crate::snapshot::Backend;

/// How a backend is balanced and protected.
pub(super) fn protection(backend: &Backend) -> String {
    let policy = &backend.policy;
    let mut text = format!("balanced by {:?}", policy.balance.algorithm);
    if policy.max_requests > 0 {
        // Writing to a String cannot fail.
        let _ = write!(text, ", at most {} requests at once", policy.max_requests);
    }
    if policy.retry.is_some() {
        text += ", retried as its policy says where the route does not";
    }
    if let Some(hedging) = policy.hedging {
        let which = if hedging.all_methods() { "" } else { " what may be processed twice" };
        let _ = write!(
            text,
            ", sends{which} to another endpoint as well after {:?}, {} at once at most",
            hedging.delay(),
            hedging.attempts()
        );
    }
    text
}

/// Whether an endpoint takes requests, in words.
pub(crate) fn health(health: Health) -> &'static str {
    match health {
        Health::Ready => "ready",
        Health::NotReady => "not ready",
        Health::Draining => "draining",
        Health::Unknown { trusted: true } => "unknown, used",
        Health::Unknown { trusted: false } => "unknown, not used",
    }
}

/// How an endpoint is reached, in words.
pub(crate) fn hop(hop: TunnelProtocol) -> &'static str {
    match hop {
        TunnelProtocol::Plain => "plain text",
        TunnelProtocol::Weft => "weft/1 over mTLS",
        TunnelProtocol::Standard => "HTTP over mTLS",
    }
}

pub(super) fn considered(query: &Query, considered: &Considered<'_, Arc<Backend>>) -> ConsideredMatch {
    let asked = considered.rule.matches.get(considered.match_index);
    let why = match &considered.verdict {
        Verdict::Taken => "taken".to_owned(),
        Verdict::Outranked => "matches too, but what was taken goes before it".to_owned(),
        Verdict::Shadowed => {
            "matches too, but no request can ever meet it: what was taken takes all that it would".to_owned()
        }
        Verdict::Hostname => "the host is none of the route's".to_owned(),
        Verdict::Mismatch(mismatch) => missed(query, mismatch),
    };
    let place = || format!("rules[{}]", considered.rule_index);
    ConsideredMatch {
        route: considered.route.to_string(),
        rule: considered.rule.name.as_deref().map_or_else(place, str::to_owned),
        asks: asked.map_or_else(|| "anything".to_owned(), asks),
        taken: considered.verdict == Verdict::Taken,
        why,
    }
}

fn missed(query: &Query, mismatch: &Mismatch) -> String {
    match mismatch {
        Mismatch::Path => format!("the path is {}", query.uri.path()),
        Mismatch::Method => format!("the method is {}", query.method),
        Mismatch::Header(name) => match query.headers.get(name) {
            None => format!("there is no header {name}"),
            Some(value) => format!("the header {name} is {value:?}"),
        },
        Mismatch::Query(name) => format!("the query parameter {name} is absent or has another value"),
    }
}

/// What a match asks for, in words.
pub(crate) fn asks(asked: &HttpMatch) -> String {
    let path = match &asked.path {
        PathMatch::Exact(path) => format!("the path {path}"),
        PathMatch::Prefix(prefix) if prefix.is_empty() => "any path".to_owned(),
        PathMatch::Prefix(prefix) => format!("a path below {prefix}"),
        PathMatch::GrpcMethod(method) => format!("the gRPC method {method} of any service"),
        PathMatch::Regex(pattern) => format!("a path like {}", pattern.as_str()),
        PathMatch::Any => "any path".to_owned(),
    };
    let method = asked.method.as_ref().map(|method| format!("the method {method}"));
    let others = asked.named().map(|name| format!("a value of {name}"));
    std::iter::once(path).chain(method).chain(others).collect::<Vec<_>>().join(", ")
}

/// What filters do, in the order in which they do it.
pub(super) fn steps(filters: &Filters<Arc<Backend>>, query: &Query, matched_prefix: usize) -> Vec<String> {
    let mut steps = refusals(filters);
    steps.extend(faults(filters));
    let changed = |name: &HeaderName, value: &HeaderValue, of: &str| {
        format!("gives the {of} the header {name}: {}", String::from_utf8_lossy(value.as_bytes()))
    };
    let mut headers = query.headers.clone();
    filters.request_headers.apply(&mut headers);
    let removed = query.headers.keys().filter(|name| !headers.contains_key(*name));
    steps.extend(removed.map(|name| format!("removes the request's header {name}")));
    let set = headers
        .iter()
        .filter(|(name, _)| !query.headers.get_all(*name).iter().eq(headers.get_all(*name).iter()));
    steps.extend(set.map(|(name, value)| changed(name, value, "request")));
    if let Some(rewrite) = &filters.rewrite {
        if let Some(path) = rewrite.path_and_query(query.uri.path(), query.uri.query(), matched_prefix) {
            steps.push(format!("rewrites the path to {path}"));
        }
        if let Some(host) = rewrite.hostname() {
            steps.push(format!("rewrites the host to {}", String::from_utf8_lossy(host.as_bytes())));
        }
    }
    let mirrors = filters.mirrors.iter();
    steps.extend(mirrors.map(|mirror| format!("sends a copy of a share to {}", mirror.backend.service)));
    let mut answered = HeaderMap::new();
    filters.response_headers.apply(&mut answered);
    steps.extend(answered.iter().map(|(name, value)| changed(name, value, "response")));
    steps
}

/// Which requests filters answer themselves.
fn refusals(filters: &Filters<Arc<Backend>>) -> Vec<String> {
    let mut steps = Vec::new();
    if filters.cors.is_some() {
        steps.push("answers preflights, and says to browsers which origins may read (CORS)".to_owned());
    }
    if filters.rate_limit.is_some() {
        steps.push("refuses with 429 what exceeds its rate limit".to_owned());
    }
    if let Some(limit) = &filters.global_limit {
        let service = match &limit.service {
            LimitService::Backend(backend) => backend.service.to_string(),
            LimitService::Address(address) => address.to_string(),
            LimitService::Invalid(problem) => format!("a service that does not hold ({problem})"),
        };
        let without = if limit.fail_closed { "refuses with 503" } else { "lets through" };
        steps.push(format!(
            "refuses with 429 what {service} says is over the limit of all proxies, and {without} what it does \
             not answer within {:?}",
            limit.timeout
        ));
    }
    steps
}

/// Which faults filters inject.
fn faults(filters: &Filters<Arc<Backend>>) -> impl Iterator<Item = String> + use<> {
    let Fault { delay, abort } = filters.fault.clone().unwrap_or_default();
    let delay = delay.map(|(part, delay)| format!("delays {} % by {delay:?}, on purpose", part.as_percent()));
    let abort = abort.map(|(part, abort)| {
        let answer = match abort {
            Abort::Http(status) => status.as_u16().to_string(),
            Abort::Grpc(code) => format!("gRPC status {code}"),
        };
        format!("aborts {} % with {answer}, on purpose", part.as_percent())
    });
    delay.into_iter().chain(abort)
}

/// What a rule promises beyond its filters.
pub(super) fn promises(rule: &HttpRule<Arc<Backend>>) -> Vec<String> {
    let mut promises = Vec::new();
    if let Some(time) = rule.timeouts.request {
        promises.push(format!("answers 504 after {time:?}"));
    }
    if let Some(time) = rule.timeouts.backend_request {
        promises.push(format!("gives up an attempt after {time:?}"));
    }
    match rule.timeouts.idle {
        Some(time) if time.is_zero() && rule.timeouts.request.is_none() => {
            promises.push("waits for ever, also while nothing moves".to_owned());
        }
        Some(time) if !time.is_zero() => {
            promises.push(format!("answers 504 where nothing moves for {time:?}"));
        }
        _ => {}
    }
    if let Some(retry) = &rule.retry {
        promises.push(format!("tries again up to {} times, within the budget", retry.attempts()));
    }
    if rule.sticky.is_some() {
        promises.push("keeps each client on its backend".to_owned());
    }
    if rule.session_persistence.is_some() {
        promises.push("keeps each session on its endpoint".to_owned());
    }
    promises
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.request)?;
        match (&self.service, &self.protocol) {
            (Some(service), Some(protocol)) => writeln!(f, "destination  {service} ({protocol})")?,
            _ => writeln!(f, "destination  not in the mesh")?,
        }
        for considered in &self.considered {
            let sign = if considered.taken { "route      +" } else { "           -" };
            let ConsideredMatch { route, rule, asks, why, .. } = considered;
            writeln!(f, "{sign} {route}, {rule}: asks for {asks}; {why}")?;
        }
        for step in &self.steps {
            writeln!(f, "then         {step}")?;
        }
        for backend in &self.backends {
            let name = backend.service.as_deref().unwrap_or("a backend that does not hold");
            writeln!(f, "backend      {name}: {:.1} %", backend.percent)?;
            if let Some(problem) = &backend.invalid {
                writeln!(f, "             invalid: {problem}")?;
            }
            for step in &backend.steps {
                writeln!(f, "             {step}")?;
            }
            if let Some(answered) = &backend.answered {
                writeln!(f, "             {}", answered.why)?;
            }
            for endpoint in backend.endpoints.iter().flatten() {
                let EndpointState { address, workload, health, hop, weight, ejected_by, takes_requests: _ } =
                    endpoint;
                write!(f, "             endpoint {address} {workload}: {health}, weight {weight}, {hop}")?;
                match ejected_by {
                    0 => writeln!(f)?,
                    1 => writeln!(f, "; ejected by 1 worker")?,
                    workers => writeln!(f, "; ejected by {workers} workers")?,
                }
            }
            if let Some(admission) = &backend.admission {
                let verdict = if admission.allowed { "lets the caller in" } else { "denies the caller" };
                writeln!(f, "             its proxy {verdict}: {}", admission.why)?;
            }
        }
        let status = self.outcome.status.map(|status| format!("{status}, ")).unwrap_or_default();
        write!(f, "outcome      {status}{}", self.outcome.why)
    }
}
