//! The counters of one edge: traffic of the workload with one other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use weft_mesh::name::{Identity, ServicePort};
use weft_mesh::statistics::Histogram;

use super::Direction;
use super::latency::Latency;

/// What is counted apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EdgeKey {
    /// Where the traffic goes.
    pub direction: Direction,
    /// The service that was dialled.
    pub destination: ServicePort,
    /// The service that the route chose.
    pub backend: ServicePort,
    /// The route that was taken, `<namespace>/<name>`; empty: none.
    pub route: Arc<str>,
    /// The workload that answered; empty: none did.
    pub workload: Arc<str>,
    /// Its version label; may be empty.
    pub version: Arc<str>,
    /// Who the other side proved to be: the server outbound, the client inbound. `None`: it proved nothing.
    pub peer: Option<Identity>,
}

/// Classes of answers: index 0 is no whole answer, 1 to 5 are the first digit of the status.
const CLASSES: usize = 6;

/// The counters of one edge that one worker adds to.
#[derive(Debug, Default)]
pub struct Edge {
    classes: [AtomicU64; CLASSES],
    failures: AtomicU64,
    retries: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
    connections_opened: AtomicU64,
    connections_closed: AtomicU64,
    connection_millis: AtomicU64,
    latency: Latency,
}

impl Edge {
    /// Counts a request that has ended: with what status (`None`: without a whole answer), whether it failed, and how
    /// long it took from its head to the end of its answer.
    pub fn request(&self, status: Option<StatusCode>, failed: bool, elapsed: Duration) {
        let class = status.map_or(0, |status| usize::from(status.as_u16() / 100));
        if let Some(count) = self.classes.get(class).or(self.classes.first()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if failed {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        self.latency.record(elapsed);
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

    /// Counts an opaque connection that has ended, whether it failed, and how long it lived.
    pub fn connection_closed(&self, failed: bool, elapsed: Duration) {
        self.connections_closed.fetch_add(1, Ordering::Relaxed);
        if failed {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        // Not among the latencies of requests: how long a connection lives says nothing about how fast anything was.
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).min(u64::from(u32::MAX));
        self.connection_millis.fetch_add(millis, Ordering::Relaxed);
    }

    /// Adds what this shard holds.
    pub(super) fn add_to(&self, totals: &mut Totals) {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        for (sum, count) in totals.classes.iter_mut().zip(&self.classes) {
            *sum += get(count);
        }
        totals.failures += get(&self.failures);
        totals.retries += get(&self.retries);
        totals.bytes_sent += get(&self.bytes_sent);
        totals.bytes_received += get(&self.bytes_received);
        totals.connections_opened += get(&self.connections_opened);
        totals.connections_closed += get(&self.connections_closed);
        totals.connection_millis += get(&self.connection_millis);
        self.latency.add_to(&mut totals.latency);
    }
}

/// Sums over the shards of an edge, since the proxy started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that have ended, by class: index 0 is without a whole answer, 1 to 5 the first digit of the status.
    pub classes: [u64; CLASSES],
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
    /// Opaque connections that have ended.
    pub connections_closed: u64,
    /// How long those lived, all together, in milliseconds.
    pub connection_millis: u64,
    /// How long requests took, in microseconds.
    pub latency: Histogram,
}

impl Totals {
    /// Requests that have ended.
    pub fn requests(&self) -> u64 {
        self.classes.iter().sum()
    }

    /// Adds other sums.
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.classes.iter_mut().zip(other.classes) {
            *sum += count;
        }
        self.failures += other.failures;
        self.retries += other.retries;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.connections_opened += other.connections_opened;
        self.connections_closed += other.connections_closed;
        self.connection_millis += other.connection_millis;
        self.latency.merge(&other.latency);
    }

    /// What came since `earlier` sums of the same edge. Where a counter has become less, the edge has begun anew and
    /// everything came since.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let (now, then) = (self.counters(), earlier.counters());
        let anew = now.iter().zip(&then).any(|(now, then)| now < then);
        if anew || self.latency.count() < earlier.latency.count() {
            return self.clone();
        }
        let mut since = self.clone();
        for (counter, then) in since.counters_mut().into_iter().zip(then) {
            *counter -= then;
        }
        since.latency = self.latency.since(&earlier.latency);
        since
    }

    fn counters(&self) -> Vec<u64> {
        self.clone().counters_mut().into_iter().map(|counter| *counter).collect()
    }

    /// All that only grows, but for the latencies.
    fn counters_mut(&mut self) -> Vec<&mut u64> {
        let Self { classes, failures, retries, bytes_sent, bytes_received, .. } = self;
        let rest = [failures, retries, bytes_sent, bytes_received];
        let connections =
            [&mut self.connections_opened, &mut self.connections_closed, &mut self.connection_millis];
        classes.iter_mut().chain(rest).chain(connections).collect()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.counters().into_iter().all(|counter| counter == 0) && self.latency.count() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(edge: &Edge) -> Totals {
        let mut totals = Totals::default();
        edge.add_to(&mut totals);
        totals
    }

    #[test]
    fn a_request_is_counted_by_class_failure_and_time() {
        let edge = Edge::default();
        edge.request(Some(StatusCode::OK), false, Duration::from_millis(2));
        edge.request(Some(StatusCode::BAD_GATEWAY), true, Duration::from_millis(3));
        edge.request(None, true, Duration::from_millis(4));
        edge.request(StatusCode::from_u16(999).ok(), false, Duration::ZERO);
        let totals = totals(&edge);
        assert_eq!(totals.classes, [2, 0, 1, 0, 0, 1]);
        assert_eq!((totals.requests(), totals.failures, totals.latency.sum()), (4, 2, 9000));
    }

    #[test]
    fn what_came_since_is_the_difference() {
        let edge = Edge::default();
        edge.request(Some(StatusCode::OK), false, Duration::from_millis(2));
        edge.sent(10);
        let before = totals(&edge);
        edge.request(Some(StatusCode::OK), false, Duration::from_millis(80));
        edge.sent(5);
        let since = totals(&edge).since(&before);
        assert_eq!((since.requests(), since.bytes_sent, since.latency.sum()), (1, 5, 80_000));
        assert!(before.since(&before).is_empty());
    }

    #[test]
    fn an_edge_that_began_anew_is_counted_whole() {
        let (old, new) = (Edge::default(), Edge::default());
        old.sent(100);
        new.sent(40);
        assert_eq!(totals(&new).since(&totals(&old)).bytes_sent, 40);
    }
}
