//! Behaviour of pickers.

mod simulation;
mod unknown;

use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::hash::Draws;
use crate::outcome::Outcome;

pub(super) fn endpoint(id: usize) -> Endpoint {
    Endpoint {
        id: format!("e{id}").into(),
        address: SocketAddr::from(([127, 0, 0, 1], 1000 + id as u16)),
        identities: Arc::new([]),
        hop: TunnelProtocol::Plain,
        weight: 1,
        health: Health::Ready,
        locality: Locality::default(),
        workload: format!("w{id}").into(),
        own: false,
        version: "".into(),
    }
}

pub(super) fn locality(region: &str, zone: &str) -> Locality {
    Locality { region: region.into(), zone: zone.into() }
}

pub(super) fn set(endpoints: impl IntoIterator<Item = Endpoint>) -> EndpointSet {
    EndpointSet::new(endpoints.into_iter().map(Arc::new))
}

fn with(algorithm: Algorithm, endpoints: impl IntoIterator<Item = Endpoint>, now: Instant) -> Picker {
    let mut picker = Picker::new(BalancePolicy { algorithm, ..BalancePolicy::default() });
    picker.update(&set(endpoints), now);
    picker
}

pub(super) fn number(picked: &Picked) -> usize {
    picked.member.endpoint().id[1..].parse().unwrap()
}

/// Picks and ends at once, with this latency for each endpoint; counts how often each was chosen.
fn shares(picker: &mut Picker, now: Instant, times: usize, millis: impl Fn(usize) -> u64) -> Vec<usize> {
    let mut counts = vec![0; picker.members().len()];
    let mut draws = Draws::new(11);
    for _ in 0..times {
        let chosen = picker.pick(now, draws.next(), &[]).unwrap();
        counts[number(&chosen)] += 1;
        let latency = Duration::from_millis(millis(number(&chosen)));
        picker.ended(&chosen, now, Outcome::Success, Some(latency), 0);
    }
    counts
}

fn fail(picker: &mut Picker, now: Instant, victim: usize) {
    let others: Vec<Arc<str>> =
        picker.members().iter().map(|member| Arc::clone(&member.endpoint().id)).collect();
    let others: Vec<Arc<str>> = others.into_iter().filter(|id| **id != *format!("e{victim}")).collect();
    for _ in 0..5 {
        let chosen = picker.pick(now, 0, &others).unwrap();
        assert_eq!(number(&chosen), victim);
        picker.ended(&chosen, now, Outcome::GatewayFailure, None, u64::MAX / 2);
    }
}

const ALL: [Algorithm; 6] = [
    Algorithm::PeakEwma,
    Algorithm::LeastRequest,
    Algorithm::RoundRobin,
    Algorithm::Random,
    Algorithm::RingHash,
    Algorithm::Maglev,
];

#[test]
fn the_slower_of_two_gets_few_requests() {
    let now = Instant::now();
    let mut picker = with(Algorithm::PeakEwma, (0..2).map(endpoint), now);
    let counts = shares(&mut picker, now, 1000, |number| if number == 0 { 1 } else { 50 });
    assert!(counts[0] > 900 && counts[1] > 0, "{counts:?}");
}

#[test]
fn a_hair_of_difference_does_not_starve_an_endpoint() {
    let now = Instant::now();
    let mut picker = with(Algorithm::PeakEwma, (0..3).map(endpoint), now);
    let counts = shares(&mut picker, now, 3000, |number| 100 + number as u64);
    assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
}

#[test]
fn among_equals_requests_are_shared_by_weight() {
    let now = Instant::now();
    for algorithm in ALL {
        let weighted = [1, 2, 7].into_iter().enumerate();
        let endpoints = weighted.map(|(id, weight)| Endpoint { weight, ..endpoint(id) });
        let mut picker = with(algorithm, endpoints, now);
        let counts = shares(&mut picker, now, 10_000, |_| 5);
        for (count, expected) in counts.iter().zip([1000.0, 2000.0, 7000.0]) {
            assert!((*count as f64 - expected).abs() < 160.0, "{algorithm:?} {counts:?}");
        }
    }
}

#[test]
fn under_load_outstanding_requests_follow_the_weights() {
    let now = Instant::now();
    for algorithm in [Algorithm::PeakEwma, Algorithm::LeastRequest] {
        let endpoints = (0..3).map(|id| Endpoint { weight: [1, 1, 2][id], ..endpoint(id) });
        let mut picker = with(algorithm, endpoints, now);
        let mut draws = Draws::new(2);
        let held: Vec<Picked> = (0..400).map(|_| picker.pick(now, draws.next(), &[]).unwrap()).collect();
        let in_flight: Vec<u32> = picker.members().iter().map(|member| member.in_flight()).collect();
        assert!(
            in_flight.iter().zip([100, 100, 200]).all(|(is, should)| is.abs_diff(should) < 20),
            "{in_flight:?}"
        );
        for chosen in held {
            picker.ended(&chosen, now, Outcome::Success, None, 0);
        }
        assert!(picker.members().iter().all(|member| member.in_flight() == 0));
    }
}

#[test]
fn what_an_endpoint_reports_of_itself_counts_for_a_second() {
    let now = Instant::now();
    let mut picker = with(Algorithm::PeakEwma, (0..2).map(endpoint), now);
    picker.members()[0].report(now, 100);
    picker.members()[1].report(now, 0);
    let counts = shares(&mut picker, now, 100, |_| 1);
    assert_eq!(counts, [0, 100]);
    let counts = shares(&mut picker, now + Duration::from_secs(1), 1000, |_| 1);
    assert!(counts[0] > 300, "{counts:?}");
}

#[test]
fn an_endpoint_without_a_report_is_taken_to_be_as_busy_as_the_others() {
    let now = Instant::now();
    let mut picker = with(Algorithm::LeastRequest, (0..3).map(endpoint), now);
    picker.members()[0].report(now, 50);
    picker.members()[1].report(now, 50);
    let mut draws = Draws::new(5);
    let held: Vec<Picked> = (0..90).map(|_| picker.pick(now, draws.next(), &[]).unwrap()).collect();
    let silent = held.iter().filter(|chosen| number(chosen) == 2).count();
    assert!(silent < 70, "{silent}");
}

#[test]
fn reported_latency_counts_where_it_is_worse_than_what_the_caller_saw() {
    let now = Instant::now();
    let mut picker = with(Algorithm::PeakEwma, (0..2).map(endpoint), now);
    for member in picker.members() {
        member.report(now, 0);
    }
    picker.members()[0].report_latency(Duration::from_millis(900));
    assert!(shares(&mut picker, now, 200, |_| 1)[0] < 5);
}

#[test]
fn draining_and_unready_endpoints_get_nothing() {
    let now = Instant::now();
    for algorithm in ALL {
        let draining = Endpoint { health: Health::Draining, ..endpoint(0) };
        let unready = Endpoint { health: Health::NotReady, ..endpoint(1) };
        let weightless = Endpoint { weight: 0, ..endpoint(2) };
        let mut picker = with(algorithm, [draining.clone(), unready.clone(), weightless, endpoint(3)], now);
        assert_eq!(shares(&mut picker, now, 50, |_| 1), [0, 0, 0, 50]);
        let key = PickContext { key: Some(5), session: Some(draining.key()), ..PickContext::default() };
        assert_eq!(number(&picker.pick_for(now, 0, &key).unwrap()), 3);
        picker.update(&set([draining, unready]), now);
        assert_eq!(picker.pick(now, 0, &[]).err(), Some(NoEndpoint::NotReady));
        picker.update(&set([]), now);
        assert_eq!(picker.pick(now, 0, &[]).err(), Some(NoEndpoint::None));
    }
}

#[test]
fn what_was_tried_is_tried_again_only_if_there_is_nothing_else() {
    let now = Instant::now();
    for algorithm in ALL {
        let mut picker = with(algorithm, (0..2).map(endpoint), now);
        for random in 0..20 {
            let one: [Arc<str>; 1] = ["e0".into()];
            assert_eq!(number(&picker.pick(now, random, &one).unwrap()), 1, "{algorithm:?}");
            let both: [Arc<str>; 2] = ["e0".into(), "e1".into()];
            assert!(picker.pick(now, random, &both).is_ok(), "{algorithm:?}");
        }
    }
}

#[test]
fn an_ejected_endpoint_is_left_out_and_one_probe_brings_it_back() {
    let now = Instant::now();
    for algorithm in ALL {
        let mut picker = with(algorithm, (0..2).map(endpoint), now);
        fail(&mut picker, now, 0);
        assert_eq!((picker.ejections(), picker.ejected()), (1, 1));
        assert_eq!(shares(&mut picker, now, 50, |_| 1), [0, 50], "{algorithm:?}");
        let later = now + Duration::from_secs(2);
        let held: Vec<Picked> = (0..40).map(|random| picker.pick(later, random, &[]).unwrap()).collect();
        let probes: Vec<&Picked> = held.iter().filter(|chosen| chosen.probe).collect();
        assert_eq!(probes.len(), 1, "{algorithm:?}");
        assert_eq!(held.iter().filter(|chosen| number(chosen) == 0).count(), 1, "{algorithm:?}");
        picker.ended(probes[0], later, Outcome::Success, Some(Duration::from_millis(1)), 0);
        assert_eq!((picker.ejected(), picker.members()[0].is_ejected()), (0, false));
    }
}

#[test]
fn a_verdict_at_the_head_of_the_answer_counts_at_once_and_once() {
    let now = Instant::now();
    let mut picker = with(Algorithm::PeakEwma, (0..2).map(endpoint), now);
    fail(&mut picker, now, 0);
    let later = now + Duration::from_secs(2);
    let probe =
        (0..100).map(|random| picker.pick(later, random, &[]).unwrap()).find(|chosen| chosen.probe).unwrap();
    picker.answered(&probe, later, Outcome::Success, Some(Duration::from_millis(1)), 0);
    assert_eq!(picker.ejected(), 0);
    picker.ended(&probe, later, Outcome::GatewayFailure, None, 0);
    assert!(!picker.members()[0].is_ejected());
}

/// A picker of which all endpoints are ejected, one after the other, a millisecond apart.
fn all_ejected(endpoints: usize, now: &mut Instant) -> Picker {
    let mut picker = with(Algorithm::PeakEwma, (0..endpoints).map(endpoint), *now);
    let mut tried: Vec<Arc<str>> = Vec::new();
    for _ in 0..endpoints {
        *now += Duration::from_millis(1);
        let chosen = picker.pick(*now, 0, &tried).unwrap();
        tried.push(Arc::clone(&chosen.member.endpoint().id));
        picker.ended(&chosen, *now, Outcome::Unreachable, None, 0);
    }
    assert_eq!(picker.ejected(), endpoints);
    picker
}

#[test]
fn when_all_are_ejected_they_are_asked_in_turn_the_least_recently_failed_first() {
    for algorithm in ALL {
        let mut now = Instant::now();
        let mut picker = all_ejected(4, &mut now);
        picker.set_policy(BalancePolicy { algorithm, ..BalancePolicy::default() });
        let mut order = Vec::new();
        for random in 0..8 {
            now += Duration::from_millis(1);
            let chosen = picker
                .pick_for(now, random, &PickContext { key: Some(7), ..PickContext::default() })
                .unwrap();
            order.push(number(&chosen));
            picker.ended(&chosen, now, Outcome::Unreachable, None, 0);
        }
        assert_eq!(order[..4], order[4..], "{algorithm:?}");
        order.sort_unstable();
        assert_eq!(order, [0, 0, 1, 1, 2, 2, 3, 3]);
        // What waits for an answer makes nobody else wait for the same one.
        let held: Vec<Picked> = (0..4).map(|random| picker.pick(now, random, &[]).unwrap()).collect();
        let mut asked: Vec<usize> = held.iter().map(number).collect();
        asked.sort_unstable();
        assert_eq!(asked, [0, 1, 2, 3], "{algorithm:?}");
    }
}

#[test]
fn who_answers_when_all_are_ejected_is_back_and_the_others_are_probed_at_once() {
    let mut now = Instant::now();
    let mut picker = all_ejected(4, &mut now);
    let chosen = picker.pick(now, 0, &[]).unwrap();
    picker.ended(&chosen, now, Outcome::Success, Some(Duration::from_millis(1)), 0);
    assert_eq!(picker.ejected(), 3);
    let back = number(&chosen);
    let held: Vec<Picked> = (0..200).map(|random| picker.pick(now, random, &[]).unwrap()).collect();
    for id in 0..4 {
        let asked = held.iter().filter(|chosen| number(chosen) == id).count();
        assert!(if id == back { asked > 100 } else { asked == 1 }, "{id}: {asked}");
    }
}

#[test]
fn those_that_take_no_connection_are_ejected_beyond_the_share_that_may_be() {
    let now = Instant::now();
    let mut picker = with(Algorithm::PeakEwma, (0..4).map(endpoint), now);
    let mut tried: Vec<Arc<str>> = Vec::new();
    for ejected in 1..=3 {
        let chosen = picker.pick(now, 0, &tried).unwrap();
        tried.push(Arc::clone(&chosen.member.endpoint().id));
        picker.ended(&chosen, now, Outcome::Unreachable, None, 0);
        assert_eq!((picker.ejected(), picker.has_untried(&tried)), (ejected, true));
    }
    // The last one is kept although it fails: whatever it answers is more than the others do.
    let last: Vec<usize> = (0..50)
        .map(|random| {
            let chosen = picker.pick(now, random, &[]).unwrap();
            picker.ended(&chosen, now, Outcome::ServerError, None, 0);
            number(&chosen)
        })
        .collect();
    assert!(last.iter().all(|id| *id == last[0]), "{last:?}");
    assert_eq!(picker.ejected(), 3);
    assert!(
        !picker.has_untried(
            &picker.members().iter().map(|it| Arc::clone(&it.endpoint().id)).collect::<Vec<_>>()
        )
    );
}

#[test]
fn an_endpoint_that_refused_twice_gives_way_to_an_ejected_one() {
    let now = Instant::now();
    for algorithm in ALL {
        let mut picker = with(algorithm, (0..2).map(endpoint), now);
        fail(&mut picker, now, 0);
        let open: Arc<str> = "e1".into();
        for (tried, expected) in [(0, 1), (1, 1), (2, 0)] {
            let tried = vec![Arc::clone(&open); tried];
            let chosen = picker.pick(now, 0, &tried).unwrap();
            assert_eq!(number(&chosen), expected, "{algorithm:?} after {}", tried.len());
            picker.ended(&chosen, now, Outcome::Unknown, None, 0);
        }
        let both = [Arc::clone(&open), Arc::clone(&open), "e0".into()];
        assert_eq!(number(&picker.pick(now, 0, &both).unwrap()), 1, "{algorithm:?}");
    }
}

#[test]
fn an_endpoint_that_fails_fast_gets_next_to_nothing() {
    for outcome in [Outcome::ServerError, Outcome::GatewayFailure, Outcome::Refused] {
        let mut now = Instant::now();
        let outlier = OutlierPolicy { enabled: false, ..OutlierPolicy::default() };
        let mut picker = Picker::new(BalancePolicy { outlier, ..BalancePolicy::default() });
        picker.update(&set((0..2).map(endpoint)), now);
        let (mut draws, mut failing) = (Draws::new(3), 0);
        for _ in 0..2000 {
            now += Duration::from_millis(10);
            let chosen = picker.pick(now, draws.next(), &[]).unwrap();
            let (outcome, micros) =
                if number(&chosen) == 0 { (outcome, 100) } else { (Outcome::Success, 20_000) };
            failing += usize::from(number(&chosen) == 0);
            picker.ended(&chosen, now, outcome, Some(Duration::from_micros(micros)), 0);
        }
        match outcome {
            Outcome::Refused => assert!(failing < 1200, "no more than its share: {failing}"),
            _ => assert!(failing < 20, "{outcome:?}: {failing}"),
        }
    }
}

#[test]
fn requests_one_after_the_other_are_shared_by_equal_endpoints() {
    for (endpoints, seed) in [(2, 1), (2, 2), (3, 3), (3, 4), (5, 5)] {
        let mut now = Instant::now();
        let mut picker = with(Algorithm::PeakEwma, (0..endpoints).map(endpoint), now);
        let (mut draws, mut counts) = (Draws::new(seed), vec![0; endpoints]);
        for _ in 0..200 {
            let chosen = picker.pick(now, draws.next(), &[]).unwrap();
            // The first answer takes as long as the handshake and whatever the application makes ready.
            let first = if counts[number(&chosen)] == 0 { 5.0 + 5.0 * draws.unit() } else { 0.0 };
            let latency = Duration::from_secs_f64((0.5 + draws.unit() + first) / 1000.0);
            counts[number(&chosen)] += 1;
            now += latency;
            // Of what is in flight, this request is the one.
            chosen.member.report(now, 1);
            picker.ended(&chosen, now, Outcome::Success, Some(latency), 0);
        }
        let even = 200 / endpoints;
        assert!(counts.iter().all(|count| (even / 2..even * 2).contains(count)), "{counts:?}");
    }
}

#[test]
fn an_idle_endpoint_of_a_few_is_found() {
    let now = Instant::now();
    for algorithm in [Algorithm::PeakEwma, Algorithm::LeastRequest] {
        for endpoints in [2, 3, 5, 16] {
            let mut picker = with(algorithm, (0..endpoints).map(endpoint), now);
            let mut draws = Draws::new(7);
            for _ in 0..50 {
                let held: Vec<Picked> =
                    (0..endpoints).map(|_| picker.pick(now, draws.next(), &[]).unwrap()).collect();
                assert!(picker.members().iter().all(|member| member.in_flight() == 1), "{algorithm:?}");
                for chosen in held {
                    picker.ended(&chosen, now, Outcome::Success, Some(Duration::from_millis(5)), 0);
                }
            }
        }
    }
}

#[test]
fn a_set_that_shrinks_brings_ejected_endpoints_back() {
    let now = Instant::now();
    let mut picker = with(Algorithm::PeakEwma, (0..4).map(endpoint), now);
    fail(&mut picker, now, 0);
    fail(&mut picker, now, 1);
    picker.update(&set((0..3).map(endpoint)), now);
    assert_eq!(picker.ejected(), 1);
    picker.set_policy(BalancePolicy {
        outlier: OutlierPolicy { enabled: false, ..OutlierPolicy::default() },
        ..BalancePolicy::default()
    });
    picker.pick(now, 0, &[]).unwrap();
    assert_eq!(picker.ejected(), 0);
}

#[test]
fn round_robin_takes_exact_turns_and_goes_on_where_it_was() {
    let now = Instant::now();
    let mut picker = with(Algorithm::RoundRobin, (0..3).map(endpoint), now);
    assert_eq!(shares(&mut picker, now, 300, |_| 1), [100, 100, 100]);
    let mut order: Vec<usize> = (0..2).map(|_| number(&picker.pick(now, 0, &[]).unwrap())).collect();
    picker.update(&set((0..3).map(|id| Endpoint { version: "2".into(), ..endpoint(id) })), now);
    order.push(number(&picker.pick(now, 0, &[]).unwrap()));
    order.sort_unstable();
    assert_eq!(order, [0, 1, 2]);
}

#[test]
fn a_key_stays_with_its_endpoint_while_others_come_and_go() {
    let now = Instant::now();
    for algorithm in [Algorithm::RingHash, Algorithm::Maglev] {
        let mut picker = with(algorithm, (0..5).map(endpoint), now);
        let wish = |key| PickContext { key: Some(stable_hash(&[key])), ..PickContext::default() };
        let before: Vec<usize> =
            (0..100).map(|key| number(&picker.pick_for(now, u64::from(key), &wish(key)).unwrap())).collect();
        picker.update(&set((0..6).map(endpoint)), now);
        let after =
            (0..100).map(|key| number(&picker.pick_for(now, u64::from(key) + 1, &wish(key)).unwrap()));
        let moved = before.iter().zip(after).filter(|(from, to)| **from != *to).count();
        assert!(moved < 40, "{algorithm:?}: {moved}");
    }
}

#[test]
fn a_session_keeps_its_endpoint_unless_it_is_ejected() {
    let now = Instant::now();
    let mut picker = with(Algorithm::PeakEwma, (0..4).map(endpoint), now);
    let session = PickContext { session: Some(endpoint(2).key()), ..PickContext::default() };
    assert!((0..20).all(|random| number(&picker.pick_for(now, random, &session).unwrap()) == 2));
    fail(&mut picker, now, 2);
    assert!((0..20).all(|random| number(&picker.pick_for(now, random, &session).unwrap()) != 2));
}

#[test]
fn what_is_known_survives_a_change_of_the_set() {
    let now = Instant::now();
    let mut picker = with(Algorithm::PeakEwma, (0..2).map(endpoint), now);
    let chosen = picker.pick(now, 0, &["e1".into()]).unwrap();
    picker.update(&set([Endpoint { weight: 5, ..endpoint(0) }, endpoint(2)]), now);
    assert_eq!(picker.members()[0].in_flight(), 1);
    picker.ended(&chosen, now, Outcome::Success, None, 0);
    assert_eq!(picker.members()[0].in_flight(), 0);
}

#[test]
fn nothing_is_known_of_a_name_that_has_moved_to_another_address() {
    let now = Instant::now();
    let mut picker = with(Algorithm::PeakEwma, (0..2).map(endpoint), now);
    let under_way = picker.pick(now, 0, &["e1".into()]).unwrap();
    fail(&mut picker, now, 0);
    assert!(picker.members()[0].is_ejected());
    let moved = Endpoint { address: SocketAddr::from(([127, 0, 0, 2], 1000)), ..endpoint(0) };
    picker.update(&set([moved, endpoint(1)]), now);
    assert_eq!((picker.ejected(), picker.members()[0].in_flight()), (0, 0));
    picker.ended(&under_way, now, Outcome::GatewayFailure, None, 0);
    assert_eq!((picker.ejected(), picker.members()[0].in_flight()), (0, 0));
}

#[test]
fn the_end_of_a_request_to_an_endpoint_that_is_gone_changes_nothing() {
    let now = Instant::now();
    let mut picker = with(Algorithm::PeakEwma, (0..2).map(endpoint), now);
    let gone = picker.pick(now, 0, &["e1".into()]).unwrap();
    picker.update(&set([endpoint(1)]), now);
    for _ in 0..3 {
        picker.answered(&gone, now, Outcome::GatewayFailure, None, 0);
        picker.ended(&gone, now, Outcome::GatewayFailure, None, 0);
    }
    assert_eq!((picker.ejected(), picker.members()[0].in_flight()), (0, 0));
}

#[test]
fn a_caller_stays_in_its_zone_then_in_its_region() {
    let now = Instant::now();
    let zones = [("r", "a"), ("r", "b"), ("s", "a")];
    let placed = |id: usize| Endpoint { locality: locality(zones[id].0, zones[id].1), ..endpoint(id) };
    let mut picker = with(Algorithm::PeakEwma, (0..3).map(placed), now);
    picker.set_locality(locality("r", "a"));
    assert_eq!(shares(&mut picker, now, 200, |_| 1), [200, 0, 0]);
    picker.update(&set([Endpoint { health: Health::Draining, ..placed(0) }, placed(1), placed(2)]), now);
    assert_eq!(shares(&mut picker, now, 200, |_| 1), [0, 200, 0]);
    picker.update(&set([placed(2)]), now);
    assert_eq!(number(&picker.pick(now, 0, &[]).unwrap()), 2);
}

#[test]
fn a_zone_that_lost_half_of_its_endpoints_spills_in_proportion() {
    let now = Instant::now();
    let placed = |id: usize| Endpoint {
        locality: locality("r", if id < 4 { "a" } else { "b" }),
        health: if id < 2 { Health::NotReady } else { Health::Ready },
        ..endpoint(id)
    };
    let mut picker = with(Algorithm::Random, (0..8).map(placed), now);
    picker.set_locality(locality("r", "a"));
    let counts = shares(&mut picker, now, 10_000, |_| 1);
    let stays: usize = counts[2..4].iter().sum();
    assert!((6_800..7_200).contains(&stays), "{counts:?}");
}

proptest! {
    #[test]
    fn whatever_is_pushed_what_is_known_of_endpoints_stays(
        traffic in prop::collection::vec((any::<u64>(), 0..3_u8, 0..500_u64), 1..60),
        pushes in prop::collection::vec((0..ALL.len(), 1..5_u32, 0..3_u64), 1..10),
    ) {
        let mut now = Instant::now();
        let mut picker = with(Algorithm::PeakEwma, (0..4).map(endpoint), now);
        let mut held = Vec::new();
        for (random, outcome, millis) in traffic {
            now += Duration::from_millis(millis);
            let chosen = picker.pick(now, random, &[]).unwrap();
            let outcome = [Outcome::Success, Outcome::ServerError, Outcome::Unreachable][outcome as usize];
            match random % 4 {
                0 => held.push(chosen),
                _ => picker.ended(&chosen, now, outcome, Some(Duration::from_millis(millis)), random),
            }
        }
        let known = |picker: &Picker| -> Vec<_> {
            let views = picker.views(now);
            views.map(|it| (it.endpoint.id.clone(), it.latency, it.in_flight, it.ejected_until, it.ejected)).collect()
        };
        let before = (known(&picker), picker.ejected(), picker.ejections());
        for (kind, weight, seconds) in pushes {
            picker.set_policy(BalancePolicy {
                algorithm: ALL[kind],
                slow_start: Duration::from_secs(seconds),
                outlier: OutlierPolicy { consecutive_failures: weight, ..OutlierPolicy::default() },
            });
            picker.update(&set((0..4).map(|id| Endpoint { weight, version: "2".into(), ..endpoint(id) })), now);
            prop_assert_eq!(&(known(&picker), picker.ejected(), picker.ejections()), &before);
        }
    }

    #[test]
    fn a_choice_is_always_one_that_may_be_chosen(
        kind in 0..ALL.len(),
        kinds in prop::collection::vec((0..3_u8, 0..3_u32, 0..3_usize), 1..8),
        steps in prop::collection::vec((any::<u64>(), 0..6_u8, 0..500_u64, prop::collection::vec(0..8_usize, 0..3)), 1..80),
    ) {
        let mut now = Instant::now();
        let endpoints = kinds.iter().enumerate().map(|(id, (health, weight, place))| Endpoint {
            health: [Health::Ready, Health::NotReady, Health::Draining][*health as usize],
            weight: *weight,
            locality: [locality("r", "a"), locality("r", "b"), locality("s", "a")][*place].clone(),
            ..endpoint(id)
        });
        let mut picker = with(ALL[kind], endpoints, now);
        picker.set_locality(locality("r", "a"));
        let mut held: Vec<Picked> = Vec::new();
        for (random, outcome, millis, tried) in steps {
            now += Duration::from_millis(millis);
            let tried: Vec<Arc<str>> = tried.iter().map(|id| Arc::clone(&endpoint(*id).id)).collect();
            // Read before the choice, which may begin a probe.
            let usable: Vec<_> = picker.members().iter().filter(|member| member.endpoint().is_usable()).cloned().collect();
            let out = |id: &Arc<str>| tried.contains(id);
            let open = usable.iter().filter(|member| !member.is_ejected()).count();
            let untried_open = usable.iter().filter(|member| !member.is_ejected() && !out(&member.endpoint().id)).count();
            prop_assert_eq!(picker.has_untried(&tried), untried_open > 0);
            let wish = PickContext { tried: &tried, key: (random % 2 == 0).then_some(random), session: None };
            match picker.pick_for(now, random, &wish) {
                Err(_) => prop_assert!(usable.is_empty()),
                Ok(chosen) => {
                    prop_assert!(chosen.member.endpoint().is_usable());
                    let twice = |id: &Arc<str>| tried.iter().filter(|it| *it == id).count() > 1;
                    let open_once = usable.iter().any(|member| !member.is_ejected() && !twice(&member.endpoint().id));
                    prop_assert!(chosen.probe || !chosen.member.is_ejected() || open == 0 || !open_once);
                    prop_assert!(untried_open == 0 || !out(&chosen.member.endpoint().id));
                    held.push(chosen);
                }
            }
            if held.len() > 3 {
                let ends = held.swap_remove(random as usize % held.len());
                let outcome = [
                    Outcome::Success, Outcome::GatewayFailure, Outcome::Unknown, Outcome::Unreachable,
                    Outcome::ServerError, Outcome::Refused,
                ][outcome as usize];
                picker.ended(&ends, now, outcome, Some(Duration::from_millis(millis)), random);
            }
            let ejected = picker.members().iter().filter(|member| member.is_ejected()).count();
            prop_assert_eq!(ejected, picker.ejected());
            let answer = picker.members().iter().filter(|member| member.is_ejected() && !member.is_unreachable()).count();
            prop_assert!(answer <= OutlierPolicy::default().most_ejected(kinds.len()));
            let in_flight: u32 = picker.members().iter().map(|member| member.in_flight()).sum();
            prop_assert_eq!(in_flight as usize, held.len());
        }
    }
}
