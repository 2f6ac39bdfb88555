//! All edges: a bounded number of series, each the sum of its shards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Instant;

use parking_lot::Mutex;
use weft_mesh::name::{ServiceName, ServicePort};

use super::edge::{Edge, EdgeKey, Totals};
use super::{EDGE_IDLE, EDGES_MAX};

/// The workload of edges that are counted together. No workload is called that: underscores are not allowed in names.
pub(super) const OTHER: &str = "_other";

/// One series.
#[derive(Debug)]
struct Series {
    shards: Vec<Arc<Edge>>,
    /// What shards held that their workers have dropped.
    dropped: Totals,
    /// The sums when they were last read.
    last: Totals,
    /// When the sums last grew or a shard was made.
    used: Instant,
}

impl Series {
    fn new(now: Instant) -> Self {
        Self { shards: Vec::new(), dropped: Totals::default(), last: Totals::default(), used: now }
    }

    fn sum(&mut self, now: Instant) -> Totals {
        let dropped = &mut self.dropped;
        self.shards.retain(|shard| {
            let held = Arc::strong_count(shard) > 1;
            if !held {
                // Ours is the only reference, so nobody can add any more; the fence pairs with the release of the last
                // other one, so that all that it added is seen.
                fence(Ordering::Acquire);
                shard.add_to(dropped);
            }
            held
        });
        let mut totals = self.dropped.clone();
        for shard in &self.shards {
            shard.add_to(&mut totals);
        }
        if totals != self.last {
            self.used = now;
            self.last = totals.clone();
        }
        totals
    }

    /// Whether it carries nothing any more, when its sums have just been read.
    fn is_idle(&self, now: Instant) -> bool {
        self.shards.is_empty() && now.saturating_duration_since(self.used) >= EDGE_IDLE
    }
}

/// The series of all edges. Asked once for each edge and worker, and when counters are read: its lock is never on the
/// path of a request.
#[derive(Debug, Default)]
pub(super) struct Edges(Mutex<BTreeMap<EdgeKey, Series>>);

impl Edges {
    pub(super) fn shard(&self, key: EdgeKey, now: Instant) -> Arc<Edge> {
        let mut edges = self.0.lock();
        let full = edges.len() >= EDGES_MAX && !edges.contains_key(&key);
        let key = if full { other(&key) } else { key };
        let shard = Arc::new(Edge::default());
        let series = edges.entry(key).or_insert_with(|| Series::new(now));
        series.used = now;
        series.shards.push(Arc::clone(&shard));
        shard
    }

    pub(super) fn read(&self, now: Instant) -> Vec<(EdgeKey, Totals)> {
        let mut edges = self.0.lock();
        let mut sums = Vec::with_capacity(edges.len());
        let mut idle = Vec::new();
        for (key, series) in edges.iter_mut() {
            let totals = series.sum(now);
            if series.is_idle(now) && &*key.workload != OTHER {
                idle.push((key.clone(), totals));
            } else {
                sums.push((key.clone(), totals));
            }
        }
        for (key, totals) in idle {
            edges.remove(&key);
            let together = other(&key);
            edges.entry(together.clone()).or_insert_with(|| Series::new(now)).dropped.add(&totals);
            match sums.iter_mut().find(|(key, _)| *key == together) {
                Some((_, sum)) => sum.add(&totals),
                None => sums.push((together, totals)),
            }
        }
        sums
    }
}

/// The edge that stands for those without series of their own.
fn other(key: &EdgeKey) -> EdgeKey {
    let service = ServiceName::new("other", "other").expect("both are RFC 1123 labels");
    // Port 0 is no port of a service, so that it is not mistaken for one of that name.
    let nobody = ServicePort::new(service, 0);
    let empty: Arc<str> = Arc::from("");
    EdgeKey {
        direction: key.direction,
        destination: nobody.clone(),
        backend: nobody,
        route: Arc::clone(&empty),
        workload: Arc::from(OTHER),
        version: empty,
        peer: None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::stats::Direction;

    fn key(workload: &str) -> EdgeKey {
        let service: ServicePort = "shop/cart:80".parse().unwrap();
        EdgeKey {
            direction: Direction::Outbound,
            destination: service.clone(),
            backend: service,
            route: Arc::from("shop/r"),
            workload: Arc::from(workload),
            version: Arc::from("v1"),
            peer: None,
        }
    }

    fn sent(read: &[(EdgeKey, Totals)], workload: &str) -> Option<u64> {
        read.iter().find(|(key, _)| &*key.workload == workload).map(|(_, totals)| totals.bytes_sent)
    }

    #[test]
    fn shards_of_an_edge_are_summed_also_after_workers_drop_them() {
        let (edges, now) = (Edges::default(), Instant::now());
        let (first, second) = (edges.shard(key("a"), now), edges.shard(key("a"), now));
        first.sent(1);
        second.sent(10);
        drop(first);
        assert_eq!(sent(&edges.read(now), "a"), Some(11));
        second.sent(100);
        drop(second);
        assert_eq!(sent(&edges.read(now), "a"), Some(111));
        edges.shard(key("a"), now).sent(1000);
        assert_eq!(sent(&edges.read(now), "a"), Some(1111));
        assert!(edges.0.lock().values().all(|series| series.shards.is_empty()));
    }

    #[test]
    fn an_idle_edge_goes_to_the_others_and_may_begin_anew() {
        let (edges, now) = (Edges::default(), Instant::now());
        let held = edges.shard(key("held"), now);
        held.sent(1);
        edges.shard(key("gone"), now).sent(2);
        edges.read(now);
        let later = now + EDGE_IDLE;
        assert_eq!(sent(&edges.read(later.checked_sub(Duration::from_secs(1)).unwrap()), "gone"), Some(2));
        for _ in 0..2 {
            let read = edges.read(later);
            assert_eq!(
                (sent(&read, "held"), sent(&read, "gone"), sent(&read, OTHER)),
                (Some(1), None, Some(2))
            );
        }
        edges.shard(key("gone"), later).sent(3);
        let read = edges.read(later);
        assert_eq!((sent(&read, "gone"), sent(&read, OTHER)), (Some(3), Some(2)));
    }

    #[test]
    fn more_edges_than_the_bound_are_counted_together() {
        let (edges, now) = (Edges::default(), Instant::now());
        let shards: Vec<_> = (0..EDGES_MAX + 5).map(|at| edges.shard(key(&format!("w{at}")), now)).collect();
        for shard in &shards {
            shard.sent(1);
        }
        let read = edges.read(now);
        assert_eq!((read.len(), sent(&read, OTHER)), (EDGES_MAX + 1, Some(5)));
    }
}
