//! Consistent hashing: a ring, and Maglev's table (Eisenbud et al., NSDI 2016).

use crate::hash::combine;

/// Points on the ring per endpoint of average weight: shares are within some 10 % of the weights.
const POINTS: usize = 160;
const POINTS_MIN: usize = 1024;
const POINTS_MAX: usize = 64 * 1024;
/// Size of Maglev's table: a prime, and some hundred times the endpoints of a large service.
const TABLE: usize = 65_537;

/// What is hashed onto: position, key and weight of each endpoint.
pub(super) type Hashed = (u32, u64, u32);

/// Finds endpoints by key.
#[derive(Debug)]
pub(super) enum KeyTable {
    /// Points in ascending order, each with the position of its endpoint.
    Ring(Vec<(u64, u32)>),
    /// A position for each remainder.
    Maglev(Vec<u32>),
}

impl KeyTable {
    pub(super) fn ring(endpoints: &[Hashed]) -> Self {
        let total: u64 = endpoints.iter().map(|(_, _, weight)| u64::from(*weight)).sum();
        let size = (endpoints.len() * POINTS).clamp(POINTS_MIN, POINTS_MAX) as f64;
        let mut points = Vec::with_capacity(size as usize + endpoints.len());
        for (position, key, weight) in endpoints {
            let own = (size * f64::from(*weight) / total.max(1) as f64).round().max(1.0) as u64;
            points.extend((0..own).map(|number| (combine(*key, number), *position)));
        }
        points.sort_unstable();
        Self::Ring(points)
    }

    pub(super) fn maglev(endpoints: &[Hashed]) -> Self {
        // The order in which endpoints take turns must not depend on the order in which they were listed.
        let mut endpoints = endpoints.to_vec();
        endpoints.sort_unstable_by_key(|(_, key, _)| *key);
        let heaviest = endpoints.iter().map(|(_, _, weight)| *weight).max().unwrap_or(1);
        let mut fillers: Vec<Filler> =
            endpoints.iter().map(|endpoint| Filler::new(*endpoint, heaviest)).collect();
        let mut table = vec![u32::MAX; if endpoints.is_empty() { 0 } else { TABLE }];
        let mut left = table.len();
        while left > 0 {
            for filler in &mut fillers {
                if left > 0 && filler.is_due() && filler.fill(&mut table) {
                    left -= 1;
                }
            }
        }
        Self::Maglev(table)
    }

    /// The position of the first endpoint for a key that `usable` takes, in the order that the key gives them. After
    /// as many refusals as there are points it is `None`.
    pub(super) fn find(&self, key: u64, mut usable: impl FnMut(u32) -> bool) -> Option<u32> {
        match self {
            Self::Ring(points) => {
                let start = points.partition_point(|(point, _)| *point < key);
                let mut refused = None;
                let (before, after) = points.split_at(start);
                after.iter().chain(before).map(|(_, position)| *position).find(|position| {
                    // Neighbouring points of one endpoint are asked once.
                    let again = refused.replace(*position) == Some(*position);
                    !again && usable(*position)
                })
            }
            Self::Maglev(table) => {
                // Later attempts hash the key anew: each endpoint then takes over its part of a refused one's keys.
                let attempts = (0..64).map(|attempt| if attempt == 0 { key } else { combine(key, attempt) });
                let mut positions =
                    attempts.filter_map(|key| table.get((key % TABLE as u64) as usize).copied());
                positions.find(|position| usable(*position))
            }
        }
    }
}

/// An endpoint that takes places in Maglev's table in its own order.
struct Filler {
    position: u32,
    next: u64,
    skip: u64,
    /// Places per round, at most one.
    pace: f64,
    due: f64,
}

impl Filler {
    fn new((position, key, weight): Hashed, heaviest: u32) -> Self {
        let size = TABLE as u64;
        Self {
            position,
            next: combine(key, 1) % size,
            skip: combine(key, 2) % (size - 1) + 1,
            pace: f64::from(weight) / f64::from(heaviest.max(1)),
            due: 0.0,
        }
    }

    fn is_due(&mut self) -> bool {
        self.due += self.pace;
        let due = self.due >= 1.0;
        if due {
            self.due -= 1.0;
        }
        due
    }

    /// Takes the next free place; there is one.
    fn fill(&mut self, table: &mut [u32]) -> bool {
        for _ in 0..table.len() {
            let place = self.next as usize;
            self.next = (self.next + self.skip) % TABLE as u64;
            if let Some(free) = table.get_mut(place).filter(|taken| **taken == u32::MAX) {
                *free = self.position;
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::stable_hash;

    fn endpoints(weights: &[u32]) -> Vec<Hashed> {
        let entry = |(at, weight): (usize, &u32)| {
            (at as u32, stable_hash(format!("endpoint-{at}").as_bytes()), *weight)
        };
        weights.iter().enumerate().map(entry).collect()
    }

    fn both(endpoints: &[Hashed]) -> [(KeyTable, f64); 2] {
        [(KeyTable::ring(endpoints), 0.25), (KeyTable::maglev(endpoints), 0.05)]
    }

    fn assign(table: &KeyTable) -> Vec<u32> {
        (0..20_000_u64).map(|key| table.find(combine(key, 7), |_| true).unwrap()).collect()
    }

    #[test]
    fn shares_follow_the_weights() {
        let weights = [1, 1, 2, 4];
        for (table, tolerance) in both(&endpoints(&weights)) {
            let assigned = assign(&table);
            for (position, weight) in weights.into_iter().enumerate() {
                let count = assigned.iter().filter(|chosen| **chosen == position as u32).count() as f64;
                let expected = 20_000.0 * f64::from(weight) / 8.0;
                assert!(
                    (count / expected - 1.0).abs() < tolerance,
                    "{position}: {count} instead of {expected}"
                );
            }
        }
    }

    #[test]
    fn few_keys_move_when_an_endpoint_goes() {
        let all = endpoints(&[1; 10]);
        let fewer: Vec<Hashed> = all.iter().copied().filter(|(position, ..)| *position != 3).collect();
        for ((before, _), (after, _)) in both(&all).into_iter().zip(both(&fewer)) {
            let pairs: Vec<(u32, u32)> = assign(&before).into_iter().zip(assign(&after)).collect();
            let needless = pairs.iter().filter(|(from, to)| *from != 3 && from != to).count();
            assert!(needless < 20_000 / 20, "{needless}");
            if matches!(before, KeyTable::Ring(_)) {
                assert_eq!(needless, 0);
            }
        }
    }

    #[test]
    fn a_refused_endpoint_is_passed_over_and_none_left_is_none() {
        for (table, _) in both(&endpoints(&[1; 4])) {
            for key in 0..200 {
                let key = combine(key, 9);
                let first = table.find(key, |_| true).unwrap();
                let second = table.find(key, |position| position != first).unwrap();
                assert_ne!(first, second);
                assert_eq!(table.find(key, |_| false), None);
            }
        }
        for (table, _) in both(&[]) {
            assert_eq!(table.find(1, |_| true), None);
        }
    }

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        let forth = endpoints(&[1, 2, 3]);
        let mut back = forth.clone();
        back.reverse();
        for ((left, _), (right, _)) in both(&forth).into_iter().zip(both(&back)) {
            assert_eq!(assign(&left), assign(&right));
        }
    }
}
