//! The processes together: started, killed, started again, ended.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use http::Method;
use tokio::time::sleep;
use weft_control_plane::Announcement;

use crate::exit;
use crate::process::Child;
use crate::request::{ask, through};

use super::folder::Folder;
use super::instance::{ENTRANCE, Instance, LOAD, SERVICES, Spec, VICTIM, start};

/// What the control plane is called among the processes.
pub(super) const CONTROL_PLANE: &str = "control-plane";
/// A whole mesh starts in a second or two; a loaded machine may take many times that.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Versions of reviews that have to answer before the load begins.
const VERSIONS: usize = 3;

/// A control plane that runs.
#[derive(Debug)]
struct ControlPlane {
    child: Child,
    started: Instant,
    /// Whether it has answered.
    ready: bool,
}

/// All processes of the demo.
#[derive(Debug)]
pub(super) struct Mesh {
    pub(super) folder: Folder,
    control_plane: Option<ControlPlane>,
    /// Addresses of the control plane, which stay the same over a restart.
    addresses: Option<(SocketAddr, SocketAddr)>,
    pub(super) instances: Vec<Instance>,
}

impl Mesh {
    /// Starts everything but the load, and waits until requests go through. `say` gets a line for each step.
    pub(super) async fn start(mut say: impl FnMut(&str)) -> anyhow::Result<Self> {
        let folder = Folder::create()?;
        let mut mesh = Self { folder, control_plane: None, addresses: None, instances: Vec::new() };
        match mesh.begin(&mut say).await {
            Ok(()) => Ok(mesh),
            Err(error) => Err(mesh.fail(error)),
        }
    }

    async fn begin(&mut self, say: &mut impl FnMut(&str)) -> anyhow::Result<()> {
        say("starting the control plane");
        self.start_control_plane()?;
        let began = Instant::now();
        while !self.look_at_control_plane().await? {
            ensure!(began.elapsed() < PATIENCE, "the control plane does not get ready");
            sleep(LOOK_EVERY).await;
        }
        say("starting ratings, reviews v1, v2 (twice), v3 and web, each with a sidecar");
        for spec in SERVICES {
            self.instances.push(Instance::start(spec, &self.folder, &[], None)?);
        }
        self.wait_for_instances(began).await?;
        say("waiting until a request has come through to each version of reviews");
        self.first_requests(began).await
    }

    async fn wait_for_instances(&mut self, began: Instant) -> anyhow::Result<()> {
        loop {
            let mut missing = Vec::new();
            for instance in &mut self.instances {
                if instance.look(&self.folder)?.is_none() {
                    missing.push(instance.spec.name);
                }
            }
            if missing.is_empty() {
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "{} did not get ready", missing.join(", "));
            sleep(LOOK_EVERY).await;
        }
    }

    /// Asks for the page until all versions have answered, so that the load meets a mesh that knows itself.
    async fn first_requests(&self, began: Instant) -> anyhow::Result<()> {
        let proxy = self.info(ENTRANCE).and_then(|info| info.outbound).context("there is no way in")?;
        let mut versions = std::collections::BTreeSet::new();
        let mut last = String::from("no answer");
        while versions.len() < VERSIONS {
            if began.elapsed() >= PATIENCE {
                bail!(
                    "not all versions of reviews answer; the last answer to http://web:8080/product/1 was: {last}"
                );
            }
            match through(proxy, "web:8080", "/product/1").await {
                Ok(answer) if answer.status.is_success() => {
                    let version = answer.headers.get(weft_examples::VERSION_HEADER);
                    versions.extend(version.map(|it| it.as_bytes().to_vec()));
                }
                Ok(answer) => last = format!("{} {}", answer.status, answer.text.trim()),
                Err(error) => last = format!("{error:#}"),
            }
            sleep(LOOK_EVERY / 4).await;
        }
        Ok(())
    }

    /// Starts the load; its stdout is a pipe.
    pub(super) async fn start_load(&mut self, rate: f64) -> anyhow::Result<()> {
        let more = ["--rate".to_owned(), rate.to_string()];
        let load = Instance::start(&LOAD, &self.folder, &more, Some(Stdio::piped()))?;
        self.instances.push(load);
        self.wait_for_instances(Instant::now()).await
    }

    fn start_control_plane(&mut self) -> anyhow::Result<()> {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let (listen, admin) = self.addresses.unwrap_or((anywhere, anywhere));
        let mut args = vec!["control-plane".into()];
        args.extend([
            "--config".into(),
            self.folder.config().into(),
            "--state".into(),
            self.folder.state().into(),
        ]);
        args.extend([
            "--listen".into(),
            listen.to_string().into(),
            "--admin".into(),
            admin.to_string().into(),
        ]);
        let child = start(CONTROL_PLANE, &args, &self.folder, None)?;
        self.control_plane = Some(ControlPlane { child, started: Instant::now(), ready: false });
        Ok(())
    }

    /// Whether the control plane is ready. Fails when it has ended by itself.
    async fn look_at_control_plane(&mut self) -> anyhow::Result<bool> {
        let Some(control_plane) = &mut self.control_plane else { return Ok(false) };
        if control_plane.child.has_ended() {
            bail!("the control plane has ended: {}", self.folder.log_tail(CONTROL_PLANE));
        }
        if control_plane.ready {
            return Ok(true);
        }
        let announced = Announcement::read(&self.folder.state()).ok().flatten();
        let Some(announced) = announced.filter(|announced| announced.pid == control_plane.child.id()) else {
            return Ok(false);
        };
        self.addresses = Some((announced.address, announced.admin));
        let answer = ask(Method::GET, announced.admin, "/ready").await;
        control_plane.ready = answer.is_ok_and(|answer| answer.status.is_success());
        Ok(control_plane.ready)
    }

    /// Looks at everything that runs. Gives what has become ready since the last time, with how long it took; fails
    /// when something has ended that nobody killed.
    pub(super) async fn look(&mut self) -> anyhow::Result<Vec<(&'static str, Duration)>> {
        let mut ready = Vec::new();
        if let Some(waiting) = self.control_plane.as_ref().filter(|it| !it.ready).map(|it| it.started)
            && self.look_at_control_plane().await?
        {
            ready.push((CONTROL_PLANE, waiting.elapsed()));
        }
        for instance in &mut self.instances {
            let before = instance.info.is_some();
            if instance.look(&self.folder)?.is_some() && !before {
                ready.push((instance.spec.name, instance.started.elapsed()));
            }
        }
        Ok(ready)
    }

    /// Kills an instance, the sidecar and with it the program, as when a machine loses power.
    pub(super) fn kill_victim(&mut self) -> anyhow::Result<()> {
        let at = self.instances.iter().position(|instance| instance.spec.name == VICTIM);
        if let Some(at) = at {
            self.instances.swap_remove(at).child.kill()?;
        }
        Ok(())
    }

    pub(super) fn restart_victim(&mut self) -> anyhow::Result<()> {
        let spec: &Spec =
            SERVICES.iter().find(|spec| spec.name == VICTIM).context("there is no such instance")?;
        self.instances.push(Instance::start(spec, &self.folder, &[], None)?);
        Ok(())
    }

    pub(super) fn kill_control_plane(&mut self) -> anyhow::Result<()> {
        if let Some(control_plane) = self.control_plane.take() {
            control_plane.child.kill()?;
        }
        Ok(())
    }

    pub(super) fn restart_control_plane(&mut self) -> anyhow::Result<()> {
        self.start_control_plane()
    }

    pub(super) fn info(&self, name: &str) -> Option<&crate::run::info::Info> {
        self.instances.iter().find(|instance| instance.spec.name == name)?.info.as_ref()
    }

    pub(super) fn instance(&mut self, name: &str) -> Option<&mut Instance> {
        self.instances.iter_mut().find(|instance| instance.spec.name == name)
    }

    /// Names and admin addresses of the sidecars of a service that are ready.
    pub(super) fn sidecars(&self) -> impl Iterator<Item = (&Spec, SocketAddr)> {
        self.instances.iter().filter_map(|instance| Some((&instance.spec, instance.info.as_ref()?.admin)))
    }

    /// Ends everything at once and leaves nothing but, if wanted, the folder.
    pub(super) fn stop(self, keep: bool) -> Option<std::path::PathBuf> {
        let children = self.instances.into_iter().map(|instance| instance.child);
        let children: Vec<_> = children.chain(self.control_plane.map(|it| it.child)).collect();
        // First all are told, then all are waited for.
        for child in &children {
            child.signal(rustix::process::Signal::KILL);
        }
        for child in children {
            let _ = child.kill();
        }
        keep.then(|| self.folder.keep())
    }

    /// Ends everything because of an error, and keeps the logs that tell more of it.
    pub(super) fn fail(self, error: anyhow::Error) -> anyhow::Error {
        match self.stop(true) {
            Some(kept) => {
                anyhow::anyhow!("{} (logs are in {})", exit::told(&error), kept.join("logs").display())
            }
            None => error,
        }
    }
}
