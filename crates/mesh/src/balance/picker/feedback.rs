//! Learning from what became of choices.

use std::time::{Duration, Instant};

use super::{Picked, Picker};
use crate::balance::member::Member;
use crate::outlier::{Change, Outcome};

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
        let may_eject = self.ejected < self.policy.outlier.most_ejected(self.members.len());
        let change = {
            let mut breaker = picked.member.known.breaker.borrow_mut();
            breaker.ended(now, outcome, picked.probe_number, may_eject, &self.policy.outlier, random)
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
            }
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
            (Outcome::GatewayFailure | Outcome::Unreachable, latency) => {
                own.observe_failure(now, latency, typical.micros());
            }
            // Whoever went away waited this long for nothing: the latency is at least that.
            (Outcome::Unknown, _) => {
                let waited = now.saturating_duration_since(began);
                own.observe_at_least(now, waited, typical.micros());
            }
        }
        self.typical.set(typical);
        member.known.latency.set(own);
    }
}
