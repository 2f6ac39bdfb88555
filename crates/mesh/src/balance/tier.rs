//! Endpoints that are equally near to the caller.

use std::rc::Rc;

use super::member::Member;
use super::round_robin::RoundRobin;
use super::weighted_random::WeightedRandom;
use super::{Endpoint, Health, Locality};

/// Tiers by nearness: the caller's zone, its region, the rest.
pub(super) const TIERS: usize = 3;

/// The tier that an endpoint belongs to for a caller; all are equally near to a caller that doesn't know where it is.
pub(super) fn tier_of(caller: &Locality, endpoint: &Endpoint) -> usize {
    if caller.zone.is_empty() && caller.region.is_empty() {
        return 0;
    }
    let same_region = endpoint.locality.region == caller.region;
    match same_region && !caller.zone.is_empty() && endpoint.locality.zone == caller.zone {
        true => 0,
        false if same_region => 1,
        false => 2,
    }
}

/// The endpoints of one tier that take requests.
#[derive(Debug, Default)]
pub(super) struct Tier {
    /// Positions among all members.
    pub(super) usable: Vec<u32>,
    pub(super) chances: WeightedRandom,
    pub(super) turns: Option<RoundRobin>,
    /// Weight of those that take requests, and of all.
    pub(super) usable_weight: u64,
    pub(super) all_weight: u64,
    pub(super) mean_weight: f64,
    /// Weight of those that are ejected.
    pub(super) ejected_weight: u64,
    /// Requests of this worker that are under way to it.
    pub(super) in_flight: u32,
}

impl Tier {
    /// The tiers of a set of members.
    pub(super) fn all(caller: &Locality, members: &[Rc<Member>]) -> [Self; TIERS] {
        let mut tiers: [Self; TIERS] = Default::default();
        let mut weights: [Vec<u32>; TIERS] = Default::default();
        for (position, member) in members.iter().enumerate() {
            let endpoint = member.endpoint();
            let tier = tier_of(caller, endpoint);
            let (Some(tier), Some(weights)) = (tiers.get_mut(tier), weights.get_mut(tier)) else { continue };
            // One that is about to end has its successor already.
            if endpoint.health != Health::Draining {
                tier.all_weight += u64::from(endpoint.weight);
            }
            tier.in_flight = tier.in_flight.saturating_add(member.in_flight());
            if endpoint.is_usable() {
                tier.usable.push(position as u32);
                weights.push(endpoint.weight);
                tier.usable_weight += u64::from(endpoint.weight);
                tier.ejected_weight += if member.is_ejected() { u64::from(endpoint.weight) } else { 0 };
            }
        }
        for (tier, weights) in tiers.iter_mut().zip(weights) {
            tier.chances = WeightedRandom::new(&weights);
            tier.mean_weight = tier.usable_weight as f64 / tier.usable.len().max(1) as f64;
        }
        tiers
    }

    /// Whether requests wait in it.
    pub(super) fn is_busy(&self) -> bool {
        self.in_flight as usize >= 2 * self.usable.len()
    }
}
