//! Whether a failed attempt is tried again.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, StatusCode};

use crate::backoff::{Backoff, Jitter};
use crate::deadline::Deadline;
use crate::outcome::{Outcome, Verdict};

/// Retries of what provably was not processed, whatever the route says: enough to outlast a restart, or an endpoint that
/// refuses for a moment. The budget bounds them all the same.
pub const UNPROCESSED_RETRIES: u32 = 5;
/// Longest backoff, as a multiple of the first, where a route sets the first.
const BACKOFF_GROWTH: u32 = 10;

/// When a gRPC server wants to be asked again, in milliseconds (gRFC A6, "Pushback").
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// What a server that could not answer says of when to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushback {
    /// Not before this time.
    After(Duration),
    /// Not at all.
    Never,
}

impl Pushback {
    /// What the head of an answer says. A value that is negative, or no number, means never.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let millis = headers.get(&PUSHBACK)?.to_str().ok().and_then(|value| value.parse().ok());
        Some(millis.map_or(Self::Never, |millis: u32| Self::After(Duration::from_millis(millis.into()))))
    }
}

/// When a request is tried again although a backend may have seen it (`HTTPRouteRetry`, GEP-1731).
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Statuses that are retried.
    codes: Box<[u16]>,
    /// Bit `n` is set if gRPC status `n` is retried.
    grpc_codes: u32,
    /// Attempts after the first.
    attempts: u32,
    backoff: Backoff,
}

impl RetryPolicy {
    /// A policy. `backoff` is Gateway API's: no retry comes earlier than that; without one, delays are the default's.
    pub fn new(
        attempts: u32,
        codes: impl IntoIterator<Item = u16>,
        grpc_codes: impl IntoIterator<Item = u8>,
        backoff: Option<Duration>,
    ) -> Self {
        let backoff = backoff.map_or(Backoff::RETRY, |first| Backoff {
            first,
            longest: first.saturating_mul(BACKOFF_GROWTH),
            jitter: Jitter::AtLeast,
        });
        Self {
            codes: codes.into_iter().collect(),
            grpc_codes: grpc_codes.into_iter().filter(|code| *code < 32).fold(0, |set, code| set | 1 << code),
            attempts,
            backoff,
        }
    }

    /// Attempts after the first.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    fn covers(&self, status: StatusCode, grpc_status: Option<u8>) -> bool {
        self.codes.contains(&status.as_u16())
            || grpc_status.is_some_and(|code| code < 32 && self.grpc_codes & 1 << code != 0)
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// No connection could be made, to the endpoint or to the application behind it: the request was work for nobody.
    Unreached,
    /// No backend acted on it: `REFUSED_STREAM`, above the last stream of a GOAWAY or DRAIN, refused by the endpoint's own
    /// proxy, or a reused HTTP/1 connection that closed before the request was written.
    NotProcessed,
    /// An answer's head came.
    Response {
        /// Its status.
        status: StatusCode,
        /// Its `grpc-status`, if the head already holds it (trailers-only).
        grpc_status: Option<u8>,
        /// Whether a proxy behind has tried all that it may and says so.
        gave_up: bool,
        /// What the server says of when to ask again.
        pushback: Option<Pushback>,
    },
    /// The exchange ended after the request was sent, without an answer's head.
    Reset,
    /// The attempt's own time was over.
    AttemptTimeout,
    /// The whole request's time was over.
    Late,
    /// The client broke it off, or a limit of the whole service is reached: there is nothing to try again.
    Over,
}

/// The request whose attempt ended.
#[derive(Clone, Copy, Debug)]
pub struct AttemptState {
    /// Attempts made after the first. What reached nobody and went [elsewhere](Self::elsewhere) is none of them.
    pub retries: u32,
    /// Whether an endpoint is left that takes requests, is not ejected and was not tried for this one.
    pub elsewhere: bool,
    /// Whether the request can be sent again as a whole: its body was kept, or none of it was read.
    pub replayable: bool,
    /// Until when an answer is worth anything.
    pub deadline: Deadline,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Try again after this time, on an endpoint that was not tried yet if there is one.
    Retry {
        /// How long to wait.
        after: Duration,
    },
    /// Try again after this time, which costs no budget: what happened reached nobody.
    Move {
        /// How long to wait.
        after: Duration,
        /// Whether the next attempt goes to an endpoint that is believed well and was not tried yet, so that the one before
        /// counts as none.
        elsewhere: bool,
    },
    /// Pass on what happened.
    GiveUp(GiveUp),
}

/// Why there is no further attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GiveUp {
    /// What happened is not retried here.
    NotRetryable,
    /// A proxy behind has already given up on it.
    PeerGaveUp,
    /// The server wants not to be asked again.
    Pushback,
    /// All attempts were made.
    Exhausted,
    /// The body can't be sent again.
    Body,
    /// The destination's budget is spent.
    Budget,
    /// The request's time would be over before the next attempt.
    Deadline,
}

impl GiveUp {
    /// Whether this proxy would have retried but may not any more: the answer is then marked, so that the proxy
    /// before it does not retry the same failure again.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::NotRetryable)
    }

    /// The value of the metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotRetryable => "not_retryable",
            Self::PeerGaveUp => "peer_gave_up",
            Self::Pushback => "pushback",
            Self::Exhausted => "exhausted",
            Self::Body => "body",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
        }
    }
}

/// How many attempts after the first what happened is worth; the error says why it is none.
fn allowed(policy: Option<&RetryPolicy>, happened: AttemptOutcome) -> Result<u32, GiveUp> {
    let by_policy = policy.map_or(0, RetryPolicy::attempts);
    match happened {
        AttemptOutcome::Unreached | AttemptOutcome::NotProcessed => Ok(by_policy.max(UNPROCESSED_RETRIES)),
        AttemptOutcome::Response { gave_up: true, .. } => Err(GiveUp::PeerGaveUp),
        AttemptOutcome::Response { status, grpc_status, pushback, .. } => match policy {
            Some(policy) if policy.covers(status, grpc_status) => match pushback {
                Some(Pushback::Never) => Err(GiveUp::Pushback),
                _ => Ok(by_policy),
            },
            _ => Err(GiveUp::NotRetryable),
        },
        // Gateway API: with a retry stanza, errors of the connection are retried whatever its codes are.
        AttemptOutcome::Reset | AttemptOutcome::AttemptTimeout if policy.is_some() => Ok(by_policy),
        AttemptOutcome::Reset | AttemptOutcome::AttemptTimeout | AttemptOutcome::Over => {
            Err(GiveUp::NotRetryable)
        }
        AttemptOutcome::Late => Err(GiveUp::Deadline),
    }
}

/// Whether what happened to one of several attempts that overlap is the answer, so that the others need not be awaited.
/// It is unless it would be tried again, or says no more than that the endpoint did not answer: then another may.
pub fn is_answer(policy: Option<&RetryPolicy>, verdict: Verdict) -> bool {
    match verdict.happened {
        AttemptOutcome::Unreached
        | AttemptOutcome::NotProcessed
        | AttemptOutcome::Reset
        | AttemptOutcome::AttemptTimeout => false,
        AttemptOutcome::Late | AttemptOutcome::Over => true,
        AttemptOutcome::Response { status, grpc_status, .. } => {
            !verdict.outcome.is_no_answer()
                && !policy.is_some_and(|policy| policy.covers(status, grpc_status))
        }
    }
}

/// Whether an answer is passed on without asking [`decide`], which nearly all are.
pub fn is_final(policy: Option<&RetryPolicy>, verdict: Verdict) -> bool {
    policy.is_none() && matches!(verdict.outcome, Outcome::Success | Outcome::Refused)
}

/// Decides whether to try again. `budget` takes a retry from the budget if there is one, and is asked only if all else says
/// yes.
///
/// What reached nobody costs no budget, as it was no load either, and goes at once to an endpoint that is believed well: one
/// refused connection ejects an endpoint, so that there are no more such attempts than endpoints that have gone. When none
/// is left that is believed well it is tried as often as other requests that were not processed, and with a backoff.
pub fn decide(
    policy: Option<&RetryPolicy>,
    happened: AttemptOutcome,
    attempted: AttemptState,
    budget: impl FnOnce() -> bool,
    now: Instant,
    random: u64,
) -> Decision {
    let unreached = happened == AttemptOutcome::Unreached;
    if unreached && attempted.elsewhere && attempted.replayable && !attempted.deadline.is_over(now) {
        return Decision::Move { after: Duration::ZERO, elsewhere: true };
    }
    let allowed = match allowed(policy, happened) {
        Ok(allowed) => allowed,
        Err(give_up) => return Decision::GiveUp(give_up),
    };
    if attempted.retries >= allowed {
        return Decision::GiveUp(GiveUp::Exhausted);
    }
    if !attempted.replayable {
        return Decision::GiveUp(GiveUp::Body);
    }
    let backoff = policy.map_or(Backoff::RETRY, |policy| policy.backoff);
    let after = match happened {
        // The server knows better.
        AttemptOutcome::Response { pushback: Some(Pushback::After(after)), .. } => after,
        _ => backoff.delay(attempted.retries, random),
    };
    if attempted.deadline.remaining(now).is_some_and(|remaining| remaining <= after) {
        return Decision::GiveUp(GiveUp::Deadline);
    }
    if unreached {
        return Decision::Move { after, elsewhere: false };
    }
    if !budget() {
        return Decision::GiveUp(GiveUp::Budget);
    }
    Decision::Retry { after }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::Timeouts;

    struct Case {
        now: Instant,
        /// Retries that the budget has left.
        left: u32,
        attempted: AttemptState,
    }

    fn case(retries: u32) -> Case {
        let now = Instant::now();
        let deadline = Deadline::new(now, Timeouts::default(), None);
        Case {
            now,
            left: 100,
            attempted: AttemptState { retries, elsewhere: false, replayable: true, deadline },
        }
    }

    impl Case {
        fn decide(&mut self, policy: Option<&RetryPolicy>, happened: AttemptOutcome) -> Decision {
            let left = &mut self.left;
            let budget = || {
                let any = *left > 0;
                *left = left.saturating_sub(1);
                any
            };
            decide(policy, happened, self.attempted, budget, self.now, 7)
        }
    }

    fn response(status: u16) -> AttemptOutcome {
        AttemptOutcome::Response {
            status: StatusCode::from_u16(status).unwrap(),
            grpc_status: None,
            gave_up: false,
            pushback: None,
        }
    }

    fn trailers_only(grpc_status: u8) -> AttemptOutcome {
        AttemptOutcome::Response {
            status: StatusCode::OK,
            grpc_status: Some(grpc_status),
            gave_up: false,
            pushback: None,
        }
    }

    #[test]
    fn what_was_not_processed_is_retried_a_few_times_without_a_policy() {
        let retried = |retries| {
            matches!(case(retries).decide(None, AttemptOutcome::NotProcessed), Decision::Retry { .. })
        };
        assert_eq!([0, 1, 4, 5].map(retried), [true, true, true, false]);
        let policy = RetryPolicy::new(7, [], [], None);
        assert!(matches!(
            case(6).decide(Some(&policy), AttemptOutcome::NotProcessed),
            Decision::Retry { .. }
        ));
    }

    #[test]
    fn what_reached_nobody_goes_elsewhere_at_once_and_costs_no_budget() {
        let elsewhere = |mut case: Case| {
            case.left = 0;
            case.attempted.elsewhere = true;
            case
        };
        for retries in [0, 5, 50] {
            let moved = Decision::Move { after: Duration::ZERO, elsewhere: true };
            assert_eq!(elsewhere(case(retries)).decide(None, AttemptOutcome::Unreached), moved);
        }
        let mut streaming = elsewhere(case(0));
        streaming.attempted.replayable = false;
        assert_eq!(streaming.decide(None, AttemptOutcome::Unreached), Decision::GiveUp(GiveUp::Body));
        assert_eq!(
            elsewhere(case(0)).decide(None, AttemptOutcome::NotProcessed),
            Decision::GiveUp(GiveUp::Budget),
            "what somebody refused is load"
        );
        let nowhere = |retries| {
            let mut case = case(retries);
            case.left = 0;
            case.decide(None, AttemptOutcome::Unreached)
        };
        assert!(matches!(nowhere(4), Decision::Move { elsewhere: false, .. }));
        assert_eq!(nowhere(5), Decision::GiveUp(GiveUp::Exhausted));
    }

    #[test]
    fn what_may_have_been_processed_is_retried_only_as_the_route_says() {
        let policy = RetryPolicy::new(2, [503], [14], None);
        for (happened, expected) in [
            (response(503), true),
            (response(500), false),
            (AttemptOutcome::Reset, true),
            (AttemptOutcome::AttemptTimeout, true),
            (trailers_only(14), true),
            (trailers_only(13), false),
        ] {
            assert_eq!(
                matches!(case(0).decide(Some(&policy), happened), Decision::Retry { .. }),
                expected,
                "{happened:?}"
            );
            assert_eq!(
                case(0).decide(None, happened),
                Decision::GiveUp(GiveUp::NotRetryable),
                "{happened:?}"
            );
            if expected {
                assert_eq!(case(2).decide(Some(&policy), happened), Decision::GiveUp(GiveUp::Exhausted));
            }
        }
    }

    #[test]
    fn a_failure_that_a_proxy_behind_gave_up_on_is_not_retried() {
        let policy = RetryPolicy::new(2, [503], [], None);
        let happened = AttemptOutcome::Response {
            status: StatusCode::SERVICE_UNAVAILABLE,
            grpc_status: None,
            gave_up: true,
            pushback: None,
        };
        assert_eq!(case(0).decide(Some(&policy), happened), Decision::GiveUp(GiveUp::PeerGaveUp));
    }

    #[test]
    fn body_deadline_and_budget_end_retries() {
        let mut streaming = case(0);
        streaming.attempted.replayable = false;
        assert_eq!(streaming.decide(None, AttemptOutcome::NotProcessed), Decision::GiveUp(GiveUp::Body));

        let mut late = case(0);
        let policy = RetryPolicy::new(2, [503], [], Some(Duration::from_millis(100)));
        let timeouts = Timeouts { request: Some(Duration::from_millis(100)), ..Timeouts::default() };
        late.attempted.deadline = Deadline::new(late.now, timeouts, None);
        assert_eq!(late.decide(Some(&policy), response(503)), Decision::GiveUp(GiveUp::Deadline));

        let mut spent = case(0);
        spent.left = 0;
        assert_eq!(spent.decide(None, AttemptOutcome::NotProcessed), Decision::GiveUp(GiveUp::Budget));
    }

    #[test]
    fn no_retry_comes_earlier_than_the_routes_backoff() {
        let policy = RetryPolicy::new(3, [503], [], Some(Duration::from_millis(100)));
        for (retries, least) in [(0, 100), (1, 200), (2, 400)] {
            let Decision::Retry { after } = case(retries).decide(Some(&policy), response(503)) else {
                panic!("retry {retries} was refused");
            };
            assert!(after >= Duration::from_millis(least) && after <= Duration::from_millis(2 * least));
        }
    }

    #[test]
    fn a_server_says_when_it_wants_to_be_asked_again() {
        let said = |value: &str| {
            Pushback::read(&[(PUSHBACK, value.parse().unwrap())].into_iter().collect::<HeaderMap>())
        };
        assert_eq!(Pushback::read(&HeaderMap::new()), None);
        assert_eq!(said("1500"), Some(Pushback::After(Duration::from_millis(1500))));
        for never in ["-1", "", "soon", "1.5", "99999999999999"] {
            assert_eq!(said(never), Some(Pushback::Never), "{never}");
        }
        let policy = RetryPolicy::new(2, [], [14], None);
        let pushing = |pushback| AttemptOutcome::Response {
            status: StatusCode::OK,
            grpc_status: Some(14),
            gave_up: false,
            pushback: Some(pushback),
        };
        let after = Duration::from_secs(7);
        assert_eq!(case(0).decide(Some(&policy), pushing(Pushback::After(after))), Decision::Retry { after });
        assert_eq!(
            case(0).decide(Some(&policy), pushing(Pushback::Never)),
            Decision::GiveUp(GiveUp::Pushback)
        );
    }

    #[test]
    fn of_attempts_that_overlap_the_first_that_was_answered_decides() {
        let policy = RetryPolicy::new(2, [429], [8], None);
        for (happened, without, with) in [
            (response(200), true, true),
            (response(404), true, true),
            (response(500), true, true),
            (response(429), true, false),
            (response(503), false, false),
            (trailers_only(5), true, true),
            (trailers_only(8), true, false),
            (trailers_only(14), false, false),
            (AttemptOutcome::Reset, false, false),
            (AttemptOutcome::NotProcessed, false, false),
            (AttemptOutcome::Unreached, false, false),
            (AttemptOutcome::Late, true, true),
        ] {
            let outcome = match happened {
                AttemptOutcome::Response { grpc_status: Some(code), .. } => Outcome::of_grpc(code),
                AttemptOutcome::Response { status, .. } => Outcome::of_status(status),
                _ => Outcome::GatewayFailure,
            };
            let verdict = Verdict { outcome, happened };
            assert_eq!(is_answer(None, verdict), without, "{happened:?}");
            assert_eq!(is_answer(Some(&policy), verdict), with, "{happened:?}");
        }
    }
}
