//! Regression with e-values: one coefficient, or several (Lindon, Ham, Tingley & Bojinov 2022).
//!
//! `t`: `ln E = ln(q)/2 + (nu + 1)/2 [ln(1 + t^2/nu) - ln(1 + q t^2/nu)]` with `q = phi / (phi + z2)`; `F` with `d` coefficients:
//! `ln E = d ln(q)/2 + (nu + d)/2 [ln(1 + d F/nu) - ln(1 + q d F/nu)]` with `q = g / (g + n)`.

use crate::error::{Error, positive, within};
use crate::evidence::{Evidence, Level};

/// The evidence against a coefficient of 0 with squared statistic `t2` and `nu` degrees of freedom; `phi` is the prior's precision,
/// `z2` the squared length of what of the regressor the others do not explain.
pub fn coefficient(t2: f64, nu: f64, phi: f64, z2: f64) -> Result<Evidence, Error> {
    let phi = positive("the prior's precision", phi)?;
    let part = phi / (phi + positive("the squared length", z2)?);
    several(t2, 1.0, nu, part)
}

/// The evidence against `d` coefficients that are all 0, with statistic `f` from `n` observations under a g-prior.
pub fn coefficients(f: f64, d: f64, nu: f64, n: f64, g: f64) -> Result<Evidence, Error> {
    let g = positive("g", g)?;
    let part = g / (g + positive("the number of observations", n)?);
    several(f, d, nu, part)
}

fn several(f: f64, d: f64, nu: f64, part: f64) -> Result<Evidence, Error> {
    let f = within("the statistic", f, "finite and not below 0", |f| f >= 0.0)?;
    let (d, nu) = (positive("the number of coefficients", d)?, positive("the degrees of freedom", nu)?);
    let u = d * f / nu;
    Ok(Evidence::from_log(0.5 * d * part.ln() + 0.5 * (nu + d) * (u.ln_1p() - (part * u).ln_1p())))
}

/// The `|t|` that rejects under a g-prior, with `n` observations and `coefficients` of them estimated. Infinite while there are too
/// few observations to reject at all.
pub fn critical(g: f64, n: f64, coefficients: f64, level: Level) -> Result<f64, Error> {
    let (g, n) = (positive("g", g)?, positive("the number of observations", n)?);
    let nu = positive("the degrees of freedom", n - coefficients)?;
    let part = g / (g + n);
    let reached = ((part.ln() - 2.0 * level.threshold()) / (nu + 1.0)).exp();
    Ok(if reached > part { (nu * (1.0 - reached) / (reached - part)).sqrt() } else { f64::INFINITY })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_critical_value_is_where_the_test_rejects(g in 0.1..100.0_f64, n in 50.0..1e6_f64, alpha in 0.001..0.2_f64) {
            let level = Level::new(alpha).unwrap();
            let radius = critical(g, n, 4.0, level).unwrap();
            prop_assume!(radius.is_finite());
            let at = coefficient(radius * radius, n - 4.0, g, n).unwrap().log();
            prop_assert!((at - level.threshold()).abs() < 1e-6 * (1.0 + at.abs()));
        }
    }
}
