//! The alerts and dashboards ask for metrics that there are.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{ControlPlane, Killed, info, text, wait_for};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s/dashboards").join(name)
}

/// Every expression, with the title of what it is for.
fn expressions() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for name in ["mesh.json", "control-plane.json"] {
        let board: Value = serde_json::from_str(&fs::read_to_string(file(name)).unwrap()).unwrap();
        for panel in board["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                found.push((panel["title"].to_string(), target["expr"].as_str().unwrap().to_owned()));
            }
        }
        for variable in board["templating"]["list"].as_array().unwrap() {
            if let Some(query) = variable["query"]["query"].as_str() {
                found.push((variable["name"].to_string(), query.to_owned()));
            }
        }
    }
    let rules: Value = serde_saphyr::from_str(&fs::read_to_string(file("rules.yaml")).unwrap()).unwrap();
    for group in rules["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            found.push((rule["alert"].to_string(), rule["expr"].as_str().unwrap().to_owned()));
        }
    }
    found
}

/// The metrics that an exposition declares, by the names that their samples have.
fn declared(exposition: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        match kind {
            "counter" if !name.ends_with("_total") => names.insert(format!("{name}_total")),
            "histogram" => {
                names.extend(["bucket", "sum", "count"].map(|suffix| format!("{name}_{suffix}")));
                true
            }
            _ => names.insert(name.to_owned()),
        };
    }
    names
}

fn metrics(address: &str) -> String {
    wait_for("metrics", || {
        let mut stream = TcpStream::connect(address).ok()?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        Some(text(&answer))
    })
}

/// The names of metrics in an expression.
fn asked(expression: &str) -> Vec<&str> {
    let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = expression.split(|letter: char| !word(letter));
    words.filter(|word| word.starts_with("weft_") || word.starts_with("process_")).collect()
}

#[test]
fn every_metric_that_is_asked_for_is_there() {
    let mesh = ControlPlane::start();
    let state: Value =
        serde_json::from_slice(&fs::read(mesh.state().join("control-plane.json")).unwrap()).unwrap();
    let sidecar = mesh.folder.path().join("info.json");
    let mut run = mesh.run(&["--service", "me", "--info"]);
    let _run = Killed(run.arg(&sidecar).stderr(Stdio::null()).spawn().unwrap());
    let mut there = declared(&metrics(state["admin"].as_str().unwrap()));
    let control_plane = there.len();
    there.extend(declared(&metrics(info(&sidecar)["admin"].as_str().unwrap())));
    assert!(control_plane > 10 && there.len() > control_plane + 20, "{there:?}");
    let expressions = expressions();
    assert!(expressions.len() > 60, "{}", expressions.len());
    for (title, expression) in expressions {
        let names = asked(&expression);
        assert!(!names.is_empty(), "{title}: {expression}");
        for name in names {
            assert!(there.contains(name), "{title}: there is no {name}");
        }
    }
}

#[test]
fn alerts_are_raised_when_they_should_be_and_not_else() {
    let test = "alerts_are_raised_when_they_should_be_and_not_else";
    let promtool = |arguments: &[&str], name: &str| {
        Command::new("promtool").args(arguments).arg(file(name)).output().ok()
    };
    let (Some(checked), Some(tried)) =
        (promtool(&["check", "rules"], "rules.yaml"), promtool(&["test", "rules"], "rules.test.yaml"))
    else {
        println!("skipped {test}: it needs promtool; with it, run cargo test -p weft --test command {test}");
        return;
    };
    for said in [checked, tried] {
        assert!(said.status.success(), "{}{}", text(&said.stdout), text(&said.stderr));
    }
}
