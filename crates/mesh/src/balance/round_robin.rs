//! Weighted round robin.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

use super::member::Member;
use crate::hash::{combine, unit};

/// The time between two turns of an endpoint of weight 1.
const ROUND: f64 = (1_u64 << 32) as f64;

/// Whose turn is next: each endpoint has a time at which its turn comes, and moves by a step that is the shorter the
/// heavier it is (earliest deadline first). Equal weights give an exact rotation.
#[derive(Debug, Default)]
pub(super) struct RoundRobin {
    queue: BinaryHeap<Reverse<(u64, u32)>>,
}

impl RoundRobin {
    /// Takes over a set. Those known keep their turns; others start somewhere in their first step, each picker
    /// elsewhere by its `seed`, so that proxies that start together don't all begin with the same endpoint.
    pub(super) fn new(members: &[(u32, Rc<Member>)], seed: u64) -> Self {
        let known = members.iter().filter_map(|(_, member)| member.known.turn.get());
        let start = known.min().unwrap_or(0);
        let entry = |(position, member): &(u32, Rc<Member>)| {
            let fresh = || start + (step(member, 1.0) as f64 * unit(combine(seed, member.key()))) as u64;
            let turn = member.known.turn.get().unwrap_or_else(fresh);
            member.known.turn.set(Some(turn));
            Reverse((turn, *position))
        };
        Self { queue: members.iter().map(entry).collect() }
    }

    /// The first in turn that `usable` takes; those it refuses have had their turn. `grown` is the part of its weight
    /// that an endpoint has.
    pub(super) fn next<'a>(
        &mut self,
        member: impl Fn(u32) -> Option<&'a Rc<Member>>,
        grown: impl Fn(&Member) -> f64,
        mut usable: impl FnMut(&Member) -> bool,
    ) -> Option<u32> {
        // Put back at the end: a heavy one would come again before the others have been asked.
        let mut asked = Vec::new();
        let found = loop {
            let Some(Reverse((turn, position))) = self.queue.pop() else { break None };
            let Some(member) = member(position) else { continue };
            let next = turn.saturating_add(step(member, grown(member)));
            member.known.turn.set(Some(next));
            asked.push(Reverse((next, position)));
            if usable(member) {
                break Some(position);
            }
        };
        self.queue.extend(asked);
        found
    }
}

fn step(member: &Member, grown: f64) -> u64 {
    (ROUND / (f64::from(member.endpoint().weight.max(1)) * grown)) as u64
}
