//! What proxies count of an experiment, and how it becomes one sum.
//!
//! Counts are cumulative: all since a proxy's process started, by (instance, epoch of the weights that decided, variant). They are
//! merged as "the latest of each, then the sum", first events by union. So a report that comes twice, late, in another order or by
//! another replica changes nothing, and nothing needs to be acknowledged. See [`ledger`].

pub mod first_events;
pub mod ledger;
pub mod outcomes;
pub mod sums;

use weft_mesh::statistics::Histogram;

use crate::latency::slower_than;
use first_events::FirstEvents;
use outcomes::Outcomes;
use sums::{GroupSums, ValueSums};

/// All that one proxy counted of one variant under one epoch of weights, or the sum of several.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    /// How requests ended.
    pub outcomes: Outcomes,
    /// Microseconds from the decision to the end, of requests that ended by themselves.
    pub latency: Histogram,
    /// Of each metric of a value, in the experiment's order.
    pub values: Vec<ValueSums>,
    /// Of each metric of units that stick, in the experiment's order.
    pub groups: Vec<GroupSums>,
    /// Units that were exposed, by the hash of their key, where they stick.
    pub units: FirstEvents,
    /// Units that had an event, for each metric of units that stick.
    pub events: Vec<FirstEvents>,
}

impl Counts {
    /// Adds what another instance counted.
    pub fn add(&mut self, other: &Self) {
        self.outcomes.add(&other.outcomes);
        self.latency.merge(&other.latency);
        add_each(&mut self.values, &other.values, ValueSums::add);
        add_each(&mut self.groups, &other.groups, GroupSums::add);
        self.unite(other);
    }

    /// Takes first events of another report of any instance.
    pub fn unite(&mut self, other: &Self) {
        self.units.unite(&other.units);
        add_each(&mut self.events, &other.events, FirstEvents::unite);
    }

    /// Requests that took longer than a limit, in microseconds, that is an edge of the histogram ([`crate::latency::limit`]). Those
    /// that were given up, or are still open, after more than that count: a client that leaves must not hide a slow variant.
    pub fn slower_than(&self, limit: u64) -> u64 {
        slower_than(&self.latency, limit)
            .saturating_add(self.outcomes.cancelled_slow)
            .saturating_add(self.outcomes.in_flight_slow)
    }
}

/// Adds lists item by item; the shorter one is as if it were filled up with nothing.
fn add_each<T: Default + Clone>(own: &mut Vec<T>, other: &[T], add: impl Fn(&mut T, &T)) {
    if own.len() < other.len() {
        own.resize(other.len(), T::default());
    }
    for (own, other) in own.iter_mut().zip(other) {
        add(own, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_nobody_waited_for_are_slow() {
        let mut counts = Counts::default();
        for micros in [10, 1_000, 20_000, 30_000] {
            counts.latency.record(micros);
        }
        let limit = crate::latency::limit(&counts.latency, 0.5).unwrap();
        counts.outcomes.cancelled_slow = 3;
        counts.outcomes.in_flight_slow = 2;
        assert_eq!(counts.slower_than(limit), 2 + 3 + 2);
    }
}
