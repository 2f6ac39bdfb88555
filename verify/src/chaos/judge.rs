//! Whether each failure that a client has seen could not be avoided, by all that was written down.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::instance::Trouble;
use super::journal::Records;
use super::log::{Lines, Logged};
use super::request::{Outcome, Sent, Service};
use super::schedule::FaultWindow;

/// Attempts that a GET has by its route, the first one included.
const ATTEMPTS_BY_ROUTE: u32 = 4;
/// Attempts at what provably was not processed, the first one included.
const ATTEMPTS_UNPROCESSED: u32 = 6;
/// Requests of a service that may be in flight, by the policy.
pub(super) const MAX_REQUESTS: u32 = 40;
/// What is said where as many are.
pub(super) const LIMITED: &str = "breaker_open";
/// For how long an instance may still fail after its trouble has ended: processes start, and what had waited is answered.
const AFTERMATH: Duration = Duration::from_secs(3);
/// For how long a request may still be under way whose client has left: nobody tells the sidecar of a closed connection of
/// HTTP/1 before the next piece of the answer.
const NOTICE: Duration = Duration::from_millis(500);

/// Why a failure could not be avoided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unavoidable {
    /// An application had begun it, and it must not be repeated.
    Begun,
    /// It had been sent to an instance in trouble, which may have begun it for all that anybody can know.
    MayHaveBegun,
    /// An application answered that it failed, and it must not be repeated.
    Answered,
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
    pub(super) const ALL: [Self; 8] = [
        Self::Begun,
        Self::MayHaveBegun,
        Self::Answered,
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
            Self::Answered => "an application answered that it failed, and it must not be repeated",
            Self::AnswerBegun => "its answer had begun",
            Self::AttemptsMade => "all attempts were made",
            Self::TimeOver => "its time was over",
            Self::Limit => "the limit of requests was reached",
            Self::Budget => "the budget of retries was spent",
        }
    }
}

/// All that was written down about requests.
pub(super) struct Evidence<'a> {
    pub(super) records: &'a Records,
    pub(super) windows: &'a [FaultWindow],
    pub(super) log: &'a Lines,
    /// Names of the instances, in order.
    pub(super) instances: &'a [String],
    pub(super) traffic: &'a Traffic,
}

/// How many requests to a service clients had under way, after each change.
#[derive(Debug, Default)]
pub(super) struct Traffic([Vec<(Duration, u32)>; Service::COUNT]);

impl Traffic {
    pub(super) fn of(sent: &[Sent]) -> Self {
        Self(Service::ALL.map(|service| {
            let of_service = sent.iter().filter(|sent| sent.kind.service == service);
            // At the same time, beginnings come first: not fewer than there were.
            let mut changes: Vec<_> =
                of_service.flat_map(|sent| [(sent.at, false), (noticed(sent), true)]).collect();
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

/// When the sidecar knows at the latest that a request has ended.
fn noticed(sent: &Sent) -> Duration {
    if matches!(sent.outcome, Outcome::Left(_)) { sent.ended + NOTICE } else { sent.ended }
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Verdict {
    pub(super) answered: u64,
    /// Requests whose clients left.
    pub(super) left: u64,
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
                Ok(None) if matches!(request.outcome, Outcome::Left(_)) => verdict.left += 1,
                Ok(None) => verdict.answered += 1,
                Ok(Some(reason)) => *verdict.unavoidable.entry(reason).or_default() += 1,
                Err(fault) => {
                    let (number, kind) = (request.number, request.kind.describe());
                    let took = request.took().as_millis();
                    verdict.faults.push(format!("request {number}, {kind}, {took} ms: {fault}"));
                }
            }
        }
        verdict
    }

    fn fate(&self, request: &Sent) -> Result<Option<Unavoidable>, String> {
        let begun = self.records.get(&request.number).map(Vec::as_slice).unwrap_or_default();
        if request.kind.is_once() && begun.len() > 1 {
            return Err(format!("was processed {} times", begun.len()));
        }
        match &request.outcome {
            Outcome::Answered(instance) => {
                let by = |(at, _): &(usize, _)| self.instances.get(*at) == Some(instance);
                let known = begun.iter().any(by);
                if known { Ok(None) } else { Err(format!("{instance} has answered it without beginning it")) }
            }
            Outcome::Left(_) => Ok(None),
            Outcome::Lost(problem) => Err(format!("lost: {problem}")),
            Outcome::Mixed(problem) => Err(format!("mixed up: {problem}")),
            Outcome::Torn(instance) => self.torn(instance, request).map(Some),
            // Its head and its end have come to the sidecar at once, so that the client has got only the end.
            Outcome::Reset => self.torn(&self.logged(request, "reset")?.workload, request).map(Some),
            Outcome::Failed(status) => self.failed(request, status).map(Some),
            Outcome::Refused(reason) => self.refused(request, reason).map(Some),
        }
    }

    fn torn(&self, instance: &str, request: &Sent) -> Result<Unavoidable, String> {
        if self.in_trouble(instance, request) {
            Ok(Unavoidable::AnswerBegun)
        } else {
            Err(format!("torn, though {instance} was well"))
        }
    }

    /// A failure that an application has told.
    fn failed(&self, request: &Sent, status: &str) -> Result<Unavoidable, String> {
        let logged = self.logged(request, status)?;
        let fails = |window: &FaultWindow| matches!(window.trouble, Trouble::Failing | Trouble::HalfDead);
        if !self.has_spell(&logged.workload, request, fails) {
            return Err(format!("{status}, though {} fails nothing", logged.workload));
        }
        if request.kind.call.is_retriable() {
            Ok(bounded(request, logged, ATTEMPTS_BY_ROUTE))
        } else {
            Ok(Unavoidable::Answered)
        }
    }

    fn refused(&self, request: &Sent, reason: &str) -> Result<Unavoidable, String> {
        let logged = self.logged(request, reason)?;
        if reason == LIMITED && logged.attempts == 0 {
            // What the clients have under way is never less than what their sidecar has.
            let most = self.traffic.most_under_way(request);
            return if most > MAX_REQUESTS {
                Ok(Unavoidable::Limit)
            } else {
                Err(format!("{reason}, with {most} requests under way at most"))
            };
        }
        let unreached = matches!(reason, "connect_failed" | "no_endpoints");
        let is_late = request.took() >= request.kind.call.time();
        if unreached
            && !is_late
            && let Some(well) = self.well(request)
        {
            return Err(format!("{reason}, though {well} was well"));
        }
        let unprocessed = unreached || matches!(reason, LIMITED | "overloaded");
        match (request.kind.call.is_retriable(), unprocessed) {
            (_, true) => Ok(bounded(request, logged, ATTEMPTS_UNPROCESSED)),
            (true, false) => Ok(bounded(request, logged, ATTEMPTS_BY_ROUTE)),
            (false, false) => self.unrepeatable(request, reason, logged),
        }
    }

    fn logged(&self, request: &Sent, problem: &str) -> Result<&Logged, String> {
        let line = self.log.get(&request.number).and_then(|lines| lines.first());
        line.ok_or_else(|| format!("{problem}, of which the log of the sidecar says nothing"))
    }

    /// What must not be repeated, and of which nobody can know whether it was processed.
    fn unrepeatable(&self, request: &Sent, reason: &str, logged: &Logged) -> Result<Unavoidable, String> {
        if !self.in_trouble(&logged.workload, request) {
            return Err(format!("{reason}, though {} was well", logged.workload));
        }
        let begun = self.records.contains_key(&request.number);
        Ok(if begun { Unavoidable::Begun } else { Unavoidable::MayHaveBegun })
    }

    /// Whether an instance was in trouble at some time of the request.
    fn in_trouble(&self, instance: &str, request: &Sent) -> bool {
        self.has_spell(instance, request, |_| true)
    }

    fn has_spell(&self, instance: &str, request: &Sent, is: impl Fn(&FaultWindow) -> bool) -> bool {
        self.windows.iter().any(|window| {
            self.instances.get(window.instance).is_some_and(|name| name == instance)
                && window.from <= request.ended
                && request.at <= window.to + AFTERMATH
                && is(window)
        })
    }

    /// An instance that was well for all of the request's time.
    fn well(&self, request: &Sent) -> Option<&str> {
        let well = self.instances.iter().find(|instance| !self.in_trouble(instance, request));
        well.map(String::as_str)
    }
}

/// What has ended the attempts at a request that may have been repeated.
fn bounded(request: &Sent, logged: &Logged, attempts: u32) -> Unavoidable {
    if logged.attempts >= attempts {
        Unavoidable::AttemptsMade
    } else if request.took() >= request.kind.call.time() {
        Unavoidable::TimeOver
    } else {
        // How many of these there may be is compared with what the proxy has counted.
        Unavoidable::Budget
    }
}

#[cfg(test)]
mod tests;
