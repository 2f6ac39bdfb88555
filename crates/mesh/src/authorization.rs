//! Who may call what: authorization policies compiled to typed matchers.
//!
//! First DENY policies are asked, then ALLOW policies, then the default. AUDIT policies are asked apart and decide
//! nothing. Where something can't be known, the answer is the safe one: a condition on what can't be seen (a method on
//! an opaque connection) holds for DENY and not for ALLOW; a path that servers may read in two ways is denied if
//! either reading is, and allowed only if both are; a policy that was not understood denies.

mod path;
pub(crate) mod rule;

use std::net::IpAddr;

use http::Method;

pub use rule::{Rule, RuleSpec};

use self::path::CallPath;
use crate::name::Identity;
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
    http: Option<(&'a Method, CallPath<'a>)>,
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
        Self { denies: denies.into(), allows: allows.into(), audits: audits.into(), deny_by_default }
    }

    /// Decides about a call.
    pub fn decide(&self, call: &Call<'_>) -> Decision<'_> {
        if self.denies.is_empty() && self.allows.is_empty() {
            return Decision { allowed: !self.deny_by_default, by: DecidedBy::Default };
        }
        let mut enforced = self.denies.iter().chain(&self.allows);
        let not_understood = enforced.find_map(|policy| Some((policy, policy.rules.as_ref().err()?)));
        if let Some((policy, problem)) = not_understood {
            return Decision { allowed: false, by: DecidedBy::NotUnderstood { policy: &policy.id, problem } };
        }
        let seen = Seen::new(call);
        if let Some(by) = decided_by(&self.denies, &seen) {
            return Decision { allowed: false, by };
        }
        if let Some(by) = decided_by(&self.allows, &seen) {
            return Decision { allowed: true, by };
        }
        if self.allows.is_empty() {
            return Decision { allowed: !self.deny_by_default, by: DecidedBy::Default };
        }
        Decision { allowed: false, by: DecidedBy::NothingAllows }
    }

    /// The AUDIT policies that match a call, each with its first matching rule.
    pub fn audit(&self, call: &Call<'_>) -> impl Iterator<Item = (&ResourceRef, usize)> {
        let seen = (!self.audits.is_empty()).then(|| Seen::new(call));
        self.audits.iter().filter_map(move |policy| Some((&policy.id, policy.matching_rule(seen.as_ref()?)?)))
    }

    /// Every policy, for counters that are made once for each.
    pub fn policies(&self) -> impl Iterator<Item = &ResourceRef> {
        self.denies.iter().chain(&self.allows).chain(&self.audits).map(Policy::id)
    }
}

impl<'a> Seen<'a> {
    fn new(call: &Call<'a>) -> Self {
        Self {
            identity: call.identity,
            source: call.source.to_canonical(),
            port: call.port,
            http: call.http.map(|http| (http.method, CallPath::new(http.path))),
        }
    }
}

fn decided_by<'a>(policies: &'a [Policy], seen: &Seen<'_>) -> Option<DecidedBy<'a>> {
    policies
        .iter()
        .find_map(|policy| Some(DecidedBy::Rule { policy: &policy.id, rule: policy.matching_rule(seen)? }))
}

#[cfg(test)]
mod tests;
