//! The programs as a shell or a sidecar sees them.

use std::net::SocketAddr;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use weft_examples::load::{Kind, Report};

use crate::support::{get, stand_in_for_reviews, start_reviews};

fn program(path: &str) -> Command {
    let mut command = Command::new(path);
    for variable in ["PORT", "http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "REVIEWS_URL", "RATINGS_URL"]
    {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Waits for the line that says where it listens.
async fn address_of(child: &mut Child) -> SocketAddr {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    line.split_once(" listens on http://").unwrap().1.parse().unwrap()
}

fn terminate(child: &Child) {
    let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
}

async fn error_of(command: &mut Command) -> (Option<i32>, String) {
    let ended = command.output().await.unwrap();
    (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
}

#[tokio::test]
async fn sigterm_ends_it_with_success_after_the_request_in_flight() {
    let mut reviews = stand_in_for_reviews().await;
    let mut command = program(env!("CARGO_BIN_EXE_web"));
    command.env("PORT", "0").env("REVIEWS_URL", format!("http://{}", reviews.address));
    let mut web = command.spawn().unwrap();
    let address = address_of(&mut web).await;
    let asking = tokio::spawn(async move { get(address, "/product/1").await });
    let (_, release) = reviews.requests.recv().await.unwrap();
    terminate(&web);
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    release.send(()).unwrap();
    assert_eq!(asking.await.unwrap().status, 200);
    assert!(web.wait().await.unwrap().success());
}

#[tokio::test]
async fn each_service_says_where_it_listens_and_ends_on_sigterm() {
    for path in [env!("CARGO_BIN_EXE_ratings"), env!("CARGO_BIN_EXE_reviews")] {
        let mut service = program(path).spawn().unwrap();
        assert_ne!(address_of(&mut service).await.port(), 0);
        terminate(&service);
        assert!(service.wait().await.unwrap().success(), "{path}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    for path in [env!("CARGO_BIN_EXE_reviews"), env!("CARGO_BIN_EXE_ratings")] {
        let (code, error) = error_of(program(path).env("PORT", address.port().to_string())).await;
        assert_eq!(code, Some(1));
        assert!(error.contains(&format!("cannot listen on {address}: the port is in use")), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[tokio::test]
async fn wrong_values_are_named() {
    let web = env!("CARGO_BIN_EXE_web");
    let (code, error) = error_of(program(web).args(["--reviews", "reviews:9080"])).await;
    assert_eq!(code, Some(2));
    assert!(error.contains("'reviews:9080' for '--reviews <URL>'") && error.contains("http://"), "{error}");
    let (code, error) = error_of(program(web).env("HTTP_PROXY", "https://proxy:1")).await;
    assert_eq!(code, Some(1));
    assert!(error.starts_with("web: HTTP_PROXY=https://proxy:1: "), "{error}");
    let (_, error) = error_of(program(env!("CARGO_BIN_EXE_reviews")).args(["--fail-share", "10%"])).await;
    assert!(error.contains("a number from 0 to 1"), "{error}");
}

#[tokio::test]
async fn load_prints_lines_and_a_summary_and_exits_by_its_failures() {
    for (share, code) in [("0", 0), ("1", 1)] {
        let reviews = start_reviews(&["--fail-share", share]).await;
        let mut load = program(env!("CARGO_BIN_EXE_load"));
        let url = format!("{}/reviews/1", reviews.url());
        load.args([&url, "--rate=100", "--duration=200ms", "--every=50ms"]);
        let ended = load.output().await.unwrap();
        assert_eq!(ended.status.code(), Some(code));
        let lines = String::from_utf8(ended.stdout).unwrap();
        let reports: Vec<Report> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (summary, intervals) = reports.split_last().unwrap();
        assert_eq!(summary.kind, Kind::Summary);
        assert_eq!((summary.sent, summary.ok + summary.failed), (20, 20));
        assert!(intervals.len() >= 2 && intervals.iter().all(|each| each.kind == Kind::Interval));
        assert_eq!(intervals.iter().map(|each| each.sent).sum::<u64>(), 20);
    }
}

#[tokio::test]
async fn load_without_a_duration_ends_on_sigterm_with_its_summary() {
    let reviews = start_reviews(&[]).await;
    let mut load = program(env!("CARGO_BIN_EXE_load"));
    load.args([&format!("{}/reviews/1", reviews.url()), "--rate=100", "--every=50ms"]);
    let mut load = load.spawn().unwrap();
    let mut lines = BufReader::new(load.stdout.take().unwrap()).lines();
    lines.next_line().await.unwrap().unwrap();
    terminate(&load);
    let mut last = None;
    while let Some(line) = lines.next_line().await.unwrap() {
        last = Some(line);
    }
    let summary: Report = serde_json::from_str(&last.unwrap()).unwrap();
    assert_eq!((summary.kind, summary.failed), (Kind::Summary, 0));
    assert!(summary.ok > 0 && load.wait().await.unwrap().success());
}
