use proptest::prelude::*;

use super::*;

const MIDDLE: u64 = u64::MAX / 2;

fn ended(breaker: &mut Breaker, now: Instant, outcome: Outcome) -> Change {
    breaker.ended(now, outcome, Role::Ordinary, true, &OutlierPolicy::default(), MIDDLE)
}

fn fail(breaker: &mut Breaker, now: Instant, times: u32) -> bool {
    (0..times).any(|_| ended(breaker, now, Outcome::GatewayFailure) == Change::Ejected)
}

fn availability(breaker: &mut Breaker, now: Instant) -> Availability {
    breaker.availability(now, &OutlierPolicy::default(), MIDDLE)
}

/// An ejected endpoint whose first ejection is over.
fn probeable() -> (Breaker, Instant) {
    let start = Instant::now();
    let mut breaker = Breaker::new(start);
    assert!(fail(&mut breaker, start, 5));
    (breaker, start + Duration::from_secs(2))
}

#[test]
fn five_failures_in_a_row_eject_and_a_success_between_them_does_not() {
    let now = Instant::now();
    let mut breaker = Breaker::new(now);
    assert!(!fail(&mut breaker, now, 4));
    ended(&mut breaker, now, Outcome::Success);
    assert!(!fail(&mut breaker, now, 4));
    ended(&mut breaker, now, Outcome::Unknown);
    assert!(fail(&mut breaker, now, 1));
    assert_eq!(availability(&mut breaker, now), Availability::Ejected);
}

#[test]
fn ten_failures_of_any_kind_in_a_row_eject() {
    let now = Instant::now();
    for (outcomes, ejected_by) in [
        (&[Outcome::ServerError][..], 10),
        // What is no gateway failure ends a row of those, and not that of failures.
        (&[Outcome::GatewayFailure, Outcome::GatewayFailure, Outcome::ServerError], 10),
        (&[Outcome::GatewayFailure], 5),
        (&[Outcome::ServerError, Outcome::Unknown], 19),
    ] {
        let mut breaker = Breaker::new(now);
        let mut sent = outcomes.iter().cycle().take(100);
        let ejected = sent.position(|outcome| ended(&mut breaker, now, *outcome) == Change::Ejected);
        assert_eq!(ejected, Some(ejected_by - 1), "{outcomes:?}");
    }
    for breaks_the_row in [Outcome::Success, Outcome::Refused] {
        let mut breaker = Breaker::new(now);
        let mut outcomes = [Outcome::ServerError; 9].into_iter().chain([breaks_the_row]).cycle().take(1000);
        assert!(outcomes.all(|outcome| ended(&mut breaker, now, outcome) == Change::None));
    }
}

#[test]
fn a_success_rate_counts_what_was_not_answered() {
    let now = Instant::now();
    let mut breaker = Breaker::new(now);
    for number in 0..1000 {
        let outcome = if number % 2 == 0 { Outcome::ServerError } else { Outcome::Success };
        assert_eq!(ended(&mut breaker, now, outcome), Change::None);
    }
}

#[test]
fn a_window_of_another_length_begins_anew() {
    let mut now = Instant::now();
    let mut breaker = Breaker::new(now);
    let long = OutlierPolicy { window: Duration::from_mins(1), ..OutlierPolicy::default() };
    let mut one = |policy: &OutlierPolicy, outcome| {
        now += Duration::from_secs(1);
        breaker.ended(now, outcome, Role::Ordinary, true, policy, MIDDLE)
    };
    for number in 0..30 {
        let outcome = if number % 6 == 5 { Outcome::GatewayFailure } else { Outcome::Success };
        assert_eq!(one(&OutlierPolicy::default(), outcome), Change::None);
    }
    let ejected = (1..=60).find(|number| {
        let outcome = if number % 4 == 0 { Outcome::GatewayFailure } else { Outcome::Success };
        one(&long, outcome) == Change::Ejected
    });
    assert_eq!(ejected, Some(20), "twenty requests were counted since, a quarter of them failures");
    assert!(long.window > Duration::from_secs(20));
}

#[test]
fn who_answers_as_a_last_resort_is_back_and_who_does_not_waits_longer() {
    let now = Instant::now();
    let policy = OutlierPolicy::default();
    for (outcome, change) in [
        (Outcome::Success, Change::Returned),
        (Outcome::Refused, Change::Returned),
        (Outcome::ServerError, Change::None),
        (Outcome::Unreachable, Change::None),
        (Outcome::Unknown, Change::None),
    ] {
        let mut breaker = Breaker::new(now);
        ended(&mut breaker, now, Outcome::Unreachable);
        let later = now + Duration::from_millis(10);
        let until = breaker.ejected_until();
        assert_eq!(
            breaker.ended(later, outcome, Role::LastResort, true, &policy, MIDDLE),
            change,
            "{outcome:?}"
        );
        assert_eq!(breaker.is_ejected(), change == Change::None);
        if outcome.is_failure() {
            assert_eq!((breaker.ejected_until(), breaker.last_resort_order()), (until, (false, Some(later))));
        }
    }
}

#[test]
fn a_probe_that_fails_ejects_no_endpoint_that_is_needed() {
    let (mut breaker, now) = probeable();
    let policy = OutlierPolicy::default();
    let probe = breaker.begin_probe(now, &policy);
    let change = breaker.ended(now, Outcome::ServerError, Role::Probe(probe), false, &policy, MIDDLE);
    assert_eq!((change, breaker.is_ejected()), (Change::Returned, false));
}

#[test]
fn a_low_success_rate_ejects_from_twenty_requests_on() {
    let now = Instant::now();
    let mut breaker = Breaker::new(now);
    let mut requests = 0;
    let ejected = (0..60).any(|number| {
        requests += 1;
        let outcome = if number % 3 == 0 { Outcome::GatewayFailure } else { Outcome::Success };
        ended(&mut breaker, now, outcome) == Change::Ejected
    });
    assert!(ejected);
    assert_eq!(requests, 22, "the first failure at or after the twentieth request ejects");
}

#[test]
fn failures_older_than_the_window_are_forgotten() {
    let start = Instant::now();
    let mut breaker = Breaker::new(start);
    for number in 0..19 {
        ended(&mut breaker, start, if number % 2 == 0 { Outcome::GatewayFailure } else { Outcome::Success });
    }
    let later = start + Duration::from_secs(10);
    for _ in 0..20 {
        ended(&mut breaker, later, Outcome::Success);
    }
    assert!(!fail(&mut breaker, later, 1));
}

#[test]
fn the_window_slides() {
    let start = Instant::now();
    let mut breaker = Breaker::new(start);
    // One failure in four, one request every 400 ms: 25 in each window, none of which is full at its own start.
    let ejected = (0..60_u32).find(|number| {
        let outcome = if number % 4 == 3 { Outcome::GatewayFailure } else { Outcome::Success };
        ended(&mut breaker, start + Duration::from_millis(400) * *number, outcome) == Change::Ejected
    });
    assert_eq!(ejected, Some(19));
}

#[test]
fn after_the_ejection_exactly_one_probe_is_let_through() {
    let (mut breaker, now) = probeable();
    let policy = OutlierPolicy::default();
    assert_eq!(availability(&mut breaker, now), Availability::Probe);
    let probe = breaker.begin_probe(now, &policy);
    assert_eq!(availability(&mut breaker, now), Availability::Ejected);
    assert_eq!(ended(&mut breaker, now, Outcome::Success), Change::None, "answers of others decide nothing");
    assert_eq!(
        breaker.ended(now, Outcome::Success, Role::Probe(probe), true, &policy, MIDDLE),
        Change::Returned
    );
    assert_eq!(availability(&mut breaker, now), Availability::Open);
}

#[test]
fn a_probe_whose_caller_goes_away_makes_room_for_another() {
    let (mut breaker, now) = probeable();
    let policy = OutlierPolicy::default();
    let probe = breaker.begin_probe(now, &policy);
    assert_eq!(breaker.ended(now, Outcome::Unknown, Role::Probe(probe), true, &policy, MIDDLE), Change::None);
    assert_eq!(availability(&mut breaker, now), Availability::Probe);
}

#[test]
fn a_probe_without_an_answer_by_its_deadline_fails_and_its_late_answer_is_ignored() {
    let (mut breaker, now) = probeable();
    let policy = OutlierPolicy::default();
    let late = breaker.begin_probe(now, &policy);
    let after = now + policy.probe_deadline;
    assert_eq!(availability(&mut breaker, after), Availability::Ejected);
    // The second ejection lasts two seconds.
    assert_eq!(availability(&mut breaker, after + Duration::from_millis(1990)), Availability::Ejected);
    let again = after + Duration::from_millis(2010);
    assert_eq!(availability(&mut breaker, again), Availability::Probe);
    breaker.begin_probe(again, &policy);
    assert_eq!(
        breaker.ended(again, Outcome::Success, Role::Probe(late), true, &policy, MIDDLE),
        Change::None
    );
    assert!(breaker.is_ejected());
}

#[test]
fn ejections_double_up_to_the_longest_and_a_long_healthy_time_starts_anew() {
    let mut now = Instant::now();
    let policy = OutlierPolicy::default();
    let mut breaker = Breaker::new(now);
    fail(&mut breaker, now, 5);
    let mut probe = 0;
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        let time = Duration::from_secs(seconds);
        assert_eq!(availability(&mut breaker, now + time.mul_f64(0.99)), Availability::Ejected, "{seconds}");
        now += time.mul_f64(1.01);
        assert_eq!(availability(&mut breaker, now), Availability::Probe, "{seconds}");
        probe = breaker.begin_probe(now, &policy);
        breaker.ended(now, Outcome::GatewayFailure, Role::Probe(probe), true, &policy, MIDDLE);
    }
    now += Duration::from_secs(70);
    probe = breaker.begin_probe(now, &policy).max(probe);
    breaker.ended(now, Outcome::Success, Role::Probe(probe), true, &policy, MIDDLE);
    now += Duration::from_mins(1);
    ended(&mut breaker, now, Outcome::Success);
    assert!(fail(&mut breaker, now, 5));
    assert_eq!(availability(&mut breaker, now + Duration::from_millis(1010)), Availability::Probe);
}

#[test]
fn half_may_be_ejected_and_of_two_always_one() {
    let policy = OutlierPolicy::default();
    let most: Vec<usize> = (0..6).map(|endpoints| policy.most_ejected(endpoints)).collect();
    assert_eq!(most, [0, 0, 1, 1, 2, 2]);
    let off = OutlierPolicy { enabled: false, ..policy };
    assert_eq!(off.most_ejected(10), 0);
}

proptest! {
    #[test]
    fn the_window_agrees_with_a_list_of_events(events in prop::collection::vec((0_u64..3000, any::<bool>()), 1..100)) {
        let start = Instant::now();
        let mut window = Window::new(start);
        let mut naive: Vec<(u64, bool)> = Vec::new();
        let mut millis = 0;
        for (gap, success) in events {
            millis += gap;
            window.count(start + Duration::from_millis(millis), Duration::from_secs(10), success);
            naive.push((millis / 1000, success));
            let recent = naive.iter().filter(|(second, _)| second + 10 > millis / 1000);
            let sums = recent.fold((0, 0), |(good, all), (_, success)| (good + u32::from(*success), all + 1));
            prop_assert_eq!(window.sums(), sums);
        }
    }

    #[test]
    fn the_jitter_is_a_fifth_either_way(random: u64) {
        let now = Instant::now();
        let policy = OutlierPolicy { consecutive_failures: 1, ..OutlierPolicy::default() };
        let mut breaker = Breaker::new(now);
        breaker.ended(now, Outcome::GatewayFailure, Role::Ordinary, true, &policy, random);
        let time = breaker.ejected_until().unwrap() - now;
        prop_assert!(time >= Duration::from_millis(799) && time <= Duration::from_millis(1201));
    }
}
