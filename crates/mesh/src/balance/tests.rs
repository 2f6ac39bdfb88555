use super::*;
use proptest::prelude::*;

fn endpoint(id: usize) -> Endpoint {
    Endpoint {
        id: format!("e{id}").into(),
        address: SocketAddr::from(([127, 0, 0, 1], 1000 + id as u16)),
        identities: Arc::new([]),
        hop: Hop::Plain,
        weight: 1,
        health: Health::Ready,
        locality: Locality::default(),
        workload: format!("w{id}").into(),
        version: "".into(),
    }
}

fn set(endpoints: impl IntoIterator<Item = Endpoint>) -> EndpointSet {
    EndpointSet { endpoints: endpoints.into_iter().map(Arc::new).collect() }
}

fn picker(count: usize, algorithm: Algorithm, now: Instant) -> Picker {
    let mut picker = Picker::new(BalancePolicy { algorithm, ..BalancePolicy::default() });
    picker.update(&set((0..count).map(endpoint)), now);
    picker
}

fn id(picked: &Picked) -> usize {
    picked.member.endpoint().id[1..].parse().unwrap()
}

#[test]
fn the_slower_of_two_gets_fewer_requests() {
    let now = Instant::now();
    let mut picker = picker(2, Algorithm::PeakEwma, now);
    let mut random = fastrand::Rng::with_seed(1);
    let mut counts = [0; 2];
    for _ in 0..1000 {
        let picked = picker.pick(now, random.u64(..), &[]).unwrap();
        let chosen = id(&picked);
        counts[chosen] += 1;
        let latency = Duration::from_millis(if chosen == 0 { 1 } else { 50 });
        picker.ended(&picked, now, Outcome::Success, Some(latency), 0);
    }
    assert!(counts[0] > 900, "{counts:?}");
    assert!(counts[1] > 0, "{counts:?}");
}

#[test]
fn equal_endpoints_share_what_is_outstanding() {
    let now = Instant::now();
    let mut picker = picker(3, Algorithm::PeakEwma, now);
    let mut random = fastrand::Rng::with_seed(2);
    let held: Vec<Picked> = (0..300).map(|_| picker.pick(now, random.u64(..), &[]).unwrap()).collect();
    for member in picker.members() {
        assert!((90..=110).contains(&member.in_flight()), "{}", member.in_flight());
    }
    for picked in held {
        picker.ended(&picked, now, Outcome::Unknown, None, 0);
    }
    assert!(picker.members().iter().all(|member| member.in_flight() == 0));
}

#[test]
fn what_an_endpoint_reports_of_itself_counts_for_a_second() {
    let now = Instant::now();
    let mut picker = picker(2, Algorithm::PeakEwma, now);
    picker.members()[0].report(now, 100);
    for random in [0, u64::MAX, 1 << 40] {
        let picked = picker.pick(now, random, &[]).unwrap();
        assert_eq!(id(&picked), 1);
        picker.ended(&picked, now, Outcome::Success, None, 0);
    }
    assert!(picker.members()[0].cost(now + Duration::from_secs(2)) < 2_000.0);
}

#[test]
fn draining_and_unready_endpoints_get_nothing() {
    let now = Instant::now();
    let mut picker = Picker::new(BalancePolicy::default());
    let draining = Endpoint { health: Health::Draining, ..endpoint(0) };
    let unready = Endpoint { health: Health::NotReady, ..endpoint(1) };
    picker.update(&set([draining.clone(), unready.clone(), endpoint(2)]), now);
    for random in 0..50 {
        assert_eq!(id(&picker.pick(now, random << 58, &[]).unwrap()), 2);
    }
    picker.update(&set([draining, unready]), now);
    assert_eq!(picker.pick(now, 0, &[]).err(), Some(NoEndpoint::None));
}

#[test]
fn what_was_tried_is_not_tried_again() {
    let now = Instant::now();
    let mut picker = picker(2, Algorithm::PeakEwma, now);
    let tried = vec![Arc::from("e0")];
    assert_eq!(id(&picker.pick(now, 0, &tried).unwrap()), 1);
    let tried = vec![Arc::from("e0"), Arc::from("e1")];
    assert_eq!(picker.pick(now, 0, &tried).err(), Some(NoEndpoint::AllTried));
}

#[test]
fn an_ejected_endpoint_is_left_out_and_one_probe_brings_it_back() {
    let now = Instant::now();
    let mut picker = picker(2, Algorithm::PeakEwma, now);
    let tried = vec![Arc::from("e1")];
    for _ in 0..5 {
        let picked = picker.pick(now, 0, &tried).unwrap();
        picker.ended(&picked, now, Outcome::GatewayFailure, None, u64::MAX / 2);
    }
    assert_eq!(picker.ejections(), 1);
    for random in 0..20 {
        let picked = picker.pick(now, random << 59, &[]).unwrap();
        assert_eq!(id(&picked), 1);
        picker.ended(&picked, now, Outcome::Success, None, 0);
    }
    let later = now + Duration::from_secs(2);
    let probe = picker.pick(later, 0, &[]).unwrap();
    assert!(probe.probe && id(&probe) == 0);
    assert_eq!(id(&picker.pick(later, 0, &[]).unwrap()), 1);
    picker.ended(&probe, later, Outcome::Success, Some(Duration::from_millis(1)), 0);
    assert!(!picker.members()[0].is_ejected());
}

#[test]
fn when_all_are_ejected_all_are_used() {
    let now = Instant::now();
    let outlier = OutlierPolicy { max_ejected: 1.0, ..OutlierPolicy::default() };
    let mut picker = Picker::new(BalancePolicy { outlier, ..BalancePolicy::default() });
    picker.update(&set((0..2).map(endpoint)), now);
    for other in ["e0", "e1"] {
        for _ in 0..5 {
            let picked = picker.pick(now, 0, &[Arc::from(other)]).unwrap();
            picker.ended(&picked, now, Outcome::GatewayFailure, None, u64::MAX / 2);
        }
    }
    assert!(picker.members().iter().all(|member| member.is_ejected()));
    assert!(picker.pick(now, 0, &[]).is_ok());
}

#[test]
fn round_robin_takes_turns() {
    let now = Instant::now();
    let mut picker = picker(3, Algorithm::RoundRobin, now);
    let mut seen: Vec<usize> = (0..3).map(|_| id(&picker.pick(now, 0, &[]).unwrap())).collect();
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2]);
}

#[test]
fn random_follows_the_weights() {
    let now = Instant::now();
    let mut picker = Picker::new(BalancePolicy { algorithm: Algorithm::Random, ..BalancePolicy::default() });
    picker.update(&set([Endpoint { weight: 3, ..endpoint(0) }, endpoint(1)]), now);
    let mut random = fastrand::Rng::with_seed(3);
    let heavy = (0..10_000).filter(|_| id(&picker.pick(now, random.u64(..), &[]).unwrap()) == 0).count();
    assert!((7_300..7_700).contains(&heavy), "{heavy}");
}

#[test]
fn what_is_known_survives_a_change_of_the_set() {
    let now = Instant::now();
    let mut picker = picker(2, Algorithm::PeakEwma, now);
    let picked = picker.pick(now, 0, &[Arc::from("e1")]).unwrap();
    picker.update(&set([Endpoint { weight: 5, ..endpoint(0) }, endpoint(2)]), now);
    assert_eq!(picker.members()[0].in_flight(), 1);
    picker.ended(&picked, now, Outcome::Success, None, 0);
    assert_eq!(picker.members()[0].in_flight(), 0);
}

proptest! {
    #[test]
    fn a_choice_is_always_one_that_may_be_chosen(
        healths in prop::collection::vec(0..3_u8, 1..8),
        steps in prop::collection::vec((any::<u64>(), 0..3_u8, 0..500_u64), 1..100),
    ) {
        let mut now = Instant::now();
        let mut picker = Picker::new(BalancePolicy::default());
        picker.update(&set(healths.iter().enumerate().map(|(i, health)| Endpoint {
            health: [Health::Ready, Health::NotReady, Health::Draining][*health as usize],
            ..endpoint(i)
        })), now);
        let ready = healths.iter().filter(|health| **health == 0).count();
        for (random, outcome, millis) in steps {
            now += Duration::from_millis(millis);
            match picker.pick(now, random, &[]) {
                Err(_) => prop_assert_eq!(ready, 0),
                Ok(picked) => {
                    prop_assert_eq!(picked.member.endpoint().health, Health::Ready);
                    let outcome = [Outcome::Success, Outcome::GatewayFailure, Outcome::Unknown][outcome as usize];
                    picker.ended(&picked, now, outcome, None, random);
                }
            }
            let ejected = picker.members().iter().filter(|member| member.is_ejected()).count();
            prop_assert!(ejected <= OutlierPolicy::default().most_ejected(healths.len()));
        }
    }
}
