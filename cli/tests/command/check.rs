//! `weft check`.

use std::fs;

use crate::support::{output, text};

const ROUTES: &str = include_str!("../../../examples/mesh/routes.yaml");

#[test]
fn a_good_folder_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("routes.yaml"), ROUTES).unwrap();
    let path = folder.path().to_str().unwrap();
    let good = output(&["check", path]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stdout));
    assert!(text(&good.stdout).contains("1 resource (1 HTTPRoute), 0 errors"));
    let json = output(&["check", path, "--output", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["ok"], &json["resources"]["HTTPRoute"]), (&true.into(), &1.into()));
}

#[test]
fn a_bad_one_is_named_with_file_line_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("routes.yaml"), ROUTES.replace("weight: 50", "weight: half")).unwrap();
    let path = folder.path().to_str().unwrap();
    let bad = output(&["check", path]);
    assert_eq!(bad.status.code(), Some(1));
    let line = 1 + ROUTES.lines().position(|line| line.contains("weight: 50")).unwrap();
    let said = text(&bad.stdout);
    assert!(said.contains(&format!("routes.yaml:{line}:")), "{said}");
    let json = output(&["check", path, "--output", "json"]);
    assert_eq!(json.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["ok"], &json["errors"][0]["line"]), (&false.into(), &line.into()));
}

#[test]
fn a_folder_that_is_not_there_is_an_error_on_stderr() {
    let gone = output(&["check", "/nonexistent/mesh"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(gone.stdout.is_empty() && text(&gone.stderr).contains("/nonexistent/mesh"));
}
