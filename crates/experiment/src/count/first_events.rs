//! First events of units that stick to a variant: who ever failed, was slow, or was converted.
//!
//! One event for each unit is what the label test needs. Units are known by a 64-bit hash of their key. A set is bounded: when it is
//! full, one in 2, 4, ... of all units are kept, chosen by the hash, so that all proxies keep the same ones.

use std::collections::{BTreeMap, BTreeSet};

use weft_mesh::hash::combine;

/// How many hashes a set holds: half a mebibyte of them.
pub const CAPACITY: usize = 65_536;
/// Keeps the sample of units apart from whatever else their hash decides.
const SAMPLE: u64 = 0x7765_6674_2d73_6d70;

/// A set of units, or of one in 2^k of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstEvents {
    hashes: BTreeSet<u64>,
    capacity: usize,
    /// One in 2^this is kept.
    halvings: u32,
}

impl Default for FirstEvents {
    fn default() -> Self {
        Self::with_capacity(CAPACITY)
    }
}

fn is_kept(hash: u64, halvings: u32) -> bool {
    combine(SAMPLE, hash).trailing_zeros() >= halvings
}

impl FirstEvents {
    /// A set of at most so many hashes, one at least.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { hashes: BTreeSet::new(), capacity: capacity.max(1), halvings: 0 }
    }

    /// Adds a unit. Whether it is news that is to be reported: neither known nor left out by the sample.
    pub fn insert(&mut self, hash: u64) -> bool {
        let news = is_kept(hash, self.halvings) && self.hashes.insert(hash);
        self.shrink();
        news && self.hashes.contains(&hash)
    }

    /// Adds all units of another set; the smaller sample of the two is kept.
    pub fn unite(&mut self, other: &Self) {
        self.halve_to(other.halvings);
        self.capacity = self.capacity.min(other.capacity);
        let halvings = self.halvings;
        self.hashes.extend(other.hashes.iter().copied().filter(|hash| is_kept(*hash, halvings)));
        self.shrink();
    }

    /// Keeps one in 2^`halvings` of all units, if more are kept.
    pub fn halve_to(&mut self, halvings: u32) {
        if halvings > self.halvings {
            self.halvings = halvings;
            self.hashes.retain(|hash| is_kept(*hash, halvings));
        }
    }

    fn shrink(&mut self) {
        while self.hashes.len() > self.capacity && self.halvings < u64::BITS {
            self.halve_to(self.halvings + 1);
        }
    }

    /// How many units are kept.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether no unit is kept.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// One in 2^this of all units are kept.
    pub fn halvings(&self) -> u32 {
        self.halvings
    }

    /// About how many units there were.
    pub fn estimate(&self) -> f64 {
        self.hashes.len() as f64 * f64::from(self.halvings).exp2()
    }

    /// The units that are kept, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.hashes.iter().copied()
    }
}

/// Whose each unit's first event is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributed {
    /// Units by epoch and variant, of the sample that all sets have in common.
    pub units: BTreeMap<(u32, usize), u64>,
    /// Units that were in two variants under the same weights, and are in neither count.
    pub crossed: u64,
    /// One in 2^this of all units are counted.
    pub halvings: u32,
}

/// Counts each unit once, in the epoch of its first event: a unit that moves to another variant at a step keeps its first one.
///
/// The sample is that of the fullest set. Evidence before and after it halves is of other units, so a look at each is a look at
/// two tests; with [`CAPACITY`] failures in one set the first has long been decided.
pub fn attribute<'a>(sets: impl IntoIterator<Item = ((u32, usize), &'a FirstEvents)>) -> Attributed {
    let sets: Vec<((u32, usize), &FirstEvents)> = sets.into_iter().collect();
    let halvings = sets.iter().map(|(_, set)| set.halvings).max().unwrap_or(0);
    let mut units: BTreeMap<(u32, usize), u64> = sets.iter().map(|(key, _)| (*key, 0)).collect();
    let mut all: Vec<(u64, u32, usize)> = Vec::new();
    for ((epoch, variant), set) in &sets {
        all.extend(set.iter().filter(|hash| is_kept(*hash, halvings)).map(|hash| (hash, *epoch, *variant)));
    }
    all.sort_unstable();
    all.dedup();
    let mut crossed = 0;
    for unit in all.chunk_by(|one, other| one.0 == other.0) {
        let Some((_, epoch, variant)) = unit.first().copied() else { continue };
        if unit.get(1).is_some_and(|second| second.1 == epoch) {
            crossed += 1;
        } else if let Some(count) = units.get_mut(&(epoch, variant)) {
            *count += 1;
        }
    }
    Attributed { units, crossed, halvings }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(capacity: usize, hashes: &[u64]) -> FirstEvents {
        let mut set = FirstEvents::with_capacity(capacity);
        for hash in hashes {
            set.insert(*hash);
        }
        set
    }

    proptest! {
        #[test]
        fn any_order_and_any_parts_make_the_same_set(
            mut hashes in prop::collection::vec(0_u64..200, 0..300),
            capacity in 1_usize..40,
            cut in 0.0..1.0_f64,
        ) {
            let whole = set(capacity, &hashes);
            let at = (hashes.len() as f64 * cut) as usize;
            let (one, other) = (set(capacity, &hashes[..at]), set(capacity, &hashes[at..]));
            let mut forth = one.clone();
            forth.unite(&other);
            let mut back = other;
            back.unite(&one);
            back.unite(&one);
            prop_assert_eq!(&forth, &whole);
            prop_assert_eq!(&back, &whole);
            hashes.reverse();
            prop_assert_eq!(&set(capacity, &hashes), &whole);
            prop_assert!(whole.len() <= capacity);
        }

        #[test]
        fn each_unit_counts_once_where_it_was_first(events in prop::collection::vec((0_u64..50, 0_u32..4, 0_usize..3), 0..200)) {
            let mut sets: BTreeMap<(u32, usize), FirstEvents> = BTreeMap::new();
            for (hash, epoch, variant) in &events {
                sets.entry((*epoch, *variant)).or_default().insert(*hash);
            }
            let found = attribute(sets.iter().map(|(key, set)| (*key, set)));
            let mut naive: BTreeMap<(u32, usize), u64> = sets.keys().map(|key| (*key, 0)).collect();
            let mut crossed = 0;
            for hash in 0..50 {
                let first = events.iter().filter(|event| event.0 == hash).map(|event| event.1).min();
                let variants: BTreeSet<usize> =
                    events.iter().filter(|event| event.0 == hash && Some(event.1) == first).map(|event| event.2).collect();
                match (first, variants.len()) {
                    (Some(epoch), 1) => *naive.get_mut(&(epoch, *variants.first().unwrap())).unwrap() += 1,
                    (Some(_), _) => crossed += 1,
                    (None, _) => {}
                }
            }
            prop_assert_eq!(found.units, naive);
            prop_assert_eq!(found.crossed, crossed);
        }
    }

    #[test]
    fn a_sample_tells_how_many_there_were() {
        let hashes: Vec<u64> = (0..100_000).collect();
        let set = set(1_000, &hashes);
        assert!(set.len() <= 1_000 && set.halvings() >= 7);
        assert!((set.estimate() / 1e5 - 1.0).abs() < 0.15, "{}", set.estimate());
    }
}
