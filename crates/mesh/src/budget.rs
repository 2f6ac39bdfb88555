//! The retry budget of a service: retries stay a small part of the requests, so that they never multiply the load on
//! something that fails because of load.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How much may be retried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetPolicy {
    /// Retries as a part of the requests of the last window, from 0 to 1.
    pub ratio: f64,
    /// The window. Seconds in it are counted whole: at most [`WINDOW_MAX`] of them.
    pub window: Duration,
    /// Retries per second that are always allowed, so that a service with few requests has retries at all.
    pub min_per_second: f64,
}

impl Default for BudgetPolicy {
    fn default() -> Self {
        Self { ratio: 0.2, window: Duration::from_secs(10), min_per_second: 3.0 }
    }
}

/// Longest window, in seconds.
pub const WINDOW_MAX: u64 = 60;
const SECONDS: usize = WINDOW_MAX as usize;

/// Requests and retries of the last minute, from all workers together. What may be retried of them is for a policy to
/// say each time, so that a change of it neither refills the budget nor empties it.
///
/// Workers count their requests apart, each in memory that it alone writes: no request waits for another worker's. Only
/// who wants to retry looks at all of them, under a lock.
#[derive(Debug)]
pub struct RetryBudget {
    origin: Instant,
    requests: Box<[Requests]>,
    retries: Mutex<[u64; SECONDS]>,
}

/// One worker's requests in each second; apart from others' by what processors share of memory.
#[derive(Debug)]
#[repr(align(128))]
struct Requests([AtomicU64; SECONDS]);

impl RetryBudget {
    /// A budget for a service that so many workers send to.
    pub fn new(workers: usize, now: Instant) -> Self {
        let requests = || Requests([const { AtomicU64::new(0) }; SECONDS]);
        Self {
            origin: now,
            requests: (0..workers.max(1)).map(|_| requests()).collect(),
            retries: Mutex::new([0; SECONDS]),
        }
    }

    /// Counts a request of one of the workers, by its number; retries are not requests. To be called by that worker alone.
    pub fn request(&self, worker: usize, now: Instant) {
        let second = self.second(now);
        let Some(Requests(seconds)) = self.requests.get(worker) else { return };
        if let Some(place) = seconds.get(place(second)) {
            // Nobody else writes it.
            place.store(counted_up(place.load(Ordering::Relaxed), second), Ordering::Relaxed);
        }
    }

    /// Takes a retry from the budget, if the policy leaves one.
    pub fn try_retry(&self, policy: &BudgetPolicy, now: Instant) -> bool {
        let second = self.second(now);
        let mut retries = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = self.allows(policy, second, &retries[..]);
        if allowed && let Some(place) = retries.get_mut(place(second)) {
            *place = counted_up(*place, second);
        }
        allowed
    }

    fn allows(&self, policy: &BudgetPolicy, second: u32, retries: &[u64]) -> bool {
        let window = policy.window.as_secs().clamp(1, WINDOW_MAX) as u32;
        let of_retries = |seconds| sum(retries.iter().copied(), second, seconds);
        let floor = policy.min_per_second;
        // A floor below one a second is one in several seconds.
        let floor_seconds = (1.0 / floor).ceil().clamp(1.0, f64::from(window));
        if (of_retries(floor_seconds as u32) + 1) as f64 <= floor * floor_seconds {
            return true;
        }
        let requests = self.requests.iter().map(|Requests(seconds)| {
            sum(seconds.iter().map(|place| place.load(Ordering::Relaxed)), second, window)
        });
        (of_retries(window) + 1) as f64 <= policy.ratio * requests.sum::<u64>() as f64
    }

    fn second(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.origin).as_secs()).unwrap_or(u32::MAX)
    }
}

fn place(second: u32) -> usize {
    second as usize % SECONDS
}

/// A count together with the second that it is of: the count in the lower half.
fn counted_up(counted: u64, second: u32) -> u64 {
    let (of, count) = split(counted);
    let count = if of == second { count.saturating_add(1) } else { 1 };
    u64::from(second) << 32 | u64::from(count)
}

fn split(counted: u64) -> (u32, u32) {
    ((counted >> 32) as u32, counted as u32)
}

/// What was counted in so many seconds, the current one with them.
fn sum(counted: impl Iterator<Item = u64>, current: u32, seconds: u32) -> u64 {
    let recent = counted.map(split).filter(|(of, _)| current.saturating_sub(*of) < seconds);
    recent.map(|(_, count)| u64::from(count)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEFAULT: BudgetPolicy =
        BudgetPolicy { ratio: 0.2, window: Duration::from_secs(10), min_per_second: 3.0 };

    fn taken(budget: &RetryBudget, policy: &BudgetPolicy, now: Instant) -> usize {
        (0..1000).filter(|_| budget.try_retry(policy, now)).count()
    }

    #[test]
    fn a_quiet_service_has_three_retries_each_second_however_many_workers_there_are() {
        for workers in [1, 2, 16] {
            let start = Instant::now();
            let budget = RetryBudget::new(workers, start);
            for second in 0..200 {
                assert_eq!(taken(&budget, &DEFAULT, start + Duration::from_secs(second)), 3, "{second}");
            }
        }
    }

    #[test]
    fn a_busy_service_has_a_fifth_of_its_requests_whichever_workers_they_come_from() {
        for shares in [&[1000, 0, 0, 0][..], &[250; 4], &[1000], &[1, 997, 1, 1]] {
            let start = Instant::now();
            let budget = RetryBudget::new(shares.len(), start);
            for (worker, share) in shares.iter().enumerate() {
                (0..*share).for_each(|_| budget.request(worker, start));
            }
            assert_eq!(taken(&budget, &DEFAULT, start), 200, "{shares:?}");
            assert_eq!(taken(&budget, &DEFAULT, start + Duration::from_secs(10)), 3);
        }
    }

    #[test]
    fn a_policy_is_in_force_from_the_next_retry_on_and_what_was_taken_stays_taken() {
        let start = Instant::now();
        let budget = RetryBudget::new(1, start);
        (0..1000).for_each(|_| budget.request(0, start));
        let few = BudgetPolicy { ratio: 0.01, ..DEFAULT };
        assert_eq!(taken(&budget, &few, start), 10);
        assert_eq!(taken(&budget, &DEFAULT, start), 190);
        assert_eq!(taken(&budget, &few, start), 0);
        let later = start + Duration::from_secs(30);
        assert_eq!(taken(&budget, &BudgetPolicy { min_per_second: 0.0, ..DEFAULT }, later), 0);
        let long = BudgetPolicy { window: Duration::from_mins(1), min_per_second: 0.0, ratio: 1.0 };
        assert_eq!(taken(&budget, &long, later), 800, "1,000 requests and 200 retries within the minute");
    }

    #[test]
    fn a_floor_below_one_is_one_in_several_seconds() {
        let start = Instant::now();
        let budget = RetryBudget::new(8, start);
        let policy = BudgetPolicy { ratio: 0.0, min_per_second: 0.375, ..DEFAULT };
        let taken =
            (0..24).filter(|second| budget.try_retry(&policy, start + Duration::from_secs(*second))).count();
        assert_eq!(taken, 8);
    }

    #[test]
    fn no_floor_and_no_ratio_is_no_retry() {
        let start = Instant::now();
        let policy = BudgetPolicy { ratio: 0.0, min_per_second: 0.0, ..DEFAULT };
        let budget = RetryBudget::new(1, start);
        budget.request(0, start);
        assert!(!budget.try_retry(&policy, start));
    }

    #[test]
    fn threads_together_take_no_more_than_there_is() {
        let start = Instant::now();
        let budget = RetryBudget::new(4, start);
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|worker| {
                    let budget = &budget;
                    scope.spawn(move || {
                        (0..500).for_each(|_| budget.request(worker, start));
                        (0..500).filter(|_| budget.try_retry(&DEFAULT, start)).count()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let left = (0..1000).filter(|_| budget.try_retry(&DEFAULT, start)).count();
        assert_eq!(taken + left, 400, "a fifth of 2,000");
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Request(usize),
        Retry,
        Policy(u32, u32, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..3_usize).prop_map(Step::Request),
            4 => Just(Step::Retry),
            1 => (0..=100_u32, 0..5_u32, 1..=60_u64).prop_map(|(ratio, floor, window)| Step::Policy(ratio, floor, window)),
        ]
    }

    proptest! {
        #[test]
        fn it_agrees_with_lists_of_events_whatever_the_policy(steps in prop::collection::vec((0_u64..3000, step()), 1..200)) {
            let start = Instant::now();
            let budget = RetryBudget::new(3, start);
            let mut policy = DEFAULT;
            let (mut requests, mut retries) = (Vec::<u64>::new(), Vec::<u64>::new());
            let mut millis = 0;
            for (gap, step) in steps {
                millis += gap;
                let now = start + Duration::from_millis(millis);
                let second = millis / 1000;
                match step {
                    Step::Request(worker) => {
                        budget.request(worker, now);
                        requests.push(second);
                    }
                    Step::Policy(percent, floor, window) => policy = BudgetPolicy {
                        ratio: f64::from(percent) / 100.0,
                        window: Duration::from_secs(window),
                        min_per_second: f64::from(floor),
                    },
                    Step::Retry => {
                        let within = |events: &[u64], seconds| events.iter().filter(|at| **at + seconds > second).count() as f64;
                        let window = policy.window.as_secs();
                        let naive = within(&retries, 1) < policy.min_per_second
                            || within(&retries, window) + 1.0 <= policy.ratio * within(&requests, window);
                        prop_assert_eq!(budget.try_retry(&policy, now), naive);
                        if naive {
                            retries.push(second);
                        }
                    }
                }
            }
        }
    }
}
