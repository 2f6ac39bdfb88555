//! What is compared: nothing at all, or a pair of sidecars described by a folder of templates.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;

use crate::host;
use crate::protocol::Protocol;

pub mod template;

/// The file in a subject's folder that describes it.
const FILE: &str = "subject.yaml";

/// The name of the subject without any proxy.
pub const DIRECT: &str = "direct";

/// Something to measure.
#[derive(Debug)]
pub struct Subject {
    /// What reports call it.
    pub name: String,
    /// `None` connects the client to the application.
    pub pair: Option<Definition>,
}

/// `subject.yaml`. Every string may hold variables, see [`template`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Programs it needs, reachable as `{{program:NAME}}`.
    pub programs: Vec<String>,
    /// A command whose first line of output tells the version.
    pub version: Vec<String>,
    /// Variables of its own, by protocol.
    #[serde(default)]
    pub variables: BTreeMap<Protocol, BTreeMap<String, String>>,
    /// Files beside this one that are filled in and written into the run's folder.
    #[serde(default)]
    pub files: Vec<String>,
    /// Commands that run to their end first, one after the other.
    #[serde(default)]
    pub prepare: Vec<Vec<String>>,
    /// Started in this order.
    pub processes: Vec<ProcessDefinition>,
    #[serde(default)]
    /// How a client reaches it.
    pub client: Client,
    #[serde(default)]
    /// How its hop is checked.
    pub hop: Hop,
    /// The folder that the file is in.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// A process of a subject.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessDefinition {
    /// Names its log.
    pub name: String,
    /// What it does in a pair.
    pub role: Role,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Further variables of its environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// An `address:port` that must accept connections before the next process starts.
    #[serde(default)]
    pub ready: Option<String>,
}

/// Whether a process is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Beside the client; measured, on the proxies' core.
    ClientSidecar,
    /// Beside the server; measured, on the proxies' core.
    ServerSidecar,
    /// Needed but not measured, on the client's core: a control plane.
    Support,
}

/// How the client reaches its sidecar.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Client {
    /// Address and port that it connects to.
    pub connect: String,
    /// The authority of its requests.
    pub authority: String,
}

impl Default for Client {
    fn default() -> Self {
        Self { connect: "127.0.0.1:{{client_port}}".to_owned(), authority: "server.bench.test".to_owned() }
    }
}

/// What the checks may do to the hop.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hop {
    /// Whether the client's sidecar can be sent through a relay that reads the hop; needs `{{hop_target}}` to be
    /// honoured as the address of the server's sidecar.
    pub relay: bool,
    /// The ALPN protocol id to offer in checks.
    pub alpn: Option<String>,
    /// The folder of the authority that certifies peers, where that is not the run's own.
    pub authority: Option<String>,
}

impl Default for Hop {
    fn default() -> Self {
        Self { relay: true, alpn: None, authority: None }
    }
}

impl Subject {
    /// The subjects that `chosen` names, or all that can run when it names none.
    pub fn select(chosen: &[String]) -> anyhow::Result<Vec<Self>> {
        if chosen.is_empty() {
            Self::installed()
        } else {
            chosen.iter().map(|name| Self::load(name)).collect()
        }
    }

    /// The subject of this name, or that of `name=folder`. Fails where a program that it takes is not installed.
    pub fn load(chosen: &str) -> anyhow::Result<Self> {
        if chosen == DIRECT {
            return Ok(Self { name: DIRECT.to_owned(), pair: None });
        }
        let (name, folder) = match chosen.split_once('=') {
            Some((name, folder)) => (name, PathBuf::from(folder)),
            None => (chosen, host::bench_folder().join("subjects").join(chosen)),
        };
        let pair = Definition::read_pair(&folder)?;
        for program in &pair.programs {
            host::find_program(program).with_context(|| format!("subject {name} needs it"))?;
        }
        Ok(Self { name: name.to_owned(), pair: Some(pair) })
    }

    fn installed() -> anyhow::Result<Vec<Self>> {
        let folder = host::bench_folder().join("subjects");
        let entries = std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
        let mut names: Vec<_> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        let mut subjects = vec![Self::load(DIRECT)?];
        for name in names {
            let definition = Definition::read_pair(&folder.join(&name))?;
            match definition.programs.iter().find_map(|program| host::find_program(program).err()) {
                Some(missing) => eprintln!("leaving {name} out: {missing}"),
                None => subjects.push(Self { name, pair: Some(definition) }),
            }
        }
        Ok(subjects)
    }

    /// The first line that the version command prints.
    pub async fn version(&self) -> anyhow::Result<String> {
        let Some(pair) = &self.pair else { return Ok("no proxy".to_owned()) };
        let mut words = pair.version.iter().map(|word| template::Variables::programs_only().fill(word));
        let program = words.next().with_context(|| format!("{}: version is empty", self.name))??;
        let arguments = words.collect::<anyhow::Result<Vec<_>>>()?;
        let output = tokio::process::Command::new(&program).args(arguments).kill_on_drop(true).output().await;
        let output = output.with_context(|| format!("running {program}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("unknown");
        // Some programs print the path by which they were called.
        let line = line.replace(&program, &self.name);
        Ok(line.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

impl Definition {
    /// Reads the definition in a folder.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let mut definition: Self =
            serde_saphyr::from_str(&text).with_context(|| format!("{} isn't a subject", path.display()))?;
        folder.clone_into(&mut definition.folder);
        Ok(definition)
    }

    /// Reads a subject whose sidecars are measured: there have to be two.
    fn read_pair(folder: &Path) -> anyhow::Result<Self> {
        let definition = Self::read(folder)?;
        for role in [Role::ClientSidecar, Role::ServerSidecar] {
            let known = definition.processes.iter().any(|process| process.role == role);
            anyhow::ensure!(known, "{}: no process has the role {role:?}", folder.display());
        }
        Ok(definition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_of_the_repository_is_well_formed() {
        for entry in std::fs::read_dir(host::bench_folder().join("subjects")).unwrap() {
            let folder = entry.unwrap().path();
            let definition = Definition::read_pair(&folder).unwrap();
            for file in &definition.files {
                assert!(folder.join(file).is_file(), "{} names {file}", folder.display());
            }
        }
    }
}
