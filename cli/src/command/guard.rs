//! `weft guard`, which nobody types: becomes a command that does not outlive the process that started it.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::anyhow;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::exit;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Process that started this one
    #[arg(long)]
    parent: i32,
    /// Command to become
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // It outlasts the exec below (but not that of a setuid program, which the kernel doesn't leave to its starter).
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid().is_none_or(|parent| parent.as_raw_nonzero().get() != args.parent) {
        // It ended before the kernel was asked, and would not be noticed any more.
        return Ok(ExitCode::from(exit::SIDECAR_FAILED));
    }
    let (program, rest) = args.command.split_first().ok_or_else(|| anyhow!("no command"))?;
    let error = Command::new(program).args(rest).exec();
    let found = error.kind() != ErrorKind::NotFound;
    exit::say("weft", &anyhow!("cannot run {}: {error}", program.display()));
    Ok(ExitCode::from(if found { exit::NOT_EXECUTABLE } else { exit::NOT_FOUND }))
}
