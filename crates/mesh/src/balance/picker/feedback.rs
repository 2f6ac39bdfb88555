//! Learning from what became of choices.

use std::time::{Duration, Instant};

use super::{Picked, Picker};
use crate::balance::member::Member;
use crate::outcome::Outcome;
use crate::outlier::{Change, Role};

impl Picker {
    /// Takes note of how an endpoint did, while its request goes on: call it when the head of the answer comes, so
    /// that a long answer holds no verdict back. `latency` is the time to the head. What [`Picker::ended`] is told of
    /// the outcome then counts no more.
    pub fn answered(
        &mut self,
        picked: &Picked,
        now: Instant,
        outcome: Outcome,
        latency: Option<Duration>,
        random: u64,
    ) {
        if picked.judged.replace(true) {
            return;
        }
        let Some(tier) = picked.member.known.tier.get() else { return };
        self.learn_latency(&picked.member, tier, now, outcome, latency, picked.began);
        let may_eject = self.may_eject(&picked.member, outcome);
        let change = {
            let mut breaker = picked.member.known.breaker.borrow_mut();
            let change = breaker.ended(now, outcome, picked.role, may_eject, &self.policy.outlier, random);
            picked.member.known.failing.set(breaker.is_failing());
            change
        };
        let endpoint = picked.member.endpoint();
        let weight = if endpoint.is_usable() { u64::from(endpoint.weight) } else { 0 };
        let Some(tier) = self.tiers.get_mut(tier) else { return };
        match change {
            Change::None => {}
            Change::Ejected => {
                self.ejections += 1;
                self.ejected += 1;
                tier.ejected_weight += weight;
            }
            Change::Returned => {
                self.ejected = self.ejected.saturating_sub(1);
                tier.ejected_weight = tier.ejected_weight.saturating_sub(weight);
                if picked.role == Role::LastResort {
                    self.hasten_all(now);
                }
            }
        }
    }

    /// Whether the others leave room for the endpoint among those that are ejected. For one that takes no connection there
    /// is always room.
    fn may_eject(&self, member: &Member, outcome: Outcome) -> bool {
        // What nearly all are.
        if !outcome.is_failure() {
            return false;
        }
        let most = self.policy.outlier.most_ejected(self.members.len());
        let others = self.ejected - usize::from(member.is_ejected());
        if outcome == Outcome::Unreachable { most > 0 } else { others < most }
    }

    /// All were ejected, and one of them is well: whatever it was may be over for the others, too.
    fn hasten_all(&self, now: Instant) {
        for member in &self.members {
            member.known.breaker.borrow_mut().hasten(now);
        }
    }

    /// Takes note that a request to a chosen endpoint ended, however it did. `latency` is the time to the head of the
    /// answer, if there was one.
    pub fn ended(
        &mut self,
        picked: &Picked,
        now: Instant,
        outcome: Outcome,
        latency: Option<Duration>,
        random: u64,
    ) {
        self.answered(picked, now, outcome, latency, random);
        picked.member.end();
        if let Some(tier) = picked.member.known.tier.get().and_then(|tier| self.tiers.get_mut(tier)) {
            tier.in_flight = tier.in_flight.saturating_sub(1);
        }
    }

    fn learn_latency(
        &mut self,
        member: &Member,
        tier: usize,
        now: Instant,
        outcome: Outcome,
        latency: Option<Duration>,
        began: Instant,
    ) {
        let mut own = member.known.latency.get();
        let mut typical = self.typical.get();
        match (outcome, latency) {
            (Outcome::Success, Some(latency)) => {
                typical.observe(now, latency);
                own.observe(now, latency, typical.micros());
                let home = self.home();
                if let Some(spill) = &mut self.spill {
                    spill.observe(now, tier == home, latency);
                }
            }
            (Outcome::Success, None) => {}
            (Outcome::ServerError | Outcome::GatewayFailure | Outcome::Unreachable, latency) => {
                own.observe_failure(now, latency, typical.micros());
            }
            // A refusal takes less time than an answer, and whoever went away has not had one: the latency is at least this.
            (Outcome::Refused | Outcome::Unknown, latency) => {
                let waited = latency.unwrap_or_else(|| now.saturating_duration_since(began));
                own.observe_at_least(now, waited, typical.micros());
            }
        }
        self.typical.set(typical);
        member.known.latency.set(own);
    }
}
