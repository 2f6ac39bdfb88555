//! Sums of values, over all requests and over random groups of units.

use crate::difference::Moments;
use crate::groups::Sums;

/// Groups that units are put into, by a second hash of their key.
pub const GROUPS: usize = 64;

/// Powers of the values of a metric, after its cap.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ValueSums {
    /// How many values.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The sum of their squares.
    pub squares: f64,
    /// The sum of their cubes, which says how skewed they are.
    pub cubes: f64,
}

impl ValueSums {
    /// Counts one value; larger ones than `cap` as `cap`, and what is no number or below 0 not at all. Whether it was counted.
    pub fn record(&mut self, value: f64, cap: f64) -> bool {
        if value.is_nan() || value < 0.0 {
            return false;
        }
        let value = value.min(cap);
        self.count += 1;
        self.sum += value;
        self.squares += value * value;
        self.cubes += value * value * value;
        true
    }

    /// Adds what another instance counted.
    pub fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.sum += other.sum;
        self.squares += other.squares;
        self.cubes += other.cubes;
    }

    /// Count, mean and sample variance. All 0 while nothing was counted.
    pub fn moments(&self) -> Moments {
        if self.count == 0 {
            return Moments { count: 0, mean: 0.0, variance: 0.0 };
        }
        let n = self.count as f64;
        let mean = self.sum / n;
        let squares = (self.squares - mean * self.sum).max(0.0);
        Moments { count: self.count, mean, variance: if n > 1.0 { squares / (n - 1.0) } else { 0.0 } }
    }

    /// The skewness; 0 where values do not vary. Means of more skewed values need more of them: see
    /// [`crate::difference::Stages::is_ready`].
    pub fn skewness(&self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        let n = self.count as f64;
        let mean = self.sum / n;
        let spread = (self.squares / n - mean * mean).max(0.0);
        let third = self.cubes / n - 3.0 * mean * self.squares / n + 2.0 * mean.powi(3);
        if spread > 0.0 { third / spread.powf(1.5) } else { 0.0 }
    }
}

/// Sums of random groups of units.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GroupSums(Vec<(u64, f64)>);

impl GroupSums {
    /// Counts one request of a unit, by its second hash, with what is summed up of it: 1 if it failed, say.
    pub fn record(&mut self, hash: u64, value: f64) {
        if self.0.is_empty() {
            self.0.resize(GROUPS, (0, 0.0));
        }
        if let Some(group) = self.0.get_mut((hash % GROUPS as u64) as usize) {
            group.0 += 1;
            group.1 += value;
        }
    }

    /// Adds what another instance counted.
    pub fn add(&mut self, other: &Self) {
        super::add_each(&mut self.0, &other.0, |own, other| {
            own.0 = own.0.saturating_add(other.0);
            own.1 += other.1;
        });
    }

    /// The sums, for [`crate::groups`].
    pub fn sums(&self) -> Vec<Sums> {
        self.0.iter().map(|(count, sum)| Sums { count: *count as f64, sum: *sum }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sums_of_parts_are_those_of_all_values(
            values in prop::collection::vec(0.0..1_000.0_f64, 1..100),
            cut in 0.0..1.0_f64,
        ) {
            let record = |values: &[f64]| {
                let mut sums = ValueSums::default();
                for value in values {
                    sums.record(*value, 500.0);
                }
                sums
            };
            let at = (values.len() as f64 * cut) as usize;
            let mut parts = record(&values[at..]);
            parts.add(&record(&values[..at]));
            let (parts, whole) = (parts.moments(), record(&values).moments());
            prop_assert_eq!(parts.count, whole.count);
            prop_assert!((parts.mean - whole.mean).abs() <= 1e-9 * whole.mean.abs());
            prop_assert!((parts.variance - whole.variance).abs() <= 1e-6 * (1.0 + whole.variance));
            // Against the definition.
            let capped: Vec<f64> = values.iter().map(|value| value.min(500.0)).collect();
            let mean = capped.iter().sum::<f64>() / capped.len() as f64;
            let naive = capped.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
            prop_assert!((whole.variance * (capped.len() as f64 - 1.0) - naive).abs() < 1e-5 * (1.0 + naive));
        }

        #[test]
        fn groups_keep_every_request(requests in prop::collection::vec((any::<u64>(), any::<bool>()), 0..200)) {
            let mut groups = GroupSums::default();
            for (hash, failed) in &requests {
                groups.record(*hash, f64::from(u8::from(*failed)));
            }
            let sums = groups.sums();
            prop_assert!(sums.len() <= GROUPS);
            prop_assert!((sums.iter().map(|group| group.count).sum::<f64>() - requests.len() as f64).abs() < 0.5);
        }
    }

    #[test]
    fn what_is_no_value_is_not_counted() {
        let mut sums = ValueSums::default();
        assert!(!sums.record(f64::NAN, 10.0) && !sums.record(-1.0, 10.0) && sums.record(f64::INFINITY, 10.0));
        assert_eq!(sums, ValueSums { count: 1, sum: 10.0, squares: 100.0, cubes: 1_000.0 });
        assert!(sums.skewness() == 0.0 && ValueSums::default().moments().count == 0);
    }
}
