//! The edges that one worker has at hand.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::{Edge, EdgeKey, SWEEP_EVERY, Stats};

/// Edges that are kept though nobody uses them; with more, those are let go.
const KEPT: usize = 1024;

/// One shard of each edge, shared by the connections of a worker: one for each connection would take memory for each, before
/// it is known whether it is let in.
#[derive(Debug, Default)]
pub struct KeptEdges {
    edges: RefCell<Map>,
    swept: Cell<Option<Instant>>,
}

type Map = HashMap<EdgeKey, Arc<Edge>, foldhash::fast::RandomState>;

impl KeptEdges {
    /// This worker's shard of an edge.
    pub fn edge(&self, stats: &Stats, key: EdgeKey) -> Arc<Edge> {
        let mut kept = self.edges.borrow_mut();
        if let Some(edge) = kept.get(&key) {
            return Arc::clone(edge);
        }
        if kept.len() >= KEPT {
            let_go(&mut kept);
        }
        let edge = stats.edge(key.clone());
        kept.insert(key, Arc::clone(&edge));
        edge
    }

    /// Lets go of the edges that nobody uses, so that they can end. To be called now and then; it looks once a minute.
    pub fn sweep(&self, now: Instant) {
        if self.swept.get().is_some_and(|swept| now.saturating_duration_since(swept) < SWEEP_EVERY) {
            return;
        }
        self.swept.set(Some(now));
        let_go(&mut self.edges.borrow_mut());
    }
}

fn let_go(kept: &mut Map) {
    // One reference is here, and one where shards are summed.
    kept.retain(|_, edge| Arc::strong_count(edge) > 2);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::stats::Direction;

    #[test]
    fn connections_share_the_shard_of_an_edge_and_it_goes_with_the_last_of_them() {
        let (stats, kept) = (Stats::default(), KeptEdges::default());
        let key = || EdgeKey::outside(Direction::Inbound);
        let (one, two) = (kept.edge(&stats, key()), kept.edge(&stats, key()));
        assert!(Arc::ptr_eq(&one, &two));
        one.sent(1);
        let now = Instant::now();
        kept.sweep(now);
        assert!(Arc::ptr_eq(&kept.edge(&stats, key()), &two));
        drop((one, two));
        kept.sweep(now + SWEEP_EVERY);
        assert!(kept.edges.borrow().is_empty());
        kept.edge(&stats, key()).sent(2);
        assert_eq!(stats.edges().into_iter().map(|(_, totals)| totals.bytes_sent).sum::<u64>(), 3);
    }

    #[test]
    fn what_nobody_uses_is_bounded() {
        let (stats, kept) = (Stats::default(), KeptEdges::default());
        for number in 0..3 * KEPT {
            let workload = number.to_string().into();
            kept.edge(&stats, EdgeKey { workload, ..EdgeKey::outside(Direction::Outbound) });
        }
        assert!(kept.edges.borrow().len() <= KEPT);
    }
}
