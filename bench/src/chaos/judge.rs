//! Whether each failure that a client has seen could not be avoided, by all that was written down.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::client::{Kind, Outcome, Sent, Service};
use super::journal::Records;
use super::schedule::Spell;

/// Attempts that a GET has by its route, the first one included.
const ATTEMPTS_BY_ROUTE: u32 = 4;
/// Attempts at what provably was not processed, the first one included.
const ATTEMPTS_UNPROCESSED: u32 = 6;
/// Requests of a service that may be in flight, by the policy.
pub(super) const MAX_REQUESTS: u32 = 40;
/// For how long an instance may still fail after its trouble has ended: processes start, and what had waited is answered.
const AFTERMATH: Duration = Duration::from_secs(2);
/// Time of a POST by its route.
const TIME_OF_POST: Duration = Duration::from_secs(3);
/// Time of a GET by its route.
const TIME_OF_GET: Duration = Duration::from_secs(5);

/// Why a failure could not be avoided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unavoidable {
    /// An application had begun it, and it must not be repeated.
    Begun,
    /// It had been sent to an instance in trouble, which may have begun it for all that anybody can know.
    MayHaveBegun,
    /// Its answer had begun.
    AnswerBegun,
    /// All attempts that there may be were made.
    AttemptsMade,
    /// The time of the request was over.
    TimeOver,
    /// As many requests were in flight as may be.
    Limit,
    /// The budget of retries was spent.
    Budget,
}

impl Unavoidable {
    pub(super) const ALL: [Self; 7] = [
        Self::Begun,
        Self::MayHaveBegun,
        Self::AnswerBegun,
        Self::AttemptsMade,
        Self::TimeOver,
        Self::Limit,
        Self::Budget,
    ];

    /// For reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Begun => "an application had begun it, and it must not be repeated",
            Self::MayHaveBegun => "sent to an instance in trouble, and it must not be repeated",
            Self::AnswerBegun => "its answer had begun",
            Self::AttemptsMade => "all attempts were made",
            Self::TimeOver => "its time was over",
            Self::Limit => "the limit of requests was reached",
            Self::Budget => "the budget of retries was spent",
        }
    }
}

/// What the log of the clients' sidecar says of a request that failed.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Logged {
    pub(super) request_id: String,
    #[serde(default)]
    pub(super) attempts: u32,
    /// The instance that was asked last.
    #[serde(default)]
    pub(super) workload: String,
}

/// All that was written down about requests.
pub(super) struct Evidence<'a> {
    pub(super) records: &'a Records,
    pub(super) spells: &'a [Spell],
    pub(super) log: &'a BTreeMap<u64, Logged>,
    /// Names of the instances, in order.
    pub(super) instances: &'a [String],
    pub(super) traffic: &'a Traffic,
}

/// How many requests to a service clients had under way, after each change.
#[derive(Debug, Default)]
pub(super) struct Traffic([Vec<(Duration, u32)>; 2]);

impl Traffic {
    pub(super) fn of(sent: &[Sent]) -> Self {
        Self(Service::ALL.map(|service| {
            let of_service = sent.iter().filter(|sent| sent.kind.service == service);
            // At the same time, beginnings come first: not fewer than there were.
            let mut changes: Vec<_> =
                of_service.flat_map(|sent| [(sent.at, false), (sent.ended, true)]).collect();
            changes.sort_unstable();
            let mut now = 0_u32;
            let after = |(at, ends): (Duration, bool)| {
                now = if ends { now.saturating_sub(1) } else { now + 1 };
                (at, now)
            };
            changes.into_iter().map(after).collect()
        }))
    }

    /// The most that were under way to its service at any time of a request, itself included.
    fn most_under_way(&self, request: &Sent) -> u32 {
        let changes = &self.0[request.kind.service as usize];
        let first = changes.partition_point(|(at, _)| *at < request.at);
        let during = changes[first..].iter().take_while(|(at, _)| *at <= request.ended);
        during.map(|(_, count)| *count).max().unwrap_or_default()
    }
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Verdict {
    pub(super) answered: u64,
    pub(super) unavoidable: BTreeMap<Unavoidable, u64>,
    /// What must not have happened.
    pub(super) faults: Vec<String>,
}

impl Evidence<'_> {
    /// Judges all requests.
    pub(super) fn judge(&self, sent: &[Sent]) -> Verdict {
        let mut verdict = Verdict::default();
        for request in sent {
            match self.fate(request) {
                Ok(None) => verdict.answered += 1,
                Ok(Some(reason)) => *verdict.unavoidable.entry(reason).or_default() += 1,
                Err(fault) => {
                    let (number, kind) = (request.number, describe(request.kind));
                    let took = request.took().as_millis();
                    verdict.faults.push(format!("request {number}, {kind}, {took} ms: {fault}"));
                }
            }
        }
        verdict
    }

    fn fate(&self, request: &Sent) -> Result<Option<Unavoidable>, String> {
        let begun = self.records.get(&request.number).map(Vec::as_slice).unwrap_or_default();
        if !request.kind.retriable && begun.len() > 1 {
            return Err(format!("was processed {} times", begun.len()));
        }
        match &request.outcome {
            Outcome::Answered(instance) => {
                let by = |(at, _): &(usize, _)| self.instances.get(*at) == Some(instance);
                let known = begun.iter().any(by);
                if known { Ok(None) } else { Err(format!("{instance} has answered it without beginning it")) }
            }
            Outcome::Lost(problem) => Err(format!("lost: {problem}")),
            Outcome::Mixed(problem) => Err(format!("mixed up: {problem}")),
            Outcome::Torn(instance) if self.in_trouble(instance, request) => {
                Ok(Some(Unavoidable::AnswerBegun))
            }
            Outcome::Torn(instance) => Err(format!("torn, though {instance} was well")),
            Outcome::Refused(reason) => self.refused(request, reason).map(Some),
        }
    }

    fn refused(&self, request: &Sent, reason: &str) -> Result<Unavoidable, String> {
        let Some(logged) = self.log.get(&request.number) else {
            return Err(format!("{reason}, of which the log of the sidecar says nothing"));
        };
        if reason == "overloaded" && logged.attempts == 0 {
            // What the clients have under way is never less than what their sidecar has.
            let most = self.traffic.most_under_way(request);
            return if most > MAX_REQUESTS {
                Ok(Unavoidable::Limit)
            } else {
                Err(format!("{reason}, with {most} requests under way at most"))
            };
        }
        let unprocessed = matches!(reason, "connect_failed" | "no_endpoints" | "overloaded");
        let attempts = match (request.kind.retriable, unprocessed) {
            (_, true) => ATTEMPTS_UNPROCESSED,
            (true, false) => ATTEMPTS_BY_ROUTE,
            (false, false) => return self.unrepeatable(request, reason, logged),
        };
        let time = if request.kind.retriable { TIME_OF_GET } else { TIME_OF_POST };
        Ok(if logged.attempts >= attempts {
            Unavoidable::AttemptsMade
        } else if request.took() >= time {
            Unavoidable::TimeOver
        } else {
            // How many of these there may be is compared with what the proxy has counted.
            Unavoidable::Budget
        })
    }

    /// A POST of which nobody can know whether it was processed.
    fn unrepeatable(&self, request: &Sent, reason: &str, logged: &Logged) -> Result<Unavoidable, String> {
        if !self.in_trouble(&logged.workload, request) {
            return Err(format!("{reason}, though {} was well", logged.workload));
        }
        let begun = self.records.contains_key(&request.number);
        Ok(if begun { Unavoidable::Begun } else { Unavoidable::MayHaveBegun })
    }

    /// Whether an instance was in trouble at some time of the request.
    fn in_trouble(&self, instance: &str, request: &Sent) -> bool {
        self.spells.iter().any(|spell| {
            self.instances.get(spell.instance).is_some_and(|name| name == instance)
                && spell.from <= request.ended
                && request.at <= spell.to + AFTERMATH
        })
    }
}

/// A kind, for messages.
pub(super) fn describe(kind: Kind) -> String {
    format!("{} {}", if kind.retriable { "GET" } else { "POST" }, kind.service.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::client::Service;
    use crate::chaos::instance::Trouble;
    use crate::chaos::journal::Begun;

    fn seconds(at: u64) -> Duration {
        Duration::from_secs(at)
    }

    fn request(retriable: bool, at: u64, outcome: Outcome) -> Sent {
        let kind = Kind { service: Service::Http1, retriable };
        let (at, ended) = (seconds(at), seconds(at) + Duration::from_millis(50));
        Sent { number: 1, kind, at, ended, outcome }
    }

    /// Judges a request with `begun` attempts at the first instance, which is in trouble from second 10 to 20.
    fn judged(request: &Sent, begun: usize, attempts: u32) -> Result<Option<Unavoidable>, String> {
        judged_among(std::slice::from_ref(request), begun, attempts)
    }

    /// The same of the first of several requests.
    fn judged_among(requests: &[Sent], begun: usize, attempts: u32) -> Result<Option<Unavoidable>, String> {
        let request = &requests[0];
        let traffic = Traffic::of(requests);
        let instances = ["a".to_owned(), "b".to_owned()];
        let attempt = (0, Begun { at: request.at, answering: None });
        let mut records = Records::new();
        if begun > 0 {
            records.insert(1, vec![attempt; begun]);
        }
        let spells = [Spell { instance: 0, trouble: Trouble::Hung, from: seconds(10), to: seconds(20) }];
        let line = Logged { request_id: "1".to_owned(), attempts, workload: "a".to_owned() };
        let log = BTreeMap::from([(1, line)]);
        Evidence { records: &records, spells: &spells, log: &log, instances: &instances, traffic: &traffic }
            .fate(request)
    }

    fn refused(reason: &str) -> Outcome {
        Outcome::Refused(reason.to_owned())
    }

    #[test]
    fn what_must_not_be_repeated_may_fail_while_its_instance_is_in_trouble() {
        let reset = |at| request(false, at, refused("upstream_reset"));
        assert_eq!(judged(&reset(15), 1, 1), Ok(Some(Unavoidable::Begun)));
        assert_eq!(judged(&reset(15), 0, 1), Ok(Some(Unavoidable::MayHaveBegun)));
        assert!(judged(&reset(5), 1, 1).is_err(), "its instance was well");
        assert!(judged(&reset(30), 1, 1).is_err(), "its instance was well again");
    }

    #[test]
    fn what_provably_was_not_processed_may_fail_only_by_the_bounds() {
        let unreachable = request(false, 15, refused("connect_failed"));
        assert_eq!(judged(&unreachable, 0, 6), Ok(Some(Unavoidable::AttemptsMade)));
        assert_eq!(judged(&unreachable, 0, 2), Ok(Some(Unavoidable::Budget)));
        let repeatable = request(true, 15, refused("upstream_reset"));
        assert_eq!(judged(&repeatable, 3, 3), Ok(Some(Unavoidable::Budget)));
        assert_eq!(judged(&repeatable, 4, 4), Ok(Some(Unavoidable::AttemptsMade)));
    }

    #[test]
    fn the_limit_refuses_only_where_more_is_under_way() {
        let few = vec![request(true, 15, refused("overloaded")); MAX_REQUESTS as usize];
        assert!(judged_among(&few, 0, 0).is_err());
        let many = vec![request(true, 15, refused("overloaded")); MAX_REQUESTS as usize + 1];
        assert_eq!(judged_among(&many, 0, 0), Ok(Some(Unavoidable::Limit)));
    }

    #[test]
    fn nothing_excuses_what_is_lost_mixed_up_or_processed_twice() {
        for outcome in [Outcome::Lost(String::new()), Outcome::Mixed(String::new())] {
            assert!(judged(&request(true, 15, outcome), 1, 1).is_err());
        }
        let answered = |retriable| request(retriable, 15, Outcome::Answered("a".to_owned()));
        assert_eq!(judged(&answered(true), 2, 2), Ok(None));
        assert!(judged(&answered(false), 2, 2).is_err());
        assert!(judged(&answered(false), 0, 1).is_err());
        let torn = |at| request(true, at, Outcome::Torn("a".to_owned()));
        assert_eq!(judged(&torn(21), 1, 1), Ok(Some(Unavoidable::AnswerBegun)));
        assert!(judged(&torn(5), 1, 1).is_err());
    }
}
