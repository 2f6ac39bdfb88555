//! All edges: a bounded number of series, each the sum of its shards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Instant;

use parking_lot::Mutex;
use weft_mesh::name::{ServiceName, ServicePort};

use super::edge::{Edge, EdgeKey, Security, Totals};
use super::{EDGE_IDLE, EDGES_MAX};

/// The workload of edges that are counted together. No workload is called that: underscores are not allowed in names.
pub(super) const OTHER: &str = "_other";
/// Shards of one series at which it is looked for those that nobody holds any more.
const SHARDS: usize = 64;

/// One series.
#[derive(Debug)]
struct Series {
    shards: Vec<Arc<Edge>>,
    /// What shards held that their workers have dropped, and their activity.
    dropped: Totals,
    dropped_activity: u64,
    /// Shards at which to look for dropped ones next.
    look_at: usize,
    /// The activity when it was last looked at.
    activity: u64,
    /// When that was found to have grown, or a shard was made.
    used: Instant,
}

impl Series {
    fn new(now: Instant) -> Self {
        Self {
            shards: Vec::new(),
            dropped: Totals::default(),
            dropped_activity: 0,
            look_at: SHARDS,
            activity: 0,
            used: now,
        }
    }

    fn add(&mut self, shard: &Arc<Edge>, now: Instant) {
        self.used = now;
        if self.shards.len() >= self.look_at {
            self.fold();
            self.look_at = SHARDS.max(self.shards.len() * 2);
        }
        self.shards.push(Arc::clone(shard));
    }

    /// Takes over what shards hold that their workers have dropped.
    fn fold(&mut self) {
        let (dropped, activity) = (&mut self.dropped, &mut self.dropped_activity);
        self.shards.retain(|shard| {
            let held = Arc::strong_count(shard) > 1;
            if !held {
                // Ours is the only reference, so nobody can add any more; the fence pairs with the release of the last
                // other one, so that all that it added is seen.
                fence(Ordering::Acquire);
                shard.add_to(dropped);
                *activity = activity.wrapping_add(shard.activity());
            }
            held
        });
    }

    fn sum(&self) -> Totals {
        let mut totals = self.dropped.clone();
        for shard in &self.shards {
            shard.add_to(&mut totals);
        }
        totals
    }

    /// Whether it has carried nothing for long, and no worker could add to it.
    fn is_over(&mut self, now: Instant) -> bool {
        self.fold();
        let shards = self.shards.iter().map(|shard| shard.activity());
        let activity = shards.fold(self.dropped_activity, u64::wrapping_add);
        if activity != self.activity {
            self.activity = activity;
            self.used = now;
        }
        self.shards.is_empty() && now.saturating_duration_since(self.used) >= EDGE_IDLE
    }
}

#[derive(Debug, Default)]
struct State {
    live: BTreeMap<EdgeKey, Series>,
    /// What series held that have ended, without the names that came and went.
    ended: BTreeMap<EdgeKey, Totals>,
    /// Series of each direction: what comes in must not take the places of what goes out, whoever makes it come.
    counts: [usize; 2],
}

impl State {
    fn series(&mut self, key: EdgeKey, now: Instant) -> &mut Series {
        let direction = key.direction as usize;
        let full = self.counts.get(direction).is_some_and(|count| *count >= EDGES_MAX / 2);
        let key = if full && !self.live.contains_key(&key) { other(&key) } else { key };
        let counts = &mut self.counts;
        self.live.entry(key).or_insert_with(|| {
            if let Some(count) = counts.get_mut(direction) {
                *count += 1;
            }
            Series::new(now)
        })
    }

    fn end(&mut self, key: &EdgeKey) {
        let Some(series) = self.live.remove(key) else { return };
        if let Some(count) = self.counts.get_mut(key.direction as usize) {
            *count -= 1;
        }
        let mut kept = nameless(key);
        if self.ended.len() >= EDGES_MAX && !self.ended.contains_key(&kept) {
            kept = other(key);
        }
        self.ended.entry(kept).or_default().add(&series.sum());
    }
}

/// The series of all edges. Asked when a worker first uses an edge, and when counters are read: its lock is never on the
/// path of a request.
#[derive(Debug, Default)]
pub(super) struct Edges(Mutex<State>);

impl Edges {
    pub(super) fn shard(&self, key: EdgeKey, now: Instant) -> Arc<Edge> {
        let shard = Arc::new(Edge::default());
        self.0.lock().series(key, now).add(&shard, now);
        shard
    }

    /// The sums of the series that live.
    pub(super) fn read(&self) -> Vec<(EdgeKey, Totals)> {
        self.0.lock().live.iter().map(|(key, series)| (key.clone(), series.sum())).collect()
    }

    /// The sums of all that there ever was: what has ended is among edges that name no workload. So the sum over those that
    /// have the same names in all else never falls.
    pub(super) fn read_all(&self) -> BTreeMap<EdgeKey, Totals> {
        let state = self.0.lock();
        let mut all = state.ended.clone();
        for (key, series) in &state.live {
            all.entry(key.clone()).or_default().add(&series.sum());
        }
        all
    }

    /// Ends the series that have carried nothing for long.
    pub(super) fn sweep(&self, now: Instant) {
        let mut state = self.0.lock();
        let over = state.live.iter_mut().filter_map(|(key, series)| {
            let stays = &*key.workload == OTHER || !series.is_over(now);
            (!stays).then(|| key.clone())
        });
        for key in over.collect::<Vec<_>>() {
            state.end(&key);
        }
    }

    #[cfg(test)]
    pub(super) fn shards(&self) -> usize {
        self.0.lock().live.values().map(|series| series.shards.len()).sum()
    }
}

/// An edge without what comes and goes: its workload and who that proved to be.
fn nameless(key: &EdgeKey) -> EdgeKey {
    let workload = Arc::from("");
    EdgeKey { workload, security: Security::Unknown, ..key.clone() }
}

/// The edge that stands for those without series of their own.
fn other(key: &EdgeKey) -> EdgeKey {
    let service = ServiceName::new("other", "other").expect("both are RFC 1123 labels");
    // Port 0 is no port of a service, so that it is not mistaken for one of that name.
    let nobody = Some(ServicePort::new(service, 0));
    EdgeKey {
        mirrored: key.mirrored,
        destination: nobody.clone(),
        backend: nobody,
        workload: Arc::from(OTHER),
        ..EdgeKey::outside(key.direction)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::observe::stats::Direction;

    fn key(workload: &str) -> EdgeKey {
        let service: Option<ServicePort> = Some("shop/cart:80".parse().unwrap());
        EdgeKey {
            destination: service.clone(),
            backend: service,
            route: Arc::from("shop/r"),
            workload: Arc::from(workload),
            version: Arc::from("v1"),
            security: Security::Plain,
            ..EdgeKey::outside(Direction::Outbound)
        }
    }

    fn sent(edges: &Edges, workload: &str) -> Option<u64> {
        edges.read().iter().find(|(key, _)| &*key.workload == workload).map(|(_, totals)| totals.bytes_sent)
    }

    fn sent_ever(edges: &Edges) -> u64 {
        edges.read_all().values().map(|totals| totals.bytes_sent).sum()
    }

    #[test]
    fn shards_of_an_edge_are_summed_also_after_workers_drop_them() {
        let (edges, now) = (Edges::default(), Instant::now());
        let (first, second) = (edges.shard(key("a"), now), edges.shard(key("a"), now));
        first.sent(1);
        second.sent(10);
        drop(first);
        assert_eq!(sent(&edges, "a"), Some(11));
        edges.sweep(now);
        second.sent(100);
        drop(second);
        assert_eq!(sent(&edges, "a"), Some(111));
        edges.shard(key("a"), now).sent(1000);
        edges.sweep(now);
        assert_eq!((sent(&edges, "a"), edges.shards()), (Some(1111), 0));
    }

    #[test]
    fn a_series_ends_once_nobody_has_used_it_for_long_and_others_do_not_change() {
        let (edges, now) = (Edges::default(), Instant::now());
        let held = edges.shard(key("held"), now);
        held.sent(1);
        edges.shard(key("gone"), now).sent(2);
        edges.sweep(now);
        edges.sweep(now + EDGE_IDLE.checked_sub(Duration::from_secs(1)).unwrap());
        assert_eq!(sent(&edges, "gone"), Some(2));
        let later = now + EDGE_IDLE;
        for _ in 0..2 {
            edges.sweep(later);
            assert_eq!((sent(&edges, "held"), sent(&edges, "gone"), edges.read().len()), (Some(1), None, 1));
            assert_eq!(sent_ever(&edges), 3, "what is told of all time loses nothing");
        }
        edges.shard(key("gone"), later).sent(3);
        assert_eq!((sent(&edges, "gone"), sent_ever(&edges)), (Some(3), 6), "it begins anew");
    }

    #[test]
    fn more_edges_than_the_bound_are_counted_together_and_leave_the_other_direction_its_places() {
        let (edges, now) = (Edges::default(), Instant::now());
        let shards: Vec<_> = (0..EDGES_MAX / 2 + 5)
            .map(|at| {
                let key = EdgeKey { direction: Direction::Inbound, ..key(&format!("w{at}")) };
                edges.shard(key, now)
            })
            .collect();
        for shard in &shards {
            shard.sent(1);
        }
        assert_eq!((edges.read().len(), sent(&edges, OTHER)), (EDGES_MAX / 2 + 1, Some(5)));
        edges.shard(key("out"), now).sent(7);
        assert_eq!(sent(&edges, "out"), Some(7));
    }

    #[test]
    fn what_nobody_reads_takes_no_more_memory_for_each_shard() {
        let (edges, now) = (Edges::default(), Instant::now());
        for _ in 0..10_000 {
            edges.shard(key("a"), now).sent(1);
        }
        assert!(edges.shards() <= SHARDS + 1, "{} shards", edges.shards());
        assert_eq!(sent(&edges, "a"), Some(10_000));
    }

    proptest! {
        /// Whatever comes and goes: the sum over workloads never falls, and is all that was ever counted.
        #[test]
        fn sums_of_all_time_never_fall(steps in prop::collection::vec((0_u8..4, 1_u64..100, any::<bool>()), 1..60)) {
            let (edges, start) = (Edges::default(), Instant::now());
            let (mut now, mut expected, mut held) = (start, 0, Vec::new());
            for (workload, bytes, keep) in steps {
                let shard = edges.shard(key(&format!("w{workload}")), now);
                shard.sent(bytes);
                expected += bytes;
                if keep { held.push(shard) } else { held.clear() }
                now += Duration::from_secs(bytes * 20);
                edges.sweep(now);
                prop_assert_eq!(sent_ever(&edges), expected);
                let live = edges.read().len();
                prop_assert_eq!(edges.0.lock().counts[0], live);
            }
        }
    }
}
