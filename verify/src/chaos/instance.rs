//! An instance: an application and its sidecar, each a process that may be killed and started again.

use rustix::process::Signal;

use super::fault_mode::FaultMode;
use super::request::Service;
use weft_harness::host;
use weft_harness::mesh::{Mesh, Sidecar, local};
use weft_harness::process::Process;

/// What may be wrong with an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// The application is killed; its sidecar lives.
    Killed,
    /// The application is stopped: its connections stay open, and nothing happens on them.
    Hung,
    Slow,
    Resetting,
    Garbage,
    /// Answers everything with 500, or INTERNAL.
    Failing,
    /// Answers everything with 503, or UNAVAILABLE.
    HalfDead,
    /// The sidecar is killed; the application lives.
    SidecarKilled,
    /// The sidecar is stopped: what is sent to it waits in the kernel.
    SidecarHung,
    /// Both are killed.
    BothKilled,
    /// Both are killed, and those of most other instances with them.
    MostKilled,
}

impl Trouble {
    /// What comes to an instance by itself.
    pub(super) const ALL: [Self; 10] = [
        Self::Killed,
        Self::Hung,
        Self::Slow,
        Self::Resetting,
        Self::Garbage,
        Self::Failing,
        Self::HalfDead,
        Self::SidecarKilled,
        Self::SidecarHung,
        Self::BothKilled,
    ];

    /// For reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Killed => "application killed",
            Self::Hung => "application hung",
            Self::Slow => "slow",
            Self::Resetting => "reset in the middle of bodies",
            Self::Garbage => "garbage instead of HTTP",
            Self::Failing => "500 or INTERNAL for everything",
            Self::HalfDead => "503 or UNAVAILABLE for everything",
            Self::SidecarKilled => "sidecar killed",
            Self::SidecarHung => "sidecar hung",
            Self::BothKilled => "application and sidecar killed",
            Self::MostKilled => "killed at once with most others",
        }
    }

    /// What its application is told; `None`: it is not the application's doing.
    fn fault_mode(self) -> Option<FaultMode> {
        match self {
            Self::Slow => Some(FaultMode::Slow),
            Self::Resetting => Some(FaultMode::Resetting),
            Self::Garbage => Some(FaultMode::Garbage),
            Self::Failing => Some(FaultMode::Failing),
            Self::HalfDead => Some(FaultMode::HalfDead),
            Self::Killed
            | Self::Hung
            | Self::SidecarKilled
            | Self::SidecarHung
            | Self::BothKilled
            | Self::MostKilled => None,
        }
    }
}

/// One instance of all services.
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
    /// Of HTTP/2 and of gRPC.
    http2: u16,
    inbound: [u16; Service::COUNT],
    admin: u16,
}

impl Instance {
    /// Starts both processes.
    pub(super) fn start(mesh: &Mesh, name: String) -> anyhow::Result<Self> {
        let ports = Ports {
            http1: host::free_port()?,
            http2: host::free_port()?,
            inbound: host::free_ports()?,
            admin: host::free_port()?,
        };
        let mut instance = Self { name, ports, application: None, sidecar: None, starts: 0 };
        instance.start_application(mesh)?;
        instance.start_sidecar(mesh)?;
        Ok(instance)
    }

    /// Where its sidecar takes connections of the mesh.
    pub(super) fn inbound(&self) -> [u16; Service::COUNT] {
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
        let offer = |service: Service| {
            let port = if service == Service::Http1 { self.ports.http1 } else { self.ports.http2 };
            let inbound = local(self.ports.inbound[service as usize]);
            format!("--service {}/{}={}@{inbound}", service.authority(), service.protocol(), local(port))
        };
        self.sidecar = Some(mesh.sidecar(&Sidecar {
            log: &format!("{}-{}-sidecar", self.name, self.starts),
            workload: &self.name,
            account: "application",
            services: Some("*"),
            workers: 1,
            admin: self.ports.admin,
            arguments: Service::ALL.map(offer).into(),
        })?);
        Ok(())
    }

    /// Brings trouble.
    pub(super) async fn trouble(&mut self, trouble: Trouble, mesh: &Mesh) -> anyhow::Result<()> {
        if let Some(fault_mode) = trouble.fault_mode() {
            return fault_mode.tell(&mesh.folder, &self.name);
        }
        match trouble {
            Trouble::Hung => signal(self.application.as_ref(), Signal::STOP),
            Trouble::SidecarHung => signal(self.sidecar.as_ref(), Signal::STOP),
            Trouble::SidecarKilled => kill(&mut self.sidecar).await,
            Trouble::BothKilled | Trouble::MostKilled => {
                self.crash()?;
                kill(&mut self.sidecar).await?;
                kill(&mut self.application).await
            }
            _ => kill(&mut self.application).await,
        }
    }

    /// Kills both processes, and waits for neither.
    pub(super) fn crash(&self) -> anyhow::Result<()> {
        signal(self.sidecar.as_ref(), Signal::KILL)?;
        signal(self.application.as_ref(), Signal::KILL)
    }

    /// Ends it.
    pub(super) fn mend(&mut self, trouble: Trouble, mesh: &Mesh) -> anyhow::Result<()> {
        if trouble.fault_mode().is_some() {
            return FaultMode::Well.tell(&mesh.folder, &self.name);
        }
        match trouble {
            Trouble::Hung => signal(self.application.as_ref(), Signal::CONT),
            Trouble::SidecarHung => signal(self.sidecar.as_ref(), Signal::CONT),
            Trouble::SidecarKilled => self.start_sidecar(mesh),
            Trouble::BothKilled | Trouble::MostKilled => {
                self.start_application(mesh)?;
                self.start_sidecar(mesh)
            }
            _ => self.start_application(mesh),
        }
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

fn signal(process: Option<&Process>, signal: Signal) -> anyhow::Result<()> {
    process.map_or(Ok(()), |process| process.signal(signal))
}

async fn kill(process: &mut Option<Process>) -> anyhow::Result<()> {
    match process.take() {
        Some(process) => process.kill().await,
        None => Ok(()),
    }
}
