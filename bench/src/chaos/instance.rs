//! An instance: an application and its sidecar, each a process that may be killed and started again.

use rustix::process::Signal;

use super::client::Service;
use super::mood::Mood;
use crate::host;
use crate::mesh::{Mesh, Sidecar, local};
use crate::process::Process;

/// What may be wrong with an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// The application is killed.
    Killed,
    /// The application is stopped: its connections stay open, and nothing happens on them.
    Hung,
    Slow,
    Resetting,
    Garbage,
    /// The sidecar is killed.
    SidecarKilled,
}

impl Trouble {
    pub(super) const ALL: [Self; 6] =
        [Self::Killed, Self::Hung, Self::Slow, Self::Resetting, Self::Garbage, Self::SidecarKilled];

    /// For reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Killed => "application killed",
            Self::Hung => "application hung",
            Self::Slow => "slow",
            Self::Resetting => "reset in the middle of bodies",
            Self::Garbage => "garbage instead of HTTP",
            Self::SidecarKilled => "sidecar killed",
        }
    }
}

/// One instance of both services.
pub(super) struct Instance {
    pub(super) name: String,
    ports: Ports,
    application: Option<Process>,
    sidecar: Option<Process>,
    /// How many processes were started for it, for the names of their logs.
    starts: u32,
}

/// Ports stay the same over restarts.
struct Ports {
    http1: u16,
    http2: u16,
    inbound: [u16; 2],
    admin: u16,
}

impl Instance {
    /// Starts both processes.
    pub(super) fn start(mesh: &Mesh, name: String) -> anyhow::Result<Self> {
        let ports = Ports {
            http1: host::free_port()?,
            http2: host::free_port()?,
            inbound: [host::free_port()?, host::free_port()?],
            admin: host::free_port()?,
        };
        let mut instance = Self { name, ports, application: None, sidecar: None, starts: 0 };
        instance.start_application(mesh)?;
        instance.start_sidecar(mesh)?;
        Ok(instance)
    }

    /// Where its sidecar takes connections of the mesh.
    pub(super) fn inbound(&self) -> [u16; 2] {
        self.ports.inbound
    }

    fn start_application(&mut self, mesh: &Mesh) -> anyhow::Result<()> {
        self.starts += 1;
        let arguments = [
            "application".to_owned(),
            format!("--name={}", self.name),
            format!("--http1={}", self.ports.http1),
            format!("--http2={}", self.ports.http2),
            format!("--folder={}", mesh.folder.display()),
        ];
        self.application = Some(mesh.application(&format!("{}-{}", self.name, self.starts), &arguments)?);
        Ok(())
    }

    fn start_sidecar(&mut self, mesh: &Mesh) -> anyhow::Result<()> {
        self.starts += 1;
        let offer = |service: Service, protocol: &str, port: u16, inbound: u16| {
            format!("--service {}/{protocol}={}@{}", service.authority(), local(port), local(inbound))
        };
        let [inbound1, inbound2] = self.ports.inbound;
        self.sidecar = Some(mesh.sidecar(&Sidecar {
            log: &format!("{}-{}-sidecar", self.name, self.starts),
            workload: &self.name,
            account: "application",
            services: Some("*"),
            workers: 1,
            admin: self.ports.admin,
            arguments: vec![
                offer(Service::Http1, "http", self.ports.http1, inbound1),
                offer(Service::Http2, "http2", self.ports.http2, inbound2),
            ],
        })?);
        Ok(())
    }

    /// Brings trouble.
    pub(super) async fn trouble(&mut self, trouble: Trouble, mesh: &Mesh) -> anyhow::Result<()> {
        match trouble {
            Trouble::Killed => kill(&mut self.application).await,
            Trouble::SidecarKilled => kill(&mut self.sidecar).await,
            Trouble::Hung => self.signal(Signal::STOP),
            Trouble::Slow => Mood::Slow.tell(&mesh.folder, &self.name),
            Trouble::Resetting => Mood::Resetting.tell(&mesh.folder, &self.name),
            Trouble::Garbage => Mood::Garbage.tell(&mesh.folder, &self.name),
        }
    }

    /// Ends it.
    pub(super) fn mend(&mut self, trouble: Trouble, mesh: &Mesh) -> anyhow::Result<()> {
        match trouble {
            Trouble::Killed => self.start_application(mesh),
            Trouble::SidecarKilled => self.start_sidecar(mesh),
            Trouble::Hung => self.signal(Signal::CONT),
            Trouble::Slow | Trouble::Resetting | Trouble::Garbage => {
                Mood::Well.tell(&mesh.folder, &self.name)
            }
        }
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.application.as_ref().map_or(Ok(()), |application| application.signal(signal))
    }

    /// Fails if a process has ended that nobody killed.
    pub(super) fn ensure_alive(&mut self) -> anyhow::Result<()> {
        let processes = self.application.iter_mut().chain(&mut self.sidecar);
        processes.into_iter().try_for_each(Process::ensure_alive)
    }

    /// Ends both processes.
    pub(super) async fn stop(self) {
        for process in self.sidecar.into_iter().chain(self.application) {
            process.stop().await;
        }
    }
}

async fn kill(process: &mut Option<Process>) -> anyhow::Result<()> {
    match process.take() {
        Some(process) => process.kill().await,
        None => Ok(()),
    }
}
