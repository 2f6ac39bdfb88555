//! Counters that belong to the whole proxy.

use std::array;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use weft_identity::Reason as RefusalReason;
use weft_mesh::violation::Violation;

use super::cause::Cause;

/// Threads beyond this many share counters; more workers than cores of a large machine are not worth memory.
const SHARDS: usize = 32;

/// Where traffic goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// It leaves the workload.
    Outbound,
    /// It arrives at the workload.
    Inbound,
}

impl Direction {
    /// Its name, as metrics and logs have it.
    pub fn name(self) -> &'static str {
        self.label()
    }
}

/// How a destination was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LookupOutcome {
    /// It is in the mesh, and the snapshot had it.
    Hit,
    /// It is in the mesh, and the control plane was asked for it.
    Miss,
    /// The control plane said nothing in time.
    Timeout,
    /// The mesh has no destination of that name.
    Absent,
    /// So many destinations are in use, or asked for, that this one could not be.
    Full,
}

/// What became of a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetryOutcome {
    /// It was made.
    Made,
    /// The request had reached nobody and went to another endpoint at once, which costs no budget.
    Moved,
    /// The budget was used up.
    OverBudget,
}

/// What became of an attempt beside another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HedgeOutcome {
    /// It was made.
    Made,
    /// It was answered first; beside `Made`.
    Won,
    /// The budget was used up.
    OverBudget,
}

/// What a service that keeps a limit for all proxies said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GlobalLimitOutcome {
    /// The request is within the limit.
    Within,
    /// It is over the limit.
    Over,
    /// It said nothing in time, and the request was let through.
    Unanswered,
    /// It said nothing in time, and the request was refused.
    Refused,
}

/// Why requests and connections are shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShedCause {
    /// The process takes nearly all of its memory.
    Memory,
    /// Work waits for long before a worker gets to it.
    LoopDelay,
}

/// What authorization decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthorizationOutcome {
    /// Let in.
    Allowed,
    /// Kept out.
    Denied,
    /// An AUDIT policy matched; beside one of the others.
    Audited,
}

/// What became of a line of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessLogOutcome {
    /// The writer has it, or will have it.
    Taken,
    /// So many waited for the writer that it was dropped.
    Dropped,
    /// The output did not take it.
    Lost,
}

/// Why a connection was taken out of use before either side closed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retirement {
    /// Nobody used it for long.
    Idle,
    /// It was as old as connections may grow.
    Age,
    /// It was made under another certificate, or with other roots, than those in force.
    Certificate,
    /// Its endpoint is gone, or a different one now.
    Endpoint,
    /// Its peer did not answer any more.
    Silence,
    /// No root vouches for its peer any more.
    Trust,
    /// Policies do not let its peer in any more.
    Policy,
}

/// Enums of which each value has a label.
pub(super) trait Labelled: Copy + 'static {
    /// Every value, in the order of declaration.
    const ALL: &'static [Self];
    /// The value of the label.
    fn label(self) -> &'static str;
}

macro_rules! labelled {
    ($name:ident { $($value:ident = $label:literal),* }) => {
        impl Labelled for $name {
            const ALL: &'static [Self] = &[$(Self::$value),*];
            fn label(self) -> &'static str {
                match self { $(Self::$value => $label),* }
            }
        }
    };
}

labelled!(Direction { Outbound = "outbound", Inbound = "inbound" });
labelled!(LookupOutcome { Hit = "hit", Miss = "miss", Timeout = "timeout", Absent = "absent", Full = "full" });
labelled!(RetryOutcome { Made = "made", Moved = "moved", OverBudget = "over_budget" });
labelled!(HedgeOutcome { Made = "made", Won = "won", OverBudget = "over_budget" });
labelled!(GlobalLimitOutcome {
    Within = "within",
    Over = "over",
    Unanswered = "unanswered",
    Refused = "refused"
});
labelled!(ShedCause { Memory = "memory", LoopDelay = "loop_delay" });
labelled!(AccessLogOutcome { Taken = "taken", Dropped = "dropped", Lost = "lost" });
labelled!(Retirement {
    Idle = "idle",
    Age = "age",
    Certificate = "certificate",
    Endpoint = "endpoint",
    Silence = "silence",
    Trust = "trust",
    Policy = "policy"
});
labelled!(AuthorizationOutcome { Allowed = "allowed", Denied = "denied", Audited = "audited" });

const DIRECTIONS: usize = Direction::ALL.len();
const REFUSALS: usize = RefusalReason::ALL.len();
const VIOLATIONS: usize = Violation::ALL.len();

const ANSWERS_AT: usize = 0;
const REFUSALS_AT: usize = ANSWERS_AT + DIRECTIONS * Cause::COUNT;
const LOOKUPS_AT: usize = REFUSALS_AT + REFUSALS;
const RETRIES_AT: usize = LOOKUPS_AT + LookupOutcome::ALL.len();
const AUTHORIZATIONS_AT: usize = RETRIES_AT + RetryOutcome::ALL.len();
const OPENED_AT: usize = AUTHORIZATIONS_AT + AuthorizationOutcome::ALL.len();
const CLOSED_AT: usize = OPENED_AT + DIRECTIONS;
const EJECTIONS_AT: usize = CLOSED_AT + DIRECTIONS;
const RETIREMENTS_AT: usize = EJECTIONS_AT + 1;
const ACCESS_LOG_AT: usize = RETIREMENTS_AT + Retirement::ALL.len();
const VIOLATIONS_AT: usize = ACCESS_LOG_AT + AccessLogOutcome::ALL.len();
const HEDGES_AT: usize = VIOLATIONS_AT + DIRECTIONS * VIOLATIONS;
const GLOBAL_LIMITS_AT: usize = HEDGES_AT + HedgeOutcome::ALL.len();
const SHED_AT: usize = GLOBAL_LIMITS_AT + GlobalLimitOutcome::ALL.len();
const UNKEPT_AT: usize = SHED_AT + ShedCause::ALL.len();
const UNMIRRORED_AT: usize = UNKEPT_AT + 1;
const REFUSED_CONNECTIONS_AT: usize = UNMIRRORED_AT + 1;
const COUNTERS: usize = REFUSED_CONNECTIONS_AT + DIRECTIONS;

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Counter {
    Answer(Direction, Cause),
    Refusal(RefusalReason),
    Lookup(LookupOutcome),
    Retry(RetryOutcome),
    Authorization(AuthorizationOutcome),
    Opened(Direction),
    Closed(Direction),
    Ejection,
    Retirement(Retirement),
    AccessLog(AccessLogOutcome),
    Violation(Direction, Violation),
    Hedge(HedgeOutcome),
    GlobalLimit(GlobalLimitOutcome),
    Shed(ShedCause),
    /// A body that was not kept for sending it again because of all that was kept already.
    Unkept,
    /// A copy that was not sent because of all that were under way already.
    Unmirrored,
    /// A connection beyond those that there may be.
    RefusedConnection(Direction),
}

impl Counter {
    /// Its place in a shard.
    const fn index(self) -> usize {
        match self {
            Self::Answer(direction, cause) => ANSWERS_AT + direction as usize * Cause::COUNT + cause.index(),
            Self::Refusal(reason) => REFUSALS_AT + reason as usize,
            Self::Lookup(outcome) => LOOKUPS_AT + outcome as usize,
            Self::Retry(outcome) => RETRIES_AT + outcome as usize,
            Self::Authorization(outcome) => AUTHORIZATIONS_AT + outcome as usize,
            Self::Opened(direction) => OPENED_AT + direction as usize,
            Self::Closed(direction) => CLOSED_AT + direction as usize,
            Self::Ejection => EJECTIONS_AT,
            Self::Retirement(cause) => RETIREMENTS_AT + cause as usize,
            Self::AccessLog(outcome) => ACCESS_LOG_AT + outcome as usize,
            Self::Violation(direction, violation) => {
                VIOLATIONS_AT + direction as usize * VIOLATIONS + violation.index()
            }
            Self::Hedge(outcome) => HEDGES_AT + outcome as usize,
            Self::GlobalLimit(outcome) => GLOBAL_LIMITS_AT + outcome as usize,
            Self::Shed(cause) => SHED_AT + cause as usize,
            Self::Unkept => UNKEPT_AT,
            Self::Unmirrored => UNMIRRORED_AT,
            Self::RefusedConnection(direction) => REFUSED_CONNECTIONS_AT + direction as usize,
        }
    }
}

/// The counters of one thread, on cache lines of their own.
#[derive(Debug)]
#[repr(align(128))]
struct Shard([AtomicU64; COUNTERS]);

/// Counters, one set for each thread.
#[derive(Debug)]
pub(super) struct Counters(Box<[Shard]>);

impl Default for Counters {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Shard(array::from_fn(|_| AtomicU64::new(0)))).collect())
    }
}

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The shard of this thread; taken at its first count.
    static SHARD: Cell<usize> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS);
}

impl Counters {
    pub(super) fn add(&self, counter: Counter) {
        let shard = self.0.get(SHARD.get()).and_then(|shard| shard.0.get(counter.index()));
        if let Some(count) = shard {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The sum over all threads.
    pub(super) fn get(&self, counter: Counter) -> u64 {
        let index = counter.index();
        self.0
            .iter()
            .filter_map(|shard| shard.0.get(index))
            .fold(0, |sum, count| sum.wrapping_add(count.load(Ordering::Relaxed)))
    }
}

/// A connection that is open.
#[derive(Debug)]
pub struct OpenConnection {
    counters: Arc<Counters>,
    direction: Direction,
}

impl OpenConnection {
    pub(super) fn new(counters: &Arc<Counters>, direction: Direction) -> Self {
        counters.add(Counter::Opened(direction));
        Self { counters: Arc::clone(counters), direction }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.counters.add(Counter::Closed(self.direction));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Counter> {
        let mut all = vec![Counter::Ejection, Counter::Unkept, Counter::Unmirrored];
        for direction in Direction::ALL.iter().copied() {
            all.extend(Cause::all().map(|cause| Counter::Answer(direction, cause)));
            all.extend([Counter::Opened(direction), Counter::Closed(direction)]);
            all.push(Counter::RefusedConnection(direction));
            all.extend(Violation::ALL.map(|violation| Counter::Violation(direction, violation)));
        }
        all.extend(RefusalReason::ALL.map(Counter::Refusal));
        all.extend(LookupOutcome::ALL.iter().copied().map(Counter::Lookup));
        all.extend(RetryOutcome::ALL.iter().copied().map(Counter::Retry));
        all.extend(HedgeOutcome::ALL.iter().copied().map(Counter::Hedge));
        all.extend(GlobalLimitOutcome::ALL.iter().copied().map(Counter::GlobalLimit));
        all.extend(ShedCause::ALL.iter().copied().map(Counter::Shed));
        all.extend(AccessLogOutcome::ALL.iter().copied().map(Counter::AccessLog));
        all.extend(Retirement::ALL.iter().copied().map(Counter::Retirement));
        all.extend(AuthorizationOutcome::ALL.iter().copied().map(Counter::Authorization));
        all
    }

    #[test]
    fn every_counter_has_a_place_of_its_own() {
        let mut places: Vec<usize> = all().into_iter().map(Counter::index).collect();
        places.sort_unstable();
        assert_eq!(places, (0..COUNTERS).collect::<Vec<_>>());
    }

    #[test]
    fn counts_of_all_threads_are_summed() {
        let counters = Counters::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| counters.add(Counter::Ejection)));
            }
        });
        assert_eq!(counters.get(Counter::Ejection), 4000);
        assert_eq!(counters.get(Counter::Retry(RetryOutcome::Made)), 0);
    }

    #[test]
    fn a_connection_is_open_until_its_guard_is_dropped() {
        let counters = Arc::new(Counters::default());
        let connection = OpenConnection::new(&counters, Direction::Inbound);
        assert_eq!(counters.get(Counter::Opened(Direction::Inbound)), 1);
        assert_eq!(counters.get(Counter::Closed(Direction::Inbound)), 0);
        drop(connection);
        assert_eq!(counters.get(Counter::Closed(Direction::Inbound)), 1);
        assert_eq!(counters.get(Counter::Opened(Direction::Outbound)), 0);
    }
}
