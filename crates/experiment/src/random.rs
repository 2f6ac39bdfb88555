//! Random numbers from a seed, for simulations: the same ones everywhere.

use crate::special::gamma::stirling_error;

/// From this mean on the binomial distribution is drawn from by rejection.
const REJECTION_FROM: f64 = 10.0;

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub struct Random(fastrand::Rng);

impl Random {
    /// The stream of a seed.
    pub fn seeded(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Uniform, from 0, below 1.
    pub fn uniform(&mut self) -> f64 {
        self.0.f64()
    }

    /// All bits random.
    pub fn bits(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// True with chance `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.0.f64() < p
    }

    /// Normal, of mean 0 and variance 1 (Box & Muller).
    pub fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.0.f64()).ln()).sqrt() * (2.0 * std::f64::consts::PI * self.0.f64()).cos()
    }

    /// How many of `n` succeed that each do so with chance `p`.
    pub fn binomial(&mut self, n: u64, p: f64) -> u64 {
        if n == 0 || p.is_nan() || p <= 0.0 {
            return 0;
        }
        if p >= 1.0 {
            return n;
        }
        if p > 0.5 {
            return n - self.binomial(n, 1.0 - p);
        }
        if n as f64 * p < REJECTION_FROM { self.by_inversion(n, p) } else { self.by_rejection(n as f64, p) }
    }

    fn by_inversion(&mut self, n: u64, p: f64) -> u64 {
        let odds = p / (1.0 - p);
        let mut chance = (n as f64 * (-p).ln_1p()).exp();
        let mut left = self.0.f64();
        let mut k = 0;
        while left > chance && k < n {
            left -= chance;
            chance *= odds * (n - k) as f64 / (k + 1) as f64;
            k += 1;
        }
        k
    }

    /// Transformed rejection (Hörmann, Journal of Statistical Computation and Simulation 1993, algorithm BTRS).
    #[expect(clippy::many_single_char_names, reason = "the names of the paper")]
    fn by_rejection(&mut self, n: f64, p: f64) -> u64 {
        let spread = (n * p * (1.0 - p)).sqrt();
        let b = 1.15 + 2.53 * spread;
        let a = -0.0873 + 0.0248 * b + 0.01 * p;
        let centre = n * p + 0.5;
        let alpha = (2.83 + 5.1 / b) * spread;
        let quick = 0.92 - 4.2 / b;
        let odds = p / (1.0 - p);
        let mode = ((n + 1.0) * p).floor();
        loop {
            let u = self.0.f64() - 0.5;
            let v = self.0.f64();
            let us = 0.5 - u.abs();
            let k = ((2.0 * a / us + b) * u + centre).floor();
            if us >= 0.07 && v <= quick {
                return k as u64;
            }
            if !(0.0..=n).contains(&k) {
                continue;
            }
            let height = (v * alpha / (a / (us * us) + b)).ln();
            let limit = (mode + 0.5) * ((mode + 1.0) / (odds * (n - mode + 1.0))).ln()
                + (n + 1.0) * ((n - mode + 1.0) / (n - k + 1.0)).ln()
                + (k + 0.5) * (odds * (n - k + 1.0) / (k + 1.0)).ln()
                + stirling_error(mode + 1.0)
                + stirling_error(n - mode + 1.0)
                - stirling_error(k + 1.0)
                - stirling_error(n - k + 1.0);
            if height <= limit {
                return k as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binomial_counts_have_the_distribution() {
        let mut random = Random::seeded(1);
        for (n, p) in [(10, 0.3), (1_000, 0.004), (100, 0.5), (100_000, 0.2), (50, 0.97)] {
            let draws = 40_000;
            let mut seen = vec![0_u32; n + 1];
            for _ in 0..draws {
                seen[random.binomial(n as u64, p) as usize] += 1;
            }
            // Chi-square over cells of at least 10 expected, by the exact probabilities.
            let (mut statistic, mut cells) = (0.0, 0.0);
            let log = |k: f64| {
                let n = n as f64;
                libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0)
                    + k * p.ln()
                    + (n - k) * (-p).ln_1p()
            };
            for (k, count) in seen.iter().enumerate() {
                let expected = f64::from(draws) * log(k as f64).exp();
                if expected >= 10.0 {
                    statistic += (f64::from(*count) - expected).powi(2) / expected;
                    cells += 1.0;
                }
            }
            assert!(
                statistic < cells + 4.5 * f64::sqrt(2.0 * cells),
                "{n} {p}: {statistic} in {cells} cells"
            );
        }
    }

    #[test]
    fn extremes_are_counts() {
        let mut random = Random::seeded(2);
        assert_eq!((random.binomial(0, 0.5), random.binomial(7, 0.0), random.binomial(7, 1.0)), (0, 0, 7));
        assert_eq!(random.binomial(7, f64::NAN), 0);
        assert!(random.binomial(1_000_000_000_000, 0.5) > 499_000_000_000);
    }

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let mut random = Random::seeded(3);
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..100_000 {
            let value = random.normal();
            sum += value;
            squares += value * value;
        }
        assert!(f64::abs(sum / 1e5) < 0.015 && f64::abs(squares / 1e5 - 1.0) < 0.02);
    }
}
