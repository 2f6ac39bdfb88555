//! The rules of a policy.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use http::Method;
use ipnet::IpNet;

use super::path::PathRule;
use super::{Action, Seen, SeenHttp};
use crate::Error;
use crate::name::{Identity, TrustDomain};

/// A rule as it is written: lists of text. All lists that are not empty must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSpec {
    /// Callers: SPIFFE ids, `<namespace>/<service account>`, or `*` for every caller with an identity.
    pub identities: Vec<String>,
    /// Namespaces of callers.
    pub namespaces: Vec<String>,
    /// Addresses of callers: CIDR blocks or single addresses.
    pub ip_blocks: Vec<String>,
    /// Ports of the workload.
    pub ports: Vec<u16>,
    /// HTTP methods.
    pub methods: Vec<String>,
    /// HTTP paths: exact, a prefix with a trailing `*`, a suffix with a leading `*`, or `*`.
    pub paths: Vec<String>,
}

/// A compiled rule.
#[derive(Clone, Debug)]
pub struct Rule {
    any_identity: bool,
    identities: HashSet<Identity, RandomState>,
    namespaces: HashSet<Box<str>, RandomState>,
    trust_domain: TrustDomain,
    ip_blocks: Box<[IpNet]>,
    ports: Box<[u16]>,
    methods: Box<[Method]>,
    paths: Box<[PathRule]>,
    /// Why the rule was not understood.
    problem: Option<Box<str>>,
}

impl Rule {
    /// A rule that was not understood. In a DENY policy it matches everything, in others nothing.
    pub fn not_understood(problem: &str, trust_domain: &TrustDomain) -> Self {
        Self {
            any_identity: false,
            identities: HashSet::default(),
            namespaces: HashSet::default(),
            trust_domain: trust_domain.clone(),
            ip_blocks: Box::default(),
            ports: Box::default(),
            methods: Box::default(),
            paths: Box::default(),
            problem: Some(problem.into()),
        }
    }

    /// Why the rule was not understood, if it was not.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Whether it matters to the rule how servers read a path.
    pub(super) fn names_paths(&self) -> bool {
        self.paths.iter().any(|path| *path != PathRule::Any)
    }

    /// Compiles a rule. Identities without a trust domain, and namespaces, are those of `trust_domain`.
    pub fn compile(spec: &RuleSpec, trust_domain: &TrustDomain) -> Result<Self, Error> {
        let any_identity = spec.identities.iter().any(|identity| identity == "*");
        let named = spec.identities.iter().filter(|identity| *identity != "*");
        Ok(Self {
            any_identity,
            identities: named
                .map(|identity| parse_identity(identity, trust_domain))
                .collect::<Result<_, _>>()?,
            namespaces: spec.namespaces.iter().map(|namespace| namespace.as_str().into()).collect(),
            trust_domain: trust_domain.clone(),
            ip_blocks: spec.ip_blocks.iter().map(|block| parse_block(block)).collect::<Result<_, _>>()?,
            ports: spec.ports.clone().into(),
            methods: spec.methods.iter().map(|method| parse_method(method)).collect::<Result<_, _>>()?,
            paths: spec.paths.iter().map(|path| PathRule::new(path)).collect::<Result<_, _>>()?,
            problem: None,
        })
    }

    pub(super) fn matches(&self, call: &Seen<'_>, action: Action) -> bool {
        match self.problem {
            None => self.matches_caller(call) && self.matches_target(call, action),
            Some(_) => action == Action::Deny,
        }
    }

    fn matches_caller(&self, call: &Seen<'_>) -> bool {
        let by_identity =
            || call.identity.is_some_and(|identity| self.any_identity || self.identities.contains(identity));
        let by_namespace = || {
            call.identity.is_some_and(|identity| {
                identity.trust_domain_str() == self.trust_domain.as_str()
                    && self.namespaces.contains(identity.namespace())
            })
        };
        (!self.any_identity && self.identities.is_empty() || by_identity())
            && (self.namespaces.is_empty() || by_namespace())
            && (self.ip_blocks.is_empty() || self.ip_blocks.iter().any(|block| block.contains(&call.source)))
    }

    fn matches_target(&self, call: &Seen<'_>, action: Action) -> bool {
        if !self.ports.is_empty() && !self.ports.contains(&call.port) {
            return false;
        }
        if self.methods.is_empty() && self.paths.is_empty() {
            return true;
        }
        // What is not known holds for DENY and not for ALLOW.
        let widen = action != Action::Allow;
        let Some(SeenHttp { method, path }) = &call.http else { return widen };
        (self.methods.is_empty() || self.methods.contains(method))
            && (self.paths.is_empty() || self.paths.iter().any(|rule| rule.matches(*path, widen)))
    }
}

/// The conditions, for people.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(problem) = &self.problem {
            return write!(f, "is not understood: {problem}");
        }
        let mut identities: Vec<String> = self.identities.iter().map(ToString::to_string).collect();
        identities.extend(self.any_identity.then(|| "*".to_owned()));
        identities.sort();
        let mut namespaces: Vec<String> = self.namespaces.iter().map(ToString::to_string).collect();
        namespaces.sort();
        let lists = [
            ("identities", identities),
            ("namespaces", namespaces),
            ("IP blocks", self.ip_blocks.iter().map(ToString::to_string).collect()),
            ("ports", self.ports.iter().map(ToString::to_string).collect()),
            ("methods", self.methods.iter().map(ToString::to_string).collect()),
            ("paths", self.paths.iter().map(ToString::to_string).collect()),
        ];
        let given = lists.iter().filter(|(_, list)| !list.is_empty());
        let text: Vec<String> = given.map(|(name, list)| format!("{name} {}", list.join(", "))).collect();
        f.write_str(if text.is_empty() { "everything" } else { "" })?;
        f.write_str(&text.join("; "))
    }
}

fn parse_identity(value: &str, trust_domain: &TrustDomain) -> Result<Identity, Error> {
    if value.contains("://") {
        return value.parse();
    }
    let refuse =
        || Error::invalid("identity", value, "write a SPIFFE id, <namespace>/<service account>, or '*'");
    let (namespace, account) = value.split_once('/').ok_or_else(refuse)?;
    Identity::new(trust_domain, namespace, account)
}

/// A block of addresses, or one address.
pub(crate) fn parse_block(value: &str) -> Result<IpNet, Error> {
    let block = value.parse::<IpNet>().or_else(|_| value.parse::<IpAddr>().map(IpNet::from));
    block.map_err(|_| Error::invalid("IP block", value, "write an address, or a block such as 10.0.0.0/8"))
}

fn parse_method(value: &str) -> Result<Method, Error> {
    Method::from_bytes(value.as_bytes())
        .map_err(|_| Error::invalid("method", value, "write a method such as GET"))
}
