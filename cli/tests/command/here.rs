//! What `weft run` runs on this machine: how it is found, looked at and ended, and where its log goes.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{ControlPlane, Killed, info, output, signal, text, wait_for};

/// One request through the proxy at `outbound`; gives the status line.
fn get(outbound: &str, url: &str) -> String {
    let mut stream = TcpStream::connect(outbound).unwrap();
    let host = url.trim_start_matches("http://").split('/').next().unwrap();
    write!(stream, "GET {url} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

fn json(args: &[&str]) -> Value {
    let ended = output(args);
    assert_eq!(ended.status.code(), Some(0), "{args:?}: {}", text(&ended.stderr));
    serde_json::from_slice(&ended.stdout).unwrap()
}

#[test]
fn what_runs_on_this_machine_is_listed_and_looked_at_without_a_cluster() {
    let mesh = ControlPlane::start();
    let state = mesh.state();
    let state = state.to_str().unwrap();
    let nothing = json(&["ps", "--state", state, "--output", "json"]);
    assert_eq!((nothing["runs"].as_array().unwrap().len(), nothing["control_plane"].is_object()), (0, true));
    let none = output(&["get", "listeners", "--state", state]);
    assert!(text(&none.stderr).contains("none runs on this machine"), "{}", text(&none.stderr));
    let (web_file, client_file) =
        (mesh.folder.path().join("web.json"), mesh.folder.path().join("client.json"));
    let program = [env!("CARGO_BIN_EXE_weft"), "example", "reviews", "--version", "v1"];
    let web = mesh
        .run(&[
            "--service",
            "web",
            "--version",
            "v2",
            "--port",
            "80",
            "--info",
            web_file.to_str().unwrap(),
            "--",
        ])
        .args(program)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _web = Killed(web.unwrap());
    info(&web_file);
    let said = mesh.folder.path().join("said");
    let client = mesh
        .run(&["--info", client_file.to_str().unwrap(), "--", "sleep", "600"])
        .stderr(File::create(&said).unwrap())
        .spawn();
    let client = Killed(client.unwrap());
    let known = info(&client_file);
    let (outbound, admin) = (known["outbound"].as_str().unwrap(), known["admin"].as_str().unwrap());
    let where_it_is = format!("weft run: admin: http://{admin}/ready");
    wait_for("where its admin server is", || {
        fs::read_to_string(&said).unwrap().contains(&where_it_is).then_some(())
    });

    let runs = json(&["ps", "--state", state, "--output", "json"])["runs"].clone();
    let of_web = runs.as_array().unwrap().iter().find(|run| run["service"] == "web").unwrap();
    assert_eq!((runs.as_array().unwrap().len(), &of_web["version"]), (2, &Value::from("v2")), "{runs}");
    assert!(runs.as_array().unwrap().iter().any(|run| run["admin"] == admin), "{runs}");
    let several = text(&output(&["get", "listeners", "--state", state]).stderr);
    assert!(several.contains("web-v2 (--proxy ") && several.contains(admin), "{several}");

    wait_for("an answer", || get(outbound, "http://web/reviews/1").contains(" 200 ").then_some(()));
    let top = ["top", "--state", state, "--once", "--interval", "500ms", "--output", "json"];
    let edge = wait_for("the edge", || {
        let edges = json(&top)["edges"].clone();
        edges
            .as_array()
            .unwrap()
            .iter()
            .find(|edge| edge["to"] == "web" && edge["requests"].as_u64() > Some(0))
            .cloned()
    });
    assert_eq!((&edge["mtls"], &edge["version"]), (&true.into(), &"v2".into()), "{edge}");

    signal(client.0.id().into(), Signal::KILL);
    drop(client);
    let url = format!("http://{}/", of_web["admin"].as_str().unwrap());
    wait_for("the end of the record", || {
        (json(&["ps", "--state", state, "--output", "json"])["runs"].as_array().unwrap().len() == 1)
            .then_some(())
    });
    let one = output(&["get", "listeners", "--state", state]);
    assert!(text(&one.stdout).contains("ADDRESS"), "{}", text(&one.stderr));
    assert_eq!(output(&["get", "listeners", "--proxy", &url]).status.code(), Some(0));
}

/// With a shell's redirection each process that has the file open writes where the last one stopped, if all write by the
/// same open file.
#[test]
fn the_access_log_is_appended_to_a_redirected_standard_error() {
    const ROUNDS: usize = 6;
    let mesh = ControlPlane::start();
    let folder = mesh.folder.path();
    let (file, said, printed) = (folder.join("info.json"), folder.join("stderr"), folder.join("stdout"));
    let script = "while read line; do echo \"program says $line\" >&2; done";
    let run = mesh
        .run(&["--info", file.to_str().unwrap(), "--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(File::create(&printed).unwrap())
        .stderr(File::create(&said).unwrap())
        .spawn();
    let mut run = Killed(run.unwrap());
    let known = info(&file);
    let (outbound, admin) = (known["outbound"].as_str().unwrap(), known["admin"].as_str().unwrap());
    // Switched on while it runs.
    let mut stream = TcpStream::connect(admin).unwrap();
    write!(stream, "PUT /access-log?mode=all HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(" 200 "), "{answer}");
    let count = |what: &str| fs::read_to_string(&said).unwrap().matches(what).count();
    for round in 1..=ROUNDS {
        assert!(get(outbound, "http://127.0.0.1:1/").contains(" 503 "));
        wait_for("a line of the access log", || (count("\"direction\":\"outbound\"") == round).then_some(()));
        writeln!(run.0.stdin.as_mut().unwrap(), "{round}").unwrap();
        wait_for("a line of the program", || (count("program says") == round).then_some(()));
    }
    let said = fs::read_to_string(&said).unwrap();
    for line in said.lines().filter(|line| line.starts_with('{')) {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
    assert_eq!(said.lines().filter(|line| line.starts_with('{')).count(), ROUNDS, "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("program says")).count(), ROUNDS, "{said}");
    assert_eq!(fs::read_to_string(&printed).unwrap(), "");
}

#[test]
fn a_connection_that_the_program_keeps_does_not_hold_up_its_end() {
    let mesh = ControlPlane::start();
    let file = mesh.folder.path().join("info.json");
    let database = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = database.local_addr().unwrap().to_string();
    let upstream = format!("{name}=0");
    let script = "trap 'exit 7' TERM; while :; do sleep 0.01; done";
    let run = mesh
        .run(&["--service", "web", "--port", "80", "--upstream", &upstream, "--drain", "1h"])
        .args(["--app-port", name.rsplit(':').next().unwrap()])
        .args(["--info", file.to_str().unwrap(), "--", "sh", "-c", script])
        .stderr(Stdio::null())
        .spawn();
    let mut run = Killed(run.unwrap());
    let known = info(&file);
    let mut pooled = TcpStream::connect(known["upstreams"][&name].as_str().unwrap()).unwrap();
    pooled.write_all(b"\0").unwrap();
    // The probe of the program's port comes here, too.
    let _database: Vec<TcpStream> = wait_for("the connection to the database", || {
        let (mut stream, _) = database.accept().ok()?;
        let mut first = [1];
        (stream.read_exact(&mut first).is_ok() && first == [0]).then(|| vec![stream])
    });
    signal(run.0.id().into(), Signal::TERM);
    assert_eq!(run.0.wait().unwrap().code(), Some(7));
    drop(pooled);
}
