//! Choosing.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::{Picked, Picker};
use crate::balance::locality::kept_by_health;
use crate::balance::member::Member;
use crate::balance::round_robin::RoundRobin;
use crate::balance::tier::TIERS;
use crate::balance::{Algorithm, NoEndpoint, PickContext};
use crate::hash::Draws;
use crate::outlier::{Availability, Role};

/// Draws before all endpoints are looked at. While at most half are ejected, hardly one choice in 250 gets there.
const DRAWS: usize = 8;
/// With more endpoints than this, one to compare with is not worth looking at all of them.
const SCANNED: usize = 16;
/// How sharply the better of two is preferred: one that is a quarter better is always taken, one that is less better
/// less often. Otherwise the fastest by a hair would get everything that a quiet caller sends.
const PREFERENCE: f64 = 4.0;
/// The same where nothing waits at either. Then no queue grows by a choice, and what one answer took more than another is
/// mostly chance: one that is twice as good gets three of four requests, and the other one its turn.
const IDLE_PREFERENCE: f64 = 1.0;
/// A difference well below this, in microseconds, means nothing between two that are idle.
const IDLE_SLACK_MICROS: f64 = 1_000.0;

/// Whom a choice may fall on.
#[derive(Clone, Copy)]
enum Pass {
    /// Who takes requests and was tried less often than so many times.
    Open(usize),
    /// Whoever is ejected and was tried less often than so many times: there is nobody else.
    Ejected(usize),
}

/// In order. Who refused once may take the next attempt; who refused twice is asked after those that are ejected.
const PASSES: [Pass; 5] =
    [Pass::Open(1), Pass::Open(2), Pass::Ejected(1), Pass::Open(usize::MAX), Pass::Ejected(usize::MAX)];

/// One choice under way.
struct Choosing<'a> {
    now: Instant,
    wish: &'a PickContext<'a>,
    draws: Draws,
    pass: Pass,
}

impl Choosing<'_> {
    /// Whether an endpoint was tried less often than the pass allows.
    fn may_try(&self, member: &Member) -> bool {
        let (Pass::Open(most) | Pass::Ejected(most)) = self.pass;
        let tried = self.wish.tried;
        tried.is_empty() || tried.iter().filter(|id| **id == member.endpoint().id).count() < most
    }
}

impl Picker {
    /// Chooses an endpoint for a request, rather none of `tried` (ids). When all that take requests are ejected, the one
    /// that failed least recently.
    pub fn pick(&mut self, now: Instant, random: u64, tried: &[Arc<str>]) -> Result<Picked, NoEndpoint> {
        self.pick_for(now, random, &PickContext { tried, ..PickContext::default() })
    }

    /// Chooses an endpoint for a request that wants more than any.
    pub fn pick_for(
        &mut self,
        now: Instant,
        random: u64,
        wish: &PickContext<'_>,
    ) -> Result<Picked, NoEndpoint> {
        if self.stale {
            self.rebuild(now);
        }
        let mut choosing = Choosing { now, wish, draws: Draws::new(random), pass: PASSES[0] };
        let mut chosen = self.of_session(&mut choosing);
        for pass in PASSES {
            if chosen.is_none() {
                choosing.pass = pass;
                chosen = match pass {
                    Pass::Open(_) => self.choose(&mut choosing),
                    Pass::Ejected(_) => self.last_resort(&choosing),
                };
            }
        }
        let nothing = if self.members.is_empty() { NoEndpoint::None } else { NoEndpoint::NotReady };
        let member = Rc::clone(chosen.and_then(|position| self.member(position)).ok_or(nothing)?);
        Ok(self.begin(member, &mut choosing))
    }

    fn begin(&mut self, member: Rc<Member>, choosing: &mut Choosing<'_>) -> Picked {
        let availability = self.availability(&member, choosing);
        let role = match availability {
            Availability::Open => Role::Ordinary,
            Availability::Probe => Role::Probe(member.begin_probe(choosing.now, &self.policy.outlier)),
            Availability::Ejected => {
                member.known.breaker.borrow_mut().asked_as_last_resort(choosing.now);
                Role::LastResort
            }
        };
        member.begin();
        if let Some(tier) = member.known.tier.get().and_then(|tier| self.tiers.get_mut(tier)) {
            tier.in_flight = tier.in_flight.saturating_add(1);
        }
        let probe = availability == Availability::Probe;
        Picked { member, probe, role, began: choosing.now, judged: Cell::new(false) }
    }

    /// Whether an endpoint is left that takes requests, is not ejected and was not tried. For attempts that failed, not for
    /// every request.
    pub fn has_untried(&self, tried: &[Arc<str>]) -> bool {
        self.members.iter().any(|member| {
            member.endpoint().is_usable() && !member.is_ejected() && !tried.contains(&member.endpoint().id)
        })
    }

    /// Of those that are ejected, the one that failed least recently.
    fn last_resort(&self, choosing: &Choosing<'_>) -> Option<u32> {
        let members = self.members.iter().enumerate();
        let taken = members.filter(|(_, member)| member.endpoint().is_usable() && choosing.may_try(member));
        let first = taken.min_by_key(|(_, member)| {
            let (is_probed, failed) = member.known.breaker.borrow().last_resort_order();
            (is_probed, failed, member.in_flight())
        });
        first.map(|(position, _)| position as u32)
    }

    fn choose(&mut self, choosing: &mut Choosing<'_>) -> Option<u32> {
        if let (Some(table), Some(key)) = (&self.key_table, choosing.wish.key) {
            return table.find(key, |position| self.may_take(position, choosing));
        }
        let nearest = self.choose_tier(choosing);
        let others = (0..TIERS).filter(|tier| *tier != nearest);
        std::iter::once(nearest).chain(others).find_map(|tier| match self.policy.algorithm {
            Algorithm::RoundRobin => self.next_in_turn(tier, choosing),
            Algorithm::PeakEwma | Algorithm::LeastRequest => self.better_of_two(tier, choosing),
            Algorithm::Random | Algorithm::RingHash | Algorithm::Maglev => self.draw(tier, None, choosing),
        })
    }

    /// The endpoint of the request's session, if it may be chosen without another choice.
    fn of_session(&self, choosing: &mut Choosing<'_>) -> Option<u32> {
        let position = *self.by_key.get(&choosing.wish.session?)?;
        let usable = self.member(position)?.endpoint().is_usable();
        (usable && self.may_take(position, choosing)).then_some(position)
    }

    /// The nearest tier, unless its health or its measured load sends this request further.
    fn choose_tier(&self, choosing: &mut Choosing<'_>) -> usize {
        let Some(spill) = &self.spill else {
            return self.home();
        };
        let home = self.home();
        let (mut ticket, mut left) = (choosing.draws.unit(), 1.0);
        for (number, tier) in self.tiers.iter().enumerate().filter(|(_, tier)| !tier.usable.is_empty()) {
            let well = tier.usable_weight.saturating_sub(tier.ejected_weight);
            let mut kept = kept_by_health(well as f64, tier.all_weight as f64);
            if number == home {
                kept *= 1.0 - spill.part(choosing.now, tier.is_busy());
            }
            if ticket < left * kept {
                return number;
            }
            ticket -= left * kept;
            left -= left * kept;
        }
        home
    }

    /// The nearest tier that has endpoints.
    pub(super) fn home(&self) -> usize {
        self.tiers.iter().position(|tier| !tier.usable.is_empty()).unwrap_or(0)
    }

    fn next_in_turn(&mut self, number: usize, choosing: &mut Choosing<'_>) -> Option<u32> {
        let tier = self.tiers.get_mut(number)?;
        let positions = &tier.usable;
        let mut turns = tier.turns.take().unwrap_or_else(|| {
            let members = positions
                .iter()
                .filter_map(|position| Some((*position, Rc::clone(self.members.get(*position as usize)?))));
            RoundRobin::new(&members.collect::<Vec<_>>(), choosing.draws.next())
        });
        let (now, slow_start) = (choosing.now, self.policy.slow_start);
        let next = turns.next(
            |position| self.member(position),
            |member| member.grown(now, slow_start),
            |member| self.takes(member, choosing),
        );
        if let Some(tier) = self.tiers.get_mut(number) {
            tier.turns = Some(turns);
        }
        next
    }

    /// One drawn by weight, and the better of it and another. Equals share by weight, because the first of the two
    /// is kept unless the other is better.
    fn better_of_two(&self, tier: usize, choosing: &mut Choosing<'_>) -> Option<u32> {
        let first = self.draw(tier, None, choosing)?;
        if self.wants_probe(first) {
            return Some(first);
        }
        let Some(second) = self.draw(tier, Some(first), choosing) else { return Some(first) };
        if self.wants_probe(second) {
            return Some(second);
        }
        let (Some(one), Some(other)) = (self.member(first), self.member(second)) else { return Some(first) };
        let (here, there) = (self.cost(one, choosing.now), self.cost(other, choosing.now));
        let better = if Self::is_idle(one, choosing.now) && Self::is_idle(other, choosing.now) {
            let slack = self.idle_slack();
            (1.0 - (there + slack) / (here + slack)) * IDLE_PREFERENCE
        } else {
            (1.0 - there / here) * PREFERENCE
        };
        let chosen = if better > 0.0 && choosing.draws.unit() < better { second } else { first };
        Some(self.idle_instead_of(chosen, tier, choosing).unwrap_or(chosen))
    }

    /// Whether nothing waits at an endpoint and it did well the last time that it was asked.
    fn is_idle(member: &Member, now: Instant) -> bool {
        !member.known.failing.get() && member.in_flight() == 0 && member.load(now) < 1.0
    }

    /// What is added to the costs of two that are idle.
    fn idle_slack(&self) -> f64 {
        if self.policy.algorithm == Algorithm::PeakEwma { IDLE_SLACK_MICROS } else { 0.0 }
    }

    /// An endpoint that is idle, and better, where requests of this worker wait at the chosen one: two drawn from a few
    /// endpoints miss the idle one too often. There is one while fewer requests are under way than there are endpoints.
    fn idle_instead_of(&self, chosen: u32, tier: usize, choosing: &mut Choosing<'_>) -> Option<u32> {
        let tier = self.tiers.get(tier)?;
        let busy = self.member(chosen).filter(|member| member.in_flight() > 0)?;
        let few = tier.usable.len() <= SCANNED && (tier.in_flight as usize) < tier.usable.len();
        if !few {
            return None;
        }
        let cost = self.cost(busy, choosing.now);
        // Not all workers begin with the same one.
        let (before, after) = tier.usable.split_at(choosing.draws.below(tier.usable.len() as u64) as usize);
        after.iter().chain(before).copied().find(|position| {
            self.member(*position).is_some_and(|member| {
                Self::is_idle(member, choosing.now) && self.cost(member, choosing.now) < cost
            }) && self.is_grown(*position, choosing)
                && self.may_take(*position, choosing)
        })
    }

    /// What one more request to an endpoint costs: its latency, if the algorithm regards that, times what waits there
    /// already in proportion to its weight.
    pub(super) fn cost(&self, member: &Member, now: Instant) -> f64 {
        let tier = member.known.tier.get().and_then(|tier| self.tiers.get(tier));
        let weight = f64::from(member.endpoint().weight.max(1));
        let waiting = member.load(now) * tier.map_or(1.0, |tier| tier.mean_weight) / weight;
        match self.policy.algorithm {
            Algorithm::PeakEwma => member.micros(now) * (1.0 + waiting),
            _ => 1.0 + waiting,
        }
    }

    /// One drawn by weight from those that may be taken, another than `other`.
    fn draw(&self, tier: usize, other: Option<u32>, choosing: &mut Choosing<'_>) -> Option<u32> {
        let tier = self.tiers.get(tier)?;
        for _ in 0..DRAWS {
            let position = *tier.usable.get(tier.chances.draw(&mut choosing.draws))?;
            if other != Some(position)
                && self.is_grown(position, choosing)
                && self.may_take(position, choosing)
            {
                return Some(position);
            }
        }
        if other.is_some() && tier.usable.len() > SCANNED {
            return None;
        }
        let (mut chosen, mut total) = (None, 0);
        for position in tier.usable.iter().copied().filter(|position| other != Some(*position)) {
            if self.may_take(position, choosing) {
                let weight = self.member(position).map_or(0, |member| u64::from(member.endpoint().weight));
                total += weight;
                if choosing.draws.below(total) < weight {
                    chosen = Some(position);
                }
            }
        }
        chosen
    }

    /// Whether a draw of an endpoint counts, which is less often while it is new.
    fn is_grown(&self, position: u32, choosing: &mut Choosing<'_>) -> bool {
        let grown =
            self.member(position).map_or(1.0, |member| member.grown(choosing.now, self.policy.slow_start));
        grown >= 1.0 || choosing.draws.unit() < grown
    }

    fn may_take(&self, position: u32, choosing: &mut Choosing<'_>) -> bool {
        self.member(position).is_some_and(|member| self.takes(member, choosing))
    }

    fn takes(&self, member: &Member, choosing: &mut Choosing<'_>) -> bool {
        choosing.may_try(member) && self.availability(member, choosing) != Availability::Ejected
    }

    fn availability(&self, member: &Member, choosing: &mut Choosing<'_>) -> Availability {
        if self.ejected == 0 {
            return Availability::Open;
        }
        member.availability(choosing.now, &self.policy.outlier, choosing.draws.next())
    }

    /// Whether an endpoint that may be taken would be probed: it is then, so that it does not wait for being the
    /// better of two.
    fn wants_probe(&self, position: u32) -> bool {
        self.ejected > 0 && self.member(position).is_some_and(|member| member.is_ejected())
    }

    fn member(&self, position: u32) -> Option<&Rc<Member>> {
        self.members.get(position as usize)
    }
}
