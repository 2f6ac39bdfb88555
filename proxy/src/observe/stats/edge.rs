//! The counters of one edge: traffic of the workload with one other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use http::StatusCode;
use weft_mesh::name::{Identity, ServicePort};
use weft_mesh::statistics::Histogram;

use super::Direction;
use super::cause::Cause;
use super::latency::Latency;

/// What is counted apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EdgeKey {
    /// Where the traffic goes.
    pub direction: Direction,
    /// Whether these are copies of requests, whose answers nobody gets.
    pub mirrored: bool,
    /// The service that was dialled; `None`: no service of the mesh, or it was never said which.
    pub destination: Option<ServicePort>,
    /// The service that the route chose; `None`: none was chosen.
    pub backend: Option<ServicePort>,
    /// The route that was taken, `<namespace>/<name>`; empty: none.
    pub route: Arc<str>,
    /// The workload that was asked last; empty: none was.
    pub workload: Arc<str>,
    /// Its version label; may be empty.
    pub version: Arc<str>,
    /// What protects the connection to the other side.
    pub security: Security,
}

/// What protects a connection to the other side, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Security {
    /// There was no connection, or none of the mesh.
    Unknown,
    /// Plain text, though the other side is in the mesh.
    Plain,
    /// Mutual TLS, and who the other side proved to be: the server outbound, the client inbound; `None`: one of several.
    Mutual(Option<Identity>),
}

impl Security {
    /// That of a connection whose peer proved to be somebody, or nobody.
    pub fn proven(peer: Option<Identity>) -> Self {
        peer.map_or(Self::Plain, |peer| Self::Mutual(Some(peer)))
    }

    /// Who the other side proved to be.
    pub fn peer(&self) -> Option<&Identity> {
        match self {
            Self::Mutual(peer) => peer.as_ref(),
            Self::Unknown | Self::Plain => None,
        }
    }
}

impl EdgeKey {
    /// What is of no service of the mesh.
    pub fn outside(direction: Direction) -> Self {
        // Nothing is allocated for what is counted often.
        static EMPTY: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from(""));
        let empty = Arc::clone(&EMPTY);
        Self {
            direction,
            mirrored: false,
            destination: None,
            backend: None,
            route: Arc::clone(&empty),
            workload: Arc::clone(&empty),
            version: empty,
            security: Security::Unknown,
        }
    }
}

/// Classes of answers: index 0 is no answer, 1 to 5 are the first digit of the status.
pub(super) const CLASSES: usize = 6;

/// Requests by class, and opaque connections last.
pub(super) type Ended = [u64; CLASSES + 1];

/// Where opaque connections are in [`Ended`].
const CONNECTIONS: usize = CLASSES;

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// The status that the client got; `None`: it got no head.
    pub status: Option<StatusCode>,
    /// Why it was not the destination's own whole answer; `None`: it was.
    pub cause: Option<Cause>,
    /// Whether it failed.
    pub failed: bool,
    /// Time from its head to its end.
    pub elapsed: Duration,
}

type Counts = [AtomicU64; CLASSES + 1];

/// The counters of one edge that one worker adds to.
#[derive(Debug, Default)]
pub struct Edge {
    ended: Counts,
    /// What of these ended for a cause; made with the first, as most edges never have one.
    caused: OnceLock<Box<[Counts; Cause::COUNT]>>,
    failures: AtomicU64,
    retries: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
    connections_opened: AtomicU64,
    connection_millis: AtomicU64,
    latency: Latency,
}

impl Edge {
    /// Counts a request that has ended.
    pub fn request(&self, outcome: &Outcome) {
        let class = outcome.status.map_or(0, |status| usize::from(status.as_u16() / 100));
        self.end(if class < CLASSES { class } else { 0 }, outcome.cause, outcome.failed);
        self.latency.record(outcome.elapsed);
    }

    /// Counts an attempt beyond the first.
    pub fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts bytes from the client.
    pub fn sent(&self, bytes: u64) {
        self.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes to the client.
    pub fn received(&self, bytes: u64) {
        self.bytes_received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts an opaque connection that begins.
    pub fn connection_opened(&self) {
        self.connections_opened.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an opaque connection that has ended, for what cause if it was not one of its ends, whether it failed, and
    /// how long it lived.
    pub fn connection_closed(&self, cause: Option<Cause>, failed: bool, elapsed: Duration) {
        self.end(CONNECTIONS, cause, failed);
        // Not among the latencies of requests: how long a connection lives says nothing about how fast anything was.
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).min(u64::from(u32::MAX));
        self.connection_millis.fetch_add(millis, Ordering::Relaxed);
    }

    /// Counts an opaque connection that was carried nowhere.
    pub fn connection_refused(&self, cause: Cause, failed: bool) {
        self.connection_opened();
        self.connection_closed(Some(cause), failed, Duration::ZERO);
    }

    fn end(&self, place: usize, cause: Option<Cause>, failed: bool) {
        let add = |counts: &Counts| {
            if let Some(count) = counts.get(place) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        add(&self.ended);
        if let Some(cause) = cause {
            let caused = self.caused.get_or_init(|| Box::new(std::array::from_fn(|_| Counts::default())));
            if let Some(counts) = caused.get(cause.index()) {
                add(counts);
            }
        }
        if failed {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A number that grows with whatever this shard counts the end or the beginning of.
    pub(super) fn activity(&self) -> u64 {
        let ended = self.ended.iter().chain([&self.connections_opened, &self.retries]);
        let counts = ended.chain([&self.bytes_sent, &self.bytes_received]);
        counts.fold(0, |sum, count| sum.wrapping_add(count.load(Ordering::Relaxed)))
    }

    /// Adds what this shard holds.
    pub(super) fn add_to(&self, totals: &mut Totals) {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let add = |sums: &mut Ended, counts: &Counts| {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += get(count);
            }
        };
        // Causes first: what ends meanwhile may be among all that ended and not yet among these, never the other way.
        if let Some(caused) = self.caused.get() {
            for (cause, counts) in Cause::all().zip(caused.iter()) {
                if counts.iter().any(|count| get(count) > 0) {
                    add(totals.caused.entry(cause.index()).or_default(), counts);
                }
            }
        }
        add(&mut totals.ended, &self.ended);
        totals.failures += get(&self.failures);
        totals.retries += get(&self.retries);
        totals.bytes_sent += get(&self.bytes_sent);
        totals.bytes_received += get(&self.bytes_received);
        totals.connections_opened += get(&self.connections_opened);
        totals.connection_millis += get(&self.connection_millis);
        self.latency.add_to(&mut totals.latency);
    }
}

/// Sums over the shards of an edge, since the proxy started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that have ended by class, and opaque connections.
    ended: Ended,
    /// What of these ended for a cause, by its position.
    caused: BTreeMap<usize, Ended>,
    /// Requests and connections that failed.
    pub failures: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Bytes from the client.
    pub bytes_sent: u64,
    /// Bytes to the client.
    pub bytes_received: u64,
    /// Opaque connections that began.
    pub connections_opened: u64,
    /// How long those that ended lived, all together, in milliseconds.
    pub connection_millis: u64,
    /// How long requests took, in microseconds.
    pub latency: Histogram,
}

impl Totals {
    /// Requests that have ended.
    pub fn requests(&self) -> u64 {
        self.ended.iter().take(CLASSES).sum()
    }

    /// Opaque connections that have ended.
    pub fn connections_closed(&self) -> u64 {
        self.ended.get(CONNECTIONS).copied().unwrap_or_default()
    }

    /// Requests and connections that ended for a cause, by which.
    pub fn causes(&self) -> impl Iterator<Item = (Cause, u64)> {
        let count = |cause: Cause| self.caused.get(&cause.index()).map(|ended| (cause, ended.iter().sum()));
        Cause::all().filter_map(count)
    }

    /// Requests and connections that ended for a cause.
    #[cfg(test)]
    pub fn caused(&self, cause: Cause) -> u64 {
        self.causes().find(|(of, _)| *of == cause).map_or(0, |(_, count)| count)
    }

    /// Requests that ended, by class and cause (`None`: with the destination's own answer).
    pub fn by_cause(&self) -> impl Iterator<Item = (usize, Option<Cause>, u64)> {
        let of_class = (0..CLASSES).map(|class| (class, self.parts(class)));
        of_class.flat_map(|(class, parts)| parts.into_iter().map(move |(cause, count)| (class, cause, count)))
    }

    /// Opaque connections that ended, by cause.
    pub fn connections_by_cause(&self) -> Vec<(Option<Cause>, u64)> {
        self.parts(CONNECTIONS)
    }

    fn parts(&self, place: usize) -> Vec<(Option<Cause>, u64)> {
        let at = |ended: &Ended| ended.get(place).copied().unwrap_or_default();
        let caused =
            self.caused.iter().filter_map(|(index, ended)| Some((Cause::all().nth(*index)?, at(ended))));
        let mut parts: Vec<_> = caused.map(|(cause, count)| (Some(cause), count)).collect();
        let with_cause: u64 = parts.iter().map(|(_, count)| count).sum();
        parts.push((None, at(&self.ended).saturating_sub(with_cause)));
        parts.retain(|(_, count)| *count > 0);
        parts
    }

    /// Adds other sums.
    pub fn add(&mut self, other: &Self) {
        let add = |sums: &mut Ended, more: &Ended| {
            for (sum, count) in sums.iter_mut().zip(more) {
                *sum += count;
            }
        };
        add(&mut self.ended, &other.ended);
        for (cause, counts) in &other.caused {
            add(self.caused.entry(*cause).or_default(), counts);
        }
        self.failures += other.failures;
        self.retries += other.retries;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.connections_opened += other.connections_opened;
        self.connection_millis += other.connection_millis;
        self.latency.merge(&other.latency);
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use weft_mesh::reason::Reason;

    use super::*;

    fn totals(edge: &Edge) -> Totals {
        let mut totals = Totals::default();
        edge.add_to(&mut totals);
        totals
    }

    fn outcome(status: u16, cause: Option<Cause>, failed: bool, millis: u64) -> Outcome {
        let status = StatusCode::from_u16(status).ok();
        Outcome { status, cause, failed, elapsed: Duration::from_millis(millis) }
    }

    #[test]
    fn a_request_is_counted_by_class_failure_cause_and_time() {
        let edge = Edge::default();
        let refused = Cause::Failed(Reason::ConnectFailed);
        edge.request(&outcome(200, None, false, 2));
        edge.request(&outcome(200, Some(Cause::Cancelled), false, 0));
        edge.request(&outcome(503, Some(refused), true, 3));
        edge.request(&outcome(0, Some(Cause::Cancelled), false, 4));
        edge.request(&outcome(999, None, false, 0));
        let totals = totals(&edge);
        assert_eq!((totals.requests(), totals.failures, totals.latency.sum()), (5, 1, 9000));
        let mut by_cause: Vec<_> = totals.by_cause().collect();
        by_cause.sort_by_key(|(class, cause, _)| (*class, cause.is_some()));
        let expected = [
            (0, None, 1),
            (0, Some(Cause::Cancelled), 1),
            (2, None, 1),
            (2, Some(Cause::Cancelled), 1),
            (5, Some(refused), 1),
        ];
        assert_eq!(by_cause, expected);
        assert_eq!(totals.caused(Cause::Cancelled), 2);
    }

    #[test]
    fn a_connection_that_is_refused_has_begun_and_ended() {
        let edge = Edge::default();
        let refused = Cause::Failed(Reason::NoEndpoints);
        edge.connection_opened();
        edge.connection_closed(None, false, Duration::from_secs(1));
        edge.connection_refused(refused, true);
        let totals = totals(&edge);
        assert_eq!((totals.connections_opened, totals.connections_closed(), totals.failures), (2, 2, 1));
        assert_eq!((totals.requests(), totals.connection_millis), (0, 1000));
        assert_eq!(totals.connections_by_cause(), [(Some(refused), 1), (None, 1)]);
    }
}
