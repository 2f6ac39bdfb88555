//! A service as one worker uses it: its endpoints, the connections to them, the budget of retries.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Response;
use weft_hop::{ResponseMarks, ResponseMetadata};
use weft_mesh::balance::{EndpointSet, NoEndpoint, PickContext, Picked, Picker, TunnelProtocol};
use weft_mesh::limits::Usage;
use weft_mesh::outcome::{Head, Outcome, Verdict};
use weft_mesh::reason::Reason;

use super::circuit_breaker::CircuitBreaker;
use super::hop_pool::Limits;
use super::peer::Peer;
use crate::error::{BoxFailure, Failure};
use crate::runtime::clock::{now, since};
use crate::runtime::shared::Shared;
use crate::snapshot::{Backend, Snapshot};
use crate::transport::internal_listener::InternalListener;
use crate::transport::own_listeners::OwnListeners;

/// Time after which a worker forgets a service that nobody asks for.
const FORGET_AFTER: Duration = Duration::from_mins(10);

/// What a service takes from the worker that uses it.
#[derive(Debug)]
pub struct ServiceContext<'a> {
    /// What the worker shares with the other threads.
    pub shared: &'a Arc<Shared>,
    /// The way to the inbound side of the own proxy, where there is one.
    pub internal_listener: Option<&'a InternalListener>,
    /// Where the proxy listens itself.
    pub own: &'a OwnListeners,
}

/// One service port.
#[derive(Debug)]
pub struct Service {
    backend: RefCell<Arc<Backend>>,
    /// Number of the snapshot that was looked at last: as long as it is in force, nothing can have changed.
    seen: Cell<Option<u64>>,
    set: RefCell<Option<Arc<EndpointSet>>>,
    picker: RefCell<Picker>,
    peers: RefCell<HashMap<Arc<str>, Rc<Peer>, foldhash::fast::RandomState>>,
    /// Endpoints that are gone, or different now, and have requests under way.
    leaving: RefCell<Vec<Rc<Peer>>>,
    used: Cell<Instant>,
    breaker: Rc<CircuitBreaker>,
    internal_listener: Option<InternalListener>,
    own: OwnListeners,
    shared: Arc<Shared>,
    label: weft_hop::Text,
    /// The number under which it is told which endpoints are ejected, and the picker's counts of when that was last done.
    ejections: u64,
    told: Cell<(u64, usize)>,
}

impl Service {
    /// The service as the snapshot in force has it.
    pub fn new(context: &ServiceContext<'_>, backend: &Arc<Backend>, snapshot: &Snapshot) -> Rc<Self> {
        let now = now();
        let mut picker = Picker::new(backend.policy.balance.clone());
        picker.set_locality(context.shared.locality.clone());
        let service = Self {
            picker: RefCell::new(picker),
            backend: RefCell::new(Arc::clone(backend)),
            seen: Cell::default(),
            set: RefCell::default(),
            peers: RefCell::default(),
            leaving: RefCell::default(),
            used: Cell::new(now),
            shared: Arc::clone(context.shared),
            internal_listener: context.internal_listener.cloned(),
            own: context.own.clone(),
            breaker: CircuitBreaker::new(backend.service.clone(), context.shared.usage(&backend.service)),
            label: backend.service.service.to_string().into(),
            ejections: context.shared.ejected.number(),
            told: Cell::default(),
        };
        service.breaker.limit(&backend.policy);
        service.update(snapshot);
        Rc::new(service)
    }

    /// Takes over what has changed in the snapshot in force. A request may have waited since an earlier one: what that says of
    /// the service is none of the service's business any more.
    pub fn update(&self, snapshot: &Snapshot) {
        if self.seen.replace(Some(snapshot.number)) == Some(snapshot.number) {
            return;
        }
        let service = self.backend.borrow().service.clone();
        if let Some(backend) = snapshot.backends.get(&service)
            && !Arc::ptr_eq(&self.backend.borrow(), backend)
        {
            self.picker.borrow_mut().set_policy(backend.policy.balance.clone());
            self.breaker.limit(&backend.policy);
            *self.backend.borrow_mut() = Arc::clone(backend);
        }
        let set = snapshot.endpoints.get(&service);
        let same = match (&*self.set.borrow(), set) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        if !same {
            self.replace(set.cloned());
        }
    }

    fn replace(&self, set: Option<Arc<EndpointSet>>) {
        let empty = EndpointSet::default();
        let endpoints = set.as_deref().unwrap_or(&empty);
        self.picker.borrow_mut().update(endpoints, now());
        self.peers.borrow_mut().retain(|id, peer| {
            let stays = endpoints.endpoints().iter().any(|endpoint| {
                endpoint.id == *id
                    && endpoint.address == peer.endpoint().address
                    && endpoint.identities == peer.endpoint().identities
                    && endpoint.hop == peer.endpoint().hop
            });
            if !stays {
                peer.drain(&self.shared.stats);
                self.leaving.borrow_mut().push(Rc::clone(peer));
            }
            stays
        });
        *self.set.borrow_mut() = set;
        self.tell_ejections();
    }

    /// Says which endpoints are ejected, where that has changed.
    fn tell_ejections(&self) {
        let picker = self.picker.borrow();
        let counts = (picker.ejections(), picker.ejected());
        if self.told.replace(counts) == counts {
            return;
        }
        let ejected = picker.members().iter().filter(|member| member.is_ejected());
        let ejected = ejected.map(|member| Arc::clone(&member.endpoint().id)).collect();
        self.shared.ejected.tell(self.ejections, &self.backend.borrow().service, ejected);
    }

    /// The service as a place to send to.
    pub fn backend(&self) -> Arc<Backend> {
        Arc::clone(&self.backend.borrow())
    }

    /// What is under way to the service from all workers.
    pub fn usage(&self) -> &Usage {
        self.breaker.usage()
    }

    /// The service's name as it travels beside a request.
    pub fn label(&self) -> weft_hop::Text {
        self.label.clone()
    }

    /// What the threads of this proxy share.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Counts a request of a worker, of which retries are a share.
    pub fn count_request(&self, worker: usize, now: Instant) {
        self.breaker.retries().request(worker, now);
    }

    /// Takes a retry from the budget, if the policy in force leaves one.
    pub fn take_retry(&self, now: Instant) -> bool {
        self.breaker.retries().try_retry(&self.backend.borrow().policy.budget, now)
    }

    /// Whether an endpoint is left that is believed well and was not tried.
    pub fn has_untried(&self, tried: &[Arc<str>]) -> bool {
        self.picker.borrow().has_untried(tried)
    }

    /// Chooses an endpoint for one attempt.
    pub fn attempt(self: &Rc<Self>, wish: PickContext<'_>) -> Result<Attempt, BoxFailure> {
        let now = now();
        self.used.set(now);
        let picked = self.picker.borrow_mut().pick_for(now, fastrand::u64(..), &wish).map_err(|none| {
            let service = &self.backend.borrow().service;
            let detail = match none {
                NoEndpoint::None => format!("{service} has no endpoints"),
                NoEndpoint::NotReady => {
                    format!("no endpoint of {service} takes requests: they are not ready, or draining")
                }
            };
            Failure::internal(Reason::NoEndpoints, detail)
        })?;
        let peer = self.peer(&picked);
        Ok(Attempt {
            service: Rc::clone(self),
            peer,
            picked: Some(picked),
            began: now,
            latency: None,
            outcome: Outcome::Unknown,
        })
    }

    fn peer(&self, picked: &Picked) -> Rc<Peer> {
        let endpoint = picked.member.endpoint();
        if let Some(peer) = self.peers.borrow().get(&endpoint.id) {
            return Rc::clone(peer);
        }
        let peer = Rc::new(Peer::new(
            endpoint.clone(),
            Rc::clone(&self.breaker),
            self.internal_listener.as_ref(),
            &self.own,
        ));
        self.peers.borrow_mut().insert(Arc::clone(&endpoint.id), Rc::clone(&peer));
        peer
    }

    /// Closes idle connections and those of another certificate generation, or too old; says whether the service is still in
    /// use. One that nobody asks for stays until its connections have ended, which nobody else looks after.
    pub fn sweep(&self, now: tokio::time::Instant, generation: Option<u64>) -> bool {
        let forgotten = now.into_std().saturating_duration_since(self.used.get()) >= FORGET_AFTER;
        let idle = if forgotten { Duration::ZERO } else { self.backend.borrow().policy.idle_timeout };
        for peer in self.peers.borrow().values() {
            peer.sweep(now, Limits { idle, generation }, &self.shared.stats);
        }
        self.leaving.borrow_mut().retain(|peer| {
            peer.sweep(now, Limits { idle: Duration::ZERO, generation }, &self.shared.stats);
            !peer.is_drained()
        });
        !forgotten
            || !self.leaving.borrow().is_empty()
            || self.peers.borrow().values().any(|peer| !peer.is_drained())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shared.ejected.tell(self.ejections, &self.backend.borrow().service, Box::default());
    }
}

/// One attempt at an endpoint. What became of it is told to the balancer when it is dropped, however it ends.
#[derive(Debug)]
pub struct Attempt {
    service: Rc<Service>,
    /// The connections to the endpoint.
    pub peer: Rc<Peer>,
    picked: Option<Picked>,
    began: Instant,
    latency: Option<Duration>,
    outcome: Outcome,
}

impl Attempt {
    /// When it began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// What an answer's head, or a failure to get one, says; `grpc`: the request is one of gRPC.
    pub fn verdict<B>(
        &self,
        ended: Result<(&Response<B>, &ResponseMetadata), &Failure>,
        grpc: bool,
    ) -> Verdict {
        let (response, metadata) = match ended {
            Ok(answered) => answered,
            Err(failure) => return failure.verdict(),
        };
        Verdict::of_answer(Head {
            status: response.status(),
            headers: response.headers(),
            grpc,
            by_proxy: self.peer.endpoint().hop == TunnelProtocol::Weft
                && !metadata.marks.contains(ResponseMarks::PROCESSED),
            gave_up: metadata.marks.contains(ResponseMarks::GAVE_UP),
        })
    }

    /// Takes note of an answer's head and of what the endpoint's proxy says beside it.
    pub fn head<B>(&mut self, response: &Response<B>, metadata: &ResponseMetadata, grpc: bool) {
        // The clock is looked at once for all that asks.
        let now = now();
        self.latency = Some(now.saturating_duration_since(self.began));
        if let (Some(load), Some(picked)) = (metadata.load, &self.picked) {
            picked.member.report(now, load.in_flight);
        }
        match self.verdict(Ok((response, metadata)), grpc).outcome {
            // An answer of gRPC whose status is still to come is a success unless the trailers say otherwise, and that of a
            // probe once there is a message.
            outcome @ Outcome::Success if grpc && !response.headers().contains_key("grpc-status") => {
                self.outcome = outcome;
            }
            outcome => self.came_to(outcome),
        }
    }

    /// The head of the answer came, or whatever else the endpoint was asked for. A failure counts at once, and so does the
    /// success of a probe, which the endpoint waits for; any other success may still become a failure before the answer's end.
    pub fn answered(&mut self, outcome: Outcome) {
        self.latency = Some(since(self.began));
        self.came_to(outcome);
    }

    fn came_to(&mut self, outcome: Outcome) {
        if outcome == Outcome::Success && !self.is_probe() {
            self.outcome = outcome;
        } else {
            self.judge(outcome);
        }
    }

    /// A part of the answer's content came.
    pub fn progressed(&mut self) {
        if self.is_probe() {
            self.judge(self.outcome);
        }
    }

    /// The trailers came with a status of gRPC.
    pub fn trailed(&mut self, outcome: Outcome) {
        if self.outcome == Outcome::Success {
            self.judge(outcome);
        }
    }

    fn is_probe(&self) -> bool {
        self.picked.as_ref().is_some_and(|picked| picked.probe)
    }

    /// The endpoint failed to answer, or to finish its answer.
    pub fn failed(&mut self, failure: &Failure) {
        let outcome = failure.verdict().outcome;
        // The client's own doing, or a limit of this proxy's, says nothing of the endpoint.
        if outcome != Outcome::Unknown {
            self.judge(outcome);
        }
    }

    fn judge(&mut self, outcome: Outcome) {
        self.outcome = outcome;
        let Some(picked) = &self.picked else { return };
        let mut balancer = self.service.picker.borrow_mut();
        let before = balancer.ejections();
        balancer.answered(picked, now(), outcome, self.latency, fastrand::u64(..));
        let ejected = balancer.ejections() > before;
        drop(balancer);
        self.service.tell_ejections();
        if ejected {
            self.service.shared.stats.ejected();
            let (endpoint, backend) = (self.peer.endpoint(), self.service.backend());
            tracing::info!(
                service = %backend.service,
                endpoint = %endpoint.address,
                workload = %endpoint.workload,
                "endpoint ejected"
            );
        }
    }

    /// It ends at this time.
    pub fn end(mut self, now: Instant) {
        self.tell_end(|| now);
    }

    fn tell_end(&mut self, now: impl FnOnce() -> Instant) {
        if let Some(picked) = self.picked.take() {
            let mut picker = self.service.picker.borrow_mut();
            picker.ended(&picked, now(), self.outcome, self.latency, fastrand::u64(..));
            drop(picker);
            self.service.tell_ejections();
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.tell_end(now);
    }
}
