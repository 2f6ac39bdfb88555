//! Weighted chance among many.

use crate::hash::Draws;

/// Positions `0..n`, each with its weight. Drawing costs one comparison per doubling of `n`, or none if all weights
/// are the same.
#[derive(Debug, Default)]
pub(super) struct WeightedRandom {
    /// Sums of the weights up to each position; empty if all are the same.
    upto: Vec<u64>,
    count: usize,
}

impl WeightedRandom {
    pub(super) fn new(weights: &[u32]) -> Self {
        let same = weights.windows(2).all(|pair| pair.first() == pair.last());
        let mut total = 0;
        let sums = weights.iter().map(|weight| {
            total += u64::from(*weight);
            total
        });
        Self { upto: if same { Vec::new() } else { sums.collect() }, count: weights.len() }
    }

    /// A position; 0 if there is none.
    pub(super) fn draw(&self, draws: &mut Draws) -> usize {
        match self.upto.last() {
            None => draws.below(self.count as u64) as usize,
            Some(total) => {
                let ticket = draws.below(*total);
                self.upto.partition_point(|upto| *upto <= ticket)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_drawn_by_weight() {
        for weights in [vec![1, 1, 1], vec![5, 0, 3, 2]] {
            let chances = WeightedRandom::new(&weights);
            let mut draws = Draws::new(1);
            let mut counts = vec![0_u32; weights.len()];
            for _ in 0..100_000 {
                counts[chances.draw(&mut draws)] += 1;
            }
            let total: u32 = weights.iter().sum();
            for (weight, count) in weights.iter().zip(counts) {
                let share = f64::from(*weight) / f64::from(total);
                let sigma = (1e5 * share * (1.0 - share)).sqrt();
                assert!((f64::from(count) - 1e5 * share).abs() <= 4.0 * sigma, "{weights:?}");
            }
        }
    }
}
