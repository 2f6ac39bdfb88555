//! How requests of a variant ended.

use crate::error::Error;

/// Requests by how they ended: one for each request that a variant was chosen for, whatever attempts it took. Counted at the
/// decision and at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// The variant was chosen for them.
    pub exposed: u64,
    /// Answered, and the whole answer sent.
    pub ok: u64,
    /// Failed: a status of 5xx, a failing gRPC status, no whole answer, no endpoint, a timeout.
    pub failed: u64,
    /// The client went away first.
    pub cancelled: u64,
    /// Not ended yet.
    pub in_flight: u64,
    /// Of `cancelled`, those after more than the limit of the latency metric.
    pub cancelled_slow: u64,
    /// Of `in_flight`, those that have been so for longer than that limit.
    pub in_flight_slow: u64,
    /// Of `exposed`, those with more than one attempt.
    pub retried: u64,
    /// Went to control without being in the test, as they had no key.
    pub key_missing: u64,
    /// Went to control without being in the test, as they are not of the audience.
    pub outside: u64,
}

impl Outcomes {
    /// Adds what another instance counted. Sums end at the largest number.
    pub fn add(&mut self, other: &Self) {
        for (own, other) in self.fields().into_iter().zip(other.values()) {
            *own = own.saturating_add(other);
        }
    }

    /// An error unless `exposed = ok + failed + cancelled + in_flight`: otherwise reports are missing, or wrong.
    pub fn check(&self) -> Result<(), Error> {
        let accounted: u128 =
            [self.ok, self.failed, self.cancelled, self.in_flight].into_iter().map(u128::from).sum();
        if accounted != u128::from(self.exposed) {
            return Err(Error::Unbalanced { exposed: self.exposed, accounted });
        }
        for (what, part, whole) in [
            ("the slow cancelled requests", self.cancelled_slow, self.cancelled),
            ("the slow open requests", self.in_flight_slow, self.in_flight),
            ("the retried requests", self.retried, self.exposed),
        ] {
            if part > whole {
                return Err(Error::MoreThanAll { what, part, whole });
            }
        }
        Ok(())
    }

    fn fields(&mut self) -> [&mut u64; 10] {
        [
            &mut self.exposed,
            &mut self.ok,
            &mut self.failed,
            &mut self.cancelled,
            &mut self.in_flight,
            &mut self.cancelled_slow,
            &mut self.in_flight_slow,
            &mut self.retried,
            &mut self.key_missing,
            &mut self.outside,
        ]
    }

    fn values(&self) -> [u64; 10] {
        let mut copy = *self;
        copy.fields().map(|field| *field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn outcomes() -> impl Strategy<Value = Outcomes> {
        (0_u64..1000, 0_u64..1000, 0_u64..1000, 0_u64..1000).prop_map(|(ok, failed, cancelled, in_flight)| {
            Outcomes {
                exposed: ok + failed + cancelled + in_flight,
                ok,
                failed,
                cancelled,
                in_flight,
                ..Outcomes::default()
            }
        })
    }

    proptest! {
        #[test]
        fn sums_of_what_adds_up_add_up(all in prop::collection::vec(outcomes(), 0..20)) {
            let mut sum = Outcomes::default();
            for one in &all {
                sum.add(one);
            }
            prop_assert!(sum.check().is_ok());
            prop_assert_eq!(sum.failed, all.iter().map(|one| one.failed).sum::<u64>());
        }

        #[test]
        fn one_request_too_many_or_too_few_is_found(mut one in outcomes(), more: bool) {
            one.exposed = if more { one.exposed + 1 } else { one.exposed.saturating_sub(1) };
            prop_assume!(more || one.ok + one.failed + one.cancelled + one.in_flight > 0);
            prop_assert!(one.check().is_err());
        }
    }

    #[test]
    fn sums_end_at_the_largest_number_and_do_not_add_up_then() {
        let mut sum = Outcomes { exposed: u64::MAX, ok: u64::MAX, ..Outcomes::default() };
        sum.add(&Outcomes { exposed: 2, failed: 2, ..Outcomes::default() });
        assert_eq!(sum.exposed, u64::MAX);
        assert!(sum.check().is_err());
        let part = Outcomes { exposed: 1, cancelled: 1, cancelled_slow: 2, ..Outcomes::default() };
        assert!(part.check().is_err());
    }
}
