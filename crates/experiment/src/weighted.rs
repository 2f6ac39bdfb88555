//! An absolute difference of proportions with a proof at any number of requests, under any drift.
//!
//! Each outcome is weighted by the inverse probability of its assignment: `Z = A Y / rho - (1 - A) Y / (1 - rho)` has the difference as
//! its expected value, whatever the rates do. Its sum is bounded by the gamma-exponential mixture with the variance around what was
//! predicted before (Howard, Ramdas, McAuliffe & Sekhon, Annals of Statistics 2021, Corollary 2). It works on counts of batches; the
//! label test finds the same canary with a seventh of the requests.

use crate::bound::{Tuning, gamma_exponential};
use crate::error::Error;
use crate::evidence::{Interval, Level};
use crate::share::Share;

/// Units and events of both arms since the batch before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// The canary's events and units.
    pub canary: (u64, u64),
    /// Control's events and units.
    pub control: (u64, u64),
}

/// The sum over the batches so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weighted {
    share: Share,
    units: f64,
    sum: f64,
    intrinsic_time: f64,
}

impl Weighted {
    /// Nothing so far, for a canary with this share.
    pub fn new(share: Share) -> Self {
        Self { share, units: 0.0, sum: 0.0, intrinsic_time: 0.0 }
    }

    /// Adds a batch; an error where events are more than units.
    pub fn add(&mut self, batch: Batch) -> Result<(), Error> {
        for (events, units) in [batch.canary, batch.control] {
            if events > units {
                return Err(Error::MoreThanAll { what: "the events", part: events, whole: units });
            }
        }
        let (one, zero) = (batch.canary.0 as f64, batch.control.0 as f64);
        let units = batch.canary.1 as f64 + batch.control.1 as f64;
        let (own, rest) = (1.0 / self.share.get(), 1.0 / self.share.rest());
        // What was known before this batch, so that it is predictable.
        let predicted = self.estimate();
        let sum = one * own - zero * rest;
        let squares = one * own * own + zero * rest * rest;
        self.intrinsic_time += (squares - 2.0 * predicted * sum + units * predicted * predicted).max(0.0);
        self.sum += sum;
        self.units += units;
        Ok(())
    }

    /// The sum of weighted outcomes.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The squared deviations from what was predicted.
    pub fn intrinsic_time(&self) -> f64 {
        self.intrinsic_time
    }

    /// The difference of the canary's and control's proportion; 0 while there is no unit.
    pub fn estimate(&self) -> f64 {
        if self.units > 0.0 { self.sum / self.units } else { 0.0 }
    }

    /// The differences that are not rejected, half of the level at each side; tuned to be tightest at intrinsic time `tightest`.
    /// All that there can be while no event was seen.
    pub fn interval(&self, level: Level, tightest: f64) -> Result<Interval, Error> {
        let side = level.divided_by(2);
        let tuning = Tuning::new(tightest, side)?;
        if self.intrinsic_time <= 0.0 {
            return Ok(Interval { lower: -1.0, upper: 1.0 });
        }
        let scale = 2.0 / self.share.get().min(self.share.rest());
        let width = gamma_exponential(self.intrinsic_time, side, tuning, scale)? / self.units;
        let estimate = self.estimate();
        Ok(Interval {
            lower: (estimate - width).clamp(-1.0, 1.0),
            upper: (estimate + width).clamp(-1.0, 1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_interval_holds_the_estimate_and_is_finite(
            batches in prop::collection::vec((0_u64..50, 0_u64..50, 0_u64..500, 0_u64..500), 1..20),
            share in 0.01..0.99_f64,
        ) {
            let mut weighted = Weighted::new(Share::new(share).unwrap());
            for (one, zero, more, others) in batches {
                weighted.add(Batch { canary: (one, one + more), control: (zero, zero + others) }).unwrap();
            }
            let interval = weighted.interval(Level::new(0.05).unwrap(), 100.0).unwrap();
            prop_assert!(-1.0 <= interval.lower && interval.lower <= interval.upper && interval.upper <= 1.0);
        }
    }
}
