//! Proxies with the routes, running, each before a recording server of its own.

use std::rc::Rc;

use anyhow::Context;

use super::case::{Backend, Case, Door};
use super::client;
use super::model::Seen;
use super::recorder::Recorder;
use weft_harness::host;
use weft_harness::process::Process;
use weft_harness::subject::template::Variables;
use weft_harness::subject::{Definition, Role};
use weft_harness::testbed::{Setting, start_pair};
use weft_harness::wait::wait_until;

/// Something between the client and the recording server, or nothing.
pub(crate) struct Subject {
    pub(crate) name: String,
    recorder: Recorder,
    /// `None` is a direct connection.
    doors: Option<Doors>,
    processes: Vec<(Role, Process)>,
}

/// Where a client reaches a proxy.
struct Doors {
    host: u16,
    one: u16,
    three: u16,
}

impl Subject {
    /// No proxy.
    pub(crate) async fn direct() -> anyhow::Result<Self> {
        let recorder = Recorder::start().await?;
        Ok(Self { name: "direct".to_owned(), recorder, doors: None, processes: Vec::new() })
    }

    /// Starts what `differential/<name>` describes, and waits until requests pass.
    pub(crate) async fn start(name: &str, setting: &Setting) -> anyhow::Result<Self> {
        let definition = Definition::read(&host::verify_folder().join("differential").join(name))?;
        let folder = host::run_folder(&format!("differ-{name}"))?;
        let recorder = Recorder::start().await?;
        let mut variables = Variables::default();
        variables.set("dir", folder.display().to_string());
        variables.set("certificates", setting.certificates.path("").display().to_string());
        variables.set("client_port", host::free_port()?.to_string());
        for backend in Backend::ALL {
            variables.set(&format!("app_{}", backend.name()), recorder.port(backend).to_string());
        }
        let processes = start_pair(&definition, setting.cores, &variables, &folder).await?;
        let port = |name: &str| -> anyhow::Result<u16> { Ok(variables.fill(name)?.parse()?) };
        let doors = Doors {
            host: port("{{client_port}}")?,
            one: port("{{port:fixed-one}}")?,
            three: port("{{port:fixed-three}}")?,
        };
        let mut subject = Self { name: name.to_owned(), recorder, doors: Some(doors), processes };
        subject.wait_for_answers().await.with_context(|| format!("logs are in {}", folder.display()))?;
        Ok(subject)
    }

    async fn wait_for_answers(&mut self) -> anyhow::Result<()> {
        for (backend, door) in
            [(Backend::One, Door::Fixed), (Backend::One, Door::Host), (Backend::Three, Door::Fixed)]
        {
            let case = super::generate::plain(backend, door);
            let name = self.name.clone();
            wait_until(&format!("an answer of {} through {name}", backend.name()), async || {
                self.ensure_alive()?;
                let seen = self.try_case(&case).await;
                Ok(seen.got.replies.first().is_some_and(|reply| reply.status == 200))
            })
            .await?;
        }
        Ok(())
    }

    /// Fails if a process has ended.
    pub(crate) fn ensure_alive(&mut self) -> anyhow::Result<()> {
        self.processes.iter_mut().try_for_each(|(_, process)| process.ensure_alive())
    }

    /// Sends a case and gives what was seen of it at both ends.
    pub(crate) async fn try_case(&self, case: &Case) -> Seen {
        self.recorder.begin(&case.answer);
        let got = client::exchange(case, self.port(case)).await;
        let arrived = self.recorder.arrived().await;
        let arrived = arrived.into_iter().map(Rc::unwrap_or_clone).collect();
        Seen { arrived, got }
    }

    fn port(&self, case: &Case) -> u16 {
        match (&self.doors, case.door, case.backend) {
            (None, _, backend) => self.recorder.port(backend),
            (Some(doors), Door::Host, _) => doors.host,
            (Some(doors), Door::Fixed, Backend::Three) => doors.three,
            (Some(doors), Door::Fixed, _) => doors.one,
        }
    }

    /// Ends every process.
    pub(crate) async fn stop(self) {
        for (_, process) in self.processes.into_iter().rev() {
            process.stop().await;
        }
    }
}
