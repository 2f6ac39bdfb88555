//! Who may call what: authorization policies compiled to typed matchers.
//!
//! First DENY policies are asked, then ALLOW policies, then the default. AUDIT policies are asked apart and decide
//! nothing. Where something can't be known, the answer is the safe one: a condition on what can't be seen (a method on
//! an opaque connection) holds for DENY and not for ALLOW; a request whose path servers may read in several ways is let
//! in only if it would be in each of them ([`crate::path`]); a policy that was not understood denies, and a rule that was
//! not matches in a DENY policy and in no other.

mod path;
pub(crate) mod rule;

use std::net::IpAddr;

use http::Method;

pub use rule::{Rule, RuleSpec};

use crate::name::Identity;
use crate::path::{PathMode, Readings};
use crate::route::ResourceRef;

/// What a policy's match means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Lets in.
    Allow,
    /// Keeps out.
    Deny,
    /// Is reported, never enforced.
    Audit,
}

/// A policy, compiled. It matches when any of its rules does; without rules it matches nothing.
#[derive(Clone, Debug)]
pub struct Policy {
    id: ResourceRef,
    action: Action,
    /// `Err` holds why the policy was not understood.
    rules: Result<Box<[Rule]>, Box<str>>,
}

impl Policy {
    /// A policy of compiled rules.
    pub fn new(id: ResourceRef, action: Action, rules: impl IntoIterator<Item = Rule>) -> Self {
        Self { id, action, rules: Ok(rules.into_iter().collect()) }
    }

    /// A policy that was not understood: it denies everything, except if it was an AUDIT policy, which is never
    /// enforced. An unknown action is passed as [`Action::Deny`].
    pub fn not_understood(id: ResourceRef, action: Action, problem: &str) -> Self {
        Self { id, action, rules: Err(problem.into()) }
    }

    /// The resource.
    pub fn id(&self) -> &ResourceRef {
        &self.id
    }

    /// What a match means.
    pub fn action(&self) -> Action {
        self.action
    }

    /// Its rules.
    ///
    /// # Errors
    /// Why the policy was not understood.
    pub fn rules(&self) -> Result<&[Rule], &str> {
        self.rules.as_deref().map_err(|problem| &**problem)
    }

    fn rule_problem(&self, rule: usize) -> Option<&str> {
        self.rules.as_ref().ok()?.get(rule)?.problem()
    }

    /// The position of the first rule that matches.
    fn matching_rule(&self, call: &Seen<'_>) -> Option<usize> {
        let rules = self.rules.as_ref().ok()?;
        rules.iter().position(|rule| rule.matches(call, self.action))
    }
}

/// A request or connection that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The caller as its certificate proves; `None` without mesh TLS.
    pub identity: Option<&'a Identity>,
    /// The address that the connection comes from.
    pub source: IpAddr,
    /// The port of the workload.
    pub port: u16,
    /// The request; `None` where requests can't be seen.
    pub http: Option<HttpCall<'a>>,
}

/// What policies look at in a request.
#[derive(Clone, Copy, Debug)]
pub struct HttpCall<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path as it was sent, without the query.
    pub path: &'a str,
}

/// A call with what is derived from it once for all rules.
struct Seen<'a> {
    identity: Option<&'a Identity>,
    source: IpAddr,
    port: u16,
    http: Option<SeenHttp<'a>>,
}

/// A request in one reading of its path.
#[derive(Clone, Copy)]
struct SeenHttp<'a> {
    method: &'a Method,
    /// `None`: it may be read as anything.
    path: Option<&'a str>,
}

/// Whether a call may go on, and what decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Whether it may.
    pub allowed: bool,
    /// What decided.
    pub by: DecidedBy<'a>,
}

/// What decided about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecidedBy<'a> {
    /// A rule matches.
    Rule {
        /// The policy.
        policy: &'a ResourceRef,
        /// Position of the rule in it.
        rule: usize,
        /// Why the rule was not understood, if it was not: so it denies everything.
        problem: Option<&'a str>,
    },
    /// A policy was not understood, and so denies.
    NotUnderstood {
        /// The policy.
        policy: &'a ResourceRef,
        /// What was not understood.
        problem: &'a str,
    },
    /// There are ALLOW policies, and none matches.
    NothingAllows,
    /// There is no ALLOW policy.
    Default,
}

/// All policies of one port. Immutable, shared by all workers.
#[derive(Clone, Debug, Default)]
pub struct Authorizer {
    denies: Box<[Policy]>,
    allows: Box<[Policy]>,
    audits: Box<[Policy]>,
    deny_by_default: bool,
    paths: PathMode,
    /// Whether a policy names paths, so that it matters how servers read them.
    names_paths: bool,
    /// Whether a policy that is enforced was not understood as a whole.
    not_understood: bool,
}

impl Authorizer {
    /// Sorts policies by action. `deny_by_default` decides where no ALLOW policy exists.
    pub fn new(policies: impl IntoIterator<Item = Policy>, deny_by_default: bool) -> Self {
        let (mut denies, mut allows, mut audits) = (Vec::new(), Vec::new(), Vec::new());
        for policy in policies {
            match policy.action {
                Action::Deny => denies.push(policy),
                Action::Allow => allows.push(policy),
                Action::Audit => audits.push(policy),
            }
        }
        let rules =
            denies.iter().chain(&allows).chain(&audits).filter_map(|policy| policy.rules.as_ref().ok());
        let names_paths = rules.flatten().any(Rule::names_paths);
        let not_understood = denies.iter().chain(&allows).any(|policy| policy.rules.is_err());
        Self {
            denies: denies.into(),
            allows: allows.into(),
            audits: audits.into(),
            deny_by_default,
            paths: PathMode::default(),
            names_paths,
            not_understood,
        }
    }

    /// Reads paths in this mode.
    #[must_use]
    pub fn reading_paths(self, paths: PathMode) -> Self {
        Self { paths, ..self }
    }

    /// How paths are read.
    pub fn path_mode(&self) -> PathMode {
        self.paths
    }

    /// Whether calls are denied where no ALLOW policy exists.
    pub fn denies_by_default(&self) -> bool {
        self.deny_by_default
    }

    /// Decides about a call.
    pub fn decide(&self, call: &Call<'_>) -> Decision<'_> {
        if self.denies.is_empty() && self.allows.is_empty() {
            return Decision { allowed: !self.deny_by_default, by: DecidedBy::Default };
        }
        if let Some(decision) = self.not_understood() {
            return decision;
        }
        let mut seen = Seen::new(call);
        let Some(readings) = self.readings(call) else { return self.decide_seen(&seen) };
        let mut decision = None;
        for reading in readings.iter() {
            seen.http = seen.http.map(|http| SeenHttp { path: reading, ..http });
            let decided = self.decide_seen(&seen);
            if !decided.allowed {
                return decided;
            }
            decision.get_or_insert(decided);
        }
        // There is a reading of every path.
        decision.unwrap_or(Decision { allowed: false, by: DecidedBy::NothingAllows })
    }

    fn not_understood(&self) -> Option<Decision<'_>> {
        if !self.not_understood {
            return None;
        }
        let mut enforced = self.denies.iter().chain(&self.allows);
        let (policy, problem) =
            enforced.find_map(|policy| Some((&policy.id, policy.rules.as_ref().err()?)))?;
        Some(Decision { allowed: false, by: DecidedBy::NotUnderstood { policy, problem } })
    }

    /// The readings of a call's path; `None` if they make no difference.
    fn readings<'a>(&self, call: &Call<'a>) -> Option<Readings<'a>> {
        let path = call.http.filter(|_| self.names_paths)?.path;
        Some(match self.paths {
            PathMode::AsSent => Readings::as_sent(path),
            PathMode::EveryReading | PathMode::Normalize | PathMode::Reject => Readings::of(path),
        })
    }

    /// Decides about a call in one reading.
    fn decide_seen(&self, seen: &Seen<'_>) -> Decision<'_> {
        if let Some(by) = decided_by(&self.denies, seen) {
            return Decision { allowed: false, by };
        }
        if let Some(by) = decided_by(&self.allows, seen) {
            return Decision { allowed: true, by };
        }
        if self.allows.is_empty() {
            return Decision { allowed: !self.deny_by_default, by: DecidedBy::Default };
        }
        Decision { allowed: false, by: DecidedBy::NothingAllows }
    }

    /// The AUDIT policies that match a call in some reading, each with its first rule that matches the first such one.
    pub fn audit(&self, call: &Call<'_>) -> impl Iterator<Item = (&ResourceRef, usize)> {
        let audited = (!self.audits.is_empty()).then(|| (Seen::new(call), self.readings(call)));
        self.audits.iter().filter_map(move |policy| {
            let (seen, readings) = audited.as_ref()?;
            let Some(readings) = readings else { return Some((&policy.id, policy.matching_rule(seen)?)) };
            readings.iter().find_map(|reading| {
                let http = seen.http.map(|http| SeenHttp { path: reading, ..http });
                Some((&policy.id, policy.matching_rule(&Seen { http, ..*seen })?))
            })
        })
    }

    /// Every policy, in the order in which they are asked.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.denies.iter().chain(&self.allows).chain(&self.audits)
    }
}

impl<'a> Seen<'a> {
    fn new(call: &Call<'a>) -> Self {
        Self {
            identity: call.identity,
            source: call.source.to_canonical(),
            port: call.port,
            http: call.http.map(|http| SeenHttp { method: http.method, path: Some(http.path) }),
        }
    }
}

fn decided_by<'a>(policies: &'a [Policy], seen: &Seen<'_>) -> Option<DecidedBy<'a>> {
    policies.iter().find_map(|policy| {
        let rule = policy.matching_rule(seen)?;
        Some(DecidedBy::Rule { policy: &policy.id, rule, problem: policy.rule_problem(rule) })
    })
}

#[cfg(test)]
mod tests;
