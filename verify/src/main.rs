//! What must hold of Weft, tried with real processes.
//!
//! `attacks` runs a mesh and attacks it, as a hostile client, a compromised workload, a tenant and the holder of a stolen
//! credential would, and says of each attempt what must be and what was seen. `hostile` sends octets of HTTP that a client must
//! not send. `experiments` simulates what experiments are judged by.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use weft_harness::process::exec::{self, Exec};
use weft_verify_experiments::Experiments;

mod attacks;
mod hostile;
mod mesh;
mod report;
mod testbed;

/// Tries what must hold of Weft with real processes.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Attack a mesh: what must be and what was seen, for each attempt. Fails if one succeeds.
    ///
    /// It takes the program `weft`, which is looked for in bench/.work/bin, beside this program and in PATH.
    Attacks(attacks::Attacks),
    /// Send octets of HTTP/1 and HTTP/2 that a client must not send to both listeners of a pair of sidecars, or to another
    /// proxy. Fails if one case does not end as its RFC says.
    Hostile(hostile::Hostile),
    /// Simulate experiments: how often each method alarms where variants do not differ, and how soon where they do. Fails if a
    /// method exceeds its level.
    Experiments(Experiments),
    /// Become another program, bound to a core and to the life of the parent.
    #[command(hide = true)]
    Exec(Exec),
}

fn main() -> anyhow::Result<ExitCode> {
    match Options::parse().command {
        Command::Exec(arguments) => Err(exec::replace(&arguments)),
        Command::Attacks(options) => judge(attacks::run(options)),
        Command::Hostile(options) => judge(hostile::run(options)),
        Command::Experiments(options) => {
            Ok(verdict(weft_verify_experiments::run(&options).map_err(anyhow::Error::msg)?))
        }
    }
}

/// Runs what says whether all held.
fn judge(trial: impl Future<Output = anyhow::Result<bool>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    Ok(verdict(runtime.block_on(trial)?))
}

fn verdict(held: bool) -> ExitCode {
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
