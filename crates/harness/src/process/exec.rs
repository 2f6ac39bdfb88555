//! Becoming another program on one core.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use clap::Args;

/// Arguments of the command `exec`.
#[derive(Clone, Debug, Args)]
pub struct Exec {
    /// The core to run on.
    #[arg(long)]
    pub core: usize,
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub command: Vec<OsString>,
}

/// Binds this process to its core and its parent's life, and replaces it. Returns only why that failed.
pub fn replace(exec: &Exec) -> anyhow::Error {
    let Some((program, arguments)) = exec.command.split_first() else {
        return anyhow::anyhow!("no program given");
    };
    if let Err(error) = prepare(exec.core) {
        return error;
    }
    let error = Command::new(program).args(arguments).exec();
    anyhow::Error::new(error).context(format!("running {}", program.display()))
}

fn prepare(core: usize) -> anyhow::Result<()> {
    pin(core)?;
    // If the parent is killed, its benchmark is void and nothing here is worth finishing.
    set_parent_process_death_signal(Some(Signal::KILL)).context("following the parent's end")?;
    raise_open_files()
}

/// Binds the calling thread, and what it starts, to `core`.
pub fn pin(core: usize) -> anyhow::Result<()> {
    anyhow::ensure!(core < CpuSet::MAX_CPU, "core {core} doesn't exist");
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("binding to core {core}"))
}

/// Raises the number of files that may be open to what the system allows without asking.
pub fn raise_open_files() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .context("raising the limit of open files")
}
