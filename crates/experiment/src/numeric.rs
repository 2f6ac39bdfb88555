//! Roots, maxima and integrals.

use std::sync::LazyLock;

/// Points of one panel of a Gauss-Legendre rule.
const POINTS: usize = 20;
/// Where panels at each side of the peak end, as parts of the way to where nothing counts any more.
const PANELS: [f64; 3] = [0.25, 0.5, 1.0];
/// What lies so far below the peak's logarithm adds nothing: e^-45 is 3e-20.
const DROP: f64 = 45.0;

/// Nodes from -1 to 1, with weights.
static RULE: LazyLock<[(f64, f64); POINTS]> = LazyLock::new(|| {
    std::array::from_fn(|index| {
        let n = POINTS as f64;
        let mut x = (std::f64::consts::PI * (index as f64 + 0.75) / (n + 0.5)).cos();
        let mut slope = 1.0;
        for _ in 0..50 {
            let (mut before, mut value) = (1.0, x);
            for degree in 2..=POINTS {
                let degree = degree as f64;
                (before, value) =
                    (value, ((2.0 * degree - 1.0) * x * value - (degree - 1.0) * before) / degree);
            }
            slope = n * (x * value - before) / (x * x - 1.0);
            let step = value / slope;
            x -= step;
            if step.abs() < 1e-16 {
                break;
            }
        }
        (x, 2.0 / ((1.0 - x * x) * slope * slope))
    })
});

/// Calls `visit` with each node and weight of a rule of `panels` panels over `from..to`.
pub(crate) fn nodes(from: f64, to: f64, panels: u32, mut visit: impl FnMut(f64, f64)) {
    let half = (to - from) / f64::from(2 * panels);
    for panel in 0..panels {
        let middle = from + half * f64::from(2 * panel + 1);
        for (node, weight) in RULE.iter() {
            visit(middle + half * node, half * weight);
        }
    }
}

/// `ln(sum of e^x)`.
pub(crate) fn log_sum_exp(logs: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = logs.clone().fold(f64::NEG_INFINITY, f64::max);
    if !largest.is_finite() {
        return largest;
    }
    largest + logs.map(|log| (log - largest).exp()).sum::<f64>().ln()
}

/// Where `below` turns from true to false between `low` and `high`, to the last digit.
pub(crate) fn bisect(mut low: f64, mut high: f64, below: impl Fn(f64) -> bool) -> f64 {
    // Each step halves the width; an end at 0 is approached by orders of magnitude.
    for _ in 0..1_100 {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            break;
        }
        if below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low + (high - low) / 2.0
}

/// Where a function with one maximum between `low` and `high` has it (golden section).
pub(crate) fn maximum(mut low: f64, mut high: f64, f: impl Fn(f64) -> f64) -> f64 {
    const PART: f64 = 0.618_033_988_749_894_8;
    let (mut left, mut right) = (high - PART * (high - low), low + PART * (high - low));
    let (mut at_left, mut at_right) = (f(left), f(right));
    for _ in 0..100 {
        if at_left < at_right {
            low = left;
            (left, at_left) = (right, at_right);
            right = low + PART * (high - low);
            at_right = f(right);
        } else {
            high = right;
            (right, at_right) = (left, at_left);
            left = high - PART * (high - low);
            at_left = f(left);
        }
    }
    f64::midpoint(low, high)
}

/// The logarithm of the integral of `e^g` over `domain`, for a concave `g` whose maximum there is at `mode`; `scale` is about the
/// width of the peak.
///
/// A concave function falls at least linearly beyond its peak, so the ends of what counts are found by doubling, and a rule of
/// fixed size over it is exact to ten digits at any number of events.
pub(crate) fn log_integral(g: impl Fn(f64) -> f64, mode: f64, scale: f64, domain: (f64, f64)) -> f64 {
    let peak = g(mode);
    let reach = |direction: f64, room: f64| {
        let mut far = scale.min(room);
        while g(mode + direction * far) > peak - DROP && far < room && far < 1e300 {
            far = (far * 2.0).min(room);
        }
        let mut near = 0.0;
        for _ in 0..60 {
            let drop = peak - g(mode + direction * far);
            if drop <= DROP * 1.1 {
                break;
            }
            let middle = f64::midpoint(near, far);
            if peak - g(mode + direction * middle) < DROP {
                near = middle;
                if far - near < 0.02 * far {
                    break;
                }
            } else {
                far = middle;
            }
        }
        far
    };
    let mut sum = 0.0;
    for (direction, room) in [(-1.0, mode - domain.0), (1.0, domain.1 - mode)] {
        let far = if room > 0.0 { reach(direction, room) } else { 0.0 };
        let mut near = 0.0;
        for part in PANELS {
            nodes(near, part * far, 1, |x, weight| sum += weight * (g(mode + direction * x) - peak).exp());
            near = part * far;
        }
    }
    peak + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integrals_of_peaks_of_any_width_are_exact() {
        for width in [1e-9, 1e-3, 1.0, 1e3] {
            for mode in [-2.0, 0.0, 5.0] {
                let g = |x: f64| -0.5 * ((x - mode) / width).powi(2);
                let whole = log_integral(g, mode, width * 3.7, (f64::NEG_INFINITY, f64::INFINITY));
                let half = log_integral(g, mode, width, (mode, f64::INFINITY));
                let exact = width.ln() + 0.5 * (2.0 * std::f64::consts::PI).ln();
                // Places that near to each other are rounded.
                let tolerance = 1e-11 + 1e-16 * f64::abs(mode) / width;
                assert!((whole - exact).abs() < tolerance, "{width} {mode}: {whole} {exact}");
                assert!((half - exact + 2.0_f64.ln()).abs() < tolerance);
            }
        }
        let exponential = log_integral(|x| -3.0 * x, 0.0, 1.0, (0.0, f64::INFINITY));
        assert!((exponential + 3.0_f64.ln()).abs() < 1e-11);
    }

    #[test]
    fn a_root_is_found_to_the_last_digit_also_near_zero() {
        assert!((bisect(0.0, 1.0, |x| x < 1e-12) / 1e-12 - 1.0).abs() < 1e-12);
        assert!((maximum(-3.0, 9.0, |x| -(x - 2.0).powi(2)) - 2.0).abs() < 1e-6);
    }
}
