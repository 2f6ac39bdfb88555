//! The processes of the demo: each service beside a sidecar process of its own.

use std::ffi::OsString;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal};

use crate::process::{Child, guarded, own_program};
use crate::run::info::Info;

use super::folder::Folder;

/// Variables that the surroundings may set and that would change what the demo's processes do.
const FOREIGN: [&str; 12] = [
    "WEFT_ADMIN",
    "WEFT_CONFIG",
    "WEFT_CONTROL_PLANE",
    "WEFT_LISTEN",
    "WEFT_NAMESPACE",
    "WEFT_STATE",
    "WEFT_TOKEN",
    "WEFT_TRUST_DOMAIN",
    "RATINGS_URL",
    "RATINGS_AUTHORITY",
    "REVIEWS_URL",
    "PORT",
];
const PROXIES: [&str; 4] = ["HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"];

/// One instance of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    /// Its name, and its workload's id.
    pub(super) name: &'static str,
    pub(super) service: &'static str,
    pub(super) version: Option<&'static str>,
    /// The port of the service and what is spoken on it, if it offers something.
    pub(super) port: Option<(u16, &'static str)>,
    /// More options of `weft run`.
    pub(super) options: &'static [&'static str],
    /// The program of `weft example` with its arguments; none is a sidecar alone.
    pub(super) program: &'static [&'static str],
}

/// `reviews` calls ratings over gRPC, through a local port of its sidecar.
const TO_RATINGS: &[&str] = &[
    "--upstream",
    "ratings:9090=0",
    "--env",
    "RATINGS_URL=http://{ratings:9090}",
    "--env",
    "RATINGS_AUTHORITY=ratings:9090",
];

const fn reviews(name: &'static str, version: &'static str, program: &'static [&'static str]) -> Spec {
    Spec {
        name,
        service: "reviews",
        version: Some(version),
        port: Some((9080, "http")),
        options: TO_RATINGS,
        program,
    }
}

/// What runs before the load: two instances of reviews v2, so that one can go.
pub(super) const SERVICES: &[Spec] = &[
    Spec {
        name: "ratings-1",
        service: "ratings",
        version: None,
        port: Some((9090, "grpc")),
        options: &["--no-outbound"],
        program: &["ratings"],
    },
    reviews("reviews-v1-1", "v1", &["reviews", "--version", "v1"]),
    reviews("reviews-v2-1", "v2", &["reviews", "--version", "v2"]),
    reviews("reviews-v2-2", "v2", &["reviews", "--version", "v2"]),
    reviews("reviews-v3-1", "v3", &["reviews", "--version", "v3"]),
    Spec {
        name: "web-1",
        service: "web",
        version: None,
        port: Some((8080, "http")),
        options: &[],
        program: &["web"],
    },
    // The way in for people.
    Spec {
        name: "you",
        service: "you",
        version: None,
        port: None,
        options: &["--upstream", "web:8080=0"],
        program: &[],
    },
];

/// The instance of [`SERVICES`] that is killed.
pub(super) const VICTIM: &str = "reviews-v2-1";
/// The instance of [`SERVICES`] that people come in by.
pub(super) const ENTRANCE: &str = "you";
/// What the load gets.
pub(super) const URL: &str = "http://web:8080/product/1";

pub(super) const LOAD: Spec = Spec {
    name: "load",
    service: "load",
    version: None,
    port: None,
    options: &[],
    program: &["load", URL, "--every", "250ms"],
};

impl Spec {
    /// Service and version.
    pub(super) fn label(&self) -> String {
        self.version.map_or_else(|| self.service.to_owned(), |version| format!("{}-{version}", self.service))
    }

    /// The arguments of `weft`; `more` goes to the program.
    fn arguments(&self, folder: &Folder, more: &[String]) -> Vec<OsString> {
        let mut args: Vec<OsString> =
            ["run", "--service", self.service, "--workload-id", self.name].map(Into::into).into();
        args.extend([
            "--state".into(),
            folder.state().into(),
            "--info".into(),
            folder.info(self.name).into(),
        ]);
        if let Some(version) = self.version {
            args.extend(["--version".into(), version.into()]);
        }
        if let Some((port, protocol)) = self.port {
            args.extend(["--port".into(), port.to_string().into(), "--protocol".into(), protocol.into()]);
        }
        args.extend(self.options.iter().map(Into::into));
        if !self.program.is_empty() {
            args.extend(["--".into(), own_program().into(), "example".into()]);
            args.extend(self.program.iter().map(Into::into));
            args.extend(more.iter().map(Into::into));
        }
        args
    }
}

/// A process of the demo that runs, or has ended by itself.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) spec: Spec,
    pub(super) child: Child,
    /// Where it is reached, as soon as it takes requests.
    pub(super) info: Option<Info>,
    pub(super) started: Instant,
}

impl Instance {
    /// Starts the sidecar, which starts its program.
    pub(super) fn start(
        spec: &Spec,
        folder: &Folder,
        more: &[String],
        stdout: Option<Stdio>,
    ) -> anyhow::Result<Self> {
        // What one before it said of itself is no longer true.
        let _ = fs::remove_file(folder.info(spec.name));
        let child = start(spec.name, &spec.arguments(folder, more), folder, stdout)?;
        Ok(Self { spec: spec.clone(), child, info: None, started: Instant::now() })
    }

    /// Looks whether it takes requests by now. Fails when it has ended.
    pub(super) fn look(&mut self, folder: &Folder) -> anyhow::Result<Option<&Info>> {
        if self.child.has_ended() {
            bail!("{} has ended: {}", self.spec.name, folder.log_tail(self.spec.name));
        }
        if self.info.is_none()
            && let Ok(text) = fs::read(folder.info(self.spec.name))
        {
            let info = serde_json::from_slice(&text);
            self.info = Some(info.with_context(|| format!("{} does not say where it is", self.spec.name))?);
        }
        Ok(self.info.as_ref())
    }

    /// Tells the program to end, but not its sidecar, which ends when the program has.
    pub(super) fn end_program(&self) {
        let program = self.info.as_ref().and_then(|info| Pid::from_raw(i32::try_from(info.program?).ok()?));
        if let Some(program) = program {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(program, Signal::TERM);
        }
    }
}

/// Starts `weft` with these arguments, in a group of its own so that Ctrl-C reaches only the demo, with its log in the
/// folder.
pub(super) fn start(
    name: &str,
    args: &[OsString],
    folder: &Folder,
    stdout: Option<Stdio>,
) -> anyhow::Result<Child> {
    let log = folder.log(name)?;
    let mut command: Command = guarded(own_program().as_os_str(), args);
    for variable in FOREIGN.iter().chain(&PROXIES) {
        command.env_remove(variable);
    }
    if std::env::var_os(weft_log::VARIABLE).is_none() {
        command.env(weft_log::VARIABLE, "info");
    }
    let stdout = match stdout {
        Some(stdout) => stdout,
        None => log.try_clone()?.into(),
    };
    command.stdin(Stdio::null()).stdout(stdout).stderr(log);
    Child::start(command, true).with_context(|| format!("cannot start {name}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Weft;

    #[test]
    fn every_process_is_started_with_a_command_line_that_is_understood() {
        let folder = Folder::create().unwrap();
        for spec in SERVICES.iter().chain([&LOAD]) {
            let args = spec.arguments(&folder, &[]);
            let parsed = Weft::try_parse_from([OsString::from("weft")].into_iter().chain(args.clone()));
            assert!(parsed.is_ok(), "{}: {}", spec.name, parsed.unwrap_err());
            // What follows `-- weft` has to be understood too.
            let inner = args.iter().position(|arg| arg == "--").map(|at| &args[at + 1..]);
            if let Some(inner) = inner {
                let parsed = Weft::try_parse_from(inner);
                assert!(parsed.is_ok(), "{}: {}", spec.name, parsed.unwrap_err());
            }
        }
    }

    #[test]
    fn the_victim_is_not_the_only_one_of_its_kind() {
        let victim = SERVICES.iter().find(|spec| spec.name == VICTIM).unwrap();
        assert_eq!(SERVICES.iter().filter(|spec| spec.label() == victim.label()).count(), 2);
        assert!(SERVICES.iter().any(|spec| spec.name == ENTRANCE));
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = SERVICES.iter().map(|spec| spec.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SERVICES.len());
    }
}
