//! Every part of a mesh is replaced under load, and no request is lost.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::{ControlPlane, Killed, info, wait_for};

/// Callers at once: some keep their connection, some open one for each request.
const CALLERS: usize = 6;

/// Far longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// An instance of `reviews`, program and sidecar.
fn instance(mesh: &ControlPlane, number: u32) -> Killed {
    let file = mesh.folder.path().join(format!("reviews-{number}.json"));
    let started = mesh
        .run(&["--service", "reviews", "--port", "9080", "--info"])
        .arg(&file)
        .args(["--", env!("CARGO_BIN_EXE_weft"), "example", "reviews", "--version", "v1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Killed(started);
    info(&file);
    started
}

/// A sidecar for callers, and where it takes their requests.
fn client(mesh: &ControlPlane, file: &Path) -> (Killed, SocketAddr) {
    let started =
        mesh.run(&["--info"]).arg(file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Killed(started);
    (started, info(file)["outbound"].as_str().unwrap().parse().unwrap())
}

/// What the callers share.
struct Load {
    sidecar: Mutex<SocketAddr>,
    ended: AtomicBool,
    /// Answers of each phase.
    answered: Mutex<BTreeMap<&'static str, u32>>,
    phase: Mutex<&'static str>,
    lost: Mutex<Vec<String>>,
}

impl Load {
    fn start(sidecar: SocketAddr) -> (Arc<Self>, Vec<JoinHandle<()>>) {
        let load = Arc::new(Self {
            sidecar: Mutex::new(sidecar),
            ended: AtomicBool::new(false),
            answered: Mutex::default(),
            phase: Mutex::new("start"),
            lost: Mutex::default(),
        });
        let callers = (0..CALLERS).map(|number| {
            let load = Arc::clone(&load);
            std::thread::spawn(move || load.call(number % 2 == 0))
        });
        let callers = callers.collect();
        (load, callers)
    }

    fn call(&self, keeps_connection: bool) {
        let mut kept = None;
        while !self.ended.load(Ordering::Relaxed) {
            let address = *self.sidecar.lock().unwrap();
            let phase = *self.phase.lock().unwrap();
            let answer = match kept.take().filter(|(to, _)| *to == address) {
                // What was closed before the answer began has not been taken; every client then connects again.
                Some((_, connection)) => ask(connection, keeps_connection)
                    .or_else(|_| ask(BufReader::new(TcpStream::connect(address)?), keeps_connection)),
                None => TcpStream::connect(address)
                    .and_then(|connection| ask(BufReader::new(connection), keeps_connection)),
            };
            match answer {
                Ok((status, connection)) if status == "HTTP/1.1 200 OK" => {
                    *self.answered.lock().unwrap().entry(phase).or_default() += 1;
                    kept = connection.map(|connection| (address, connection));
                }
                Ok((status, _)) => self.lost.lock().unwrap().push(format!("{phase}: {status}")),
                Err(error) => self.lost.lock().unwrap().push(format!("{phase}: {error}")),
            }
        }
    }

    /// Waits for some requests to be answered in a new phase.
    fn phase(&self, name: &'static str) {
        *self.phase.lock().unwrap() = name;
        wait_for("answers", || {
            (*self.answered.lock().unwrap().get(name)? >= 20 || !self.lost.lock().unwrap().is_empty())
                .then_some(())
        });
    }
}

/// One request: its status line, and the connection if it stays open.
fn ask(
    mut connection: BufReader<TcpStream>,
    keep: bool,
) -> std::io::Result<(String, Option<BufReader<TcpStream>>)> {
    let stream = connection.get_mut();
    stream.set_read_timeout(Some(PATIENCE))?;
    let close = if keep { "" } else { "connection: close\r\n" };
    write!(stream, "GET http://reviews:9080/reviews/1 HTTP/1.1\r\nhost: reviews:9080\r\n{close}\r\n")?;
    let (mut head, mut length, mut stays) = (Vec::new(), 0, keep);
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        stays &= lower != "connection: close";
        head.push(line);
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    let said = if length == 0 { String::new() } else { format!(" {}", String::from_utf8_lossy(&body)) };
    let status = if head[0].contains(" 200 ") { head[0].clone() } else { format!("{}{said}", head[0]) };
    Ok((status, stays.then_some(connection)))
}

#[test]
fn every_part_is_replaced_under_load_without_losing_a_request() {
    let mut mesh = ControlPlane::start();
    let file = |name: &str| mesh.folder.path().join(name);
    let (first, second) = (file("client-1.json"), file("client-2.json"));
    let mut instances = vec![instance(&mesh, 1), instance(&mesh, 2)];
    let (client_1, address) = client(&mesh, &first);
    let (load, callers) = Load::start(address);
    load.phase("before");
    let began = Instant::now();
    for number in 3..5 {
        instances.push(instance(&mesh, number));
        load.phase(if number == 3 { "one instance more" } else { "another one more" });
        instances.remove(0).end();
        load.phase(if number == 3 { "one instance replaced" } else { "both instances replaced" });
    }
    mesh.restart();
    load.phase("control plane replaced");
    // What is told from now on comes from the new one.
    instances.push(instance(&mesh, 5));
    instances.remove(0).end();
    load.phase("instance replaced under the new control plane");
    let (client_2, address) = client(&mesh, &second);
    *load.sidecar.lock().unwrap() = address;
    client_1.end();
    load.phase("callers' sidecar replaced");
    let took = began.elapsed();
    load.ended.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.join().unwrap();
    }
    assert_eq!(*load.lost.lock().unwrap(), Vec::<String>::new(), "{:?}", load.answered.lock().unwrap());
    assert!(took < Duration::from_mins(1), "{took:?}");
    client_2.end();
}
