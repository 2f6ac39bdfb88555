//! Everything that one measurement needs, running: the application and, unless direct, a pair of sidecars.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::time::{sleep, timeout};

use crate::certificates::{CLIENT_ID, Certificates, SERVER_ID};
use crate::host;
use crate::load::Held;
use crate::process::usage::{self, Memory};
use crate::process::{Cores, Launch, Process};
use crate::protocol::Protocol;
use crate::subject::template::Variables;
use crate::subject::{Definition, Role, Subject};
use crate::wait::{RETRY_EVERY, START_DEADLINE, wait_for_port};

/// What all stages of a run share.
pub struct Setting {
    /// Where what runs.
    pub cores: Cores,
    /// Of both sidecars.
    pub certificates: Certificates,
}

/// Ports of the hop between the sidecars.
#[derive(Clone, Copy, Debug)]
pub struct HopPorts {
    /// Where the server's sidecar listens.
    pub listens: u16,
    /// What the client's sidecar dials.
    pub dialled: u16,
}

/// A running application with its sidecars.
pub struct Testbed {
    /// Where the client connects to.
    pub connect: SocketAddr,
    /// The authority of its requests.
    pub authority: String,
    /// Where the server's sidecar listens.
    pub hop: u16,
    /// The folder of the authority that certifies peers of the server's sidecar, where that is not the run's own.
    pub certifies: Option<PathBuf>,
    /// For logs of what else is started.
    pub folder: PathBuf,
    server: Process,
    others: Vec<(Role, Process)>,
}

impl Setting {
    /// Makes certificates, and moves this process to the client's core so that it doesn't disturb the proxies.
    pub fn prepare(cores: Cores) -> anyhow::Result<Self> {
        crate::process::exec::pin(cores.client)?;
        crate::process::exec::raise_open_files()?;
        let certificates = Certificates::create(&host::work_folder().join("certificates"))?;
        Ok(Self { cores, certificates })
    }
}

impl HopPorts {
    /// A free port, dialled directly.
    pub fn plain() -> anyhow::Result<Self> {
        let port = host::free_port()?;
        Ok(Self { listens: port, dialled: port })
    }
}

impl Testbed {
    /// Starts `subject` and waits until a request passes through it.
    pub async fn start(
        subject: &Subject,
        protocol: Protocol,
        setting: &Setting,
        hop: HopPorts,
    ) -> anyhow::Result<Self> {
        let started = Self::start_processes(subject, protocol, setting, hop);
        let mut stage =
            started.await.with_context(|| format!("starting {} for {}", subject.name, protocol.name()))?;
        stage.wait_for_answer(protocol).await.with_context(|| format!("trying {}", subject.name))?;
        Ok(stage)
    }

    async fn start_processes(
        subject: &Subject,
        protocol: Protocol,
        setting: &Setting,
        hop: HopPorts,
    ) -> anyhow::Result<Self> {
        let folder = host::run_folder(&format!("{}-{}", subject.name, protocol.name()))?;
        let (server, address) = start_server(protocol, setting.cores.client, &folder).await?;
        let authority = address.to_string();
        let (hop_port, certifies, others) = (hop.listens, None, Vec::new());
        let mut stage =
            Self { connect: address, authority, hop: hop_port, certifies, folder, server, others };
        if let Some(pair) = &subject.pair {
            let variables = variables(pair, protocol, setting, hop, address, &stage.folder)?;
            stage.others = start_pair(pair, setting.cores, &variables, &stage.folder).await?;
            let connect = variables.fill(&pair.client.connect)?;
            stage.connect = connect.parse().with_context(|| format!("client.connect is {connect:?}"))?;
            stage.authority = variables.fill(&pair.client.authority)?;
            let certifies = pair.hop.authority.as_deref().map(|folder| variables.fill(folder)).transpose()?;
            stage.certifies = certifies.map(PathBuf::from);
        }
        Ok(stage)
    }

    async fn wait_for_answer(&mut self, protocol: Protocol) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let answer =
                timeout(Duration::from_secs(2), Held::open(protocol, self.connect, &self.authority)).await;
            let failure = match answer {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(failure)) => format!("{failure:?}"),
                Err(_) => "no answer within 2 s".to_owned(),
            };
            for (_, process) in &mut self.others {
                process.ensure_alive()?;
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "no good answer from {} within {START_DEADLINE:?}, last: {failure}; logs are in {}",
                self.connect,
                self.folder.display()
            );
            sleep(RETRY_EVERY).await;
        }
    }

    /// Whether there are sidecars between client and application.
    pub fn has_sidecars(&self) -> bool {
        self.of_role(Role::ClientSidecar).next().is_some()
    }

    /// Processor time since the start of the processes of one role.
    pub fn cpu_time(&self, role: Role) -> anyhow::Result<Duration> {
        self.of_role(role).map(|process| usage::cpu_time(process.id())).sum()
    }

    /// Memory of the processes of one role.
    pub fn memory(&self, role: Role) -> anyhow::Result<Memory> {
        self.of_role(role).try_fold(Memory::default(), |sum, process| Ok(sum + usage::memory(process.id())?))
    }

    /// Fails if a process has ended, or may run elsewhere than on its core.
    pub fn verify(&mut self) -> anyhow::Result<()> {
        for (_, process) in &mut self.others {
            process.ensure_alive()?;
        }
        self.server.ensure_alive()?;
        self.server.ensure_pinned()?;
        self.others.iter().try_for_each(|(_, process)| process.ensure_pinned())
    }

    fn of_role(&self, wanted: Role) -> impl Iterator<Item = &Process> {
        self.others.iter().filter(move |(role, _)| *role == wanted).map(|(_, process)| process)
    }

    /// Ends every process.
    pub async fn stop(self) {
        // In reverse, so that nobody sees its peer go first.
        for (_, process) in self.others.into_iter().rev() {
            process.stop().await;
        }
        self.server.stop().await;
    }
}

/// Starts the processes of `pair`, each when the one before it is ready.
pub async fn start_pair(
    pair: &Definition,
    cores: Cores,
    variables: &Variables,
    folder: &Path,
) -> anyhow::Result<Vec<(Role, Process)>> {
    for file in &pair.files {
        let path = pair.folder.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let target = folder.join(file);
        fs::create_dir_all(target.parent().context("a file has a folder")?)?;
        fs::write(&target, variables.fill(&text).with_context(|| file.clone())?)?;
    }
    for (count, command) in pair.prepare.iter().enumerate() {
        let name = format!("prepare-{count}");
        start(&name, cores.client, &variables.fill_all(command)?, Vec::new(), folder)?.finish().await?;
    }
    let mut started = Vec::new();
    for definition in &pair.processes {
        let core = if definition.role == Role::Support { cores.client } else { cores.proxy };
        let command = variables.fill_all(&definition.command)?;
        let environment = definition.environment.iter();
        let environment = environment.map(|(key, value)| Ok((key.clone(), variables.fill(value)?)));
        let environment = environment.collect::<anyhow::Result<_>>()?;
        let mut process = start(&definition.name, core, &command, environment, folder)?;
        if let Some(ready) = &definition.ready {
            wait_for_port(&mut process, &variables.fill(ready)?).await?;
        }
        started.push((definition.role, process));
    }
    Ok(started)
}

fn start(
    name: &str,
    core: usize,
    command: &[String],
    environment: Vec<(String, String)>,
    folder: &Path,
) -> anyhow::Result<Process> {
    let command = command.iter().map(OsStr::new).collect();
    Process::start(&Launch { name, core, command, environment, folder, read: false })
}

async fn start_server(
    protocol: Protocol,
    core: usize,
    folder: &Path,
) -> anyhow::Result<(Process, SocketAddr)> {
    let program = std::env::current_exe()?;
    let command =
        vec![program.as_os_str(), "serve".as_ref(), "--protocol".as_ref(), protocol.name().as_ref()];
    let launch = Launch { name: "server", core, command, environment: Vec::new(), folder, read: true };
    let mut server = Process::start(&launch)?;
    let address = server.line().await?.parse().context("reading the server's address")?;
    Ok((server, address))
}

fn variables(
    pair: &Definition,
    protocol: Protocol,
    setting: &Setting,
    hop: HopPorts,
    server: SocketAddr,
    folder: &Path,
) -> anyhow::Result<Variables> {
    let mut variables = Variables::default();
    for (name, value) in pair.variables.get(&protocol).into_iter().flatten() {
        variables.set(name, value.as_str());
    }
    variables.set("client_port", host::free_port()?.to_string());
    variables.set("hop_port", hop.listens.to_string());
    variables.set("hop_target", hop.dialled.to_string());
    variables.set("app_port", server.port().to_string());
    variables.set("certificates", setting.certificates.path("").display().to_string());
    variables.set("client_id", CLIENT_ID);
    variables.set("server_id", SERVER_ID);
    variables.set("protocol", protocol.name());
    variables.set("dir", folder.display().to_string());
    variables.set("subject", pair.folder.display().to_string());
    Ok(variables)
}
