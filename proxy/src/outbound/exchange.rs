//! A request to a destination of the mesh: route, filters, split, attempts, answer. The order of phases is this file's.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use smallvec::SmallVec;
use weft_mesh::filter::{Abort, Counted, Filters, GlobalLimit, Limited, RedirectFrom, Scheme};
use weft_mesh::headers::remove_hop_by_hop;
use weft_mesh::reason::Reason;
use weft_mesh::route::{RequestParts, RuleRef, Target as BackendTarget};
use weft_mesh::trace::keep_or_make_request_id;

use super::Downstream;
use super::attempts::{Asked, Plan};
use super::mirror::{self, Copies};
use super::session::Sessions;
use crate::error::{BoxFailure, Failure};
use crate::http::body::Body;
use crate::http::exchange::Exchange;
use crate::http::tee::Tee;
use crate::http::upgrade::{self, Change, Upgrading};
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
        Filtered::Answered(cause, answer) => return Ok(local_reply(exchange, cause, answer)),
        Filtered::Passed(fields) => fields,
    };
    let sessions = routed.as_ref().and_then(|routed| Sessions::of(routed, &parts.headers));
    let (backend, backend_filters) = asking.choose(&parts, sessions.as_ref())?;
    note_backend(exchange, routed.as_ref(), backend);
    let added_behind = match asking.pass(backend_filters, &mut parts).await? {
        Filtered::Answered(cause, answer) => return Ok(local_reply(exchange, cause, answer)),
        Filtered::Passed(fields) => fields,
    };
    let filters = [rule_filters, backend_filters];
    let origin_headers = headers_for_cors(filters, &parts);
    identify(exchange, &mut parts.headers);
    let copies = filter_request(filters, &mut parts, routed.as_ref());
    let (tunnel, body) = match upgrade {
        None => (None, mirrored(worker, exchange, body, copies)),
        Some(asked) => tunneled(exchange, asked, &mut parts.headers, body),
    };
    let plan = {
        let asked = Asked {
            backend,
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
    filter_response(filters, origin_headers.as_deref(), [&added_behind, &added], &mut response);
    if let Some(sessions) = &sessions {
        sessions.answer(&backend.service, answered.endpoint(), response.headers_mut());
    }
    plan.finish(answered, exchange);
    Ok(response)
}

/// An answer of a filter, noted as one of this proxy.
fn local_reply(exchange: &mut Exchange, cause: Cause, response: Response<Body>) -> Response<Body> {
    exchange.answered_here(cause);
    response
}

/// Notes which backend a request goes to, and how long nothing may move on it.
fn note_backend(exchange: &mut Exchange, rule: Option<&Rule<'_>>, backend: &Arc<Backend>) {
    exchange.way.backend = Some(Arc::clone(backend));
    exchange.allow_quiet(rule.and_then(|rule| rule.rule.timeouts.idle).or(backend.policy.stream_idle));
}

/// Makes sure that a request has an ID, and has the access log know it.
fn identify(exchange: &mut Exchange, headers: &mut HeaderMap) {
    keep_or_make_request_id(headers, fastrand::u64(..));
    if let Some(log) = &mut exchange.log {
        log.identified(headers);
    }
}

/// Makes a request ask for another protocol. Gives the change that it asks for, with what starts the tunnel once that is
/// agreed to, and the request's body: its content, and then what the client sends through the tunnel.
fn tunneled(
    exchange: &mut Exchange,
    asked: upgrade::Asked,
    headers: &mut HeaderMap,
    body: Incoming,
) -> (Option<(Change, impl FnOnce(Body) + use<>)>, Body) {
    let upgrade::Asked { change, connection } = asked;
    exchange.allow_tunnel();
    change.ask(headers);
    let content = change.content(body);
    let (body, start) = upgrade::tunnel(connection);
    (Some((change, start)), exchange.upload(Upgrading::body(content, body)))
}

/// The filters of a request's rule and of its backend, in the order in which they change the request.
type RouteFilters<'a> = [Option<&'a Filters<Arc<Backend>>>; 2];

/// What the request's headers were before filters changed them, where its answer is decided by that.
fn headers_for_cors(filters: RouteFilters<'_>, parts: &http::request::Parts) -> Option<Box<HeaderMap>> {
    let has_cors = filters.into_iter().flatten().any(|filters| filters.cors.is_some());
    has_cors.then(|| Box::new(parts.headers.clone()))
}

/// Has the filters change the request. Gives the copies of it that are to be mirrored.
fn filter_request(
    filters: RouteFilters<'_>,
    parts: &mut http::request::Parts,
    rule: Option<&Rule<'_>>,
) -> Copies {
    let mut copies = SmallVec::new();
    for filters in filters.into_iter().flatten() {
        apply_request_filters(filters, parts, rule);
        mirror::copies(filters, parts, &mut copies);
    }
    copies
}

/// The request's body, after the copies of the request have been sent with what they get of it.
fn mirrored(worker: &Rc<Worker>, exchange: &mut Exchange, body: Incoming, copies: Copies) -> Body {
    let (body, bodies) = Tee::over(exchange.upload(Body::from(body)), copies.len());
    for (copy, body) in copies.into_iter().zip(bodies) {
        mirror::send(worker, &exchange.way, copy, body);
    }
    body
}

/// Has the filters change the response: the backend's first, as it is the nearer one.
fn filter_response(
    filters: RouteFilters<'_>,
    origin: Option<&HeaderMap>,
    added: [&Option<Box<Added>>; 2],
    response: &mut Response<Body>,
) {
    let headers = response.headers_mut();
    remove_hop_by_hop(headers);
    for filters in filters.into_iter().rev().flatten() {
        filters.response_headers.apply(headers);
        if let (Some(cors), Some(origin)) = (&filters.cors, origin) {
            cors.apply(origin, headers);
        }
    }
    for added in added.into_iter().flatten() {
        added.to_response(headers);
    }
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

impl<'a> Asking<'a> {
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

    /// The backend that the request goes to, with the filters that it has in the rule.
    fn choose(
        &self,
        parts: &http::request::Parts,
        sessions: Option<&Sessions<'_>>,
    ) -> Result<Chosen<'a>, BoxFailure> {
        let Self { destination, rule, source, .. } = *self;
        let Some(rule) = rule else { return Ok((&destination.backend, None)) };
        let backends = &rule.rule.backends;
        let bound = sessions.and_then(|sessions| {
            // Also one that gets no new sessions: its weight is 0 (GEP-1619, "Traffic Splitting").
            backends.iter().map(|(_, backend)| backend).find(|backend| match &backend.target {
                BackendTarget::Valid(target) => sessions.is_with(&target.service),
                BackendTarget::Invalid(_) => false,
            })
        });
        let key = rule.rule.sticky.as_ref().and_then(|sticky| sticky.key(&parts.headers, Some(source)));
        let chosen = match key {
            _ if bound.is_some() => bound,
            // The same salt in every proxy, so that the same key means the same backend everywhere.
            Some(key) => {
                backends.choose_sticky(&key, weft_mesh::hash::stable_hash(rule.route.name.as_bytes()))
            }
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
