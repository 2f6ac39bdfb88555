//! The gamma function and its relatives.
//!
//! `ln gamma(x) = (x - 1/2) ln x - x + ln(2 pi) / 2 + s(x)`. Methods here are written in `s` and in the deviance, since the other
//! terms of large counts cancel: two calls of `ln gamma` at 1e9 are off by 1e-6 in their difference. The split is that of Loader,
//! "Fast and accurate computation of binomial probabilities" (2000).

use std::f64::consts::PI;

/// From here on the series of [`stirling_error`] is exact to the last digit.
const SERIES_FROM: f64 = 12.0;
/// A bound on the terms of a series or fraction: they converge in about the square root of their argument.
const TERMS: u32 = 1_000_000;

/// The natural logarithm of the gamma function, for `x` above 0.
pub fn ln_gamma(x: f64) -> f64 {
    libm::lgamma(x)
}

/// `s(x)`: what Stirling's formula leaves out, for `x` above 0.
pub fn stirling_error(x: f64) -> f64 {
    if x < SERIES_FROM {
        return ln_gamma(x) - (x - 0.5) * x.ln() + x - 0.5 * (2.0 * PI).ln();
    }
    let square = 1.0 / (x * x);
    (1.0 / 12.0
        - square
            * (1.0 / 360.0
                - square
                    * (1.0 / 1_260.0
                        - square * (1.0 / 1_680.0 - square * (1.0 / 1_188.0 - square * 691.0 / 360_360.0)))))
        / x
}

/// `ln gamma(a + k) - ln gamma(a)`, for `a` above 0 and `k` not below 0.
pub fn ln_gamma_ratio(a: f64, k: f64) -> f64 {
    (a - 0.5) * (k / a).ln_1p() + k * (a + k).ln() - k + stirling_error(a + k) - stirling_error(a)
}

/// The natural logarithm of the beta function, for `a` and `b` above 0.
pub fn ln_beta(a: f64, b: f64) -> f64 {
    let (small, large) = if a < b { (a, b) } else { (b, a) };
    let both = a + b;
    small * (small / both).ln() + large * (-small / both).ln_1p() - 0.5 * (small * (large / both)).ln()
        + 0.5 * (2.0 * PI).ln()
        + stirling_error(small)
        + stirling_error(large)
        - stirling_error(both)
}

/// `x ln(x / mean) + mean - x`, the half deviance of a Poisson count, for `x` not below 0 and `mean` above 0.
pub fn deviance(x: f64, mean: f64) -> f64 {
    if x <= 0.0 {
        return mean;
    }
    let difference = x - mean;
    if difference.abs() >= 0.1 * (x + mean) {
        return x * (x / mean).ln() - difference;
    }
    // The logarithm as a series in v = (x - mean) / (x + mean), whose first terms cancel `mean - x`.
    let v = difference / (x + mean);
    let square = v * v;
    let mut sum = difference * v;
    let mut power = 2.0 * x * v;
    for term in 1..TERMS {
        power *= square;
        let next = sum + power / f64::from(2 * term + 1);
        if (next - sum).abs() <= f64::EPSILON * 0.5 * next.abs() {
            return next;
        }
        sum = next;
    }
    sum
}

/// The logarithms of the regularised incomplete gamma functions: `(ln P(a, x), ln Q(a, x))`, for `a` and `x` above 0.
pub fn ln_incomplete(a: f64, x: f64) -> (f64, f64) {
    // x^a e^-x / gamma(a)
    let front = 0.5 * (a / (2.0 * PI)).ln() - deviance(a, x) - stirling_error(a);
    if x < a + 1.0 {
        let lower = front + lower_series(a, x).ln();
        (lower, complement(lower))
    } else {
        let upper = front + upper_fraction(a, x).ln();
        (complement(upper), upper)
    }
}

/// `ln(1 - e^log)`.
fn complement(log: f64) -> f64 {
    (-log.exp()).ln_1p()
}

fn lower_series(a: f64, x: f64) -> f64 {
    let mut term = 1.0 / a;
    let mut sum = term;
    for step in 1..TERMS {
        term *= x / (a + f64::from(step));
        sum += term;
        if term < sum * f64::EPSILON {
            break;
        }
    }
    sum
}

/// The continued fraction by Lentz' method.
#[expect(clippy::many_single_char_names, reason = "the usual names of Lentz' method")]
fn upper_fraction(a: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / TINY;
    let mut d = 1.0 / b;
    let mut h = d;
    for step in 1..TERMS {
        let step = f64::from(step);
        let an = -step * (step - a);
        b += 2.0;
        d = an * d + b;
        d = 1.0 / if d.abs() < TINY { TINY } else { d };
        c = b + an / c;
        if c.abs() < TINY {
            c = TINY;
        }
        let factor = d * c;
        h *= factor;
        if (factor - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    h
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ratios_of_gamma_functions_are_rising_factorials(a in 1e-6..1e9_f64, k in 0_u32..200) {
            let naive: f64 = (0..k).map(|step| (a + f64::from(step)).ln()).sum();
            let ratio = ln_gamma_ratio(a, f64::from(k));
            prop_assert!((ratio - naive).abs() <= 1e-10 * (1.0 + naive.abs()), "{} instead of {}", ratio, naive);
        }

        #[test]
        fn beta_is_symmetric_and_made_of_gamma_functions(a in 1e-3..50.0_f64, b in 1e-3..50.0_f64) {
            let naive = ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b);
            prop_assert!((ln_beta(a, b) - naive).abs() < 1e-11);
            prop_assert!((ln_beta(a, b) - ln_beta(b, a)).abs() < 1e-12);
        }

        #[test]
        fn the_deviance_is_never_below_zero(x in 0.0..1e12_f64, mean in 1e-6..1e12_f64) {
            let found = deviance(x, mean);
            prop_assert!(found >= 0.0 && found.is_finite());
            if x > 0.0 {
                let naive = x * (x / mean).ln() + mean - x;
                prop_assert!((found - naive).abs() <= 1e-12 * (x + mean) * (1.0 + (x / mean).ln().abs()));
            }
        }

        #[test]
        fn a_whole_first_argument_makes_a_poisson_sum(a in 1_u32..40, x in 0.01..80.0_f64) {
            let mut term = (-x).exp();
            let mut upper = 0.0;
            for step in 0..a {
                upper += term;
                term *= x / f64::from(step + 1);
            }
            prop_assert!((ln_incomplete(f64::from(a), x).1.exp() - upper).abs() < 1e-11);
        }
    }

    #[test]
    fn the_series_joins_the_direct_form() {
        for x in [SERIES_FROM, 13.0, 20.0, 100.0] {
            let direct = ln_gamma(x) - (x - 0.5) * x.ln() + x - 0.5 * (2.0 * PI).ln();
            assert!((stirling_error(x) - direct).abs() < 2e-13 * x);
        }
    }
}
