//! A mesh of as many processes as a run wants: a control plane, and sidecars in front of applications and behind clients.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::host;
use crate::process::{Cores, Launch, Process};
use crate::wait::wait_for_port;

pub mod admin;
pub mod exposition;

/// A control plane that runs, and the folder that everything of the run is in.
pub struct Mesh {
    /// Where configuration, state and logs are.
    pub folder: PathBuf,
    /// Which core is whose.
    pub cores: Cores,
    weft: PathBuf,
    listen: SocketAddr,
    admin: SocketAddr,
    control_plane: Option<Process>,
}

/// What a sidecar is started with.
pub struct Sidecar<'a> {
    /// Name of its log.
    pub log: &'a str,
    /// Id of its workload.
    pub workload: &'a str,
    /// Service account that it proves itself with.
    pub account: &'a str,
    /// Services that its token grants, as `weft token create --service` takes them; `None`: the one of its account.
    pub services: Option<&'a str>,
    /// Worker threads.
    pub workers: u16,
    /// Port of its admin server.
    pub admin: u16,
    /// More arguments of `weft proxy`.
    pub arguments: Vec<String>,
}

impl Mesh {
    /// Starts the control plane of a mesh named `name`, with one file of configuration.
    pub async fn start(name: &str, configuration: &str, cores: Cores) -> anyhow::Result<Self> {
        let folder = host::run_folder(name)?;
        let config = folder.join("config");
        fs::create_dir_all(&config).with_context(|| format!("creating {}", config.display()))?;
        configure(&folder, configuration)?;
        let weft = host::find_program("weft")?;
        let (listen, admin) = (local(host::free_port()?), local(host::free_port()?));
        let mut mesh = Self { folder, cores, weft, listen, admin, control_plane: None };
        mesh.start_control_plane().await?;
        Ok(mesh)
    }

    /// Kills the control plane, and starts another one in its place, with the same state at the same address.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        if let Some(control_plane) = self.control_plane.take() {
            control_plane.kill().await?;
        }
        self.start_control_plane().await
    }

    async fn start_control_plane(&mut self) -> anyhow::Result<()> {
        let (config, state) = (self.folder.join("config"), self.folder.join("state"));
        let (listen, admin) = (self.listen.to_string(), self.admin.to_string());
        let command: Vec<&OsStr> = vec![
            self.weft.as_os_str(),
            "control-plane".as_ref(),
            "--config".as_ref(),
            config.as_os_str(),
            "--state".as_ref(),
            state.as_os_str(),
            "--listen".as_ref(),
            listen.as_ref(),
            "--admin".as_ref(),
            admin.as_ref(),
        ];
        let mut control_plane = launch("control-plane", self.cores.client, command, &self.folder)?;
        wait_for_port(&mut control_plane, &listen).await?;
        self.control_plane = Some(control_plane);
        Ok(())
    }

    /// Puts another configuration in the place of the first one.
    pub fn configure(&self, configuration: &str) -> anyhow::Result<()> {
        configure(&self.folder, configuration)
    }

    /// Starts a sidecar. A token is made for each, as a restart is a start like any other.
    pub fn sidecar(&self, sidecar: &Sidecar<'_>) -> anyhow::Result<Process> {
        let weft = self.weft.display();
        let grants = sidecar.services.map_or_else(String::new, |services| format!(" --service '{services}'"));
        let script = format!(
            "WEFT_TOKEN=$({weft} token create --identity default/{}{} --state {}) exec {weft} proxy --workload-id {} \
             --workers {} --admin {} {}",
            sidecar.account,
            grants,
            self.folder.join("state").display(),
            sidecar.workload,
            sidecar.workers,
            local(sidecar.admin),
            sidecar.arguments.join(" "),
        );
        let command = vec!["sh".as_ref(), "-c".as_ref(), script.as_ref()];
        launch(sidecar.log, self.cores.proxy, command, &self.folder)
    }

    /// Starts this program with a command of its own, as an application.
    pub fn application(&self, log: &str, arguments: &[String]) -> anyhow::Result<Process> {
        let program = std::env::current_exe().context("finding this program")?;
        let command = [program.as_os_str()].into_iter().chain(arguments.iter().map(AsRef::as_ref)).collect();
        launch(log, self.cores.client, command, &self.folder)
    }

    /// How many workloads are registered and ready.
    pub async fn ready(&self) -> anyhow::Result<usize> {
        let clients = admin::get(self.admin, "/clients").await?;
        Ok(clients.matches("\"health\": \"Ready\"").count())
    }

    /// What proxies have told of their traffic, as the control plane shows it.
    pub async fn traffic(&self) -> anyhow::Result<String> {
        admin::get(self.admin, "/traffic").await
    }

    /// Fails if the control plane has ended.
    pub fn ensure_alive(&mut self) -> anyhow::Result<()> {
        self.control_plane.as_mut().context("the control plane does not run")?.ensure_alive()
    }

    /// Ends the control plane.
    pub async fn stop(self) {
        if let Some(control_plane) = self.control_plane {
            control_plane.stop().await;
        }
    }
}

/// An address of the loopback interface.
pub fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn configure(folder: &Path, configuration: &str) -> anyhow::Result<()> {
    host::write_whole(&folder.join("config/mesh.yaml"), configuration).context("writing the configuration")
}

fn launch(name: &str, core: usize, command: Vec<&OsStr>, folder: &Path) -> anyhow::Result<Process> {
    Process::start(&Launch { name, core, command, environment: Vec::new(), folder, read: false })
}
