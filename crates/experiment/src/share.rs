//! With which probability a unit is assigned to which variant.

use crate::error::{Error, finite, within};

/// How far shares may be from 1 in sum: they are decimals of a resource, or quotients.
const TOLERANCE: f64 = 1e-9;

/// A probability above 0 and below 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    /// A share; an error unless 0 < `share` < 1.
    pub fn new(share: f64) -> Result<Self, Error> {
        within("the share", share, "above 0 and below 1", |share| 0.0 < share && share < 1.0).map(Self)
    }

    /// The probability.
    pub fn get(self) -> f64 {
        self.0
    }

    /// The other side's probability.
    pub fn rest(self) -> f64 {
        1.0 - self.0
    }

    /// The odds of the share.
    pub(crate) fn odds(self) -> f64 {
        self.0 / (1.0 - self.0)
    }
}

/// The probabilities of all variants, control first, which add up to 1. A variant may have none.
#[derive(Debug, Clone, PartialEq)]
pub struct Shares(Vec<f64>);

impl Shares {
    /// Probabilities; an error unless there are two at least, none below 0, and their sum is 1 (within a billionth; they are
    /// divided by it).
    pub fn new(shares: &[f64]) -> Result<Self, Error> {
        let sum = Self::sum(shares)?;
        if (sum - 1.0).abs() > TOLERANCE {
            return Err(Error::Shares { sum });
        }
        Ok(Self(shares.iter().map(|share| share / sum).collect()))
    }

    /// Probabilities in proportion to `weights`; an error unless there are two at least and one is above 0.
    pub fn of_weights(weights: &[u32]) -> Result<Self, Error> {
        let weights: Vec<f64> = weights.iter().copied().map(f64::from).collect();
        let sum = Self::sum(&weights)?;
        if sum == 0.0 {
            return Err(Error::Shares { sum });
        }
        Ok(Self(weights.iter().map(|weight| weight / sum).collect()))
    }

    fn sum(shares: &[f64]) -> Result<f64, Error> {
        if shares.len() < 2 {
            return Err(Error::Length { what: "shares", found: shares.len(), expected: 2 });
        }
        let mut sum = 0.0;
        for share in shares {
            sum += within("a share", *share, "finite and not below 0", |share| share >= 0.0)?;
        }
        finite("the sum of the shares", sum)
    }

    /// The probabilities.
    pub fn get(&self) -> &[f64] {
        &self.0
    }

    /// The part that variant `treatment` has of what it and control (variant 0) get; none where one of them gets nothing.
    pub fn against_control(&self, treatment: usize) -> Option<Share> {
        let (control, own) = (*self.0.first()?, *self.0.get(treatment)?);
        Share::new(own / (own + control)).ok()
    }
}
