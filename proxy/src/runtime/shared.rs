//! What the control thread and the workers share: the snapshot in force, questions for destinations, counters.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderMap;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use weft_mesh::balance::Locality;
use weft_mesh::limits::Permit;
use weft_mesh::name::ServicePort;
use weft_mesh::reason::Reason;
use weft_mesh::via::Marks;
use weft_mesh::violation::Violation;

use crate::http::replay_memory::ReplayMemory;
use crate::observe::access::{AccessLog, Open};
use crate::observe::stats::{Cause, Direction, Edge, Outcome, Stats};
use crate::runtime::clock::Seldom;
use crate::runtime::overload::Overload;
use crate::snapshot::Snapshot;
use crate::transport::limit::ConnectionLimit;
use crate::transport::redirection::Redirection;
use crate::upstream::circuit_breaker::ServiceUsage;
use crate::upstream::ejected::Ejected;

/// Time that a request waits for the control plane to tell about a destination that the proxy does not know yet.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);
/// Questions that may wait for the control thread; one more is answered as if the control plane were silent.
pub const LOOKUP_QUEUE: usize = 1024;

/// So many services may be remembered whether they are used or not.
const FEW_USAGES: usize = 64;

/// Time without an octet either way after which a request under way is given up: what other proxies have, and far more
/// than a caller waits.
pub const STREAM_IDLE: Duration = Duration::from_mins(5);

/// Time after which an unused connection to the application is closed. Servers that give up connections earlier, as many do
/// after 5 s, close them themselves: no request is lost by that.
pub const APPLICATION_IDLE: Duration = Duration::from_mins(1);

/// A time as looks, of which there is one a minute; zero is without end.
pub(crate) const fn looks(idle: Duration) -> u32 {
    match idle.as_secs().div_ceil(60) {
        0 => u32::MAX,
        minutes if minutes > u32::MAX as u64 => u32::MAX,
        minutes => minutes as u32,
    }
}

/// A question for a destination; the answer is sent once a snapshot that knows it is in force.
#[derive(Debug)]
pub struct Lookup {
    /// The destination, `host:port`.
    pub name: String,
    /// Told when the snapshot knows the destination, or that there is none of that name.
    pub answered: oneshot::Sender<()>,
}

/// Shared by all threads of a proxy. The control thread writes, workers read.
#[derive(Debug)]
pub struct Shared {
    /// The snapshot in force.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// Questions to the control thread.
    pub lookups: mpsc::Sender<Lookup>,
    /// Counters of all threads.
    pub stats: Stats,
    /// What is written of each request.
    pub access: AccessLog,
    /// How much of requests' bodies is kept for sending them again.
    pub replays: ReplayMemory,
    /// Which endpoints workers have ejected.
    pub ejected: Ejected,
    /// What is shed when there is too much of everything.
    pub overload: Arc<Overload>,
    /// Whether the kernel leads connections here.
    pub redirection: Redirection,
    /// How many connections of clients there may be.
    pub connections: ConnectionLimit,
    /// Cancelled when the proxy is to finish what it has and take nothing new.
    pub drain: CancellationToken,
    /// Cancelled when the proxy is about to end, after its drain: what has not arrived by then is for others to answer.
    pub close: CancellationToken,
    /// Where the workload runs.
    pub locality: Locality,
    /// How many workers there are: each has its share of what is limited by time.
    pub workers: usize,
    /// By which requests are known that come around.
    pub marks: Marks<foldhash::quality::RandomState>,
    foreign: Seldom,
    ready: AtomicBool,
    under_way: [AtomicUsize; 2],
    numbered: AtomicUsize,
    stream_looks: AtomicU32,
    /// In milliseconds.
    application_idle: AtomicU64,
    usages: Mutex<HashMap<ServicePort, Arc<ServiceUsage>>>,
}

impl Shared {
    /// What a proxy of `workers` threads shares, and the end that answers questions.
    pub fn new(workers: usize, locality: Locality) -> (Arc<Self>, mpsc::Receiver<Lookup>) {
        let (lookups, questions) = mpsc::channel(LOOKUP_QUEUE);
        let shared = Self {
            snapshot: Arc::new(ArcSwap::from_pointee(Snapshot::default())),
            lookups,
            stats: Stats::default(),
            access: AccessLog::default(),
            replays: ReplayMemory::default(),
            ejected: Ejected::default(),
            overload: Arc::default(),
            redirection: Redirection::default(),
            connections: ConnectionLimit::default(),
            drain: CancellationToken::new(),
            close: CancellationToken::new(),
            locality,
            workers,
            marks: Marks::default(),
            foreign: Seldom::default(),
            ready: AtomicBool::new(false),
            under_way: Default::default(),
            numbered: AtomicUsize::new(0),
            stream_looks: AtomicU32::new(looks(STREAM_IDLE)),
            application_idle: AtomicU64::new(APPLICATION_IDLE.as_millis() as u64),
            usages: Mutex::default(),
        };
        (Arc::new(shared), questions)
    }

    /// Has requests on which nothing moves either way given up after this time, in whole minutes; never if it is zero.
    pub fn set_stream_idle(&self, idle: Duration) {
        self.stream_looks.store(looks(idle), Ordering::Relaxed);
    }

    /// The same as looks, of which there is one a minute.
    pub fn stream_looks(&self) -> u32 {
        self.stream_looks.load(Ordering::Relaxed)
    }

    /// Has connections to the application closed that were not used for so long.
    pub fn set_application_idle(&self, idle: Duration) {
        self.application_idle.store(u64::try_from(idle.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Time after which an unused connection to the application is closed.
    pub fn application_idle(&self) -> Duration {
        Duration::from_millis(self.application_idle.load(Ordering::Relaxed))
    }

    /// Says that the proxy can take requests: it has a certificate and knows what it lets in.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// Whether the proxy takes requests.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) && !self.drain.is_cancelled()
    }

    /// What is under way to a service from all workers. For when a worker first uses the service, not for each request.
    pub fn usage(&self, service: &ServicePort) -> Arc<ServiceUsage> {
        let mut usages = self.usages.lock();
        if let Some(known) = usages.get(service) {
            return Arc::clone(known);
        }
        // Each time that there are twice as many, those go that no worker uses any more.
        if usages.len() >= FEW_USAGES && usages.len().is_power_of_two() {
            usages.retain(|_, usage| Arc::strong_count(usage) > 1);
        }
        let usage = Arc::new(ServiceUsage::new(self.workers));
        usages.insert(service.clone(), Arc::clone(&usage));
        usage
    }

    /// The number of one more worker, from 0.
    pub fn number_of_worker(&self) -> usize {
        self.numbered.fetch_add(1, Ordering::Relaxed)
    }

    /// A place for one more connection of a client, if there is one; a refusal is counted.
    pub fn place(&self, direction: Direction) -> Option<Permit> {
        let place = self.connections.enter();
        if place.is_none() {
            self.stats.refused_connection(direction);
        }
        place
    }

    /// Counts a connection that is refused because it comes from elsewhere, to where the proxy acts in the workload's name.
    pub fn refused_foreign(&self, source: SocketAddr) {
        self.stats.answered(Direction::Outbound, Cause::Failed(Reason::Denied));
        if self.foreign.is_due() {
            tracing::warn!(
                %source,
                "refused a connection from outside of this network namespace: to others this proxy does not lend its \
                 workload's identity; let them dial a port of --upstream, or run a sidecar of their own"
            );
        }
    }

    /// Counts, and logs, a request that was answered because it could not be read as one.
    pub fn refused(&self, direction: Direction, violation: Violation, edge: &Edge, log: Option<Box<Open>>) {
        let reason = violation.reason();
        let cause = Cause::Failed(reason);
        self.stats.answered(direction, cause);
        // When its head began to arrive is not known.
        let (status, elapsed) = (Some(reason.http_status()), Duration::ZERO);
        edge.request(&Outcome { status, cause: Some(cause), failed: false, elapsed });
        if let Some(mut log) = log {
            log.failed(reason);
            log.answered(reason.http_status(), &HeaderMap::new());
            log.end(self);
        }
    }

    /// Counts one request or connection that is under way, until the guard is dropped.
    pub fn enter(self: &Arc<Self>, direction: Direction) -> UnderWay {
        self.under_way_of(direction).fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(self), direction)
    }

    /// Requests and opaque connections that are under way.
    pub fn under_way(&self) -> usize {
        self.arriving() + self.under_way_of(Direction::Outbound).load(Ordering::Relaxed)
    }

    /// Those of them that are on their way to the workload.
    pub fn arriving(&self) -> usize {
        self.under_way_of(Direction::Inbound).load(Ordering::Relaxed)
    }

    fn under_way_of(&self, direction: Direction) -> &AtomicUsize {
        let [outbound, inbound] = &self.under_way;
        match direction {
            Direction::Outbound => outbound,
            Direction::Inbound => inbound,
        }
    }
}

/// One request or opaque connection that is under way; a drain waits for it.
#[derive(Debug)]
pub struct UnderWay(Arc<Shared>, Direction);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way_of(self.1).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_to_a_service_is_forgotten_when_nobody_uses_the_service() {
        let (shared, _lookups) = Shared::new(1, Locality::default());
        let used = shared.usage(&"shop/used:80".parse().unwrap());
        for number in 0..1000 {
            drop(shared.usage(&format!("shop/once-{number}:80").parse().unwrap()));
        }
        assert!(shared.usages.lock().len() <= 2 * FEW_USAGES);
        assert!(Arc::ptr_eq(&used, &shared.usage(&"shop/used:80".parse().unwrap())));
    }
}
