//! Counting: latencies of good answers, and every other end of a request by its kind.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use weft_harness::load::Failure;

/// A request that has no answer for so long when counting ends is reported as an error: a closed loop would
/// otherwise only show it as a little less throughput.
const STALLED_AFTER: Duration = Duration::from_secs(2);

/// Where the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Warming,
    Counting,
    Over,
}

/// What one thread counts.
pub(super) struct Tally {
    phase: Cell<Phase>,
    began: Cell<Instant>,
    ended: Cell<Instant>,
    answered: Cell<u64>,
    latency: RefCell<Histogram<u64>>,
    failures: RefCell<BTreeMap<Failure, u64>>,
    /// When each stream's request was due, while it has no answer.
    in_flight: RefCell<Vec<Rc<Cell<Option<Instant>>>>>,
}

impl Tally {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        // One microsecond to one minute, three significant digits: about 100 KiB.
        let latency = Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are valid constants");
        Self {
            phase: Cell::new(Phase::Warming),
            began: Cell::new(now),
            ended: Cell::new(now),
            answered: Cell::new(0),
            latency: RefCell::new(latency),
            failures: RefCell::default(),
            in_flight: RefCell::default(),
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        match phase {
            Phase::Warming => {}
            Phase::Counting => self.began.set(Instant::now()),
            Phase::Over => self.ended.set(Instant::now()),
        }
        self.phase.set(phase);
    }

    /// A slot in which one stream says since when it waits.
    pub(super) fn slot(&self) -> Rc<Cell<Option<Instant>>> {
        let slot = Rc::new(Cell::new(None));
        self.in_flight.borrow_mut().push(slot.clone());
        slot
    }

    /// Counts a good answer to a request that was due at `due`.
    pub(super) fn answered(&self, due: Instant) {
        if self.phase.get() == Phase::Counting {
            self.answered.set(self.answered.get() + 1);
            self.latency.borrow_mut().saturating_record(due.elapsed().as_micros() as u64);
        }
    }

    /// Counts a failure, in warm-up too: no request may fail at any time.
    pub(super) fn failed(&self, failure: Failure) {
        if self.phase.get() != Phase::Over {
            *self.failures.borrow_mut().entry(failure).or_default() += 1;
        }
    }

    /// The result, once the phase is [`Phase::Over`].
    pub(super) fn outcome(&self, backlog: u64) -> Outcome {
        let ended = self.ended.get();
        let in_flight = self.in_flight.borrow();
        let waiting = in_flight.iter().filter_map(|slot| slot.get());
        let stalled = waiting.filter(|due| ended.saturating_duration_since(*due) >= STALLED_AFTER).count();
        let mut failures = self.failures.borrow().clone();
        if stalled > 0 {
            failures.insert(Failure::Stalled, stalled as u64);
        }
        let seconds = (ended - self.began.get()).as_secs_f64();
        let latency = self.latency.borrow();
        let at = |quantile: f64| Some(latency.value_at_quantile(quantile));
        Outcome {
            answered: self.answered.get(),
            seconds,
            latency: Latency {
                mean: latency.mean(),
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                p999: at(0.999),
                max: latency.max(),
            },
            failures,
            backlog,
        }
    }
}

/// What a load generator reports.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Answers with status 200 and a body of the exact length, received while counting.
    pub(crate) answered: u64,
    /// How long counting took.
    pub(crate) seconds: f64,
    pub(crate) latency: Latency,
    /// Everything that wasn't such an answer, warm-up included.
    pub(crate) failures: BTreeMap<Failure, u64>,
    /// Requests of an open loop that were due but not sent at the end.
    pub(crate) backlog: u64,
}

/// Latencies in microseconds. In an open loop they begin when the request was due, not when it could be sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) mean: f64,
    pub(crate) p50: Option<u64>,
    pub(crate) p90: Option<u64>,
    pub(crate) p99: Option<u64>,
    pub(crate) p999: Option<u64>,
    pub(crate) max: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_while_counting_are_counted_but_failures_always() {
        let tally = Tally::new();
        let due = Instant::now();
        tally.answered(due);
        tally.failed(Failure::Status);
        tally.enter(Phase::Counting);
        tally.answered(due);
        tally.enter(Phase::Over);
        tally.answered(due);
        tally.failed(Failure::Closed);
        let outcome = tally.outcome(0);
        assert_eq!(outcome.answered, 1);
        assert_eq!(outcome.failures, BTreeMap::from([(Failure::Status, 1)]));
    }

    #[test]
    fn a_request_without_an_answer_at_the_end_is_a_stall() {
        let tally = Tally::new();
        tally.enter(Phase::Counting);
        let waiting = tally.slot();
        let _idle = tally.slot();
        tally.enter(Phase::Over);
        waiting.set(Some(tally.ended.get()));
        assert!(tally.outcome(0).failures.is_empty());
        tally.ended.set(tally.ended.get() + STALLED_AFTER);
        assert_eq!(tally.outcome(0).failures, BTreeMap::from([(Failure::Stalled, 1)]));
    }
}
