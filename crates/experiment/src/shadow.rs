//! Shadow traffic: the same request to both variants.
//!
//! Of pairs whose answers differ in whether they failed (or were slow, or differed from what was expected), each is the shadow's with
//! probability one half if the variants do not differ: McNemar's test, by the kernel at 1/2 and so at every look.

use crate::error::Error;
use crate::evidence::Evidence;
use crate::kernel::{Concentration, binomial};
use crate::share::Share;

/// The evidence that one fails more often than the other, from the pairs in which only one of them failed.
pub fn evidence(shadow_alone: u64, control_alone: u64) -> Result<Evidence, Error> {
    let both = shadow_alone.saturating_add(control_alone);
    binomial(shadow_alone.min(both), both, Share::new(0.5)?, Concentration::EVENTS)
}

#[cfg(test)]
mod tests {
    use super::evidence;

    #[test]
    fn ten_to_none_are_evidence_and_ten_to_ten_are_not() {
        assert!(evidence(10, 0).unwrap().log() > 2.0 && evidence(10, 10).unwrap().log() < 0.0);
        assert!((evidence(40, 60).unwrap().log() - evidence(60, 40).unwrap().log()).abs() < 1e-12);
        assert!(evidence(u64::MAX, u64::MAX).unwrap().log().is_finite());
    }
}
