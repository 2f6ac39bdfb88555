//! Becoming another program on one core.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::options::Exec;

/// Binds this process to its core and its parent's life, and replaces it. Returns only why that failed.
pub(crate) fn replace(exec: &Exec) -> anyhow::Error {
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
pub(crate) fn pin(core: usize) -> anyhow::Result<()> {
    anyhow::ensure!(core < CpuSet::MAX_CPU, "core {core} doesn't exist");
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("binding to core {core}"))
}

/// Raises the number of files that may be open to what the system allows without asking.
pub(crate) fn raise_open_files() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .context("raising the limit of open files")
}
