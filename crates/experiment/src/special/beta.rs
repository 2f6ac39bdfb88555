//! The incomplete beta function.

use super::gamma::ln_beta;

/// The regularised incomplete beta function: the chance that a variable with a beta distribution is at most `x`, for `a` and `b`
/// above 0 and `x` from 0 to 1. By its continued fraction (Lentz' method).
pub fn regularised(a: f64, b: f64, x: f64) -> f64 {
    ln_regularised(a, b, x).exp()
}

/// The natural logarithm of [`regularised`], also where that is below the smallest number.
pub fn ln_regularised(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if x >= 1.0 {
        return 0.0;
    }
    let front = a * x.ln() + b * (-x).ln_1p() - ln_beta(a, b);
    if x < (a + 1.0) / (a + b + 2.0) {
        (front + (fraction(a, b, x) / a).ln()).min(0.0)
    } else {
        (-(front.exp() * fraction(b, a, 1.0 - x) / b).min(1.0)).ln_1p()
    }
}

#[expect(clippy::many_single_char_names, reason = "the usual names of Lentz' method")]
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    const TERMS: u32 = 1_000_000;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut h = d;
    for step in 1..TERMS {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away(1.0 + even * d);
        c = away(1.0 + even / c);
        h *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away(1.0 + odd * d);
        c = away(1.0 + odd / c);
        let factor = d * c;
        h *= factor;
        if (factor - 1.0).abs() < f64::EPSILON * 2.0 {
            break;
        }
    }
    h
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whole_arguments_make_a_binomial_sum(a in 1_u32..20, b in 1_u32..20, x in 0.0..1.0_f64) {
            let n = a + b - 1;
            let mut naive = 0.0;
            for k in a..=n {
                let mut ways = 1.0;
                for step in 0..k {
                    ways *= f64::from(n - step) / f64::from(step + 1);
                }
                naive += ways * x.powi(k.cast_signed()) * (1.0 - x).powi((n - k).cast_signed());
            }
            prop_assert!((super::regularised(f64::from(a), f64::from(b), x) - naive).abs() < 1e-10);
        }
    }
}
