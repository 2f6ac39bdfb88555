//! A mesh to attack: a control plane, and sidecars that are ended with it.

use std::fs;
use std::net::SocketAddr;

use weft_harness::host::free_port;
use weft_harness::mesh::{Mesh, Sidecar, local};
use weft_harness::process::{Cores, Process};
use weft_harness::wait::{wait_for_port, wait_until};

use crate::application::{self, Application};

/// Nothing is measured here.
const CORES: Cores = Cores { client: 0, proxy: 0 };

/// A control plane with its sidecars.
pub(crate) struct Target {
    pub(crate) mesh: Mesh,
    sidecars: Vec<Process>,
}

/// A sidecar that offers nothing.
pub(crate) struct Caller {
    pub(crate) outbound: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Process id.
    pub(crate) process: u32,
}

/// What a process has logged.
pub(crate) struct Log(String);

impl Log {
    /// The last line of a warning or error about something, if there is one.
    fn trouble(&self, about: &str) -> Option<&str> {
        self.0
            .lines()
            .rev()
            .find(|line| (line.contains("WARN") || line.contains("ERROR")) && line.contains(about))
    }

    /// Whether there is a warning or error about something.
    pub(crate) fn has(&self, about: &str) -> bool {
        self.trouble(about).is_some()
    }

    /// That line.
    pub(crate) fn line(&self, about: &str) -> &str {
        self.trouble(about).unwrap_or("no word of it")
    }
}

/// A sidecar in front of an application.
pub(crate) struct Server {
    /// Where peers reach it.
    pub(crate) inbound: SocketAddr,
}

impl Target {
    /// Starts the control plane of a mesh, with one file of configuration.
    pub(crate) async fn start(name: &str, configuration: &str) -> anyhow::Result<Self> {
        let mesh = Mesh::start(&format!("attacks-{name}"), configuration, CORES).await?;
        Ok(Self { mesh, sidecars: Vec::new() })
    }

    /// Starts a sidecar of `account` with an outbound listener and further arguments, and waits until it serves.
    pub(crate) async fn caller(&mut self, account: &str, arguments: &[String]) -> anyhow::Result<Caller> {
        let (outbound, admin) = (local(free_port()?), free_port()?);
        let mut all = vec![format!("--outbound {outbound}")];
        all.extend_from_slice(arguments);
        let process = self.sidecar(account, admin, all).await?;
        Ok(Caller { outbound, admin: local(admin), process })
    }

    /// Starts a sidecar with a listener of redirected connections, to which nothing is redirected: it serves, and never
    /// says that it is ready.
    pub(crate) async fn unredirected(
        &mut self,
        account: &str,
        arguments: &[String],
    ) -> anyhow::Result<Caller> {
        let (outbound, admin) = (local(free_port()?), free_port()?);
        let mut all = vec![format!("--outbound {outbound}")];
        all.extend_from_slice(arguments);
        let (_, mut process) = self.launch(account, admin, all)?;
        wait_for_port(&mut process, &outbound.to_string()).await?;
        let id = process.id();
        self.sidecars.push(process);
        Ok(Caller { outbound, admin: local(admin), process: id })
    }

    /// Starts a sidecar of `account` that offers `service`, such as `cart:80/http`, and waits until it serves.
    pub(crate) async fn server(
        &mut self,
        account: &str,
        service: &str,
        application: &Application,
        arguments: &[String],
    ) -> anyhow::Result<Server> {
        let (inbound, admin) = (local(free_port()?), free_port()?);
        let mut all = vec![format!("--service {service}={}@{inbound}", application.address)];
        all.extend_from_slice(arguments);
        self.sidecar(account, admin, all).await?;
        Ok(Server { inbound })
    }

    /// Starts a sidecar that may never become ready, and waits until it does or says why not.
    pub(crate) async fn unsettled(
        &mut self,
        account: &str,
        service: &str,
        application: &Application,
    ) -> anyhow::Result<(SocketAddr, Log)> {
        let (inbound, admin) = (local(free_port()?), free_port()?);
        let offer = vec![format!("--service {service}={}@{inbound}", application.address)];
        let (workload, process) = self.launch(account, admin, offer)?;
        self.sidecars.push(process);
        let log = self.mesh.folder.join(format!("{workload}.log"));
        wait_until(&format!("a word of the sidecar of {account}"), async || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            Ok(said.contains("registered") || said.contains("refused") || said.contains("ERROR"))
        })
        .await?;
        Ok((inbound, Log(fs::read_to_string(log)?)))
    }

    /// Starts a sidecar, under a workload's name that no other one has.
    fn launch(&self, account: &str, admin: u16, arguments: Vec<String>) -> anyhow::Result<(String, Process)> {
        let workload = format!("{account}-{}", self.sidecars.len());
        let process = self.mesh.sidecar(&Sidecar {
            log: &workload,
            workload: &workload,
            account,
            services: None,
            workers: 1,
            admin,
            arguments,
        })?;
        Ok((workload, process))
    }

    /// Starts a sidecar, and waits until it is ready; its process id.
    async fn sidecar(&mut self, account: &str, admin: u16, arguments: Vec<String>) -> anyhow::Result<u32> {
        let (_, mut process) = self.launch(account, admin, arguments)?;
        let id = process.id();
        wait_until(&format!("a sidecar of {account} that is ready"), async || {
            process.ensure_alive()?;
            let answer = application::get(local(admin), "/ready", "admin").await;
            Ok(answer.status() == Some(200))
        })
        .await?;
        self.sidecars.push(process);
        Ok(id)
    }

    /// Waits until a GET through a caller's outbound listener is answered by the application.
    pub(crate) async fn wait_for(&mut self, caller: &Caller, url: &str, text: &str) -> anyhow::Result<()> {
        wait_until(&format!("{url} to answer"), async || {
            self.mesh.ensure_alive()?;
            let answer = application::get(caller.outbound, url, "x").await;
            Ok(answer.status() == Some(200) && answer.has(text))
        })
        .await
    }

    /// Ends everything.
    pub(crate) async fn stop(self) {
        for sidecar in self.sidecars {
            sidecar.stop().await;
        }
        self.mesh.stop().await;
    }
}
