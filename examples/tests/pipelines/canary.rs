//! A canary that does well, and many that don't.

use std::process::Output;

use super::{World, complaint};

const PROGRAMS: [&str; 3] = ["kubectl", "sleep", "curl"];

fn canary(world: &World, arguments: &[&str]) -> Output {
    world.run("canary", &PROGRAMS, arguments, &[])
}

/// That everybody meets version 1 again, and nothing is left of the canary.
fn everybody_meets_version_1(world: &World) {
    assert_eq!(world.said("weights").lines().last(), Some("100/0"));
    assert_eq!(world.said("image.reviews"), "weft:1");
    assert_eq!(world.said("replicas.reviews-canary"), "0");
    assert_eq!(world.said("before"), "", "nothing is under way any more");
}

#[test]
fn a_good_version_takes_over_step_by_step() {
    let world = World::new();
    let output = canary(&world, &["run", "weft:2"]);
    assert!(output.status.success(), "{}", complaint(&output));
    assert_eq!(world.line("weights"), "100/0 95/5 75/25 50/50 100/0");
    assert_eq!(world.said("image.reviews"), "weft:2");
    assert_eq!(world.said("replicas.reviews-canary"), "0");
    assert_eq!(world.said("before"), "");
}

#[test]
fn the_new_version_is_ready_before_it_gets_requests_and_gets_none_before_it_goes() {
    let world = World::new();
    assert!(canary(&world, &["run", "weft:2"]).status.success());
    let calls = world.said("calls");
    let nth = |what: &str, number: usize| {
        let found = calls.lines().enumerate().filter(|(_, line)| line.contains(what)).nth(number);
        found.unwrap_or_else(|| panic!("no {what} number {number} in\n{calls}")).0
    };
    let (ready, first) = (nth("rollout status deployment/reviews-canary", 0), nth("\"value\": 95", 0));
    assert!(ready < first, "{calls}");
    let replaced = nth("rollout status deployment/reviews --timeout", 0);
    let (taken, gone) = (nth("\"value\": 100", 1), nth("scale deployment/reviews-canary --replicas=0", 0));
    assert!(replaced < taken && taken < gone, "{calls}");
}

#[test]
fn too_many_failures_roll_back_at_the_step_that_shows_them() {
    let world = World::new();
    world.set("failures.each", "2");
    let output = canary(&world, &["run", "weft:2"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(world.line("weights"), "100/0 95/5 100/0");
    assert!(complaint(&output).contains("2 of 100 requests failed"), "{}", complaint(&output));
    everybody_meets_version_1(&world);
}

#[test]
fn as_many_failures_as_are_allowed_are_no_reason() {
    for (failures, success, well) in
        [("1", "99", true), ("1", "99.5", false), ("50", "50", true), ("51", "50", false)]
    {
        let world = World::new();
        world.set("failures.each", failures);
        let output = world.run("canary", &PROGRAMS, &["run", "weft:2"], &[("SUCCESS", success)]);
        assert_eq!(output.status.success(), well, "{failures} of 100 with {success}: {}", complaint(&output));
    }
}

#[test]
fn a_version_that_does_not_become_ready_gets_no_request() {
    let world = World::new();
    world.set("never-ready.reviews-canary", "weft:2");
    assert_eq!(canary(&world, &["run", "weft:2"]).status.code(), Some(1));
    assert_eq!(world.line("weights"), "100/0 100/0");
    everybody_meets_version_1(&world);
}

#[test]
fn a_version_that_fails_while_it_replaces_the_old_one_is_replaced_by_it() {
    let world = World::new();
    world.set("never-ready.reviews", "weft:2");
    assert_eq!(canary(&world, &["run", "weft:2"]).status.code(), Some(1));
    assert_eq!(world.line("weights"), "100/0 95/5 75/25 50/50 100/0");
    everybody_meets_version_1(&world);
}

#[test]
fn too_few_requests_say_nothing_and_roll_back_after_a_while() {
    let world = World::new();
    world.set("requests.each", "4");
    let output = world.run("canary", &PROGRAMS, &["run", "weft:2"], &[("LONGEST", "3")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("only 12 requests in 3 times 60 s"), "{}", complaint(&output));
    everybody_meets_version_1(&world);
    // Enough of them come together in the end.
    let world = World::new();
    world.set("requests.each", "20");
    let output = world.run("canary", &PROGRAMS, &["run", "weft:2"], &[("STEPS", "10"), ("WATCH", "7")]);
    assert!(output.status.success(), "{}", complaint(&output));
    assert_eq!(world.said("calls").lines().filter(|line| *line == "sleep 7").count(), 3);
}

#[test]
fn a_run_that_was_killed_is_put_right_by_the_next_one() {
    let world = World::new();
    // It had begun to replace version 1.
    world.set("before", "weft:1");
    world.set("image.reviews", "weft:2");
    let output = canary(&world, &["run", "weft:3"]);
    assert!(output.status.success(), "{}", complaint(&output));
    assert!(complaint(&output).contains("the last run was killed"));
    assert!(world.said("calls").contains("set image deployment/reviews reviews=weft:1"));
    assert_eq!(world.said("image.reviews"), "weft:3");
}

#[test]
fn a_rollback_by_hand_restores_what_was_met_before() {
    let world = World::new();
    world.set("before", "weft:1");
    world.set("image.reviews", "weft:2");
    assert!(canary(&world, &["rollback"]).status.success());
    everybody_meets_version_1(&world);
}

#[test]
fn a_rollback_that_is_not_whole_says_so_and_can_be_done_again() {
    let world = World::new();
    world.set("before", "weft:1");
    world.set("gone", "");
    let output = canary(&world, &["rollback"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("not everything could be rolled back"), "{}", complaint(&output));
    std::fs::remove_file(world.folder.path().join("gone")).unwrap();
    assert!(canary(&world, &["rollback"]).status.success());
    everybody_meets_version_1(&world);
}

#[test]
fn prometheus_is_asked_for_what_callers_saw() {
    let world = World::new();
    world.set("failures.each", "3");
    let variables = [("PROMETHEUS", "http://prometheus:9090"), ("STEPS", "10")];
    let output = world.run("canary", &PROGRAMS, &["run", "weft:2"], &variables);
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("3 of 100 requests failed"), "{}", complaint(&output));
    let calls = world.said("calls");
    let of = "weft_failures_total{direction=\"outbound\",backend=\"shop/reviews-canary:9080\"}";
    for part in
        [format!("sum(increase({of}[60s]) and {of} offset 60s)"), format!("sum({of} unless {of} offset 60s)")]
    {
        assert!(calls.contains(&part), "{calls}");
    }
    assert!(!calls.contains("--raw"), "{calls}");
}

#[test]
fn a_prometheus_without_an_answer_rolls_back() {
    let world = World::new();
    world.set("no-series", "");
    let output =
        world.run("canary", &PROGRAMS, &["run", "weft:2"], &[("PROMETHEUS", "http://prometheus:9090")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("Prometheus has no answer"), "{}", complaint(&output));
    everybody_meets_version_1(&world);
}

#[test]
fn counters_that_begin_anew_are_no_failures() {
    let world = World::new();
    // Its pods were replaced: less than before has been counted.
    world.set("requests", "5000");
    world.set("requests.each", "-4900");
    world.set("failures", "70");
    world.set("failures.each", "-70");
    let output = world.run("canary", &PROGRAMS, &["step", "10"], &[]);
    assert!(output.status.success(), "{}", complaint(&output));
    assert!(complaint(&output).contains("0 of 100 requests failed"), "{}", complaint(&output));
}

#[test]
fn wrong_usage_changes_nothing() {
    for arguments in
        [&["run"][..], &["step", "101"], &["step", "5.5"], &["step", "-1"], &["promote"], &["frob"], &[]]
    {
        let world = World::new();
        assert_eq!(canary(&world, arguments).status.code(), Some(2), "{arguments:?}");
        assert_eq!(world.said("calls"), "", "{arguments:?}");
    }
}
