//! The normal distribution.

use std::f64::consts::{PI, SQRT_2};

use crate::numeric::bisect;

/// The chance that a standard normal variable is at most `x`.
pub fn cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x / SQRT_2)
}

/// The natural logarithm of [`cdf`], also where that is below the smallest number.
pub fn ln_cdf(x: f64) -> f64 {
    if x > 5.0 {
        return (-cdf(-x)).ln_1p();
    }
    if x > FAR { cdf(x).ln() } else { ln_scaled_cdf(x) - 0.5 * x * x }
}

/// Below this the tail's asymptotic series is exact to the last digits.
const FAR: f64 = -20.0;

/// `ln_cdf(x) + x^2 / 2`, in which the large terms of the lower tail have cancelled.
pub fn ln_scaled_cdf(x: f64) -> f64 {
    if x > FAR {
        return ln_cdf(x) + 0.5 * x * x;
    }
    let square = 1.0 / (x * x);
    let series = square * (-1.0 + square * (3.0 + square * (-15.0 + square * (105.0 - square * 945.0))));
    series.ln_1p() - (-x).ln() - 0.5 * (2.0 * PI).ln()
}

/// The value below which a standard normal variable lies with chance `p`, for `p` above 0 and below 1.
pub fn quantile(p: f64) -> f64 {
    if p > 0.5 {
        return -quantile(1.0 - p);
    }
    bisect(-40.0, 0.0, |x| ln_cdf(x) < p.ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (p, z) in [(0.975, 1.959_963_984_540_054), (0.8, 0.841_621_233_572_914), (0.5, 0.0)] {
            assert!((quantile(p) - z).abs() < 1e-10, "{p}");
        }
    }

    #[test]
    fn the_tail_joins_the_middle_and_stays_finite() {
        assert!((ln_scaled_cdf(FAR + 1e-9) - ln_scaled_cdf(FAR)).abs() < 1e-9);
        assert!(ln_cdf(-1e100).is_finite() && ln_cdf(1e100).abs() < 1e-300);
    }
}
