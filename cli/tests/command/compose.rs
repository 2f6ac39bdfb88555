//! The compose file of the examples, with what it starts as processes of this machine: each of its commands as it is
//! written, but for what containers have of their own, which here are free ports and folders.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Killed, text, wait_for, weft};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/compose");

/// The file, and what its containers are given here.
struct Compose {
    services: BTreeMap<String, Value>,
    folder: tempfile::TempDir,
    /// Ports of network namespaces, and the ones that stand for them.
    ports: BTreeMap<(String, u16), u16>,
    running: Vec<Killed>,
}

fn words(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
}

impl Compose {
    fn read() -> Self {
        let file = fs::read_to_string(Path::new(EXAMPLE).join("compose.yaml")).unwrap();
        let file: Value = serde_saphyr::from_str(&file).unwrap();
        let services = file["services"].as_object().unwrap();
        Self {
            services: services.iter().map(|(name, service)| (name.clone(), service.clone())).collect(),
            folder: tempfile::tempdir().unwrap(),
            ports: BTreeMap::new(),
            running: Vec::new(),
        }
    }

    /// Whose network namespace a container has.
    fn network(&self, name: &str) -> String {
        let mode = self.services[name]["network_mode"].as_str().unwrap_or_default();
        mode.strip_prefix("service:").unwrap_or(name).to_owned()
    }

    fn port(&mut self, network: &str, port: u16) -> u16 {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        *self.ports.entry((network.to_owned(), port)).or_insert_with(free)
    }

    /// Names that lead to a container rather than into the mesh, which has its own for what sidecars offer.
    fn hosts(&self) -> BTreeSet<String> {
        let commands: Vec<String> = self.services.values().flat_map(|it| words(&it["command"])).collect();
        let offered = |name: &String| {
            commands.iter().any(|word| {
                let names = word.split(':').next().unwrap_or_default();
                word.contains('=') && names.split(',').any(|offered| offered == name)
            })
        };
        self.services.keys().filter(|name| !offered(name)).cloned().collect()
    }

    /// A word of a command, or a variable, with the addresses and paths of this machine.
    fn here(&mut self, name: &str, word: &str) -> String {
        for mount in words(&self.services[name]["volumes"]) {
            let mut parts = mount.split(':');
            let (source, target) = (parts.next().unwrap(), parts.next().unwrap());
            if word.starts_with(target) {
                return word.replacen(target, self.volume(source).to_str().unwrap(), 1);
            }
        }
        let mut made = word.to_owned();
        let own = self.network(name);
        for host in self.hosts().into_iter().chain(["127.0.0.1".to_owned(), "0.0.0.0".to_owned()]) {
            let network = if host.ends_with(|last: char| last.is_ascii_digit()) { &own } else { &host };
            let mut done = String::new();
            let mut rest = made.as_str();
            let wanted = format!("{host}:");
            while let Some((before, after)) = rest.split_once(&wanted) {
                let digits = after.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(after.len());
                let port = self.port(network, after[..digits].parse().unwrap());
                // Joined by a character that no host has, so that what stands there already is left alone.
                done.extend([before, "127.0.0.1\u{1}", &port.to_string()]);
                rest = &after[digits..];
            }
            made = done + rest;
        }
        made.replace('\u{1}', ":")
    }

    fn volume(&self, source: &str) -> PathBuf {
        if source.starts_with("./") {
            return Path::new(EXAMPLE).join(source);
        }
        let folder = self.folder.path().join(source);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// The command of a container, as it is run here.
    fn command(&mut self, name: &str) -> Vec<String> {
        let mut command = Vec::new();
        for word in words(&self.services[name]["command"]) {
            let port = command.last().is_some_and(|last| last == "--port");
            command.push(if port {
                let own = self.network(name);
                self.port(&own, word.parse().unwrap()).to_string()
            } else {
                self.here(name, &word)
            });
        }
        // Each has the address of its admin server for itself there.
        if matches!(&*command[0], "proxy" | "control-plane") {
            command.extend(["--admin", "127.0.0.1:0"].map(str::to_owned));
        }
        command
    }

    /// Starts a container after those that it depends on; one that others wait for is waited for.
    fn start(&mut self, name: &str, started: &mut BTreeSet<String>) {
        if !started.insert(name.to_owned()) {
            return;
        }
        let depends: Vec<(String, bool)> = match &self.services[name]["depends_on"] {
            Value::Object(on) => on
                .iter()
                .map(|(name, how)| (name.clone(), how["condition"] == "service_completed_successfully"))
                .collect(),
            on => words(on).into_iter().map(|name| (name, false)).collect(),
        };
        for (other, ends) in depends {
            self.start(&other, started);
            if ends {
                let status = wait_for("end of a container that others wait for", || {
                    self.running.last_mut()?.0.try_wait().unwrap()
                });
                assert!(status.success(), "{other}: {status}");
            }
        }
        let command = self.command(name);
        let mut process = weft(&command.iter().map(String::as_str).collect::<Vec<_>>());
        for (variable, value) in self.services[name]["environment"].as_object().cloned().unwrap_or_default() {
            let value = self.here(name, value.as_str().unwrap());
            process.env(variable, value);
        }
        let child = process.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.running.push(Killed(child));
    }
}

/// A request without a library; the answer whole, or none when there is nobody.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(text(&answer).to_lowercase())
}

#[test]
fn every_command_of_the_compose_file_starts_and_both_versions_answer_through_the_mesh() {
    let mut compose = Compose::read();
    let mut started = BTreeSet::new();
    let names: Vec<String> = compose.services.keys().cloned().collect();
    let always = |compose: &Compose, name: &String| compose.services[name]["profiles"].is_null();
    for name in names.iter().filter(|name| always(&compose, name)).cloned().collect::<Vec<_>>() {
        compose.start(&name, &mut started);
    }
    let entry = compose.port("entry", 8080);
    let mut seen = BTreeSet::new();
    wait_for("answer of each version", || {
        let answer = get(entry, "/product/1")?;
        let good = answer.starts_with("http/1.1 200");
        seen.extend(
            ["v1", "v2"].into_iter().filter(|it| good && answer.contains(&format!("x-version: {it}"))),
        );
        (seen.len() == 2).then_some(())
    });
    for process in &mut compose.running {
        let ended = process.0.try_wait().unwrap();
        assert!(ended.is_none_or(|status| status.success()), "{ended:?}");
    }
}

#[test]
fn the_load_of_the_compose_file_is_understood() {
    let mut compose = Compose::read();
    let command = compose.command("load");
    let said = weft(&[&*command[0], &command[1], "--help"]).output().unwrap();
    assert!(said.status.success());
    for option in command.iter().filter(|word| word.starts_with("--")) {
        assert!(text(&said.stdout).contains(option), "{option}");
    }
}
