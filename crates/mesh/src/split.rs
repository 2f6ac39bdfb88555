//! Weighted choice between the backends of a rule.

use crate::hash::{Draws, combine, stable_hash, unit};

/// A weighted choice between items, made once and asked for every request.
///
/// An item's share is its weight divided by the sum of all weights. What an item stands for does not matter here: an
/// invalid backend keeps its share, so that its part of the requests is answered 500 (Gateway API,
/// `HTTPRouteRule.backendRefs`).
///
/// ```
/// use weft_mesh::split::Split;
///
/// let split = Split::new([("v1", 3, "reviews-v1"), ("v2", 1, "reviews-v2"), ("v3", 0, "reviews-v3")]);
/// assert!(matches!(split.choose(7), Some(&"reviews-v1" | &"reviews-v2")));
/// // A key keeps its version, in every process.
/// assert_eq!(split.choose_sticky(b"ada", 1), split.choose_sticky(b"ada", 1));
/// // Nobody has a weight.
/// assert_eq!(Split::new([("v1", 0, "reviews-v1")]).choose(7), None);
/// ```
#[derive(Clone, Debug)]
pub struct Split<T> {
    entries: Box<[Entry<T>]>,
    total: u64,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    /// Sum of the weights up to and with this one.
    upto: u64,
    weight: u32,
    /// Hash of the name, the same in every process.
    seed: u64,
    item: T,
}

impl<T> Split<T> {
    /// A split over `(name, weight, item)`. The name, not the position, is what sticky keys are bound to.
    pub fn new<N: AsRef<str>>(items: impl IntoIterator<Item = (N, u32, T)>) -> Self {
        let mut total = 0_u64;
        let entries = items
            .into_iter()
            .map(|(name, weight, item)| {
                total += u64::from(weight);
                Entry { upto: total, weight, seed: stable_hash(name.as_ref().as_bytes()), item }
            })
            .collect();
        Self { entries, total }
    }

    /// A split with one item that gets everything.
    pub fn single(name: &str, item: T) -> Self {
        Self::new([(name, 1, item)])
    }

    /// Chooses an item: each with exactly its share of all values of `random`. `None` if no item has a weight, which
    /// Gateway API has answered with 500.
    pub fn choose(&self, random: u64) -> Option<&T> {
        if let [only] = &*self.entries {
            return (only.weight > 0).then_some(&only.item);
        }
        let ticket = Draws::new(random).below(self.total);
        let position = self.entries.partition_point(|entry| entry.upto <= ticket);
        self.entries.get(position).map(|entry| &entry.item)
    }

    /// Chooses the same item for the same key, in every process, by weighted rendezvous hashing: each item gets its
    /// share of the keys, and when weights change only those keys move that a changed share demands. `salt` keeps
    /// splits apart that see the same keys; pass [`stable_hash`] of the route's and rule's names.
    pub fn choose_sticky(&self, key: &[u8], salt: u64) -> Option<&T> {
        let key = combine(salt, stable_hash(key));
        let mut best: Option<(f64, &T)> = None;
        for entry in self.entries.iter().filter(|entry| entry.weight > 0) {
            // An exponential variate of rate `weight`: the smallest is `weight`'s with probability weight / total.
            let score = -natural_log(1.0 - unit(combine(key, entry.seed))) / f64::from(entry.weight);
            if best.is_none_or(|(least, _)| score < least) {
                best = Some((score, &entry.item));
            }
        }
        best.map(|(_, item)| item)
    }

    /// Every item with its weight, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.entries.iter().map(|entry| (entry.weight, &entry.item))
    }

    /// How many items there are, those with weight 0 too.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The same split over other items.
    pub fn map<U>(self, mut with: impl FnMut(T) -> U) -> Split<U> {
        let entry = |entry: Entry<T>| Entry {
            upto: entry.upto,
            weight: entry.weight,
            seed: entry.seed,
            item: with(entry.item),
        };
        Split { entries: self.entries.into_iter().map(entry).collect(), total: self.total }
    }
}

/// The natural logarithm of a number in `(0, 1]`.
///
/// `f64::ln` may differ in the last bits between platforms, and two proxies must agree on every key; this needs only
/// operations that IEEE 754 defines exactly. Relative error below 1e-15.
fn natural_log(value: f64) -> f64 {
    let bits = value.to_bits();
    let exponent = (bits >> 52) as i32 - 1023;
    let mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    let (mantissa, exponent) = if mantissa > std::f64::consts::SQRT_2 {
        (mantissa * 0.5, exponent + 1)
    } else {
        (mantissa, exponent)
    };
    let ratio = (mantissa - 1.0) / (mantissa + 1.0);
    let square = ratio * ratio;
    let mut series = 0.0;
    for odd in (0..12_u32).rev() {
        series = series * square + 1.0 / f64::from(2 * odd + 1);
    }
    2.0 * ratio * series + f64::from(exponent) * std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(weights: &[u32]) -> Split<usize> {
        Split::new(weights.iter().enumerate().map(|(at, weight)| (format!("backend-{at}"), *weight, at)))
    }

    /// Four standard deviations of a binomial count.
    fn four_sigma(draws: f64, share: f64) -> f64 {
        4.0 * (draws * share * (1.0 - share)).sqrt()
    }

    #[test]
    fn a_million_choices_are_within_four_sigma_and_weight_zero_is_never_chosen() {
        let weights = [90, 0, 7, 3, 0];
        let split = split(&weights);
        let mut counts = [0_u32; 5];
        let mut random = Draws::new(42);
        for _ in 0..1_000_000 {
            counts[*split.choose(random.next()).unwrap()] += 1;
        }
        for (weight, count) in weights.into_iter().zip(counts) {
            let share = f64::from(weight) / 100.0;
            let off = (f64::from(count) - share * 1e6).abs();
            assert!(off <= four_sigma(1e6, share), "{counts:?}");
        }
        assert_eq!((counts[1], counts[4]), (0, 0));
    }

    #[test]
    fn every_set_of_weights_is_met_within_four_sigma() {
        for (seed, weights) in [
            &[1, 1][..],
            &[99, 1],
            &[999_999, 1],
            &[1, 0],
            &[0, 7, 0],
            &[33, 33, 34],
            &[1_000_000, 1_000_000, 1],
            &[5; 20],
            &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        ]
        .into_iter()
        .enumerate()
        {
            let split = split(weights);
            let mut draws = Draws::new(seed as u64);
            let mut counts = vec![0_u32; weights.len()];
            for _ in 0..1_000_000 {
                counts[*split.choose(draws.next()).unwrap()] += 1;
            }
            let total: f64 = weights.iter().copied().map(f64::from).sum();
            for (weight, count) in weights.iter().copied().zip(&counts) {
                let share = f64::from(weight) / total;
                let off = (f64::from(*count) - share * 1e6).abs();
                assert!(off <= four_sigma(1e6, share), "{weights:?}: {counts:?}");
                assert!(weight > 0 || *count == 0, "{weights:?}: {counts:?}");
            }
        }
    }

    #[test]
    fn a_hundred_thousand_keys_are_split_by_weight() {
        let weights = [50, 30, 0, 20];
        let split = split(&weights);
        let mut counts = [0_u32; 4];
        for key in 0..100_000_u32 {
            counts[*split.choose_sticky(format!("user-{key}").as_bytes(), 1).unwrap()] += 1;
        }
        for (weight, count) in weights.into_iter().zip(counts) {
            let share = f64::from(weight) / 100.0;
            assert!((f64::from(count) - share * 1e5).abs() <= four_sigma(1e5, share), "{counts:?}");
        }
    }

    #[test]
    fn sticky_choices_never_change() {
        let split = split(&[1, 1, 2]);
        let chosen: Vec<usize> = ["a", "b", "c", "d", "e", "f"]
            .iter()
            .map(|key| *split.choose_sticky(key.as_bytes(), 9).unwrap())
            .collect();
        assert_eq!(chosen, [0, 0, 0, 2, 2, 0]);
    }

    #[test]
    fn a_salt_makes_another_assignment() {
        let split = split(&[1, 1]);
        let differ = (0..1000_u32)
            .filter(|key| {
                let key = key.to_be_bytes();
                split.choose_sticky(&key, 1) != split.choose_sticky(&key, 2)
            })
            .count();
        assert!((400..600).contains(&differ), "{differ}");
    }

    #[test]
    fn nothing_is_chosen_where_nothing_has_weight() {
        assert_eq!(split(&[]).choose(1), None);
        assert_eq!(split(&[0]).choose(1), None);
        assert_eq!(split(&[0, 0]).choose(1), None);
        assert_eq!(split(&[0, 0]).choose_sticky(b"a", 1), None);
    }

    #[test]
    fn logarithm_agrees_with_the_library() {
        let mut draws = Draws::new(3);
        for value in (0..10_000).map(|_| 1.0 - draws.unit()).chain([
            1.0,
            0.5,
            f64::EPSILON,
            1.0 / (1_u64 << 53) as f64,
        ]) {
            let exact = value.ln();
            assert!((natural_log(value) - exact).abs() <= 4e-16 + exact.abs() * 1e-15, "{value}");
        }
    }

    proptest! {
        #[test]
        fn choice_agrees_with_a_scan(weights in prop::collection::vec(0_u32..5, 1..6), random: u64) {
            let split = split(&weights);
            let naive = || {
                let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
                let mut ticket = Draws::new(random).below(total);
                for (at, weight) in weights.iter().enumerate() {
                    if ticket < u64::from(*weight) {
                        return Some(at);
                    }
                    ticket -= u64::from(*weight);
                }
                None
            };
            prop_assert_eq!(split.choose(random).copied(), naive());
        }

        #[test]
        fn a_key_moves_only_to_what_grew_or_from_what_shrank(
            mut weights in prop::collection::vec(0_u32..100, 2..5),
            at in 0_usize..5,
            new in 0_u32..100,
            keys in prop::collection::vec(any::<u64>(), 50),
        ) {
            let at = at % weights.len();
            let before = split(&weights);
            let old = std::mem::replace(&mut weights[at], new);
            let after = split(&weights);
            for key in keys {
                let key = key.to_be_bytes();
                let (from, to) = (before.choose_sticky(&key, 5), after.choose_sticky(&key, 5));
                if from != to {
                    let moved_to_or_from = if new > old { to } else { from };
                    prop_assert_eq!(moved_to_or_from, Some(&at));
                }
            }
        }

        #[test]
        fn the_order_of_backends_does_not_matter_to_a_key(key: u64) {
            let names = [("a", 3, 'a'), ("b", 5, 'b'), ("c", 2, 'c')];
            let (forth, back) = (Split::new(names), Split::new(names.into_iter().rev()));
            prop_assert_eq!(forth.choose_sticky(&key.to_be_bytes(), 0), back.choose_sticky(&key.to_be_bytes(), 0));
        }
    }
}
