//! The units of the examples for machines without Kubernetes: systemd understands them, and their commands are understood.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{text, weft};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/vm");

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(FOLDER).join(name)).unwrap()
}

/// The value of a setting, of a unit or of a file of variables.
fn setting(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("no {name}")).to_owned()
}

/// Asks a command for its help with all its options: what is wrong in them is told first.
fn understood(command: &str) {
    let said = weft(&command.split_whitespace().chain(["--help"]).collect::<Vec<_>>()).output().unwrap();
    assert!(said.status.success(), "{command}: {}", text(&said.stderr));
}

#[test]
fn the_commands_of_the_units_are_understood() {
    let proxy = setting(&file("reviews.env"), "WEFT_OPTIONS");
    assert!(proxy.contains("--service"));
    understood(&format!("proxy {proxy}"));
    let programs = [
        ("weft-control-plane.service", "ExecStart", "/usr/local/bin/weft-control-plane", "control-plane"),
        ("weft-redirect.service", "ExecStart", "/usr/local/bin/weft-proxy redirect", "redirect"),
        ("weft-redirect.service", "ExecStop", "/usr/local/bin/weft-proxy redirect", "redirect"),
    ];
    for (unit, name, program, command) in programs {
        understood(&setting(&file(unit), name).replace(program, command));
    }
    let wrong = weft(&["proxy", "--service", "reviews:9080", "--help"]).output().unwrap();
    assert!(!wrong.status.success(), "this test can fail");
}

#[test]
fn the_commands_of_a_task_of_ecs_are_understood() {
    let task: serde_json::Value = serde_json::from_str(&file("../ecs/task-definition.json")).unwrap();
    let containers = task["containerDefinitions"].as_array().unwrap();
    assert_eq!(containers.len(), 2);
    for container in containers {
        let words = container["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
        let command = words.collect::<Vec<_>>().join(" ");
        let program = if container["name"] == "weft-proxy" { "proxy " } else { "" };
        understood(&format!("{program}{command}"));
    }
}

#[test]
fn systemd_understands_the_units() {
    let test = "systemd_understands_the_units";
    let folder = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for name in ["weft-control-plane.service", "weft-proxy@.service", "weft-redirect.service"] {
        // Programs have to be there to be verified.
        let here = file(name)
            .replace("/usr/local/bin/weft-control-plane", "/bin/true")
            .replace("/usr/local/bin/weft-proxy", "/bin/true");
        let path = folder.path().join(name.replace("@.", "@reviews."));
        fs::write(&path, here).unwrap();
        units.push(path);
    }
    let Ok(verified) = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&units).output()
    else {
        println!(
            "skipped {test}: it needs systemd-analyze; with it, run cargo test -p weft --test command {test}"
        );
        return;
    };
    let said = text(&verified.stderr);
    let about = said.lines().filter(|line| line.contains("weft-")).collect::<Vec<_>>();
    assert!(verified.status.success() && about.is_empty(), "{said}");
}
