//! A request to a destination of the mesh: route, filters, split, attempts, answer. The order of phases is this file's.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use smallvec::SmallVec;
use weft_mesh::filter::{Abort, Counted, Filters, GlobalLimit, Limited, RedirectFrom, Scheme};
use weft_mesh::headers::remove_hop_by_hop;
use weft_mesh::reason::Reason;
use weft_mesh::route::{RequestParts, RuleRef, Target as BackendTarget};
use weft_mesh::trace::keep_or_make_request_id;

use super::attempts::{Asked, Plan};
use super::session::Sessions;
use super::{Downstream, mirror};
use crate::error::{BoxFailure, Failure};
use crate::http::body::Body;
use crate::http::exchange::Exchange;
use crate::http::tee::Tee;
use crate::http::upgrade::{self, Upgrading};
use crate::observe::stats::Cause;
use crate::rate_limit::{self, Added};
use crate::runtime::clock::now;
use crate::runtime::worker::Worker;
use crate::snapshot::{Backend, Destination};

/// The rule that applies to a request.
pub(super) type Rule<'a> = RuleRef<'a, Arc<Backend>>;

/// Carries a request to an endpoint of its destination, and its answer back.
pub(crate) async fn run(
    worker: &Rc<Worker>,
    downstream: &Downstream,
    destination: &Arc<Destination>,
    mut request: Box<Request<Incoming>>,
    exchange: &mut Exchange,
) -> Result<Response<Body>, BoxFailure> {
    exchange.way.destination = Some(Arc::clone(destination));
    let upgrade = upgrade::asked(&mut request);
    let (mut parts, body) = request.into_parts();
    let routed = route(destination, &parts)?;
    exchange.way.route = routed.as_ref().map(|routed| Arc::clone(&routed.route.name));
    let rule_filters = routed.as_ref().map(|routed| &routed.rule.filters);
    // Before anything is added, which a client must not take away by naming it in `Connection`.
    remove_hop_by_hop(&mut parts.headers);
    let asking = Asking { worker, destination, rule: routed.as_ref(), source: downstream.source.ip() };
    let added = match asking.pass(rule_filters, &mut parts).await? {
        Filtered::Answered(cause, answer) => {
            exchange.answered_here(cause);
            return Ok(answer);
        }
        Filtered::Passed(fields) => fields,
    };
    let sessions = routed.as_ref().and_then(|routed| Sessions::of(routed, &parts.headers));
    let (backend, backend_filters) =
        choose(destination, routed.as_ref(), &parts, downstream.source, sessions.as_ref())?;
    exchange.way.backend = Some(Arc::clone(backend));
    let idle = routed.as_ref().and_then(|routed| routed.rule.timeouts.idle).or(backend.policy.stream_idle);
    exchange.allow_quiet(idle);
    let added_behind = match asking.pass(backend_filters, &mut parts).await? {
        Filtered::Answered(cause, answer) => {
            exchange.answered_here(cause);
            return Ok(answer);
        }
        Filtered::Passed(fields) => fields,
    };
    let backend = Arc::clone(backend);
    let has_cors = |filters: &Filters<_>| filters.cors.is_some();
    let origin_headers = rule_filters
        .into_iter()
        .chain(backend_filters)
        .any(has_cors)
        .then(|| Box::new(parts.headers.clone()));
    keep_or_make_request_id(&mut parts.headers, fastrand::u64(..));
    if let Some(log) = &mut exchange.log {
        log.identified(&parts.headers);
    }
    let mut copies = SmallVec::new();
    for filters in rule_filters.into_iter().chain(backend_filters) {
        apply_request_filters(filters, &mut parts, routed.as_ref());
        mirror::copies(filters, &parts, &mut copies);
    }
    let (tunnel, body) = match upgrade {
        None => {
            let (body, bodies) = Tee::over(exchange.upload(Body::from(body)), copies.len());
            for (copy, body) in copies.into_iter().zip(bodies) {
                mirror::send(worker, &exchange.way, copy, body);
            }
            (None, body)
        }
        Some(upgrade::Asked { change, connection }) => {
            exchange.allow_tunnel();
            change.ask(&mut parts.headers);
            let content = change.content(body);
            let (body, start) = upgrade::tunnel(connection);
            (Some((change, start)), exchange.upload(Upgrading::body(content, body)))
        }
    };
    let plan = {
        let asked = Asked {
            backend: &backend,
            rule: routed.as_ref(),
            parts: &parts,
            source: downstream.source.ip(),
            session: sessions.as_ref().and_then(Sessions::endpoint),
        };
        Plan::new(worker, &asked, exchange.began)?
    };
    let (mut response, answered) = plan.attempts(worker, &mut parts, body, exchange).await?;
    if let Some((change, start)) = tunnel
        && change.is_agreed(response.status())
    {
        exchange.tunnel = Some(Box::new(start));
        plan.finish(answered, exchange);
        return Ok(change.agreed(response));
    }
    remove_hop_by_hop(response.headers_mut());
    for filters in backend_filters.into_iter().chain(rule_filters) {
        filters.response_headers.apply(response.headers_mut());
        if let (Some(cors), Some(origin)) = (&filters.cors, &origin_headers) {
            cors.apply(origin, response.headers_mut());
        }
    }
    for added in [&added_behind, &added].into_iter().flatten() {
        added.to_response(response.headers_mut());
    }
    if let Some(sessions) = &sessions {
        sessions.answer(&backend.service, answered.endpoint(), response.headers_mut());
    }
    plan.finish(answered, exchange);
    Ok(response)
}

fn route<'a>(
    destination: &'a Destination,
    parts: &http::request::Parts,
) -> Result<Option<Rule<'a>>, BoxFailure> {
    let Some(table) = &destination.routes else { return Ok(None) };
    let request = RequestParts::new(&parts.method, &parts.uri, &parts.headers);
    if let Some(rule) = table.find(&request) {
        return Ok(Some(rule));
    }
    let detail = format!("no route of {} matches {} {}", destination.service, parts.method, parts.uri.path());
    Err(Failure::control(Reason::NoRoute, detail))
}

/// What came of a rule's filters.
enum Filtered {
    /// The request goes no further.
    Answered(Cause, Response<Body>),
    /// It goes on, with header fields that a filter adds to it and to its answer.
    Passed(Option<Box<Added>>),
}

/// A request that filters are asked about.
struct Asking<'a> {
    worker: &'a Rc<Worker>,
    destination: &'a Destination,
    rule: Option<&'a Rule<'a>>,
    source: IpAddr,
}

impl Asking<'_> {
    /// What filters make of the request, which gets what they add.
    async fn pass(
        &self,
        filters: Option<&Filters<Arc<Backend>>>,
        parts: &mut http::request::Parts,
    ) -> Result<Filtered, BoxFailure> {
        let Some(filters) = filters.filter(|filters| !filters.is_empty()) else {
            return Ok(Filtered::Passed(None));
        };
        let filtered = Box::pin(answer_by_filter(self, filters, parts)).await?;
        if let Filtered::Passed(Some(added)) = &filtered {
            added.to_request(&mut parts.headers);
        }
        Ok(filtered)
    }
}

async fn answer_by_filter(
    asking: &Asking<'_>,
    filters: &Filters<Arc<Backend>>,
    parts: &http::request::Parts,
) -> Result<Filtered, BoxFailure> {
    let Asking { worker, destination, rule, source } = *asking;
    if let Some(problem) = &filters.unresolved {
        return Err(Failure::control(Reason::InvalidFilter, problem.clone()));
    }
    if let Some((status, headers)) =
        filters.cors.as_ref().and_then(|cors| cors.preflight(&parts.method, &parts.headers))
    {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        return Ok(Filtered::Answered(Cause::CorsPreflight, response));
    }
    if let Some(limit) = &filters.rate_limit
        && let Err(wait) = limit.take_for(now(), Limited { identity: None, headers: &parts.headers, source })
    {
        return Err(Failure::limited(wait, format!("more requests than the route allows; wait {wait:?}")));
    }
    let added = match &filters.global_limit {
        Some(limit) => asked(worker, limit, parts, source).await?,
        None => None,
    };
    if let Some(fault) = &filters.fault {
        let injected = fault.decide(fastrand::u64(..));
        if let Some(delay) = injected.delay {
            tokio::time::sleep(delay).await;
        }
        if let Some(abort) = injected.abort {
            return Ok(Filtered::Answered(Cause::FaultAbort, aborted(abort)));
        }
    }
    let Some(redirect) = &filters.redirect else { return Ok(Filtered::Passed(added)) };
    let host = RequestParts::new(&parts.method, &parts.uri, &parts.headers).host;
    let location = redirect.location(RedirectFrom {
        scheme: Scheme::Http,
        host: without_port(host),
        port: destination.service.port,
        path: parts.uri.path(),
        query: parts.uri.query(),
        matched_prefix: rule.map_or(0, |rule| rule.matched_prefix),
    });
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = redirect.status();
    if let Some(location) = location {
        response.headers_mut().insert(http::header::LOCATION, location);
    }
    Ok(Filtered::Answered(Cause::Redirect, response))
}

/// Asks the service that keeps a limit; the caller is the workload itself.
async fn asked(
    worker: &Rc<Worker>,
    limit: &GlobalLimit<Arc<Backend>>,
    parts: &http::request::Parts,
    source: IpAddr,
) -> Result<Option<Box<Added>>, BoxFailure> {
    let own = worker.with_snapshot(|snapshot| snapshot.tls.as_ref().map(|tls| tls.identity().clone()));
    let limited = Limited { identity: own.as_ref(), headers: &parts.headers, source };
    rate_limit::admit(worker, limit, &Counted { limited, method: &parts.method, path: parts.uri.path() })
        .await
}

/// A host without the port that may follow it. The colons of an IPv6 address stand in brackets (RFC 3986, section 3.2.2).
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

fn aborted(abort: Abort) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    match abort {
        Abort::Http(status) => *response.status_mut() = status,
        Abort::Grpc(code) => {
            let headers = response.headers_mut();
            headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", HeaderValue::from(u16::from(code)));
        }
    }
    response.headers_mut().insert("x-weft-fault", HeaderValue::from_static("abort"));
    response
}

type Chosen<'a> = (&'a Arc<Backend>, Option<&'a Filters<Arc<Backend>>>);

fn choose<'a>(
    destination: &'a Destination,
    rule: Option<&Rule<'a>>,
    parts: &http::request::Parts,
    source: SocketAddr,
    sessions: Option<&Sessions<'_>>,
) -> Result<Chosen<'a>, BoxFailure> {
    let Some(rule) = rule else { return Ok((&destination.backend, None)) };
    let backends = &rule.rule.backends;
    let bound = sessions.and_then(|sessions| {
        // Also one that gets no new sessions: its weight is 0 (GEP-1619, "Traffic Splitting").
        backends.iter().map(|(_, backend)| backend).find(|backend| {
            matches!(&backend.target, BackendTarget::Valid(target) if sessions.is_with(&target.service))
        })
    });
    let key = rule.rule.sticky.as_ref().and_then(|sticky| sticky.key(&parts.headers, Some(source.ip())));
    let chosen = match key {
        _ if bound.is_some() => bound,
        // The same salt in every proxy, so that the same key means the same backend everywhere.
        Some(key) => backends.choose_sticky(&key, weft_mesh::hash::stable_hash(rule.route.name.as_bytes())),
        None => backends.choose(fastrand::u64(..)),
    };
    match chosen {
        None => {
            let detail = format!("rule {} of {} has no backend", rule.rule_index, rule.route);
            Err(Failure::control(Reason::InvalidBackend, detail))
        }
        Some(backend) => match &backend.target {
            BackendTarget::Valid(target) => {
                Ok((target, Some(&backend.filters).filter(|filters| !filters.is_empty())))
            }
            BackendTarget::Invalid(problem) => {
                Err(Failure::control(Reason::InvalidBackend, format!("{}: {problem}", rule.route)))
            }
        },
    }
}

fn apply_request_filters(
    filters: &Filters<Arc<Backend>>,
    parts: &mut http::request::Parts,
    rule: Option<&Rule<'_>>,
) {
    filters.request_headers.apply(&mut parts.headers);
    // What CONNECT names is for its recipient to connect to; there is nothing in it to rewrite.
    let Some(rewrite) = filters.rewrite.as_ref().filter(|_| parts.method != Method::CONNECT) else { return };
    let matched = rule.map_or(0, |rule| rule.matched_prefix);
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    if let Some(path_and_query) = &uri.path_and_query
        && let Some(rewritten) =
            rewrite.path_and_query(path_and_query.path(), path_and_query.query(), matched)
        && let Ok(rewritten) = rewritten.parse()
    {
        uri.path_and_query = Some(rewritten);
    }
    if let Some(host) = rewrite.hostname() {
        parts.headers.insert(http::header::HOST, host.clone());
        if uri.authority.is_some()
            && let Ok(authority) = http::uri::Authority::try_from(host.as_bytes())
        {
            uri.authority = Some(authority);
        }
    }
    parts.uri = http::Uri::from_parts(uri).unwrap_or_default();
}
