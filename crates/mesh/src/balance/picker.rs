//! The picker: one for each service and worker.

mod choice;
mod feedback;

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use super::hashing::{Hashed, KeyTable};
use super::load::Typical;
use super::locality::LocalityFailover;
use super::member::Member;
use super::tier::{TIERS, Tier, tier_of};
use super::{Algorithm, BalancePolicy, Endpoint, EndpointSet, Locality};
use crate::outlier::Role;

/// An endpoint that was chosen. It has to be given back by [`Picker::ended`].
#[derive(Debug)]
pub struct Picked {
    /// The endpoint, with what this worker knows of it.
    pub member: Rc<Member>,
    /// Whether this request probes an endpoint that was ejected.
    pub probe: bool,
    role: Role,
    began: Instant,
    /// Whether [`Picker::answered`] has been told.
    judged: Cell<bool>,
}

/// What a picker knows of an endpoint, for explanations and dashboards.
#[derive(Debug)]
pub struct View<'a> {
    /// The endpoint.
    pub endpoint: &'a Endpoint,
    /// How near it is: 0 in the caller's zone, 1 in its region, 2 elsewhere.
    pub tier: usize,
    /// Requests of this worker that are under way to it.
    pub in_flight: u32,
    /// Requests under way to it from all callers, as far as known.
    pub load: f64,
    /// The latency expected of it.
    pub latency: Duration,
    /// What the algorithm compares; the smaller is better.
    pub cost: f64,
    /// Whether it is ejected or on probation.
    pub ejected: bool,
    /// Until when it is ejected.
    pub ejected_until: Option<Instant>,
}

/// Chooses among the endpoints of one service, for one worker.
#[derive(Debug)]
pub struct Picker {
    policy: BalancePolicy,
    caller: Locality,
    members: Vec<Rc<Member>>,
    by_key: HashMap<u64, u32, RandomState>,
    tiers: [Tier; TIERS],
    key_table: Option<KeyTable>,
    typical: Rc<Cell<Typical>>,
    spill: Option<LocalityFailover>,
    /// How many of the members are ejected or on probation.
    ejected: usize,
    ejections: u64,
    /// Whether the policy or the caller's place changed and what follows from it has yet to be derived.
    stale: bool,
}

impl Picker {
    /// A picker without endpoints.
    pub fn new(policy: BalancePolicy) -> Self {
        Self {
            policy,
            caller: Locality::default(),
            members: Vec::new(),
            by_key: HashMap::default(),
            tiers: Default::default(),
            key_table: None,
            typical: Rc::default(),
            spill: None,
            ejected: 0,
            ejections: 0,
            stale: false,
        }
    }

    /// Takes over a policy; what is known of the endpoints stays.
    pub fn set_policy(&mut self, policy: BalancePolicy) {
        self.policy = policy;
        self.stale = true;
    }

    /// Says where the caller is. Without it all endpoints are equally near.
    pub fn set_locality(&mut self, caller: Locality) {
        self.caller = caller;
        self.stale = true;
    }

    /// Takes over a set of endpoints; what is known of those that stay stays.
    pub fn update(&mut self, set: &EndpointSet, now: Instant) {
        // The very first endpoints have nobody to be newer than.
        let first = self.members.is_empty();
        let known: HashMap<&str, &Rc<Member>, RandomState> =
            self.members.iter().map(|member| (&*member.endpoint().id, member)).collect();
        let member = |endpoint: &Arc<Endpoint>| match known.get(&*endpoint.id) {
            Some(member) if member.endpoint() == endpoint.as_ref() => Rc::clone(member),
            Some(member) if member.endpoint().is_same_process(endpoint) => {
                Rc::new(member.moved_to(Arc::clone(endpoint)))
            }
            // Of a name that has moved to another address nothing is known.
            _ => Rc::new(Member::new(Arc::clone(endpoint), Rc::clone(&self.typical), now, first)),
        };
        let members: Vec<Rc<Member>> = set.endpoints().iter().map(member).collect();
        for gone in &self.members {
            gone.known.tier.set(None);
        }
        self.members = members;
        self.rebuild(now);
    }

    /// Derives everything from members, policy and the caller's place.
    fn rebuild(&mut self, now: Instant) {
        self.stale = false;
        self.release_surplus(now);
        self.ejected = self.members.iter().filter(|member| member.is_ejected()).count();
        self.tiers = Tier::all(&self.caller, &self.members);
        for member in &self.members {
            member.known.tier.set(Some(tier_of(&self.caller, member.endpoint())));
        }
        self.by_key = self
            .members
            .iter()
            .enumerate()
            .map(|(position, member)| (member.key(), position as u32))
            .collect();
        let several_tiers = self.tiers.iter().filter(|tier| !tier.usable.is_empty()).count() > 1;
        self.spill = several_tiers.then(|| self.spill.take().unwrap_or_else(|| LocalityFailover::new(now)));
        self.key_table = match self.policy.algorithm {
            Algorithm::RingHash => Some(KeyTable::ring(&self.hashed())),
            Algorithm::Maglev => Some(KeyTable::maglev(&self.hashed())),
            _ => None,
        };
    }

    /// Brings endpoints back, those first whose ejection ends first, while more are ejected than may be. Those that take
    /// no connection stay out and count for nothing here, or a push would bring others back.
    fn release_surplus(&mut self, now: Instant) {
        let most = self.policy.outlier.most_ejected(self.members.len());
        let ejected = self.members.iter().filter(|member| member.is_ejected());
        let mut released: Vec<_> = ejected.filter(|member| most == 0 || !member.is_unreachable()).collect();
        let surplus = released.len().saturating_sub(most);
        // One that is being probed has no end: it is the next to be known.
        released.sort_by_key(|member| member.ejected_until());
        for member in released.into_iter().take(surplus) {
            member.known.breaker.borrow_mut().release(now);
        }
    }

    fn hashed(&self) -> Vec<Hashed> {
        let all = self.members.iter().enumerate();
        let usable = all.filter(|(_, member)| member.endpoint().is_usable());
        usable.map(|(position, member)| (position as u32, member.key(), member.endpoint().weight)).collect()
    }

    /// The endpoints, with what is known of them.
    pub fn members(&self) -> &[Rc<Member>] {
        &self.members
    }

    /// How many ejections there were.
    pub fn ejections(&self) -> u64 {
        self.ejections
    }

    /// How many endpoints are ejected or on probation now.
    pub fn ejected(&self) -> usize {
        self.ejected
    }

    /// What is known of each endpoint.
    pub fn views(&self, now: Instant) -> impl Iterator<Item = View<'_>> {
        self.members.iter().map(move |member| View {
            endpoint: member.endpoint(),
            tier: tier_of(&self.caller, member.endpoint()),
            in_flight: member.in_flight(),
            load: member.load(now),
            latency: Duration::from_secs_f64(member.micros(now) / 1e6),
            cost: self.cost(member, now),
            ejected: member.is_ejected(),
            ejected_until: member.ejected_until(),
        })
    }
}
