//! What would become of a request, and why: asked of the same tables that requests are routed by.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{HeaderMap, Method, Uri};
use serde::{Deserialize, Serialize};
use weft_mesh::authorization::{Call, DecidedBy, HttpCall};
use weft_mesh::balance::{Endpoint, EndpointSet};
use weft_mesh::filter::Filters;
use weft_mesh::hash::stable_hash;
use weft_mesh::name::{Identity, ServicePort};
use weft_mesh::reason::Reason;
use weft_mesh::route::{RequestParts, RuleRef, Target};

use crate::snapshot::{Backend, Destination, Inbound};

mod connection;
mod outcome;
mod text;

use outcome::{answered, outcome};
pub(crate) use text::{asks, health, hop};
use text::{considered, promises, protection, steps};

/// A request that is asked about.
#[derive(Clone, Debug)]
pub struct Query {
    /// The method; `CONNECT` asks about a connection of which only the destination is known.
    pub method: Method,
    /// An absolute URI; for `CONNECT` host and port.
    pub uri: Uri,
    /// The header.
    pub headers: HeaderMap,
    /// The server name that a connection asks for by TLS (SNI); `None`: it is asked about as one that is not TLS.
    pub server_name: Option<String>,
    /// The address that it comes from, for policies on addresses.
    pub source: Option<IpAddr>,
}

impl Query {
    /// What is dialled, `host:port`.
    pub fn destination(&self) -> Option<String> {
        let authority = self.uri.authority()?;
        Some(match authority.port_u16() {
            Some(_) => authority.as_str().to_owned(),
            None => format!("{}:80", authority.host()),
        })
    }
}

/// What is known to whoever explains.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// What the name stands for; `None`: the mesh has none of that name.
    pub destination: Option<&'a Destination>,
    /// The endpoints of a service, where they are known.
    pub endpoints: &'a dyn Fn(&ServicePort) -> Option<Arc<EndpointSet>>,
    /// How many workers have ejected an endpoint of a service.
    pub ejected_by: &'a dyn Fn(&ServicePort, &str) -> usize,
    /// What the proxies of a service let in, where that is known.
    pub inbound: &'a dyn Fn(&ServicePort) -> Option<Arc<Inbound>>,
    /// Who asks.
    pub caller: Option<&'a Identity>,
}

impl fmt::Debug for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").field("caller", &self.caller).finish_non_exhaustive()
    }
}

/// What would become of a request. Texts are for people; names of fields stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The request.
    pub request: String,
    /// The service and port that were dialled; `None`: the name is not in the mesh.
    pub service: Option<String>,
    /// What is spoken on that port.
    pub protocol: Option<String>,
    /// Every match of every rule, in order of precedence.
    pub considered: Vec<ConsideredMatch>,
    /// What the rule that was taken does before a backend is chosen, in order.
    pub steps: Vec<String>,
    /// The share of requests that the rule aborts on purpose, in per cent.
    #[serde(default)]
    pub aborts: f64,
    /// Where the request may go.
    pub backends: Vec<BackendShare>,
    /// What comes of it.
    pub outcome: Outcome,
    /// Who asks, as a SPIFFE id.
    #[serde(default)]
    pub caller: Option<String>,
}

impl Explanation {
    /// Takes in what the proxies of a backend say, where the one who explained did not know it.
    pub fn admit(&mut self, service: &str, admission: &Admission) {
        for backend in self.backends.iter_mut().filter(|backend| backend.service.as_deref() == Some(service))
        {
            backend.admission = Some(admission.clone());
        }
        self.outcome = outcome(&self.backends, self.aborts);
    }
}

/// A match of a rule of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsideredMatch {
    /// The route.
    pub route: String,
    /// The rule's name, or its place.
    pub rule: String,
    /// What the match asks for.
    pub asks: String,
    /// Whether it was taken.
    pub taken: bool,
    /// Why, or why not.
    pub why: String,
}

/// A backend and its share of the requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendShare {
    /// The service and port; `None`: the reference does not hold.
    pub service: Option<String>,
    /// Why the reference does not hold.
    pub invalid: Option<String>,
    /// Its share, in per cent.
    pub percent: f64,
    /// What is done for it alone, and how it is balanced and protected.
    pub steps: Vec<String>,
    /// Its endpoints, where they are known.
    pub endpoints: Option<Vec<EndpointState>>,
    /// What its own proxies say, where that is known.
    pub admission: Option<Admission>,
    /// What its filters answer to every request, so that it gets none.
    #[serde(default)]
    pub answered: Option<Outcome>,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointState {
    /// Address.
    pub address: String,
    /// Workload.
    pub workload: String,
    /// What is known of its health, in words.
    pub health: String,
    /// Whether it gets new requests.
    #[serde(default)]
    pub takes_requests: bool,
    /// How it is reached.
    pub hop: String,
    /// Weight among the endpoints.
    pub weight: u32,
    /// How many of the proxy's workers have ejected it because it failed.
    #[serde(default)]
    pub ejected_by: usize,
}

/// What a service's own proxies say of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// Whether they let it in.
    pub allowed: bool,
    /// Why.
    pub why: String,
}

/// What comes of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether it is sent on, at least in part.
    pub sent: bool,
    /// The status that the proxy answers with where it is not.
    pub status: Option<u16>,
    /// In words.
    pub why: String,
}

impl Outcome {
    fn sent(why: impl Into<String>) -> Self {
        Self { sent: true, status: None, why: why.into() }
    }

    fn refused(reason: Reason, why: &str) -> Self {
        let why = format!("{}: {why}", reason.label());
        Self { sent: false, status: Some(reason.http_status().as_u16()), why }
    }
}

/// Explains what would become of a request.
pub fn explain(query: &Query, known: &Known<'_>) -> Explanation {
    let mut explanation = Explanation {
        request: format!("{} {}", query.method, query.uri),
        service: known.destination.map(|destination| destination.service.to_string()),
        protocol: known.destination.map(|destination| format!("{:?}", destination.protocol).to_lowercase()),
        considered: Vec::new(),
        steps: Vec::new(),
        aborts: 0.0,
        backends: Vec::new(),
        outcome: Outcome::sent("passed on to where the name says: it is not in the mesh"),
        caller: known.caller.map(|caller| caller.as_str().to_owned()),
    };
    let Some(destination) = known.destination else { return explanation };
    let shares = if query.method == Method::CONNECT {
        connection::shares(query, destination, &mut explanation)
    } else {
        request(query, destination, &mut explanation)
    };
    let shares = match shares {
        Ok(shares) => shares,
        Err(outcome) => {
            explanation.outcome = outcome;
            return explanation;
        }
    };
    let total: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
    explanation.backends = shares.iter().map(|share| describe(query, known, share, total)).collect();
    explanation.outcome = outcome(&explanation.backends, explanation.aborts);
    explanation
}

/// A share of the requests before it is described.
struct Share<'a> {
    weight: u32,
    target: Result<&'a Backend, &'a str>,
    filters: Option<&'a Filters<Arc<Backend>>>,
    matched_prefix: usize,
    port: u16,
}

impl<'a> Share<'a> {
    fn whole(backend: &'a Backend) -> Vec<Self> {
        vec![Self {
            weight: 1,
            target: Ok(backend),
            filters: None,
            matched_prefix: 0,
            port: backend.service.port,
        }]
    }
}

fn target(target: &Target<Arc<Backend>>) -> Result<&Backend, &str> {
    match target {
        Target::Valid(backend) => Ok(backend),
        Target::Invalid(problem) => Err(problem),
    }
}

fn request<'a>(
    query: &Query,
    destination: &'a Destination,
    explanation: &mut Explanation,
) -> Result<Vec<Share<'a>>, Outcome> {
    let Some(table) = &destination.routes else { return Ok(Share::whole(&destination.backend)) };
    let parts = RequestParts::new(&query.method, &query.uri, &query.headers);
    explanation.considered = table.explain(&parts).iter().map(|it| considered(query, it)).collect();
    let Some(taken) = table.find(&parts) else {
        let why = format!("no route of {} matches", destination.service);
        return Err(Outcome::refused(Reason::NoRoute, &why));
    };
    let filters = &taken.rule.filters;
    explanation.steps = steps(filters, query, taken.matched_prefix);
    if let Some(outcome) = answered(filters, query, destination.service.port, taken.matched_prefix) {
        return Err(outcome);
    }
    if let Some((part, _)) = filters.fault.as_ref().and_then(|fault| fault.abort) {
        explanation.aborts = part.as_percent();
    }
    explanation.steps.extend(promises(taken.rule));
    let shares = split(query, destination, &taken, &mut explanation.steps);
    if shares.iter().all(|share| share.weight == 0) {
        let why = format!("the rule of {} has no backend with a weight", taken.route);
        return Err(Outcome::refused(Reason::InvalidBackend, &why));
    }
    Ok(shares)
}

/// The shares of a rule; all of the one that a key leads to, where the request has one.
fn split<'a>(
    query: &Query,
    destination: &Destination,
    taken: &RuleRef<'a, Arc<Backend>>,
    steps: &mut Vec<String>,
) -> Vec<Share<'a>> {
    let backends = &taken.rule.backends;
    let key = taken.rule.sticky.as_ref().and_then(|sticky| sticky.key(&query.headers, query.source));
    let chosen = key.and_then(|key| backends.choose_sticky(&key, stable_hash(taken.route.name.as_bytes())));
    if let Some(chosen) = chosen {
        let to = target(&chosen.target)
            .map_or("a backend that does not hold".to_owned(), |it| it.service.to_string());
        steps.push(format!("keeps this request's key at {to}"));
    }
    let shares = backends.iter().map(|(weight, backend)| Share {
        weight: match chosen {
            Some(chosen) => u32::from(std::ptr::eq(chosen, backend)),
            None => weight,
        },
        target: target(&backend.target),
        filters: Some(&backend.filters).filter(|filters| !filters.is_empty()),
        matched_prefix: taken.matched_prefix,
        port: destination.service.port,
    });
    shares.collect()
}

fn describe(query: &Query, known: &Known<'_>, share: &Share<'_>, total: u64) -> BackendShare {
    let percent = if total == 0 { 0.0 } else { f64::from(share.weight) * 100.0 / total as f64 };
    let mut described = BackendShare {
        service: None,
        invalid: None,
        percent,
        steps: share.filters.map(|filters| steps(filters, query, share.matched_prefix)).unwrap_or_default(),
        endpoints: None,
        admission: None,
        answered: share
            .filters
            .and_then(|filters| answered(filters, query, share.port, share.matched_prefix)),
    };
    let backend = match share.target {
        Ok(backend) => backend,
        Err(problem) => {
            described.invalid = Some(problem.to_owned());
            return described;
        }
    };
    described.service = Some(backend.service.to_string());
    described.steps.push(protection(backend));
    described.endpoints = (known.endpoints)(&backend.service)
        .map(|set| set.endpoints().iter().map(|endpoint| state(known, &backend.service, endpoint)).collect());
    described.admission = (known.inbound)(&backend.service)
        .map(|inbound| admission(query, known.caller, &inbound, backend.service.port));
    described
}

fn state(known: &Known<'_>, service: &ServicePort, endpoint: &Endpoint) -> EndpointState {
    EndpointState {
        address: endpoint.address.to_string(),
        workload: endpoint.workload.to_string(),
        health: health(endpoint.health).to_owned(),
        takes_requests: endpoint.is_usable(),
        hop: hop(endpoint.hop).to_owned(),
        weight: endpoint.weight,
        ejected_by: (known.ejected_by)(service, &endpoint.id),
    }
}

/// What a workload's own proxy says of a request to this port of its application.
pub fn admission(query: &Query, caller: Option<&Identity>, inbound: &Inbound, number: u16) -> Admission {
    let port = inbound.port(number);
    let mode = port.authorization.path_mode();
    let path = match mode.forwarded(query.uri.path()) {
        Ok(path) => path,
        Err(ambiguous) => {
            return Admission { allowed: false, why: format!("pathMode REJECT, 400: {ambiguous}") };
        }
    };
    let http = HttpCall { method: &query.method, path: path.as_deref().unwrap_or(query.uri.path()) };
    let call = Call {
        identity: caller,
        // Where nothing is known of it, policies on addresses are asked about one that nobody has.
        source: query.source.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        port: number,
        http: (query.method != Method::CONNECT).then_some(http),
    };
    let decision = port.authorization.decide(&call);
    let why = match decision.by {
        DecidedBy::Rule { policy, rule, problem: None } => format!("{policy}, rules[{rule}]"),
        DecidedBy::Rule { policy, rule, problem: Some(problem) } => {
            format!("{policy}, rules[{rule}] is not understood: {problem}")
        }
        DecidedBy::NotUnderstood { policy, problem } => format!("{policy} is not understood: {problem}"),
        DecidedBy::NothingAllows => "there are policies that allow, and none allows this".to_owned(),
        DecidedBy::Default => "no policy says anything, so the default holds".to_owned(),
    };
    Admission { allowed: decision.allowed, why }
}

#[cfg(test)]
mod tests;
