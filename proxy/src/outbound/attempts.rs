//! The attempts at one request: endpoint, deadline, retry, budget.

use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Response};
use smallvec::SmallVec;
use weft_hop::{RequestMetadata, ResponseMarks, ResponseMetadata, RetryState};
use weft_mesh::balance::{Endpoint, PickContext, TunnelProtocol};
use weft_mesh::deadline::{Deadline, Limit};
use weft_mesh::hash::stable_hash;
use weft_mesh::hedge::HedgePolicy;
use weft_mesh::limits::Permit;
use weft_mesh::outcome::Verdict;
use weft_mesh::protocol::Protocol;
use weft_mesh::reason::Reason;
use weft_mesh::retry::{AttemptState, Decision, GiveUp, RetryPolicy, decide, is_final};

use super::exchange::Rule;
use super::loops;
use crate::error::{BoxFailure, Failure};
use crate::http::body::Body;
use crate::http::client::HttpVersion;
use crate::http::deadline;
use crate::http::exchange::Exchange;
use crate::http::local_reply::{X_WEFT_ERROR, is_grpc};
use crate::http::replay::Replay;
use crate::observe::stats::{Cause, RetryOutcome};
use crate::runtime::clock::now;
use crate::runtime::worker::Worker;
use crate::snapshot::{Backend, Tls};
use crate::upstream::service::{Attempt, Service};

mod hedged;

const X_WEFT_ATTEMPTS: HeaderName = HeaderName::from_static("x-weft-attempts");

/// What is decided about a request before it is sent, and stays for all its attempts.
pub(crate) struct Plan {
    service: Rc<Service>,
    /// The port of the service.
    port: u16,
    retry: Option<RetryPolicy>,
    /// When attempts overlap; `None`: never, be it that the request must not be processed twice.
    hedging: Option<HedgePolicy>,
    deadline: Deadline,
    version: HttpVersion,
    tls: Option<Arc<Tls>>,
    grpc: bool,
    place: Option<Permit>,
    /// Hash of what consistent hashing hashes.
    key: Option<u64>,
    /// The endpoint that the request's session is bound to.
    session: Option<u64>,
}

/// What a request asks for, once its route is known.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) backend: &'a Arc<Backend>,
    pub(super) rule: Option<&'a Rule<'a>>,
    pub(super) parts: &'a http::request::Parts,
    /// Who sent it.
    pub(super) source: IpAddr,
    /// The endpoint that its session is bound to.
    pub(super) session: Option<u64>,
}

/// The attempt that was answered.
pub(super) struct Answered {
    attempt: Attempt,
}

impl Answered {
    /// The endpoint that answered.
    pub(super) fn endpoint(&self) -> &Endpoint {
        self.attempt.peer.endpoint()
    }
}

/// The attempts that were made at a request.
#[derive(Default)]
struct Tries {
    /// The endpoints that had one.
    endpoints: SmallVec<[Arc<str>; 2]>,
    /// How many there were after the first one.
    retries: u32,
    /// How many of these were made because the one before reached nobody.
    moves: u32,
    /// Whether the last attempt is among the endpoints already, as those are that others were made beside.
    noted: bool,
}

impl Tries {
    /// Takes note of the endpoint of an attempt that has ended.
    fn note(&mut self, attempt: &Attempt) {
        if !self.noted {
            self.endpoints.push(Arc::clone(&attempt.peer.endpoint().id));
        }
    }
}

/// How one attempt ended.
type Ended = Result<(Response<Body>, ResponseMetadata), BoxFailure>;

impl Plan {
    pub(super) fn new(worker: &Rc<Worker>, asked: &Asked<'_>, began: Instant) -> Result<Self, BoxFailure> {
        let Asked { backend, rule, parts, source, session } = *asked;
        let service = worker.service(backend);
        let place = match backend.policy.max_requests {
            0 => None,
            limit => Some(service.usage().requests.enter(limit).ok_or_else(|| breaker_open(backend, limit))?),
        };
        service.count_request(worker.number, began);
        let caller = deadline::told(&parts.headers);
        let timeouts = rule.map(|rule| rule.rule.timeouts).unwrap_or_default();
        let route_retry = rule.and_then(|rule| rule.rule.retry.as_ref());
        // Who is bound to an endpoint is not to find itself at another one.
        let hedging = backend
            .policy
            .hedging
            .filter(|policy| session.is_none() && policy.covers(&parts.method, route_retry.is_some()));
        Ok(Self {
            service,
            port: backend.service.port,
            retry: route_retry.or(backend.policy.retry.as_ref()).cloned(),
            hedging,
            deadline: Deadline::new(began, timeouts, caller),
            version: version_for(backend, parts.version),
            session,
            tls: worker.with_snapshot(|snapshot| snapshot.tls.clone()),
            grpc: is_grpc(&parts.headers),
            place,
            key: backend
                .policy
                .hash_key
                .as_ref()
                .and_then(|source_of_key| source_of_key.key(&parts.headers, Some(source)))
                .map(|key| stable_hash(&key)),
        })
    }

    /// Sends the request until it is answered or there is no sense in trying again.
    pub(super) async fn attempts(
        &self,
        worker: &Rc<Worker>,
        parts: &mut http::request::Parts,
        body: Body,
        exchange: &mut Exchange,
    ) -> Result<(Response<Body>, Answered), BoxFailure> {
        let replay = Replay::new(body, &worker.shared);
        let mut tries = Tries::default();
        loop {
            let (attempt, ended) = if let Some(policy) = self.hedging {
                Box::pin(self.hedged(policy, worker, parts, &replay, &mut tries, exchange)).await?
            } else {
                let mut attempt = self.service.attempt(self.wish(&tries))?;
                exchange.way.sent_to(&attempt.peer);
                let ended = self.attempt(&mut attempt, parts, &replay, tries.retries).await;
                (attempt, ended)
            };
            let again = match self.judge(&ended, &attempt, &replay, &mut tries) {
                Decision::Retry { after } => {
                    worker.shared.stats.retry(RetryOutcome::Made);
                    exchange.retried();
                    Ok(after)
                }
                Decision::Move { after, elsewhere } => {
                    worker.shared.stats.retry(RetryOutcome::Moved);
                    tries.moves += u32::from(elsewhere);
                    Ok(after)
                }
                Decision::GiveUp(give_up) => Err(give_up),
            };
            let give_up = match again {
                Ok(after) => {
                    tries.retries += 1;
                    drop((ended, attempt));
                    if !after.is_zero() {
                        tokio::time::sleep(after).await;
                    }
                    continue;
                }
                Err(give_up) => give_up,
            };
            replay.settle();
            if give_up == GiveUp::Budget {
                worker.shared.stats.retry(RetryOutcome::OverBudget);
            }
            let (mut response, metadata) = ended?;
            exchange.cause = answered_by_proxy(&attempt, &response, &metadata).map(Cause::Failed);
            mark(response.headers_mut(), tries.retries);
            return Ok((response, Answered { attempt }));
        }
    }

    fn wish<'a>(&self, tries: &'a Tries) -> PickContext<'a> {
        PickContext { tried: &tries.endpoints, key: self.key, session: self.session }
    }

    async fn attempt(
        &self,
        attempt: &mut Attempt,
        parts: &mut http::request::Parts,
        replay: &Replay,
        retries: u32,
    ) -> Ended {
        let Some(body) = replay.attempt() else {
            return Err(Failure::internal(Reason::UpstreamReset, "the body cannot be sent again"));
        };
        let now = now();
        if let Some(left) = self.deadline.remaining(now) {
            deadline::tell(&mut parts.headers, left);
        }
        if attempt.peer.endpoint().hop != TunnelProtocol::Weft {
            loops::mark(self.service.shared(), parts);
        }
        let metadata = RequestMetadata {
            destination: Some(weft_hop::Destination { service: self.service.label(), port: self.port }),
            attempt: Some(retries + 1),
            deadline_micros: self.deadline.remaining(now).map(|left| left.as_micros() as u64),
            retry: if replay.can_replay() { RetryState::REPLAYABLE } else { RetryState::default() },
            ..RequestMetadata::default()
        };
        let ended = {
            let sending = pin!(attempt.peer.send(parts, body, &metadata, self.version, self.tls.as_ref()));
            match self.deadline.attempt_ends(now) {
                None => sending.await,
                Some((ends, limit)) => match tokio::time::timeout_at(ends.into(), sending).await {
                    Ok(ended) => ended,
                    Err(_) => Err(timed_out(limit)),
                },
            }
        };
        match &ended {
            Ok((response, metadata)) => attempt.head(response, metadata, self.grpc),
            Err(failure) => attempt.failed(failure),
        }
        ended
    }

    /// What an attempt's end says of its endpoint, and of another attempt.
    fn verdict(&self, ended: &Ended, attempt: &Attempt) -> Verdict {
        let ended =
            ended.as_ref().map(|(response, metadata)| (response, metadata)).map_err(|failure| &**failure);
        attempt.verdict(ended, self.grpc)
    }

    fn judge(&self, ended: &Ended, attempt: &Attempt, replay: &Replay, tries: &mut Tries) -> Decision {
        let verdict = self.verdict(ended, attempt);
        if is_final(self.retry.as_ref(), verdict) {
            // What nearly all requests come to.
            return Decision::GiveUp(GiveUp::NotRetryable);
        }
        tries.note(attempt);
        let attempted = AttemptState {
            retries: tries.retries - tries.moves,
            elsewhere: self.service.has_untried(&tries.endpoints),
            replayable: replay.can_replay(),
            deadline: self.deadline,
        };
        let now = now();
        let budget = || self.service.take_retry(now);
        decide(self.retry.as_ref(), verdict.happened, attempted, budget, now, fastrand::u64(..))
    }

    /// Hands over to the exchange what lasts until its end.
    pub(super) fn finish(self, answered: Answered, exchange: &mut Exchange) {
        // A tunnel that is agreed to is answered; how long it lasts then is for both sides to say.
        if exchange.tunnel.is_none() {
            exchange.ends = self.deadline.attempt_ends(answered.attempt.began());
        }
        exchange.attempt = Some(answered.attempt);
        exchange.place = self.place;
    }
}

/// The version to speak to a backend: its own where it is declared, else the caller's if it turns out to be spoken.
pub(super) fn version_for(backend: &Backend, sent: http::Version) -> HttpVersion {
    match backend.protocol {
        Protocol::Http1 => HttpVersion::Http1,
        Protocol::Http2 | Protocol::Grpc => HttpVersion::Http2,
        _ if sent == http::Version::HTTP_2 => HttpVersion::Either,
        _ => HttpVersion::LikelyHttp1,
    }
}

/// Why the proxy at the endpoint answered, where the application did not. A proxy of an older release says so only where the
/// application cannot have processed the request.
pub(super) fn answered_by_proxy(
    attempt: &Attempt,
    response: &Response<Body>,
    metadata: &ResponseMetadata,
) -> Option<Reason> {
    let marks = metadata.marks;
    let by_proxy = marks.contains(ResponseMarks::LOCAL_REPLY) || !marks.contains(ResponseMarks::PROCESSED);
    if !by_proxy || attempt.peer.endpoint().hop != TunnelProtocol::Weft {
        return None;
    }
    Reason::from_label(response.headers().get(&X_WEFT_ERROR)?.to_str().ok()?)
}

fn mark(headers: &mut HeaderMap, retries: u32) {
    if retries > 0 {
        headers.insert(X_WEFT_ATTEMPTS, HeaderValue::from(retries + 1));
    }
}

fn timed_out(limit: Limit) -> BoxFailure {
    match limit {
        Limit::Request => Failure::upstream(Reason::RequestTimeout, "no answer within the request's time"),
        Limit::Attempt => Failure::upstream(Reason::AttemptTimeout, "no answer within the attempt's time"),
    }
}

fn breaker_open(backend: &Backend, limit: u32) -> BoxFailure {
    let detail = format!("{} has as many requests in flight as it may have: {limit}", backend.service);
    Failure::internal(Reason::BreakerOpen, detail)
}
