//! Endpoints of which nobody has heard for a while.

use super::*;

const UNKNOWN: Health = Health::Unknown { trusted: false };

fn mixed(healths: &[Health]) -> Vec<Endpoint> {
    healths.iter().enumerate().map(|(id, health)| Endpoint { health: *health, ..endpoint(id) }).collect()
}

#[test]
fn when_nothing_is_heard_of_most_endpoints_they_go_on_as_before() {
    let now = Instant::now();
    for algorithm in ALL {
        let mut picker = with(algorithm, mixed(&[Health::Ready, Health::Ready, Health::Ready]), now);
        fail(&mut picker, now, 0);
        picker.update(&set(mixed(&[UNKNOWN, UNKNOWN, UNKNOWN])), now);
        assert!(picker.members()[0].is_ejected(), "what was learned is forgotten");
        let counts = shares(&mut picker, now, 60, |_| 1);
        assert!(counts[0] == 0 && counts[1] > 0 && counts[2] > 0, "{algorithm:?}: {counts:?}");
        picker.update(&set(mixed(&[UNKNOWN, UNKNOWN, Health::Ready])), now);
        assert!(shares(&mut picker, now, 60, |_| 1)[1] > 0, "{algorithm:?}");
    }
}

#[test]
fn when_nothing_is_heard_of_a_few_endpoints_the_others_take_their_requests() {
    let now = Instant::now();
    for algorithm in ALL {
        let mut picker = with(algorithm, mixed(&[UNKNOWN, Health::Ready, Health::NotReady]), now);
        assert_eq!(shares(&mut picker, now, 50, |_| 1), [0, 50, 0], "{algorithm:?}");
        picker.update(&set(mixed(&[UNKNOWN, Health::Draining, Health::NotReady])), now);
        assert_eq!(shares(&mut picker, now, 50, |_| 1), [50, 0, 0], "{algorithm:?}");
    }
}

proptest! {
    #[test]
    fn at_most_half_of_what_could_take_requests_is_left_out_as_unknown(
        kinds in prop::collection::vec((0..4_usize, 0..2_u32), 0..9),
    ) {
        let endpoints: Vec<Endpoint> = kinds.iter().enumerate().map(|(id, (health, weight))| Endpoint {
            health: [Health::Ready, Health::NotReady, Health::Draining, UNKNOWN][*health],
            weight: *weight,
            ..endpoint(id)
        }).collect();
        let set = set(endpoints.clone());
        let with_weight = |kind| kinds.iter().filter(|(health, weight)| *health == kind && *weight > 0).count();
        let (ready, unknown) = (with_weight(0), with_weight(3));
        let usable = set.endpoints().iter().filter(|it| it.is_usable()).count();
        prop_assert_eq!(usable, if 2 * ready < ready + unknown { ready + unknown } else { ready });
        prop_assert!(usable > 0 || ready + unknown == 0);
        // Nothing else of them changes, and what was decided is decided again in the same way.
        for (before, after) in endpoints.iter().zip(set.endpoints()) {
            let unknown = matches!(before.health, Health::Unknown { .. });
            let health = if unknown { after.health } else { before.health };
            prop_assert_eq!(&Endpoint { health, ..before.clone() }, after.as_ref());
            prop_assert_eq!(unknown, matches!(after.health, Health::Unknown { .. }));
        }
        prop_assert_eq!(&EndpointSet::new(set.endpoints().iter().cloned()), &set);
    }
}
