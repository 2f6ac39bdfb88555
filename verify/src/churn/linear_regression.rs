//! A line through samples, by least squares.

use serde::Serialize;

/// What resident memory did.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) samples: usize,
    pub(crate) least: f64,
    pub(crate) mean: f64,
    pub(crate) greatest: f64,
    /// KiB per minute.
    pub(crate) slope: f64,
    /// Standard error of the slope, as if samples were independent.
    pub(crate) slope_error: f64,
    /// Minutes from the first sample to the last.
    pub(crate) minutes: f64,
}

impl Line {
    /// Fits a line to pairs of minutes and KiB; `None` with fewer than three, or all at one time.
    pub(crate) fn fit(samples: &[(f64, f64)]) -> Option<Self> {
        let count = samples.len() as f64;
        let (first, last) = (samples.first()?.0, samples.last()?.0);
        if samples.len() < 3 || last <= first {
            return None;
        }
        let mean_of = |value: fn(&(f64, f64)) -> f64| samples.iter().map(value).sum::<f64>() / count;
        let (time, mean) = (mean_of(|sample| sample.0), mean_of(|sample| sample.1));
        let spread: f64 = samples.iter().map(|(at, _)| (at - time).powi(2)).sum();
        let slope = samples.iter().map(|(at, kib)| (at - time) * (kib - mean)).sum::<f64>() / spread;
        let rest: f64 = samples.iter().map(|(at, kib)| (kib - mean - slope * (at - time)).powi(2)).sum();
        Some(Self {
            samples: samples.len(),
            least: samples.iter().map(|sample| sample.1).fold(f64::INFINITY, f64::min),
            mean,
            greatest: samples.iter().map(|sample| sample.1).fold(0.0, f64::max),
            slope,
            slope_error: (rest / (count - 2.0) / spread).sqrt(),
            minutes: last - first,
        })
    }

    /// What the line rises over the measured time.
    pub(crate) fn growth_kib(&self) -> f64 {
        self.slope * self.minutes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_under_what_goes_up_and_down() {
        let samples: Vec<_> =
            (0..100).map(|at| (f64::from(at), 5.0 + 2.0 * f64::from(at) + f64::from(at % 2))).collect();
        let line = Line::fit(&samples).unwrap();
        assert!((line.slope - 2.0).abs() < 0.01 && line.slope_error < 0.01, "{line:?}");
        assert!((line.growth_kib() - 198.0).abs() < 1.0, "{line:?}");
        assert!(Line::fit(&samples[..2]).is_none());
    }
}
