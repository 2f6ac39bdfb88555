//! Choosing an endpoint of a service.
//!
//! Each worker has a [`Picker`] for each service, which nobody else touches: no locks. What it learned of an endpoint
//! survives a change of the set as long as the endpoint stays in it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::name::Identity;
use crate::outlier::{Availability, Outcome, OutlierPolicy};

mod load;
mod member;

pub use member::Member;

/// What is spoken to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hop {
    /// What the application speaks, in plain text: there is no proxy.
    Plain,
    /// mTLS with ALPN `weft/1` for HTTP and `weft/tcp` for the rest.
    Weft,
    /// mTLS with ALPN `h2` or `http/1.1`: a meshed peer that is not Weft.
    Standard,
}

/// Whether an endpoint takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// Takes requests.
    Ready,
    /// Takes none now.
    NotReady,
    /// Is about to end: gets no new requests, finishes those that it has.
    Draining,
}

/// Where an endpoint or a caller is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Locality {
    /// Region; may be empty.
    pub region: Arc<str>,
    /// Zone within the region; may be empty.
    pub zone: Arc<str>,
}

/// One address of a service port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Unique within the service port.
    pub id: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Identities that it may prove; empty: it is reached in plain text.
    pub identities: Arc<[Identity]>,
    /// What is spoken to it.
    pub hop: Hop,
    /// Share among the endpoints; 0 gets nothing.
    pub weight: u32,
    /// Whether it takes requests.
    pub health: Health,
    /// Where it is.
    pub locality: Locality,
    /// Workload that it belongs to.
    pub workload: Arc<str>,
    /// Version label of the workload; may be empty.
    pub version: Arc<str>,
}

/// The endpoints of a service port at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointSet {
    /// The endpoints, each id once.
    pub endpoints: Vec<Arc<Endpoint>>,
}

/// How to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// The better of two, by peak-EWMA latency times outstanding requests.
    #[default]
    PeakEwma,
    /// The better of two, by outstanding requests.
    LeastRequest,
    /// In turn.
    RoundRobin,
    /// At random.
    Random,
}

/// How to balance over a service.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BalancePolicy {
    /// How to choose among those that may be chosen.
    pub algorithm: Algorithm,
    /// Time over which a new endpoint grows to its full share; zero: none.
    pub slow_start: Duration,
    /// When to eject endpoints.
    pub outlier: OutlierPolicy,
}

/// Why there is nothing to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoEndpoint {
    /// The service has none that takes requests.
    None,
    /// All that take requests were tried already.
    AllTried,
}

/// An endpoint that was chosen. It has to be given back by [`Picker::ended`].
#[derive(Debug)]
pub struct Picked {
    /// The endpoint, with what this worker knows of it.
    pub member: Rc<Member>,
    /// Whether this request probes an endpoint that was ejected.
    pub probe: bool,
}

/// Chooses among the endpoints of one service, for one worker.
#[derive(Debug)]
pub struct Picker {
    policy: BalancePolicy,
    members: Vec<Rc<Member>>,
    /// Reused by each choice, so that none allocates.
    candidates: Vec<usize>,
    turn: usize,
    ejections: u64,
}

impl Picker {
    /// A picker without endpoints.
    pub fn new(policy: BalancePolicy) -> Self {
        Self { policy, members: Vec::new(), candidates: Vec::new(), turn: 0, ejections: 0 }
    }

    /// Takes over a policy; what is known of the endpoints stays.
    pub fn set_policy(&mut self, policy: BalancePolicy) {
        self.policy = policy;
    }

    /// Takes over a set of endpoints; what is known of those that stay stays.
    pub fn update(&mut self, set: &EndpointSet, now: Instant) {
        // The very first endpoints have nobody to be slower than.
        let first = self.members.is_empty();
        let known: std::collections::HashMap<&str, &Rc<Member>> =
            self.members.iter().map(|member| (&*member.endpoint().id, member)).collect();
        let members = set
            .endpoints
            .iter()
            .map(|endpoint| match known.get(&*endpoint.id) {
                Some(member) if member.endpoint() == endpoint.as_ref() => Rc::clone(member),
                Some(member) => Rc::new(member.moved_to(Arc::clone(endpoint))),
                None => Rc::new(Member::new(Arc::clone(endpoint), now, first)),
            })
            .collect();
        self.members = members;
    }

    /// The endpoints, with what is known of them.
    pub fn members(&self) -> &[Rc<Member>] {
        &self.members
    }

    /// How many ejections there were.
    pub fn ejections(&self) -> u64 {
        self.ejections
    }

    /// Chooses an endpoint, none of `tried` (ids). When all that take requests are ejected, any of them (panic).
    pub fn pick(&mut self, now: Instant, random: u64, tried: &[Arc<str>]) -> Result<Picked, NoEndpoint> {
        let mut any = false;
        let mut panicking = false;
        self.candidates.clear();
        for (index, member) in self.members.iter().enumerate() {
            let endpoint = member.endpoint();
            if endpoint.health != Health::Ready || endpoint.weight == 0 {
                continue;
            }
            any = true;
            if tried.contains(&endpoint.id) {
                continue;
            }
            match member.availability(now) {
                Availability::Open => self.candidates.push(index),
                Availability::Probe => {
                    member.begin_probe(now, &self.policy.outlier);
                    member.begin();
                    return Ok(Picked { member: Rc::clone(member), probe: true });
                }
                Availability::Ejected => panicking = true,
            }
        }
        if self.candidates.is_empty() && panicking {
            let usable = |member: &Member| {
                let endpoint = member.endpoint();
                endpoint.health == Health::Ready && endpoint.weight > 0 && !tried.contains(&endpoint.id)
            };
            let all =
                self.members.iter().enumerate().filter(|(_, member)| usable(member)).map(|(index, _)| index);
            self.candidates.extend(all);
        }
        let member =
            self.choose(now, random).ok_or(if any { NoEndpoint::AllTried } else { NoEndpoint::None })?;
        member.begin();
        Ok(Picked { member, probe: false })
    }

    fn choose(&mut self, now: Instant, random: u64) -> Option<Rc<Member>> {
        let index = match self.policy.algorithm {
            _ if self.candidates.len() < 2 => *self.candidates.first()?,
            Algorithm::RoundRobin => {
                self.turn = self.turn.wrapping_add(1);
                *self.candidates.get(self.turn % self.candidates.len())?
            }
            Algorithm::Random => self.weighted(random as u32)?,
            Algorithm::PeakEwma => self.better(random, |member| member.cost(now)),
            Algorithm::LeastRequest => self.better(random, |member| f64::from(member.in_flight()) + 1.0),
        };
        self.members.get(index).cloned()
    }

    /// The better of two different candidates. The cost is divided by the endpoint's share.
    fn better(&self, random: u64, cost: impl Fn(&Member) -> f64) -> usize {
        let count = self.candidates.len() as u64;
        let first = ((random & 0xffff_ffff) * count) >> 32;
        let mut second = ((random >> 32) * (count - 1)) >> 32;
        if second >= first {
            second += 1;
        }
        let at = |position: u64| self.candidates.get(position as usize).copied().unwrap_or_default();
        let (first, second) = (at(first), at(second));
        let rated = |index: usize| {
            self.members
                .get(index)
                .map_or(f64::INFINITY, |member| cost(member) / member.share(self.policy.slow_start))
        };
        if rated(second) < rated(first) { second } else { first }
    }

    fn weighted(&self, random: u32) -> Option<usize> {
        let weight =
            |index: &usize| self.members.get(*index).map_or(0, |member| u64::from(member.endpoint().weight));
        let total: u64 = self.candidates.iter().map(weight).sum();
        let mut left = (u64::from(random) * total) >> 32;
        for index in &self.candidates {
            let own = weight(index);
            if left < own {
                return Some(*index);
            }
            left -= own;
        }
        self.candidates.last().copied()
    }

    /// Takes note that a request to a chosen endpoint ended. `latency` is the time to the head of the answer, if there
    /// was one.
    pub fn ended(
        &mut self,
        picked: &Picked,
        now: Instant,
        outcome: Outcome,
        latency: Option<Duration>,
        random: u64,
    ) {
        let ejected = self.members.iter().filter(|member| member.is_ejected()).count();
        let may_eject = ejected < self.policy.outlier.most_ejected(self.members.len());
        let now_ejected =
            picked.member.end(now, outcome, latency, picked.probe, may_eject, &self.policy.outlier, random);
        self.ejections += u64::from(now_ejected);
    }
}

#[cfg(test)]
mod tests;
