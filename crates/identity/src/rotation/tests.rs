use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;

const DAY: u64 = 86_400;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn a_certificate_is_renewed_at_half_its_life() {
    let rotation = Rotation::new(at(1000), at(1000 + DAY), 0.5);
    assert_eq!(rotation.next_attempt(), at(1000 + DAY / 2));
    assert_eq!(rotation.wait(at(1000)), Duration::from_secs(DAY / 2));
    assert_eq!(rotation.freshness(at(1000)), Freshness::Fresh);
    assert_eq!(rotation.freshness(at(1000 + DAY / 2)), Freshness::Due);
    assert_eq!(rotation.freshness(at(1000 + DAY)), Freshness::Due);
    assert_eq!(rotation.freshness(at(1001 + DAY)), Freshness::Expired);
}

#[test]
fn retries_double_from_one_second_to_a_minute() {
    let waits: Vec<u64> = (1..=9).map(|failures| retry_after(failures, 0.5).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(retry_after(u32::MAX, 0.5), Duration::from_mins(1));
}

#[test]
fn an_expired_certificate_is_asked_for_at_once_and_then_again_and_again() {
    let mut rotation = Rotation::new(at(2 * DAY), at(DAY), 0.9);
    assert_eq!(rotation.freshness(at(2 * DAY)), Freshness::Expired);
    assert_eq!(rotation.wait(at(2 * DAY)), Duration::ZERO);
    rotation.failed(at(2 * DAY), 0.5);
    assert_eq!(rotation.wait(at(2 * DAY)), Duration::from_secs(1));
    rotation.failed(at(2 * DAY + 1), 0.5);
    assert_eq!(rotation.wait(at(2 * DAY + 1)), Duration::from_secs(2));
    assert_eq!(rotation.failures(), 2);
}

proptest! {
    #[test]
    fn renewal_falls_within_a_tenth_of_half_life_and_before_the_end(
        now in 0..4_000_000_000_u64, life in 1..10 * DAY, random in 0.0..1.0_f64,
    ) {
        let rotation = Rotation::new(at(now), at(now + life), random);
        let wait = rotation.wait(at(now)).as_secs_f64();
        let half = life as f64 / 2.0;
        prop_assert!(wait >= half * 0.9 - 1e-6 && wait <= half * 1.1 + 1e-6);
        prop_assert!(rotation.next_attempt() < at(now + life));
    }

    #[test]
    fn no_attempt_is_planned_past_the_end_while_the_certificate_is_good(
        life in 1..2 * DAY, randoms in proptest::collection::vec(0.0..1.0_f64, 1..60),
    ) {
        let mut rotation = Rotation::new(at(0), at(life), 0.3);
        let mut now = rotation.next_attempt();
        for random in randoms {
            let good = now < at(life);
            rotation.failed(now, random);
            prop_assert!(!good || rotation.next_attempt() <= at(life));
            prop_assert!(rotation.wait(now) <= RETRY_MAX.mul_f64(1.0 + JITTER));
            prop_assert!(good || rotation.wait(now) >= RETRY_FIRST.mul_f64(1.0 - JITTER));
            now = rotation.next_attempt();
        }
    }

    #[test]
    fn any_number_is_a_random_number(random in proptest::num::f64::ANY) {
        let wait = retry_after(3, random).as_secs_f64();
        prop_assert!((3.6 - 1e-6..=4.4 + 1e-6).contains(&wait));
    }
}
