//! When requests are due, and who sends them.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;

use super::report::Report;
use super::tally::{Outcome, Tally};

/// Timers fire up to a millisecond late, and the task a little after that. A request sent within this time of being due
/// was not held back by anything, and its latency counts from when it was sent.
const TIMER_SLACK: Duration = Duration::from_millis(2);

/// What to send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Requests per second.
    pub(super) rate: f64,
    /// How long requests become due; none means until stopped.
    pub(super) length: Option<Duration>,
    /// Requests in flight at most.
    pub(super) slots: usize,
    /// From when a request is due to when it has failed.
    pub(super) timeout: Duration,
    /// How often to report.
    pub(super) every: Duration,
}

impl Plan {
    /// When request number `index` is due, from the start.
    fn due(&self, index: u64) -> Duration {
        Duration::from_secs_f64(index as f64 / self.rate)
    }

    /// How many requests are due before this time, from the start.
    fn due_before(&self, time: Duration) -> u64 {
        (time.as_secs_f64() * self.rate).ceil() as u64
    }
}

/// Sends by the plan. `send` gets the time at which the request has failed; it never panics.
pub(super) async fn drive<S, F>(
    plan: &Plan,
    stop: CancellationToken,
    send: S,
    mut each: impl FnMut(&Report),
) -> Report
where
    S: Fn(Instant) -> F,
    F: Future<Output = Outcome> + Send + 'static,
{
    let start = Instant::now();
    let mut reports = interval_at(start + plan.every, plan.every);
    reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tally = Tally::new();
    let mut flying = JoinSet::new();
    let mut stopped = false;
    let mut end = plan.length.map_or(u64::MAX, |length| plan.due_before(length));
    let mut next = 0;
    while next < end || !flying.is_empty() {
        let due = start + plan.due(next);
        let full = flying.len() >= plan.slots;
        // With all slots taken, the next request waits for one until its time is over.
        let act_at = if full { due + plan.timeout } else { due };
        tokio::select! {
            biased;
            () = stop.cancelled(), if !stopped => {
                stopped = true;
                end = end.min(plan.due_before(start.elapsed())).max(next);
            }
            Some(done) = flying.join_next() => {
                let (outcome, latency) =
                    done.unwrap_or_else(|_| (Outcome::failed("the sender ended early"), Duration::ZERO));
                tally.ended(outcome, latency);
            }
            _ = reports.tick() => each(&tally.interval(start.elapsed(), flying.len())),
            () = sleep_until(act_at), if next < end => {
                next += 1;
                let deadline = due + plan.timeout;
                if full || Instant::now() >= deadline {
                    tally.ended(Outcome::failed("not sent before the timeout"), plan.timeout);
                } else {
                    tally.sent();
                    flying.spawn(timed(due, send(deadline)));
                }
            }
        }
    }
    let at = start.elapsed();
    each(&tally.interval(at, 0));
    tally.summary(at)
}

async fn timed(due: Instant, sending: impl Future<Output = Outcome>) -> (Outcome, Duration) {
    let now = Instant::now();
    let from = if now.duration_since(due) <= TIMER_SLACK { now } else { due };
    let outcome = sending.await;
    (outcome, from.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: Outcome = Outcome { status: Some(200), version: None, failure: None };

    fn plan() -> Plan {
        Plan {
            rate: 100.0,
            length: Some(Duration::from_secs(2)),
            slots: 10,
            timeout: Duration::from_secs(3),
            every: Duration::from_millis(500),
        }
    }

    async fn after(wait: Duration) -> Outcome {
        tokio::time::sleep(wait).await;
        OK
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_kept_and_every_interval_reported() {
        let mut intervals = Vec::new();
        let send = |_| after(Duration::from_millis(5));
        let summary =
            drive(&plan(), CancellationToken::new(), send, |report| intervals.push(report.clone())).await;
        assert_eq!((summary.sent, summary.ok, summary.failed), (200, 200, 0));
        assert!((summary.rate - 100.0).abs() < 2.0, "{}", summary.rate);
        assert!(intervals.len() >= 4);
        assert_eq!(intervals.iter().map(|each| each.ok).sum::<u64>(), 200);
        assert!(summary.latency_ms.unwrap().max < 10.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_counted_for_every_request_that_was_due_in_it() {
        let start = Instant::now();
        // Nothing is answered in the first second.
        let send = |_| async move {
            tokio::time::sleep_until(start + Duration::from_secs(1)).await;
            OK
        };
        let summary = drive(&plan(), CancellationToken::new(), send, |_| ()).await;
        assert_eq!((summary.sent, summary.ok), (200, 200));
        // 100 of 200 requests were due in the stall, evenly spread: they waited half a second on average, and all
        // others not at all. Counted from sending, only the ten with a slot would have waited.
        let latency = summary.latency_ms.unwrap();
        assert!((latency.mean - 250.0).abs() < 15.0, "{latency:?}");
        assert!((latency.max - 1000.0).abs() < 15.0 && latency.p90 > 750.0, "{latency:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn slots_bound_what_is_in_flight_and_what_finds_none_fails() {
        let plan = Plan { slots: 2, timeout: Duration::from_millis(500), ..plan() };
        let send = |_| after(Duration::from_secs(1));
        let mut most = 0;
        let summary =
            drive(&plan, CancellationToken::new(), send, |report| most = most.max(report.in_flight)).await;
        assert_eq!(most, 2);
        assert_eq!(summary.ok + summary.failed, 200);
        assert_eq!(summary.failures.values().sum::<u64>(), summary.failed);
        assert!(summary.failures.contains_key("not sent before the timeout"), "{summary:?}");
        assert!(summary.sent < 200);
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_ends_the_schedule_and_lets_what_flies_land() {
        let stop = CancellationToken::new();
        let plan = Plan { length: None, ..plan() };
        let soon = stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(995)).await;
            soon.cancel();
        });
        let summary = drive(&plan, stop, |_| after(Duration::from_millis(50)), |_| ()).await;
        assert_eq!((summary.sent, summary.ok), (100, 100));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_sent_when_stopped_before_the_start() {
        let stop = CancellationToken::new();
        stop.cancel();
        let summary = drive(&plan(), stop, |_| after(Duration::ZERO), |_| ()).await;
        assert_eq!((summary.sent, summary.ok, summary.rate), (0, 0, 0.0));
    }
}
