//! The pipelines' own files: what they run is there and is shell.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::pipelines;

/// Every piece of shell in the two files, with a name to find it by.
fn pieces() -> Vec<(String, String)> {
    let gitlab: Value =
        serde_saphyr::from_str(&fs::read_to_string(pipelines().join(".gitlab-ci.yml")).unwrap()).unwrap();
    let mut found = Vec::new();
    for (job, content) in gitlab.as_object().unwrap() {
        for list in ["before_script", "script", "after_script"] {
            let lines = content.get(list).and_then(Value::as_array).into_iter().flatten();
            let lines: Vec<&str> = lines.map(|line| line.as_str().unwrap()).collect();
            if !lines.is_empty() {
                found.push((format!(".gitlab-ci.yml: {job}, {list}"), lines.join("\n")));
            }
        }
    }
    let jenkins = fs::read_to_string(pipelines().join("Jenkinsfile")).unwrap();
    for (index, rest) in jenkins.split("sh '").enumerate().skip(1) {
        let piece = match rest.strip_prefix("''") {
            Some(block) => block.split("'''").next().unwrap(),
            None => rest.split('\'').next().unwrap(),
        };
        found.push((format!("Jenkinsfile: step {index}"), piece.to_owned()));
    }
    found
}

/// What a program says of a text; none where there is no such program.
fn said(program: &str, arguments: &[&str], text: &str) -> Option<(bool, String)> {
    use std::io::Write as _;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    Some((ended.status.success(), text))
}

#[test]
fn every_step_is_shell() {
    let pieces = pieces();
    assert!(pieces.len() >= 15, "{}", pieces.len());
    for (name, text) in &pieces {
        let (right, complaint) = said("sh", &["-n"], text).unwrap();
        assert!(right, "{name}: {complaint}");
    }
}

#[test]
fn scripts_and_steps_are_without_a_known_mistake() {
    let scripts = ["canary", "image"].map(|name| {
        let text = fs::read_to_string(pipelines().join(name)).unwrap();
        (name.to_owned(), text)
    });
    for (name, text) in scripts.into_iter().chain(pieces()) {
        // Variables of the CI are set by it, and its own are not quoted where their values are known.
        let options = ["--shell=sh", "--exclude=SC2154,SC2086", "-"];
        let Some((right, complaint)) = said("shellcheck", &options, &text) else {
            println!(
                "skipped scripts_and_steps_are_without_a_known_mistake: it needs shellcheck; with it, run \
                 cargo test -p weft-examples --test pipelines"
            );
            return;
        };
        assert!(right, "{name}: {complaint}");
    }
}

#[test]
fn every_command_of_the_steps_is_one_that_the_scripts_have() {
    let mut used = BTreeSet::new();
    for (name, text) in pieces() {
        for line in text.replace('"', "").lines().filter(|line| line.contains("$SCRIPTS/")) {
            let call = line.split("$SCRIPTS/").nth(1).unwrap();
            let mut words = call.split_whitespace();
            let (script, command) = (words.next().unwrap(), words.next().unwrap());
            let text =
                fs::read_to_string(pipelines().join(script)).unwrap_or_else(|_| panic!("{name}: {line}"));
            assert!(text.contains(&format!("\n{command}() {{")), "{name}: {script} has no {command}");
            used.insert(format!("{script} {command}"));
        }
    }
    let all = ["canary rollback", "canary run", "image build", "image scan", "image sign", "image verify"];
    assert_eq!(used.iter().map(String::as_str).collect::<Vec<_>>(), all);
}

#[test]
fn both_pipelines_go_through_the_same_steps_in_the_same_order() {
    let order = |file: &str| {
        let steps: Vec<String> = pieces()
            .into_iter()
            .filter(|(name, _)| name.starts_with(file))
            .flat_map(|(_, text)| text.replace('"', "").lines().map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|line| {
                Some(line.split("$SCRIPTS/").nth(1)?.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
            })
            .collect();
        steps
    };
    let jenkins = order("Jenkinsfile");
    assert_eq!(
        jenkins,
        ["image build", "image scan", "image sign", "image verify", "canary run", "canary rollback"]
    );
    // Jobs are in no order in YAML; their stages are.
    let gitlab: BTreeSet<String> = order(".gitlab-ci.yml").into_iter().collect();
    assert_eq!(gitlab, jenkins.into_iter().collect());
}
