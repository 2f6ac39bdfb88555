//! The retry budget of a destination: retries stay a small part of the requests, so that they never multiply the
//! load on something that fails because of load.

use std::time::{Duration, Instant};

/// How much may be retried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetPolicy {
    /// Retries as a part of the requests of the last window, from 0 to 1.
    pub ratio: f64,
    /// The window. Seconds in it are counted whole: at most [`WINDOW_MAX`] of them.
    pub window: Duration,
    /// Retries per second that are always allowed, so that a destination with few requests has retries at all.
    pub min_per_second: f64,
}

impl Default for BudgetPolicy {
    fn default() -> Self {
        Self { ratio: 0.2, window: Duration::from_secs(10), min_per_second: 3.0 }
    }
}

/// Longest window, in seconds.
pub const WINDOW_MAX: u64 = 60;

/// Requests and retries of the last seconds, counted by one worker.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    policy: BudgetPolicy,
    origin: Instant,
    /// One for each second of the window; the second `s` has its place at `s % seconds.len()`.
    seconds: Box<[Second]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    number: u64,
    requests: u32,
    retries: u32,
}

impl RetryBudget {
    /// A budget for one of `workers` workers that share the destination's traffic evenly: the floor is divided, the
    /// ratio holds for each.
    pub fn new(policy: BudgetPolicy, workers: u32, now: Instant) -> Self {
        let window = policy.window.as_secs().clamp(1, WINDOW_MAX);
        let min_per_second = policy.min_per_second / f64::from(workers.max(1));
        Self {
            policy: BudgetPolicy { min_per_second, ..policy },
            origin: now,
            seconds: vec![Second::default(); window as usize].into(),
        }
    }

    /// Counts a request; retries are not requests.
    pub fn request(&mut self, now: Instant) {
        let second = self.second(now);
        second.requests = second.requests.saturating_add(1);
    }

    /// Takes a retry from the budget if there is one.
    pub fn try_retry(&mut self, now: Instant) -> bool {
        let allowed = self.allows_retry(now);
        if allowed {
            let second = self.second(now);
            second.retries = second.retries.saturating_add(1);
        }
        allowed
    }

    /// Whether the budget has a retry left.
    pub fn allows_retry(&self, now: Instant) -> bool {
        let floor = self.policy.min_per_second;
        // A floor below one a second is one in several seconds.
        let floor_seconds = (1.0 / floor).ceil().clamp(1.0, self.seconds.len() as f64);
        let (_, recent) = self.counted(now, floor_seconds as u64);
        if (recent + 1) as f64 <= floor * floor_seconds {
            return true;
        }
        let (requests, retries) = self.counted(now, self.seconds.len() as u64);
        (retries + 1) as f64 <= self.policy.ratio * requests as f64
    }

    /// Requests and retries of the last seconds, the current one with them.
    fn counted(&self, now: Instant, seconds: u64) -> (u64, u64) {
        let current = self.number(now);
        let counted = self.seconds.iter().filter(|second| second.number + seconds > current);
        counted.fold((0, 0), |(requests, retries), second| {
            (requests + u64::from(second.requests), retries + u64::from(second.retries))
        })
    }

    fn second(&mut self, now: Instant) -> &mut Second {
        let number = self.number(now);
        let place = (number % self.seconds.len() as u64) as usize;
        let second = &mut self.seconds[place];
        if second.number != number {
            *second = Second { number, ..Second::default() };
        }
        second
    }

    fn number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.origin).as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_quiet_destination_has_three_retries_each_second() {
        let start = Instant::now();
        let mut budget = RetryBudget::new(BudgetPolicy::default(), 1, start);
        for second in 0..20 {
            let now = start + Duration::from_secs(second);
            assert_eq!((0..10).filter(|_| budget.try_retry(now)).count(), 3, "{second}");
        }
    }

    #[test]
    fn a_busy_destination_has_a_fifth_of_its_requests() {
        let start = Instant::now();
        let mut budget = RetryBudget::new(BudgetPolicy::default(), 1, start);
        (0..1000).for_each(|_| budget.request(start));
        assert_eq!((0..1000).filter(|_| budget.try_retry(start)).count(), 200);
        let later = start + Duration::from_secs(10);
        assert_eq!((0..1000).filter(|_| budget.try_retry(later)).count(), 3);
    }

    #[test]
    fn workers_share_the_floor() {
        let start = Instant::now();
        let mut budget = RetryBudget::new(BudgetPolicy::default(), 8, start);
        let taken = (0..24).filter(|second| budget.try_retry(start + Duration::from_secs(*second))).count();
        assert_eq!(taken, 8);
    }

    #[test]
    fn no_floor_and_no_ratio_is_no_retry() {
        let start = Instant::now();
        let policy = BudgetPolicy { ratio: 0.0, min_per_second: 0.0, ..BudgetPolicy::default() };
        let mut budget = RetryBudget::new(policy, 1, start);
        budget.request(start);
        assert!(!budget.try_retry(start));
    }

    proptest! {
        #[test]
        fn the_ring_agrees_with_a_list_of_events(events in prop::collection::vec((0_u64..3000, any::<bool>()), 1..200)) {
            let start = Instant::now();
            let mut budget = RetryBudget::new(BudgetPolicy::default(), 1, start);
            let (mut requests, mut retries) = (Vec::<u64>::new(), Vec::<u64>::new());
            let mut millis = 0;
            for (gap, is_retry) in events {
                millis += gap;
                let now = start + Duration::from_millis(millis);
                let second = millis / 1000;
                if !is_retry {
                    budget.request(now);
                    requests.push(second);
                    continue;
                }
                let within = |events: &[u64], seconds| events.iter().filter(|at| **at + seconds > second).count();
                let naive = within(&retries, 1) < 3 || (within(&retries, 10) + 1) * 5 <= within(&requests, 10);
                prop_assert_eq!(budget.try_retry(now), naive);
                if naive {
                    retries.push(second);
                }
            }
        }
    }
}
