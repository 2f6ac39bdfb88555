//! `weft run`: how it ends, what it passes on, and that it leaves nothing behind.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::{ControlPlane, Killed, info, output, runs, signal, text, wait_for};

fn code(command: &mut Command) -> Option<i32> {
    command.output().unwrap().status.code()
}

#[test]
fn it_ends_as_the_program_does() {
    let mesh = ControlPlane::start();
    assert_eq!(code(&mut mesh.run(&["--", "sh", "-c", "exit 0"])), Some(0));
    assert_eq!(code(&mut mesh.run(&["--", "sh", "-c", "exit 42"])), Some(42));
    assert_eq!(code(&mut mesh.run(&["--", "sh", "-c", "kill -9 $$"])), Some(137));
    assert_eq!(code(&mut mesh.run(&["--", "/nonexistent/program"])), Some(127));
    assert_eq!(code(&mut mesh.run(&["--", "/"])), Some(126));
}

#[test]
fn the_program_finds_port_and_proxy_in_its_environment() {
    let mesh = ControlPlane::start();
    let script = "echo $PORT; echo $http_proxy; echo $NO_PROXY; echo $ADDRESS; echo ${WEFT_TOKEN-none}";
    let ran = mesh
        .run(&["--service", "web", "--port", "80", "--upstream", "db:5432=0", "--env", "ADDRESS={db:5432}"])
        .args(["--", "sh", "-c", script])
        .output()
        .unwrap();
    let said = text(&ran.stdout);
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].parse::<u16>().is_ok_and(|port| port > 0), "{said}");
    assert!(lines[1].starts_with("http://127.0.0.1:"), "{said}");
    assert!(lines[2].ends_with("localhost,127.0.0.1,::1"), "{said}");
    assert!(lines[3].starts_with("127.0.0.1:"), "{said}");
    assert_eq!(lines[4], "none");
}

#[test]
fn a_level_that_is_none_is_told_of_and_passed_over() {
    let mesh = ControlPlane::start();
    let ran = mesh.run(&["--", "true"]).env("WEFT_LOG", "verbose").output().unwrap();
    let said = text(&ran.stderr);
    assert!(said.contains("WEFT_LOG is passed over") && said.contains("verbose is no level"), "{said}");
    assert!(ran.status.success());
}

#[test]
fn signals_go_on_to_the_program() {
    let mesh = ControlPlane::start();
    let script = "trap 'echo usr1' USR1; trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done";
    let mut child = Killed(mesh.run(&["--", "sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    signal(child.0.id().into(), Signal::USR1);
    assert_eq!(lines.next().unwrap().unwrap(), "usr1");
    signal(child.0.id().into(), Signal::TERM);
    assert_eq!(child.0.wait().unwrap().code(), Some(7));
}

/// A service that listens, with something that it has started itself.
const SERVICE: [&str; 4] = ["--service", "web", "--port", "80"];

#[test]
fn sigterm_ends_sidecar_program_and_what_that_has_started() {
    let mesh = ControlPlane::start();
    let file = mesh.folder.path().join("info.json");
    let script = format!("sleep 1000 & echo $!; exec {} example web", env!("CARGO_BIN_EXE_weft"));
    let mut child = Killed(
        mesh.run(&SERVICE)
            .arg("--info")
            .arg(&file)
            .args(["--", "sh", "-c", &script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let first = BufReader::new(child.0.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    let (sleeper, info) = (first.parse().unwrap(), info(&file));
    let program = info["program"].as_u64().unwrap();
    assert!(runs(sleeper) && runs(program));
    signal(child.0.id().into(), Signal::TERM);
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    wait_for("end of the program and its child", || (!runs(sleeper) && !runs(program)).then_some(()));
}

#[test]
fn the_program_does_not_outlive_a_sidecar_that_is_killed() {
    let mesh = ControlPlane::start();
    let file = mesh.folder.path().join("info.json");
    let mut child = Killed(
        mesh.run(&SERVICE)
            .arg("--info")
            .arg(&file)
            .args(["--", env!("CARGO_BIN_EXE_weft"), "example", "web"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let program = info(&file)["program"].as_u64().unwrap();
    signal(child.0.id().into(), Signal::KILL);
    assert_eq!(child.0.wait().unwrap().signal(), Some(9));
    wait_for("end of the program", || (!runs(program)).then_some(()));
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let mesh = ControlPlane::start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = mesh.run(&["--outbound", &address, "--", "true"]).output().unwrap();
    assert_eq!(ran.status.code(), Some(125));
    let said = text(&ran.stderr);
    assert!(said.contains(&address) && said.contains("in use"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn an_expired_token_is_refused_before_anything_starts() {
    let mesh = ControlPlane::start();
    let state = mesh.state();
    let made = output(&[
        "token",
        "create",
        "--identity",
        "shop/web",
        "--ttl",
        "1s",
        "--state",
        state.to_str().unwrap(),
        "--output",
        "json",
    ]);
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(made["identity"], "spiffe://cluster.local/ns/shop/sa/web");
    let ends = made["expires_at"].as_u64().unwrap();
    wait_for("expiry", || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        (now.as_secs() > ends).then_some(())
    });
    let ran = output(&["run", "--token", made["token"].as_str().unwrap(), "--", "true"]);
    assert_eq!(ran.status.code(), Some(125));
    let said = text(&ran.stderr);
    assert!(said.contains("expired") && said.contains("weft token create"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_token_joins_without_the_state_folder() {
    let mesh = ControlPlane::start();
    let state = mesh.state();
    let made = output(&["token", "create", "--identity", "shop/web", "--state", state.to_str().unwrap()]);
    let token = text(&made.stdout);
    let ran =
        output(&["run", "--state", "/nonexistent", "--token", token.trim(), "--", "sh", "-c", "exit 3"]);
    assert_eq!(ran.status.code(), Some(3), "{}", text(&ran.stderr));
}
