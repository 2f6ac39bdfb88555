//! Child processes: bound to a core, ended by their id when dropped, observed through /proc.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

pub mod exec;
pub mod usage;

/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(3);

/// Which core is whose.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// Client, application, whatever isn't measured.
    pub client: usize,
    /// The pair of sidecars.
    pub proxy: usize,
}

/// What to start.
pub struct Launch<'a> {
    /// For messages, and the name of the log file.
    pub name: &'a str,
    /// The core that it runs on.
    pub core: usize,
    /// The program and its arguments.
    pub command: Vec<&'a OsStr>,
    /// Variables beside those of this process.
    pub environment: Vec<(String, String)>,
    /// Where the log is written; standard output goes there too unless it is read.
    pub folder: &'a Path,
    /// Whether standard output is read by line.
    pub read: bool,
}

/// A running child. Dropping it kills it.
pub struct Process {
    name: String,
    core: usize,
    child: Child,
    id: u32,
    log: PathBuf,
    lines: Option<Lines<BufReader<ChildStdout>>>,
}

impl Process {
    /// Starts `launch`, through this program's `exec` command.
    pub fn start(launch: &Launch<'_>) -> anyhow::Result<Self> {
        let log = launch.folder.join(format!("{}.log", launch.name));
        let file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let mut command = Command::new(std::env::current_exe().context("finding this program")?);
        command.arg("exec").arg("--core").arg(launch.core.to_string()).arg("--").args(&launch.command);
        command.envs(launch.environment.iter().cloned()).stdin(Stdio::null()).kill_on_drop(true);
        // An own group, so that Ctrl-C reaches only this program, which then ends its children.
        command.process_group(0);
        command.stdout(if launch.read { Stdio::piped() } else { file.try_clone()?.into() }).stderr(file);
        let mut child = command.spawn().with_context(|| format!("starting {}", launch.name))?;
        let id = child.id().with_context(|| format!("{} has no process id", launch.name))?;
        let lines = child.stdout.take().map(|output| BufReader::new(output).lines());
        Ok(Self { name: launch.name.to_owned(), core: launch.core, child, id, log, lines })
    }

    /// The name that it was started under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The next line of standard output, or `None` at its end.
    pub async fn next_line(&mut self) -> anyhow::Result<Option<String>> {
        let lines =
            self.lines.as_mut().with_context(|| format!("standard output of {} isn't read", self.name))?;
        Ok(lines.next_line().await?)
    }

    /// The next line of standard output, which must come.
    pub async fn line(&mut self) -> anyhow::Result<String> {
        match self.next_line().await? {
            Some(line) => Ok(line),
            None => anyhow::bail!("{} ended early\n{}", self.name, self.log_tail()),
        }
    }

    /// Fails, with the end of the log, if the process has ended.
    pub fn ensure_alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => anyhow::bail!("{} ended with {status}\n{}", self.name, self.log_tail()),
        }
    }

    /// Waits for a command that ends by itself.
    pub async fn finish(mut self) -> anyhow::Result<()> {
        let status = self.child.wait().await?;
        anyhow::ensure!(status.success(), "{} ended with {status}\n{}", self.name, self.log_tail());
        Ok(())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.id.cast_signed()).context("a process id is positive")?;
        kill_process(pid, signal).with_context(|| format!("sending a signal to {}", self.name))
    }

    /// Kills the process, as a crash or a machine without power would, and waits until it is gone.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.with_context(|| format!("killing {}", self.name))
    }

    /// Asks the process to end, and kills it if it doesn't.
    pub async fn stop(mut self) {
        if let Some(pid) = Pid::from_raw(self.id.cast_signed())
            && matches!(self.child.try_wait(), Ok(None))
        {
            let _gone = kill_process(pid, Signal::TERM);
            if tokio::time::timeout(GRACE, self.child.wait()).await.is_err() {
                let _gone = self.child.kill().await;
            }
        }
    }

    /// Fails unless every thread of the process and of its children may run on its core only.
    pub fn ensure_pinned(&self) -> anyhow::Result<()> {
        for (thread, allowed) in usage::allowed_cores(self.id)? {
            anyhow::ensure!(
                allowed == self.core.to_string(),
                "thread {thread} of {} may run on cores {allowed} instead of {} only",
                self.name,
                self.core
            );
        }
        Ok(())
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().rev().take(15).collect();
        let tail: Vec<_> = lines.into_iter().rev().collect();
        format!("end of {}:\n{}", self.log.display(), tail.join("\n"))
    }
}
