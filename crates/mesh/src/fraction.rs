//! A part of requests, as an exact fraction.

use crate::Error;
use crate::hash::Draws;

/// A part of all requests: `numerator / denominator`, exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction {
    numerator: u32,
    denominator: u32,
}

impl Fraction {
    /// Every request.
    pub const ALL: Self = Self { numerator: 1, denominator: 1 };

    /// `numerator` of every `denominator` requests.
    pub fn new(numerator: u32, denominator: u32) -> Result<Self, Error> {
        if denominator == 0 || numerator > denominator {
            return Err(Error::invalid(
                "fraction",
                format!("{numerator}/{denominator}"),
                "the denominator must be at least 1 and not less than the numerator",
            ));
        }
        Ok(Self { numerator, denominator })
    }

    /// A percentage, in steps of 0.0001.
    pub fn percent(percent: f64) -> Result<Self, Error> {
        if !(0.0..=100.0).contains(&percent) {
            return Err(Error::invalid("percentage", percent.to_string(), "write a number from 0 to 100"));
        }
        Ok(Self { numerator: (percent * 10_000.0).round() as u32, denominator: 1_000_000 })
    }

    /// The part in percent.
    pub fn as_percent(self) -> f64 {
        f64::from(self.numerator) * 100.0 / f64::from(self.denominator)
    }

    /// Whether it is every request.
    pub fn is_all(self) -> bool {
        self.numerator == self.denominator
    }

    /// Whether this request is one of them.
    pub fn hits(self, random: u64) -> bool {
        Draws::new(random).below(u64::from(self.denominator)) < u64::from(self.numerator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_hits_its_part() {
        let third = Fraction::new(1, 3).unwrap();
        let hits = (0..300_000).filter(|random| third.hits(*random)).count();
        assert!((98_900..101_100).contains(&hits), "{hits}");
        assert!((0..1000).all(|random| Fraction::ALL.hits(random)));
        assert!(!(0..1000).any(|random| Fraction::percent(0.0).unwrap().hits(random)));
    }

    #[test]
    fn impossible_fractions_are_refused() {
        assert!(Fraction::new(1, 0).is_err() && Fraction::new(2, 1).is_err());
        assert!(Fraction::percent(100.1).is_err() && Fraction::percent(f64::NAN).is_err());
    }
}
