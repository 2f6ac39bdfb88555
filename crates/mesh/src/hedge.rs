//! Hedging: sending a request to another endpoint as well, while the first one has not answered.
//!
//! A request that takes unusually long most often meets an endpoint that is slow just then, so that a second attempt
//! overtakes it (Dean and Barroso, "The Tail at Scale", 2013; gRFC A6, "Hedging policy"). It costs work twice, and so it
//! is for requests that may be processed twice, and takes from the budget of retries.

use std::time::{Duration, Instant};

use http::Method;

use crate::Error;
use crate::retry::{AttemptState, GiveUp};

/// Most attempts of one request at once (gRFC A6 has the same bound).
const ATTEMPTS_MAX: u32 = 5;

/// When requests are sent to another endpoint as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HedgePolicy {
    delay: Duration,
    attempts: u32,
    all_methods: bool,
}

impl HedgePolicy {
    /// A policy: another attempt each time that `delay` has passed without an answer's head, up to `attempts` with the
    /// first one. `all_methods` says that every request may be processed twice, whatever its method.
    pub fn new(delay: Duration, attempts: u32, all_methods: bool) -> Result<Self, Error> {
        if delay.is_zero() {
            return Err(Error::invalid("hedging delay", "0", "write the latency that few answers exceed"));
        }
        if !(2..=ATTEMPTS_MAX).contains(&attempts) {
            return Err(Error::invalid("hedging attempts", attempts.to_string(), "write 2 to 5"));
        }
        Ok(Self { delay, attempts, all_methods })
    }

    /// How long an attempt is awaited before another one is made beside it.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Attempts, the first one included.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether requests of all methods are covered.
    pub fn all_methods(&self) -> bool {
        self.all_methods
    }

    /// Whether a request may be sent twice: its method says so (RFC 9110 section 9.2.2), or its route does by retrying
    /// what may have been processed, or the policy does.
    pub fn covers(&self, method: &Method, route_repeats: bool) -> bool {
        self.all_methods || route_repeats || method.is_idempotent()
    }

    /// Decides whether another attempt is made beside those under way. `budget` takes it from the budget of retries if there
    /// is one, and is asked only if all else says yes.
    pub fn decide(
        &self,
        attempted: AttemptState,
        budget: impl FnOnce() -> bool,
        now: Instant,
    ) -> Result<(), GiveUp> {
        if attempted.retries + 1 >= self.attempts {
            return Err(GiveUp::Exhausted);
        }
        if !attempted.replayable {
            return Err(GiveUp::Body);
        }
        if attempted.deadline.is_over(now) {
            return Err(GiveUp::Deadline);
        }
        if budget() { Ok(()) } else { Err(GiveUp::Budget) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::{Deadline, Timeouts};

    const MS: Duration = Duration::from_millis(1);

    fn policy(attempts: u32, all_methods: bool) -> HedgePolicy {
        HedgePolicy::new(50 * MS, attempts, all_methods).unwrap()
    }

    #[test]
    fn only_what_may_be_processed_twice_is_covered() {
        for (method, idempotent) in
            [(Method::GET, true), (Method::PUT, true), (Method::DELETE, true), (Method::POST, false)]
        {
            assert_eq!(policy(2, false).covers(&method, false), idempotent, "{method}");
            assert!(policy(2, false).covers(&method, true), "{method}");
            assert!(policy(2, true).covers(&method, false), "{method}");
        }
    }

    #[test]
    fn attempts_body_deadline_and_budget_bound_it() {
        let now = Instant::now();
        let endless = Deadline::new(now, Timeouts::default(), None);
        let attempted = AttemptState { retries: 0, elsewhere: true, replayable: true, deadline: endless };
        let policy = policy(3, false);
        assert_eq!(policy.decide(attempted, || true, now), Ok(()));
        assert_eq!(policy.decide(AttemptState { retries: 1, ..attempted }, || true, now), Ok(()));
        for (attempted, expected) in [
            (AttemptState { retries: 2, ..attempted }, GiveUp::Exhausted),
            (AttemptState { replayable: false, ..attempted }, GiveUp::Body),
            (
                AttemptState { deadline: Deadline::new(now, Timeouts::default(), Some(MS)), ..attempted },
                GiveUp::Deadline,
            ),
        ] {
            let budget = || unreachable!("a no costs nothing");
            assert_eq!(policy.decide(attempted, budget, now + MS), Err(expected));
        }
        assert_eq!(policy.decide(attempted, || false, now), Err(GiveUp::Budget));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(HedgePolicy::new(Duration::ZERO, 2, false).is_err());
        for attempts in [0, 1, 6] {
            assert!(HedgePolicy::new(MS, attempts, false).is_err(), "{attempts}");
        }
    }
}
