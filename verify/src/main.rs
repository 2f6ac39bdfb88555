//! What must hold of Weft, tried with real processes.
//!
//! `chaos`, `split`, `churn` and `differential` let a mesh through what happens in the field and judge what clients, applications
//! and the mesh itself saw of it. `attacks` runs a mesh and attacks it, as a hostile client, a compromised workload, a tenant and the holder of a stolen
//! credential would, and says of each attempt what must be and what was seen. `hostile` sends octets of HTTP that a client must
//! not send. `experiments` simulates what experiments are judged by.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use weft_harness::options::Serve;
use weft_harness::process::exec::{self, Exec};
use weft_harness::run::{local_runtime, supervised};
use weft_harness::server;
use weft_verify_experiments::Experiments;

mod application;
mod attacks;
mod chaos;
mod churn;
mod differential;
mod hostile;
mod split;
mod target;

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
    /// Let applications and sidecars fail in every way under load, and explain every failure that clients see.
    Chaos(chaos::Chaos),
    /// Let a pair of sidecars through all that makes memory grow, and see whether it does.
    Churn(churn::Churn),
    /// Count the requests of splits at every place, and follow sessions and keys over restarts and changes.
    Split(split::Split),
    /// Send the same requests directly and through proxies, and explain what differs.
    Differential(differential::Differential),
    /// Be an instance of a backend of `split`.
    #[command(hide = true)]
    Backend(split::backend::Options),
    /// Be the application of an instance of `chaos`.
    #[command(hide = true)]
    Application(chaos::application::Options),
    /// Answer every request with 1 KiB; prints the address it listens on.
    #[command(hide = true)]
    Serve(Serve),
    /// Become another program, bound to a core and to the life of the parent.
    #[command(hide = true)]
    Exec(Exec),
}

fn main() -> anyhow::Result<ExitCode> {
    let held = match Options::parse().command {
        Command::Exec(arguments) => return Err(exec::replace(&arguments)),
        Command::Serve(serve) => local_runtime()?.block_on(server::serve(serve.protocol)).map(|()| true),
        Command::Application(options) => {
            local_runtime()?.block_on(chaos::application::run(options)).map(|()| true)
        }
        Command::Backend(options) => local_runtime()?.block_on(split::backend::run(options)).map(|()| true),
        Command::Attacks(options) => supervised(attacks::run(options)),
        Command::Hostile(options) => supervised(hostile::run(options)),
        Command::Experiments(options) => weft_verify_experiments::run(&options).map_err(anyhow::Error::msg),
        Command::Chaos(options) => supervised(chaos::run(options)).map(|()| true),
        Command::Churn(options) => supervised(churn::run(options)).map(|()| true),
        Command::Split(options) => supervised(split::run(options)).map(|()| true),
        Command::Differential(options) => supervised(differential::run(options)).map(|()| true),
    }?;
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
