use proptest::prelude::*;

use super::settings::{Better, Budgets, Method, Metric, Step};
use super::*;
use crate::evidence::Level;

const MINUTE: Duration = Duration::from_mins(1);

fn metric(name: &str, method: Method, role: Role) -> Metric {
    Metric { name: name.into(), method, better: Better::Lower, role }
}

fn errors() -> Metric {
    metric("errors", Method::Label, Role::Guardrail { margin: 0.25 })
}

fn settings(metrics: Vec<Metric>, steps: Vec<Step>) -> Settings {
    Settings::new(metrics, steps, 5 * MINUTE, 60 * MINUTE).unwrap()
}

fn events(events: u64, units: u64) -> Observation {
    Observation::Events { events, units }
}

/// Units and events of each variant.
fn stage(weights: &[u32], arms: &[(u64, u64)]) -> Stage {
    let arm =
        |(exposed, failed): &(u64, u64)| Arm { exposed: *exposed, metrics: vec![events(*failed, *exposed)] };
    Stage { epoch: 1, shares: Shares::of_weights(weights).unwrap(), arms: arms.iter().map(arm).collect() }
}

fn at(step: usize, minutes: u32) -> Progress {
    Progress { step, elapsed: minutes * MINUTE, in_step: minutes * MINUTE, gate_open: false }
}

fn verdict_of(settings: &Settings, stages: &[Stage], progress: &Progress) -> Verdict {
    decide(settings, stages, progress, &Memory::default()).unwrap().verdict
}

#[test]
fn verdicts_come_in_their_order() {
    let steps = vec![Step::default(), Step::default()];
    let settings = settings(vec![errors()], steps);
    // Everything at once: the canary is dead, gets too much, the time is over and the last step done.
    let dead = stage(&[90, 10], &[(50_000, 250), (50_000, 50_000)]);
    assert_eq!(verdict_of(&settings, &[dead], &at(1, 60)), Verdict::Harm { metric: 0, variant: 1 });
    let skewed = stage(&[90, 10], &[(50_000, 250), (50_000, 250)]);
    // A wrong ratio is harm by labels too, so the metric is without events.
    let silent = stage(&[90, 10], &[(50_000, 0), (50_000, 0)]);
    assert!(matches!(verdict_of(&settings, &[skewed], &at(1, 60)), Verdict::Harm { .. }));
    assert_eq!(verdict_of(&settings, std::slice::from_ref(&silent), &at(1, 60)), Verdict::Mismatch);
    let good = stage(&[90, 10], &[(90_000, 450), (10_000, 50)]);
    assert_eq!(verdict_of(&settings, std::slice::from_ref(&good), &at(1, 60)), Verdict::Timeout);
    assert_eq!(
        verdict_of(&settings, std::slice::from_ref(&good), &at(1, 59)),
        Verdict::Success { variant: 1 }
    );
    assert_eq!(verdict_of(&settings, std::slice::from_ref(&good), &at(0, 59)), Verdict::Step);
    let wait = verdict_of(&settings, std::slice::from_ref(&good), &at(1, 4));
    assert_eq!(wait, Verdict::Wait(Waiting::MinimumDuration));
}

#[test]
fn no_data_is_neither_failure_nor_success() {
    let settings = settings(vec![errors()], vec![Step::default()]);
    let wait = Verdict::Wait(Waiting::Exposures);
    let decision =
        decide(&settings, &[stage(&[1, 1], &[(0, 0), (0, 0)])], &at(0, 30), &Memory::default()).unwrap();
    assert_eq!(decision.verdict, wait);
    assert_eq!((decision.findings[0].state, decision.findings[0].estimate), (State::NoData, None));
}

#[test]
fn a_step_waits_for_time_exposures_safety_and_its_gate() {
    let step = Step { duration: 10 * MINUTE, at_least: 2_000, advance: Advance::WhenSafe, gate: true };
    let settings = settings(vec![errors()], vec![step, Step::default()]);
    let few = stage(&[90, 10], &[(9_000, 45), (1_000, 5)]);
    let unsure = stage(&[90, 10], &[(27_000, 135), (3_000, 15)]);
    let safe = stage(&[90, 10], &[(9_000_000, 45_000), (1_000_000, 5_000)]);
    let wait = |waiting| Verdict::Wait(waiting);
    assert_eq!(verdict_of(&settings, &[few], &at(0, 20)), wait(Waiting::Exposures));
    assert_eq!(verdict_of(&settings, std::slice::from_ref(&unsure), &at(0, 5)), wait(Waiting::Time));
    assert_eq!(verdict_of(&settings, &[unsure], &at(0, 20)), wait(Waiting::Safety));
    assert_eq!(verdict_of(&settings, std::slice::from_ref(&safe), &at(0, 20)), wait(Waiting::Gate));
    let open = Progress { gate_open: true, ..at(0, 20) };
    assert_eq!(verdict_of(&settings, &[safe], &open), Verdict::Step);
}

#[test]
fn exposures_of_earlier_steps_do_not_count_for_this_one() {
    let settings = settings(vec![errors()], vec![Step { at_least: 100, ..Step::default() }; 2]);
    let stages = [stage(&[90, 10], &[(9_000, 45), (1_000, 5)]), stage(&[50, 50], &[(50, 0), (50, 0)])];
    assert_eq!(verdict_of(&settings, &stages, &at(1, 20)), Verdict::Wait(Waiting::Exposures));
}

#[test]
fn three_failures_of_a_dead_canary_at_one_percent_are_harm() {
    let guardrails = vec![errors(), metric("slow", Method::Label, Role::Guardrail { margin: 0.25 })];
    let settings = settings(guardrails, vec![Step::default()]);
    let arm = |exposed, failed| Arm { exposed, metrics: vec![events(failed, exposed), events(0, exposed)] };
    let stage =
        Stage { epoch: 1, shares: Shares::of_weights(&[99, 1]).unwrap(), arms: vec![arm(277, 1), arm(3, 3)] };
    assert_eq!(verdict_of(&settings, &[stage], &at(0, 1)), Verdict::Harm { metric: 0, variant: 1 });
}

#[test]
fn a_goal_that_is_not_reached_is_waited_for_and_the_best_variant_wins() {
    let goal =
        Metric { better: Better::Higher, ..metric("signup", Method::Proportion { tau: 0.02 }, Role::Goal) };
    let settings = settings(vec![goal], vec![Step::default()]);
    let even = stage(&[1, 1, 1], &[(10_000, 3_000), (10_000, 3_010), (10_000, 3_020)]);
    assert_eq!(verdict_of(&settings, &[even], &at(0, 30)), Verdict::Wait(Waiting::Goal));
    let better = stage(&[1, 1, 1], &[(10_000, 3_000), (10_000, 3_400), (10_000, 3_600)]);
    assert_eq!(verdict_of(&settings, &[better], &at(0, 30)), Verdict::Success { variant: 2 });
    let worse = stage(&[1, 1, 1], &[(10_000, 3_000), (10_000, 2_400), (10_000, 2_600)]);
    assert_eq!(verdict_of(&settings, &[worse], &at(0, 30)), Verdict::Wait(Waiting::Goal));
}

#[test]
fn guardrails_of_values_and_groups_are_harmed_and_shown_safe() {
    let mean = metric("bytes", Method::Mean { tau: 0.5 }, Role::Guardrail { margin: 1.0 });
    let groups = metric("rate", Method::Groups { tau: 0.01 }, Role::Guardrail { margin: 0.02 });
    let settings = settings(vec![mean, groups], vec![Step { advance: Advance::WhenSafe, ..Step::default() }]);
    let arm = |mean: f64, rate: f64| {
        let count = 20_000.0;
        let sums =
            ValueSums { count: 20_000, sum: count * mean, squares: count * (mean * mean + 4.0), cubes: 0.0 };
        let mut sums_of_groups = GroupSums::default();
        for request in 0..64_000_u64 {
            // Groups differ as users do.
            let noise = 0.0003 * (request % 64) as f64;
            sums_of_groups.record(request, rate + noise);
        }
        Arm { exposed: 20_000, metrics: vec![Observation::Values(sums), Observation::Groups(sums_of_groups)] }
    };
    let stage = |arms| Stage { epoch: 1, shares: Shares::of_weights(&[1, 1]).unwrap(), arms };
    let good = [stage(vec![arm(10.0, 0.1), arm(10.02, 0.101)])];
    assert_eq!(verdict_of(&settings, &good, &at(0, 30)), Verdict::Success { variant: 1 });
    let bad = [stage(vec![arm(10.0, 0.1), arm(11.0, 0.101)])];
    assert_eq!(verdict_of(&settings, &bad, &at(0, 30)), Verdict::Harm { metric: 0, variant: 1 });
    let bad = [stage(vec![arm(10.0, 0.1), arm(10.0, 0.2)])];
    assert_eq!(verdict_of(&settings, &bad, &at(0, 30)), Verdict::Harm { metric: 1, variant: 1 });
}

#[test]
fn a_slower_distribution_is_harm_and_a_faster_one_is_not() {
    let latency = metric("latency", Method::Omnibus, Role::Guardrail { margin: 0.1 });
    let settings = settings(vec![latency], vec![Step { advance: Advance::WhenSafe, ..Step::default() }]);
    let decide_of = |canary: [u64; 4], control: [u64; 4]| {
        let arm = |counts: [u64; 4]| Arm {
            exposed: counts.iter().sum(),
            metrics: vec![Observation::Buckets(counts.to_vec())],
        };
        let shares = Shares::of_weights(&[90, 10]).unwrap();
        let stage = Stage { epoch: 1, shares, arms: vec![arm(control), arm(canary)] };
        decide(&settings, &[stage], &at(0, 30), &Memory::default()).unwrap()
    };
    let control = [9_000, 9_000, 9_000, 9_000];
    assert_eq!(decide_of([700, 900, 1_100, 1_300], control).verdict, Verdict::Harm { metric: 0, variant: 1 });
    let faster = decide_of([1_300, 1_100, 900, 700], control);
    assert!(faster.findings[0].estimate.unwrap() < 1.0 && faster.findings[0].state == State::Safe);
    let same = decide_of([100_000; 4], [900_000; 4]);
    assert_eq!(same.verdict, Verdict::Success { variant: 1 });
    let unsure = decide_of([100; 4], [900; 4]);
    assert_eq!(unsure.verdict, Verdict::Wait(Waiting::Safety));
}

#[test]
fn observations_of_another_kind_or_number_are_refused() {
    let settings = settings(vec![errors()], vec![Step::default()]);
    let mut wrong = stage(&[1, 1], &[(10, 0), (10, 0)]);
    wrong.arms[1].metrics[0] = Observation::Values(ValueSums::default());
    let refused = |stages: &[Stage]| decide(&settings, stages, &at(0, 1), &Memory::default()).is_err();
    assert!(refused(&[wrong]));
    assert!(refused(&[stage(&[1, 1], &[(10, 0)])]));
    assert!(refused(&[stage(&[1, 1], &[(10, 11), (10, 0)])]));
    let stages = [stage(&[1, 1], &[(10, 0), (10, 0)]), stage(&[1, 1, 1], &[(10, 0), (10, 0), (10, 0)])];
    assert!(refused(&stages) && refused(&[]));
    let other = Memory { findings: vec![Running::default(); 2], ..Memory::default() };
    assert!(decide(&settings, &stages[..1], &at(0, 1), &other).is_err());
    let goals = vec![metric("one", Method::Label, Role::Goal), metric("two", Method::Label, Role::Goal)];
    assert!(Settings::new(goals, vec![Step::default()], MINUTE, MINUTE).is_err());
    assert!(Settings::new(vec![errors()], Vec::new(), MINUTE, MINUTE).is_err());
    let margin = metric("errors", Method::Label, Role::Guardrail { margin: 0.0 });
    assert!(Settings::new(vec![margin], vec![Step::default()], MINUTE, MINUTE).is_err());
}

fn arms() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let arm = prop::sample::select(vec![0, 1, 30, 4_000, 1_000_000, 1_000_000_000_000_u64])
        .prop_flat_map(|exposed| (Just(exposed), 0..=exposed));
    prop::collection::vec(arm, 3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_counts_give_a_finite_decision_and_evidence_that_never_falls(
        looks in prop::collection::vec((arms(), arms()), 1..4),
        minutes in 0_u32..70,
        when_safe: bool,
    ) {
        let advance = if when_safe { Advance::WhenSafe } else { Advance::UnlessHarmed };
        let settings = settings(vec![errors()], vec![Step { advance, ..Step::default() }; 2])
            .with_budgets(Budgets {
                harm: Level::new(0.01).unwrap(), goal: Level::new(0.05).unwrap(), mismatch: Level::new(0.001).unwrap(),
            });
        let mut memory = Memory::default();
        for (one, other) in &looks {
            let stages = [stage(&[90, 5, 5], one), stage(&[50, 25, 25], other)];
            let decision = decide(&settings, &stages, &at(1, minutes), &memory).unwrap();
            prop_assert!(decision.mismatch.log().is_finite());
            for (index, finding) in decision.findings.iter().enumerate() {
                prop_assert!(finding.evidence.log().is_finite() && (0.0..=1.0).contains(&finding.p));
                prop_assert!(finding.estimate.is_none_or(f64::is_finite));
                prop_assert!(!finding.interval.lower.is_nan() && finding.interval.lower <= finding.interval.upper);
                let before = memory.findings.get(index).copied().unwrap_or_default();
                prop_assert!(decision.memory.findings[index].largest() >= before.largest());
                prop_assert!(finding.largest >= finding.evidence);
            }
            prop_assert!(decision.memory.mismatch.largest() >= memory.mismatch.largest());
            let harmed = decision.findings.iter().any(|finding| finding.state == State::Harmed);
            prop_assert_eq!(harmed, matches!(decision.verdict, Verdict::Harm { .. }));
            if !harmed && matches!(decision.verdict, Verdict::Success { .. } | Verdict::Step) {
                prop_assert!(minutes < 60 && !decision.memory.mismatch.largest().rejects(settings.budgets().mismatch));
            }
            memory = decision.memory;
        }
    }

    #[test]
    fn evidence_that_was_enough_once_stays_so(arms in arms()) {
        let settings = settings(vec![errors()], vec![Step::default()]);
        let dead = [stage(&[90, 5, 5], &[(900, 4), (50, 50), (50, 0)])];
        let first = decide(&settings, &dead, &at(0, 1), &Memory::default()).unwrap();
        prop_assert_eq!(first.verdict, Verdict::Harm { metric: 0, variant: 1 });
        let later = decide(&settings, &[stage(&[90, 5, 5], &arms)], &at(0, 1), &first.memory).unwrap();
        prop_assert_eq!(later.verdict, Verdict::Harm { metric: 0, variant: 1 });
    }

    #[test]
    fn stages_of_equal_shares_may_be_cut_anywhere(arms in arms(), cut in 0.0..1.0_f64) {
        let settings = settings(vec![errors()], vec![Step::default()]);
        let parts: (Vec<_>, Vec<_>) = arms.iter().map(|(exposed, failed)| {
            let part = ((*exposed as f64 * cut) as u64, (*failed as f64 * cut) as u64);
            (part, (exposed - part.0, failed - part.1))
        }).unzip();
        let whole = decide(&settings, &[stage(&[90, 5, 5], &arms)], &at(0, 1), &Memory::default()).unwrap();
        let cut = [stage(&[90, 5, 5], &parts.0), stage(&[90, 5, 5], &parts.1)];
        let cut = decide(&settings, &cut, &at(0, 1), &Memory::default()).unwrap();
        for (one, other) in whole.findings.iter().zip(&cut.findings) {
            let (one, other) = (one.evidence.log(), other.evidence.log());
            prop_assert!((one - other).abs() <= 1e-6 * (1.0 + one.abs()), "{} {}", one, other);
        }
    }
}
