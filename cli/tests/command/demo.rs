//! `weft demo`: the main job.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Killed, runs, text, wait_for, weft};

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// All processes that this one has started, directly or not.
fn descendants(of: u64) -> Vec<u64> {
    let children = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    children.flat_map(|pid| std::iter::once(pid).chain(descendants(pid))).collect()
}

#[test]
fn no_request_is_lost_whatever_happens() {
    let ran = weft(&["demo", "--for", "8s", "--rate", "40", "--output", "json"]).output().unwrap();
    let said = text(&ran.stdout);
    let lines: Vec<_> = said.lines().map(json).collect();
    let summary = lines.last().unwrap_or_else(|| panic!("{}", text(&ran.stderr)));
    assert_eq!((&summary["type"], &summary["lost"]), (&"summary".into(), &0.into()), "{said}");
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    assert!(summary["requests"].as_u64().unwrap() > 100);

    let kinds: BTreeSet<_> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, BTreeSet::from(["event", "ready", "second", "summary"]));
    let events = summary["events"].as_array().unwrap();
    let about: BTreeSet<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert!(about.is_superset(&BTreeSet::from(["split", "kill", "restart", "rotate"])), "{said}");
    assert!(!said.contains("has no new certificate"), "{said}");

    let edges = summary["edges"].as_array().unwrap();
    for (from, to) in
        [("load", "web"), ("web", "reviews-v1"), ("web", "reviews-v3"), ("reviews-v3", "ratings")]
    {
        let edge = edges.iter().find(|edge| edge["from"] == from && edge["to"] == to);
        let edge = edge.unwrap_or_else(|| panic!("no edge from {from} to {to}: {said}"));
        assert_eq!(edge["mtls"], true, "{edge}");
        assert!(edge["requests"].as_u64().unwrap() > 0);
    }
    let splits = summary["splits"].as_array().unwrap();
    assert_eq!(splits.len(), 3, "{said}");
    assert_eq!(splits[0]["asked"], serde_json::json!({ "v1": 50, "v2": 30, "v3": 20 }));
    assert!(splits[0]["seen"].as_object().is_some_and(|seen| !seen.is_empty()), "{said}");
}

#[test]
fn an_interrupt_ends_everything_and_leaves_nothing() {
    let mut demo = Killed(
        weft(&["demo", "--scenario", "none", "--output", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines().map(|line| json(&line.unwrap()));
    let ready = lines.next().unwrap();
    let routes = ready["routes"].as_str().unwrap().to_owned();
    let started = descendants(demo.0.id().into());
    assert!(started.len() > 10, "{started:?}");

    // An edit shows in the next lines.
    let text = fs::read_to_string(&routes).unwrap();
    fs::write(&routes, text.replace("weight: 50", "weight: 0")).unwrap();
    let edited = lines.find(|line| line["type"] == "second" && line["split"]["asked"]["v1"] == 0);
    assert!(edited.is_some());

    kill_process(Pid::from_child(&demo.0), Signal::INT).unwrap();
    assert_eq!(lines.last().unwrap()["lost"], 0);
    assert_eq!(demo.0.wait().unwrap().code(), Some(0));
    assert!(!fs::exists(&routes).unwrap());
    wait_for("end of all processes", || started.iter().all(|pid| !runs(*pid)).then_some(()));
}

#[test]
fn nothing_outlives_a_demo_that_is_killed() {
    let mut demo = Killed(
        weft(&["demo", "--scenario", "none", "--output", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let ready = json(&BufReader::new(demo.0.stdout.take().unwrap()).lines().next().unwrap().unwrap());
    let started = descendants(demo.0.id().into());
    assert!(started.len() > 10, "{started:?}");
    demo.0.kill().unwrap();
    wait_for("end of all processes", || started.iter().all(|pid| !runs(*pid)).then_some(()));
    // The folder is what a killed process can't clear away.
    let logs = std::path::Path::new(ready["logs"].as_str().unwrap());
    fs::remove_dir_all(logs.parent().unwrap()).unwrap();
}
