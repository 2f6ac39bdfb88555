//! Whether what bounds retries, ejections, requests and connections was kept at every time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use weft_mesh::budget::BudgetPolicy;

use super::instance::Trouble;
use super::journal::Records;
use super::judge::MAX_REQUESTS;
use super::request::{Sent, Service};
use super::schedule::FaultWindow;
use super::watch::Look;

/// Connections to the sidecars of a service, by the policy.
const MAX_CONNECTIONS: usize = 12;
/// A place of the limit is free again before the client has read the end of its answer.
const BEFORE_CLIENT: Duration = Duration::from_millis(100);
/// Requests below which nothing is said of shares.
const ENOUGH: usize = 100;
/// For how long an instance may still be left out after its trouble: the longest ejection, and its probe.
const LEFT_OUT: Duration = Duration::from_secs(6);

/// The greatest values that were seen of one service, beside their bounds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Peaks {
    pub(super) service: &'static str,
    /// Retries in a window of the budget that came closest to the bound, and the bound.
    pub(super) retries: (u64, u64),
    /// Endpoints ejected at once, and how many may be.
    pub(super) ejected: (usize, usize),
    /// Requests at applications at once, and how many may be in flight.
    pub(super) requests: (u32, u32),
    pub(super) connections: (usize, usize),
    /// Of the requests that applications had begun while one of them failed everything, how many that one had, and how many
    /// would have been its equal part.
    pub(super) failing: (usize, usize),
}

/// What all of a run is looked at for.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) sent: &'a [Sent],
    pub(super) records: &'a Records,
    pub(super) looks: &'a [Look],
    pub(super) windows: &'a [FaultWindow],
    pub(super) instances: usize,
}

impl Peaks {
    /// Looks for the peaks of a service.
    pub(super) fn find(service: Service, seen: Seen<'_>) -> Self {
        let Seen { sent, records, looks, .. } = seen;
        let of_service = || sent.iter().filter(move |sent| sent.kind.service == service);
        let mut times: Vec<_> = of_service().map(|sent| sent.at).collect();
        times.sort_unstable();
        let connections = looks.iter().map(|look| look.services[service as usize].connections);
        Self {
            service: service.name(),
            retries: retries(service, &times, looks),
            ejected: ejected(service, looks),
            requests: (overlap(of_service(), records), MAX_REQUESTS),
            connections: (connections.max().unwrap_or_default(), MAX_CONNECTIONS),
            failing: failing(service, seen),
        }
    }

    /// What was not kept.
    pub(super) fn faults(&self) -> Vec<String> {
        let kept = [
            ("retries", self.retries.0 <= self.retries.1, format!("{:?}", self.retries)),
            ("ejected endpoints", self.ejected.0 <= self.ejected.1, format!("{:?}", self.ejected)),
            ("requests in flight", self.requests.0 <= self.requests.1, format!("{:?}", self.requests)),
            ("connections", self.connections.0 <= self.connections.1, format!("{:?}", self.connections)),
            (
                "requests at an instance that fails everything",
                self.failing.0 <= self.failing.1,
                format!("{:?}", self.failing),
            ),
        ];
        let broken = kept.into_iter().filter(|(_, is_kept, _)| !is_kept);
        broken.map(|(what, _, found)| format!("{what} of {}: {found}", self.service)).collect()
    }
}

/// The budget of a service, by its policy: the default, and one that is soon spent.
fn budget(service: Service) -> BudgetPolicy {
    match service {
        Service::Http1 | Service::Grpc | Service::Reads => BudgetPolicy::default(),
        Service::Http2 => BudgetPolicy { ratio: 0.02, min_per_second: 1.0, ..BudgetPolicy::default() },
    }
}

/// The retries of the window in which most of the budget was used. Each retry was either one of the few that each second
/// always has, or kept the retries of the ten seconds before it below their part of the requests of these.
fn retries(service: Service, requests: &[Duration], looks: &[Look]) -> (u64, u64) {
    let policy = budget(service);
    // Whole seconds of the proxy's clock: a window may be one longer than by ours.
    let window = policy.window + Duration::from_secs(1);
    let until = |at: Duration| requests.partition_point(|sent| *sent <= at);
    let in_window = |at: Duration| until(at) - until(at.saturating_sub(window));
    let floor = policy.min_per_second * window.as_secs_f64();
    let mut closest = (0, floor as u64);
    let mut share = 0.0;
    let mut first = 0;
    for (last, look) in looks.iter().enumerate() {
        while look.at.saturating_sub(looks[first].at) > policy.window {
            first += 1;
        }
        let most = looks[first..=last].iter().map(|look| in_window(look.at)).max().unwrap_or_default();
        let bound = (policy.ratio * most as f64 + floor) as u64;
        let at = service as usize;
        let made = look.services[at].retries - looks[first].services[at].retries;
        let used = made as f64 / bound as f64;
        if used > share {
            (share, closest) = (used, (made, bound));
        }
    }
    closest
}

/// The most endpoints that were ejected at once. What was looked at while endpoints came and went counts only if it
/// stayed so until the next look: which endpoints there are and which are ejected is not told at the same instant.
fn ejected(service: Service, looks: &[Look]) -> (usize, usize) {
    // By how much the cap is exceeded decides, then how many there are.
    let order = |peak: &(usize, usize)| (peak.0.saturating_sub(peak.1), peak.0);
    let mut peak = (0, 0);
    for pair in looks.windows(2) {
        let [one, two] = [&pair[0], &pair[1]].map(|look| look.services[service as usize]);
        // Those that take no connection are ejected beyond the share that may be. As at most half are in trouble, and others
        // may still wait for their probes, what is left is that somebody is asked.
        let most = one.endpoints.max(two.endpoints).saturating_sub(1);
        let ejected = one.ejected.min(two.ejected);
        peak = std::cmp::max_by_key(peak, (ejected, most), order);
    }
    peak
}

/// The window in which an instance that fails everything had the most of its service's requests: how many, and how many would
/// have been its equal part among the instances that were well.
fn failing(service: Service, seen: Seen<'_>) -> (usize, usize) {
    let of_service = seen.sent.iter().filter(|sent| sent.kind.service == service);
    let begun: Vec<_> = of_service.filter_map(|sent| seen.records.get(&sent.number)).flatten().collect();
    let fails = |window: &&FaultWindow| matches!(window.trouble, Trouble::Failing | Trouble::HalfDead);
    let mut closest = (0, 0);
    for window in seen.windows.iter().filter(fails) {
        let others =
            seen.windows.iter().filter(|other| other.from < window.to && window.from < other.to + LEFT_OUT);
        let troubled: std::collections::BTreeSet<_> = others.map(|other| other.instance).collect();
        let during = begun.iter().filter(|(_, begun)| (window.from..window.to).contains(&begun.at));
        let (all, own) =
            during.fold((0, 0), |(all, own), (by, _)| (all + 1, own + usize::from(*by == window.instance)));
        let part = all / (seen.instances + 1 - troubled.len()).max(1);
        if all >= ENOUGH && own * closest.1.max(1) >= closest.0 * part {
            closest = (own, part);
        }
    }
    closest
}

/// The most requests that were surely in flight at once: begun by an application, and neither answered by it nor given up.
fn overlap<'a>(sent: impl Iterator<Item = &'a Sent>, records: &Records) -> u32 {
    let mut changes: BTreeMap<(Duration, bool), u32> = BTreeMap::new();
    for request in sent {
        let Some(begun) = records.get(&request.number) else { continue };
        let Some(from) = begun.iter().map(|(_, begun)| begun.at).min() else { continue };
        let answering = begun.iter().map(|(_, begun)| begun.answering.unwrap_or(Duration::MAX)).max();
        let to = answering.unwrap_or(Duration::MAX).min(request.ended.saturating_sub(BEFORE_CLIENT));
        if from < to {
            *changes.entry((from, true)).or_default() += 1;
            *changes.entry((to, false)).or_default() += 1;
        }
    }
    let (mut now, mut most) = (0_u32, 0);
    // At the same time, ends come first.
    for ((_, begins), count) in changes {
        now = if begins { now + count } else { now.saturating_sub(count) };
        most = most.max(now);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::journal::Begun;
    use crate::chaos::request::{Call, Kind, Outcome};
    use crate::chaos::watch::OfService;

    const SERVICE: Service = Service::Http1;

    fn look(at: u64, retries: u64, ejected: usize) -> Look {
        let of = OfService { retries, endpoints: 6, ejected, connections: 6 };
        Look { at: Duration::from_secs(at), over_budget: 0, ejections: 0, services: [of; Service::COUNT] }
    }

    #[test]
    fn retries_are_compared_with_the_requests_of_the_seconds_before_them() {
        let requests: Vec<_> = (0..400_u64).map(|tenth| Duration::from_millis(tenth * 100)).collect();
        let (made, bound) = retries(SERVICE, &requests, &[look(10, 0, 0), look(15, 40, 0), look(30, 41, 0)]);
        assert_eq!((made, bound), (40, 55));
    }

    #[test]
    fn what_is_ejected_counts_when_it_stays() {
        assert_eq!(ejected(SERVICE, &[look(0, 0, 1), look(1, 0, 4), look(2, 0, 3)]), (3, 5));
        assert_eq!(ejected(SERVICE, &[look(0, 0, 6), look(1, 0, 6), look(2, 0, 0)]), (6, 5));
    }

    #[test]
    fn requests_overlap_from_their_beginning_to_their_answer() {
        let kind = Kind { service: SERVICE, call: Call::Get };
        let millis = Duration::from_millis;
        let outcome = Outcome::Answered(String::new());
        let request = |number, ended| {
            let outcome = outcome.clone();
            Sent { number, kind, at: millis(0), ended: millis(ended), status: Some(200), outcome }
        };
        let begun = |at, answering: Option<u64>| {
            vec![(0, Begun { at: millis(at), answering: answering.map(millis) })]
        };
        let records =
            Records::from([(1, begun(10, Some(50))), (2, begun(40, None)), (3, begun(50, Some(60)))]);
        let sent = [request(1, 300), request(2, 500), request(3, 400)];
        assert_eq!(overlap(sent.iter(), &records), 2);
        assert_eq!(overlap([request(1, 100)].iter(), &records), 0, "given up before");
    }
    #[test]
    fn whoever_fails_everything_is_compared_with_its_equal_part() {
        let seconds = Duration::from_secs;
        let window =
            |instance, trouble| FaultWindow { instance, trouble, from: seconds(10), to: seconds(20) };
        let windows = [window(0, Trouble::Failing), window(1, Trouble::Killed)];
        let kind = Kind { service: SERVICE, call: Call::Get };
        let outcome = Outcome::Failed(String::new());
        // One after the other.
        let at = |number| Duration::from_millis(10_500 + 30 * number);
        let sent = |number| {
            let (at, ended, outcome) = (at(number), at(number + 1), outcome.clone());
            Sent { number, kind, at, ended, status: Some(500), outcome }
        };
        let sent: Vec<_> = (0..300).map(sent).collect();
        let found = |own: u64| {
            let by = |number| if number < own { 0 } else { 2 + (number % 2) as usize };
            let begun = |number| vec![(by(number), Begun { at: at(number), answering: None })];
            let records: Records = (0..300).map(|number| (number, begun(number))).collect();
            let seen = Seen { sent: &sent, records: &records, looks: &[], windows: &windows, instances: 4 };
            Peaks::find(SERVICE, seen)
        };
        assert_eq!(found(20).failing, (20, 100));
        assert!(found(20).faults().is_empty());
        assert_eq!(found(200).faults().len(), 1);
    }
}
