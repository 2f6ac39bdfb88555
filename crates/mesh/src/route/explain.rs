//! Why a request met the rule that it met.

use std::cmp::Reverse;
use std::sync::Arc;

use super::host::Host;
use super::table::Candidate;
use super::{HttpRule, Mismatch, RequestParts, ResourceRef, RouteTable};

/// One match of one rule, and what became of it.
#[derive(Debug)]
pub struct Considered<'a, B> {
    /// The route.
    pub route: &'a ResourceRef,
    /// The rule.
    pub rule: &'a Arc<HttpRule<B>>,
    /// Position of the rule in its route.
    pub rule_index: usize,
    /// Position of the match in its rule.
    pub match_index: usize,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request met it.
    Taken,
    /// It matches too, but something of higher precedence was taken.
    Outranked,
    /// It matches too, but what was taken takes all that it would: no request ever meets it.
    Shadowed,
    /// None of the route's hostnames is the request's.
    Hostname,
    /// A condition does not hold.
    Mismatch(Mismatch),
}

impl<B> RouteTable<B> {
    /// Every match in order of precedence for this request, with what became of it. It asks the same conditions as
    /// [`RouteTable::find`], one after another.
    pub fn explain(&self, request: &RequestParts<'_>) -> Vec<Considered<'_, B>> {
        let path = self.path_of(request);
        let request = &RequestParts { path: &path, ..*request };
        let host = Host::new(request.host);
        let mut ordered: Vec<_> =
            self.candidates.iter().map(|candidate| (candidate, self.host_rank(candidate, &host))).collect();
        // Stable: equals stay in the order of routes, rules and matches. What misses the hostname comes last.
        ordered.sort_by_key(|(candidate, host_rank)| {
            (host_rank.is_none(), *host_rank, candidate.conditions.rank())
        });
        let mut taken: Option<&Candidate> = None;
        let verdicts = ordered.into_iter().map(|(candidate, host_rank)| {
            let verdict = match (host_rank, candidate.conditions.check(request)) {
                (None, _) => Verdict::Hostname,
                (_, Err(mismatch)) => Verdict::Mismatch(mismatch),
                (_, Ok(())) => match taken {
                    Some(taken) if self.shadows(taken, candidate) => Verdict::Shadowed,
                    Some(_) => Verdict::Outranked,
                    None => {
                        taken = Some(candidate);
                        Verdict::Taken
                    }
                },
            };
            (candidate, verdict)
        });
        verdicts.filter_map(|(candidate, verdict)| self.considered(candidate, verdict)).collect()
    }

    /// Whether one match, which goes before another, takes all that the other would.
    fn shadows(&self, one: &Candidate, other: &Candidate) -> bool {
        let hostnames = |candidate: &Candidate| Some(&self.routes.get(candidate.route as usize)?.hostnames);
        let order = |candidate: &Candidate| (candidate.route, candidate.rule, candidate.index);
        hostnames(one) == hostnames(other)
            && one.conditions.shadows(&other.conditions, order(one) < order(other))
    }

    /// The precedence of the best hostname of a candidate's route; `None` if none is the request's.
    fn host_rank(&self, candidate: &Candidate, host: &Host) -> Option<(bool, bool, Reverse<usize>)> {
        let hostnames = &self.routes.get(candidate.route as usize)?.hostnames;
        if hostnames.is_empty() {
            return Some((true, true, Reverse(0)));
        }
        let matching = hostnames.iter().filter(|pattern| pattern.matches(host.as_str()));
        let rank = matching.map(super::HostPattern::rank).min();
        rank.map(|(wildcard, length)| (false, wildcard, length))
    }

    fn considered<'a>(&'a self, candidate: &'a Candidate, verdict: Verdict) -> Option<Considered<'a, B>> {
        let found = self.rule_ref(candidate)?;
        Some(Considered {
            route: found.route,
            rule: found.rule,
            rule_index: found.rule_index,
            match_index: candidate.index as usize,
            verdict,
        })
    }
}
