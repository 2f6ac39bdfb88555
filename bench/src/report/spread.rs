//! The median of a few figures, with their extremes.

/// Median, least and greatest of at least one figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// `None` if there are no figures.
    pub(super) fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let (&min, &max) = (figures.first()?, figures.last()?);
        let upper = *figures.get(figures.len() / 2)?;
        let lower = *figures.get((figures.len() - 1) / 2)?;
        Some(Self { median: f64::midpoint(lower, upper), min, max })
    }

    /// `median (min..max)`, without the extremes when they say nothing more.
    pub(super) fn text(&self, digits: usize) -> String {
        let number = |value: f64| grouped(value, digits);
        let (median, min, max) = (number(self.median), number(self.min), number(self.max));
        if min == max { median } else { format!("{median} ({min}..{max})") }
    }
}

/// A number with a comma between thousands.
fn grouped(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::with_capacity(text.len() + text.len() / 3);
    for (position, character) in whole.chars().enumerate() {
        let left = whole.len() - position;
        if position > 0 && left.is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(character);
    }
    grouped + fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]).unwrap().median.to_bits(), 2.5_f64.to_bits());
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(grouped(1_234_567.25, 1), "1,234,567.2");
        assert_eq!(grouped(123.0, 0), "123");
        assert_eq!(grouped(-123_456.0, 0), "-123,456");
        assert_eq!(Spread::of(vec![0.5]).unwrap().text(2), "0.50");
        assert_eq!(Spread::of(vec![0.5, 0.75]).unwrap().text(2), "0.62 (0.50..0.75)");
    }
}
