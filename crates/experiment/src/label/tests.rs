use proptest::prelude::*;

use super::*;

fn stage((share, canary, control): (f64, u64, u64)) -> Stage {
    Stage { share: Share::new(share).unwrap(), canary, control }
}

fn stages(most: u64) -> impl Strategy<Value = Vec<Stage>> {
    prop::collection::vec((0.01..0.99_f64, 0..most, 0..most).prop_map(stage), 1..5)
}

fn sides() -> impl Strategy<Value = Side> {
    prop::sample::select(vec![Side::Two, Side::More, Side::Fewer])
}

/// The integral by Simpson's rule with fine steps around its peak, in the form of the documentation.
fn naive(stages: &[Stage], side: Side, tau: f64, null: f64) -> f64 {
    // Many events lead the peak far away from the middle of the prior.
    let (centre, least, most, halves): (f64, f64, f64, f64) = match side {
        Side::Two => (0.0, -60.0, 60.0, 1.0),
        Side::More => (null.ln(), 0.0, 60.0, 2.0),
        Side::Fewer => (null.ln(), -60.0, 0.0, 2.0),
    };
    let log = |u: f64| {
        let r = (centre + tau * u).exp();
        let of_stage = |stage: &Stage| {
            let rho = stage.share.get();
            let n = (stage.canary + stage.control) as f64;
            stage.canary as f64 * (r / null).ln()
                + n * ((1.0 - rho + rho * null) / (1.0 - rho + rho * r)).ln()
        };
        -0.5 * u * u - 0.5 * (2.0 * PI).ln() + stages.iter().map(of_stage).sum::<f64>()
    };
    let coarse = (0..=2_000_u32).map(|index| least + (most - least) * f64::from(index) / 2_000.0);
    let peak = coarse.max_by(|one, other| log(*one).total_cmp(&log(*other))).unwrap();
    // A peak may be narrow, and stand at the end of its side.
    let reach = |end: f64| {
        let mut end = end;
        while log(f64::midpoint(peak, end)) < log(peak) - 60.0 {
            end = f64::midpoint(peak, end);
        }
        end
    };
    let (from, to) = (reach(least), reach(most));
    let steps = 40_000_u32;
    let step = (to - from) / f64::from(steps);
    let weighted = |index: u32| {
        let weight = match index {
            0 => 1.0,
            _ if index == steps => 1.0,
            _ if index.is_multiple_of(2) => 2.0,
            _ => 4.0,
        };
        log(from + step * f64::from(index)) + f64::ln(halves * weight * step / 3.0)
    };
    let logs: Vec<f64> = (0..=steps).map(weighted).collect();
    log_sum_exp(logs.into_iter())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_integral_is_that_of_the_definition(
        stages in stages(60),
        side in sides(),
        tau in 0.1..4.0_f64,
        null in 0.3..3.0_f64,
    ) {
        let found = evidence(&stages, &Prior::single(tau).unwrap(), side, null).unwrap().log();
        let expected = naive(&stages, side, tau, null);
        prop_assert!((found - expected).abs() < 1e-7 * (1.0 + expected.abs()), "{} {}", found, expected);
    }

    #[test]
    fn batches_and_their_order_change_nothing(stages in stages(1_000), side in sides(), cut in 0.0..1.0_f64) {
        let prior = Prior::default();
        let whole = evidence(&stages, &prior, side, 1.0).unwrap().log();
        let mut pieces = Vec::new();
        for stage in &stages {
            let (canary, control) = ((stage.canary as f64 * cut) as u64, (stage.control as f64 * cut) as u64);
            pieces.push(Stage { canary, control, ..*stage });
            pieces.push(Stage { canary: stage.canary - canary, control: stage.control - control, ..*stage });
        }
        pieces.reverse();
        let merged = evidence(&pieces, &prior, side, 1.0).unwrap().log();
        prop_assert!((whole - merged).abs() < 1e-8 * (1.0 + whole.abs()));
    }

    #[test]
    fn the_expected_value_is_at_most_one(
        first in (1_u32..8, 0.02..0.98_f64),
        second in (0_u32..8, 0.02..0.98_f64),
        side in sides(),
        ratio in 0.3..1.0_f64,
    ) {
        // Under no difference; and for one side, under a difference to the other side.
        let truth = match side { Side::Two => 1.0, Side::More => ratio, Side::Fewer => 1.0 / ratio };
        let chances = |(n, share): (u32, f64)| {
            let theta = share * truth / (1.0 - share + share * truth);
            let mut chance = (1.0 - theta).powi(n.cast_signed());
            (0..=n).map(move |k| {
                let own = chance;
                chance *= f64::from(n - k) / f64::from(k + 1) * theta / (1.0 - theta);
                (own, stage((share, u64::from(k), u64::from(n - k))))
            })
        };
        let mut mean = 0.0;
        for (one, a) in chances(first) {
            for (two, b) in chances(second) {
                mean += one * two * evidence(&[a, b], &Prior::default(), side, 1.0).unwrap().value();
            }
        }
        prop_assert!(mean <= 1.0 + 1e-9, "{}", mean);
        if side == Side::Two {
            prop_assert!(mean >= 1.0 - 1e-9, "{}", mean);
        }
    }

    #[test]
    fn a_ratio_is_inside_exactly_if_it_is_not_rejected(stages in stages(200), candidate in 0.02..50.0_f64) {
        let level = Level::new(0.05).unwrap();
        let found = interval(&stages, &Prior::default(), level).unwrap().interval;
        let rejected = evidence(&stages, &Prior::default(), Side::Two, candidate).unwrap().rejects(level);
        let edge = (found.lower / candidate - 1.0).abs().min((found.upper / candidate - 1.0).abs());
        prop_assert!(edge < 1e-6 || found.contains(candidate) != rejected);
    }

    #[test]
    fn more_events_of_the_canary_are_worse(stages in stages(500), more in 1_u64..100) {
        let mut worse = stages.clone();
        worse[0].canary += more;
        let at = |stages: &[Stage], side| evidence(stages, &Prior::default(), side, 1.0).unwrap().log();
        prop_assert!(at(&worse, Side::More) >= at(&stages, Side::More) - 1e-9);
        prop_assert!(at(&worse, Side::Fewer) <= at(&stages, Side::Fewer) + 1e-9);
    }

    #[test]
    fn swapping_the_arms_swaps_the_sides(stages in stages(500)) {
        let swapped: Vec<Stage> = stages.iter().map(|stage| Stage {
            share: Share::new(stage.share.rest()).unwrap(), canary: stage.control, control: stage.canary,
        }).collect();
        let at = |stages: &[Stage], side| evidence(stages, &Prior::default(), side, 1.0).unwrap().log();
        for (one, other) in [(Side::More, Side::Fewer), (Side::Two, Side::Two)] {
            let (one, other) = (at(&stages, one), at(&swapped, other));
            prop_assert!((one - other).abs() < 1e-8 * (1.0 + one.abs()));
        }
    }

    #[test]
    fn the_cheap_bound_is_never_below(stages in stages(100_000), side in sides(), null in 0.3..3.0_f64) {
        let found = evidence(&stages, &Prior::default(), side, null).unwrap().log();
        prop_assert!(found <= evidence_at_most(&stages, side, null).log() + 1e-8);
    }

    #[test]
    fn non_inferior_exactly_if_the_margin_is_rejected_from_below(stages in stages(5_000), margin in 0.01..1.0_f64) {
        let level = Level::new(0.05).unwrap();
        let ratio = interval(&stages, &Prior::default(), level).unwrap();
        let rejected = evidence(&stages, &Prior::default(), Side::Two, 1.0 + margin).unwrap().rejects(level);
        let canary: u64 = stages.iter().map(|stage| stage.canary).sum();
        let below = canary == 0 || ratio.estimate.is_some_and(|estimate| estimate < 1.0 + margin);
        let found = non_inferior(&stages, &Prior::default(), margin, level).unwrap();
        let edge = (ratio.interval.upper / (1.0 + margin) - 1.0).abs();
        prop_assert!(edge < 1e-6 || found == (rejected && below));
    }
}

#[test]
fn extreme_counts_give_finite_answers() {
    let counts = [0, 1, 1_000_000, 1_000_000_000_000];
    let level = Level::new(0.001).unwrap();
    for share in [1e-6, 0.01, 0.5, 1.0 - 1e-6] {
        for canary in counts {
            for control in counts {
                let stages = [stage((share, canary, control)), stage((0.5, canary, control))];
                for side in [Side::Two, Side::More, Side::Fewer] {
                    let log = evidence(&stages, &Prior::default(), side, 1.0).unwrap().log();
                    assert!(log.is_finite() && log < 1e14, "{share} {canary} {control} {side:?}: {log}");
                }
                let found = interval(&stages, &Prior::default(), level).unwrap().interval;
                assert!(found.lower.is_finite() && found.lower <= found.upper, "{share} {canary} {control}");
            }
        }
    }
}

#[test]
fn three_failures_of_a_canary_at_one_percent_are_enough() {
    let harm = Level::new(0.01).unwrap().divided_by(3);
    let dead = |canary, control| {
        evidence(&[stage((0.01, canary, control))], &Prior::default(), Side::More, 1.0).unwrap().rejects(harm)
    };
    assert!(dead(3, 1) && !dead(1, 0));
}

#[test]
fn parameters_that_make_no_sense_are_refused() {
    assert!(
        Prior::single(0.0).is_err() && Prior::mixture(&[(0.5, 1.0)]).is_err() && Prior::mixture(&[]).is_err()
    );
    assert!(evidence(&[], &Prior::default(), Side::Two, 0.0).is_err());
    assert!(non_inferior(&[], &Prior::default(), -0.1, Level::new(0.05).unwrap()).is_err());
}
