//! Special functions, by the forms that lose no digits to cancellation where counts are large.

pub mod beta;
pub mod gamma;
pub mod normal;

/// Riemann's zeta function for `s` above 1, by the Euler-Maclaurin formula.
pub fn zeta(s: f64) -> f64 {
    const TERMS: i32 = 40;
    let n = f64::from(TERMS);
    let direct: f64 = (1..TERMS).map(|term| f64::from(term).powf(-s)).sum();
    let power = n.powf(-s);
    direct + power * n / (s - 1.0) + power / 2.0 + s * power / (12.0 * n)
        - s * (s + 1.0) * (s + 2.0) * power / (720.0 * n.powi(3))
        + s * (s + 1.0) * (s + 2.0) * (s + 3.0) * (s + 4.0) * power / (30_240.0 * n.powi(5))
}

#[cfg(test)]
mod tests {
    #[test]
    fn zeta_of_two_and_four_are_known() {
        let pi = std::f64::consts::PI;
        assert!((super::zeta(2.0) - pi.powi(2) / 6.0).abs() < 1e-12);
        assert!((super::zeta(4.0) - pi.powi(4) / 90.0).abs() < 1e-12);
    }
}
