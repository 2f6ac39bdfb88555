//! A proxy as people run it: its options, its admin server, its end.

// Tests end where they go wrong, helpers included.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use weft_identity::{CaMaterial, CertificateAuthority, NewToken, TokenIssuer};

/// A token of a mesh whose control plane is at this address.
fn token(control_plane: Option<&str>) -> String {
    let now = SystemTime::now();
    let trust_domain = "mesh.example".parse().unwrap();
    let material = CaMaterial::generate(&trust_domain, now).unwrap();
    let authority = CertificateAuthority::from_pem(&material, "", &trust_domain, now).unwrap();
    let new = NewToken {
        identity: "spiffe://mesh.example/ns/shop/sa/web".parse().unwrap(),
        roots: authority.bundle().fingerprints(&trust_domain),
        control_plane: control_plane.map(str::to_owned),
        grants: weft_identity::Grants::default(),
        ttl: Duration::from_mins(10),
    };
    TokenIssuer::from_key(&TokenIssuer::generate_key()).unwrap().mint(&new, now).unwrap()
}

/// An address at which nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn program(arguments: &[&str]) -> Command {
    started_by(Command::new(env!("CARGO_BIN_EXE_weft-proxy")), arguments)
}

/// The same by a command that takes the place of the program's name.
fn started_by(mut command: Command, arguments: &[&str]) -> Command {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WEFT_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).env("NO_COLOR", "1");
    command
}

/// Runs to the end, which has to be a failure; gives what it said.
fn failure(arguments: &[&str]) -> String {
    let Output { status, stderr, .. } = program(arguments).output().unwrap();
    assert!(!status.success(), "{arguments:?}");
    String::from_utf8(stderr).unwrap()
}

/// A proxy that runs.
struct Running {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    admin: SocketAddr,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        Self::spawn(program(arguments))
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.args(["--admin", "127.0.0.1:0"]).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let admin = loop {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended");
            if let Some((_, rest)) = line.split_once(" admin: ") {
                let digits = |it: char| !(it.is_ascii_digit() || matches!(it, '.' | ':'));
                break rest.split(digits).next().unwrap().parse().unwrap();
            }
        };
        Self { child, stderr, admin }
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn signal(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Waits for its end; gives its exit code and what it said since it listens.
    fn end(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

#[test]
fn without_a_token_it_says_how_to_get_one() {
    let said = failure(&[]);
    assert!(said.contains("no join token: give --token-file FILE or set WEFT_TOKEN"), "{said}");
    let said = failure(&["--token-file", "/nonexistent/token"]);
    assert!(said.contains("--token-file /nonexistent/token: cannot read it"), "{said}");
}

#[test]
fn wrong_options_are_named_with_their_values() {
    let token = token(None);
    let said = failure(&["--token", &token]);
    assert!(said.contains("give --control-plane HOST:PORT"), "{said}");
    let said = failure(&["--token", &token, "--control-plane", "weft.example"]);
    assert!(said.contains("\"weft.example\" is not the address of a control plane"), "{said}");
    let said = failure(&["--token", &token, "--workload-id", "Web 1"]);
    assert!(said.contains("\"Web 1\" is not a name for a workload"), "{said}");
    let said = failure(&["--token", &token, "--service", "reviews=8080"]);
    assert!(said.contains("reviews:9080/http=127.0.0.1:8080@0.0.0.0:19080"), "{said}");
}

#[test]
fn a_port_in_use_is_one_clear_error() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let token = token(Some("127.0.0.1:1"));
    let said = failure(&["--token", &token, "--admin", &address]);
    assert!(said.contains(&format!("cannot listen on {address} for the admin server")), "{said}");
}

#[test]
fn without_a_control_plane_it_waits_says_why_and_ends_when_it_is_told_to() {
    let control_plane = nobody().to_string();
    let token = token(Some(&control_plane));
    let proxy = Running::start(&["--token", &token, "--workload-id", "web-1"]);
    let ready = proxy.ask("GET /ready");
    assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
    assert!(ready.contains("no certificate yet"), "{ready}");
    let config = proxy.ask("GET /config");
    assert!(config.contains("\"workload\": \"web-1\"") && config.contains(&control_plane), "{config}");
    assert!(proxy.ask("PUT /log?level=debug").starts_with("HTTP/1.1 200 "));
    assert!(proxy.ask("GET /log").ends_with("\r\n\r\ndebug\n"));
    let began = Instant::now();
    proxy.signal();
    let (code, said) = proxy.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(!said.contains(&token), "the token is a secret");
}

#[test]
fn something_else_in_the_place_of_the_control_plane_ends_it_with_the_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let proxy = Running::start(&["--token", &token(Some(&address))]);
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    let (code, said) = proxy.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("{address} is not the control plane of this mesh")), "{said}");
}

#[test]
fn the_limit_on_open_files_is_raised_as_far_as_may_be() {
    let mut shell = Command::new("sh");
    let script = "ulimit -S -n 200 && ulimit -H -n 300 && exec \"$0\" \"$@\"";
    shell.args(["-c", script, env!("CARGO_BIN_EXE_weft-proxy")]);
    let token = token(Some(&nobody().to_string()));
    let proxy = Running::spawn(started_by(shell, &["--token", &token]));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", proxy.child.id())).unwrap();
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let values: Vec<&str> = open_files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(values, ["300", "300"], "{limits}");
    proxy.signal();
    assert_eq!(proxy.end().0, Some(0));
}
