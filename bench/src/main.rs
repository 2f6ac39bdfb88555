//! Side-by-side benchmarks of Weft and other proxies.
//!
//! `compare` measures pairs of sidecars, `check` only verifies that they do what is measured, `idle` measures memory
//! per connection, `fairness` what one client takes away from others, `routes` what finding a rule costs, `relay` what carrying bytes does. The same program is also the load generator (`load`) and the application (`serve`).

use clap::Parser;

mod check;
mod compare;
mod fairness;
mod h2load;
mod idle;
mod load;
mod options;
mod relay;
mod report;
mod routes;
mod sample;
mod workload;

use options::{Command, Options};
use weft_harness::run::{local_runtime, supervised};
use weft_harness::{process, server};

fn main() -> anyhow::Result<()> {
    match Options::parse().command {
        Command::Exec(exec) => Err(process::exec::replace(&exec)),
        Command::Serve(serve) => local_runtime()?.block_on(server::serve(serve.protocol)),
        Command::Load(load) => local_runtime()?.block_on(load::run(&load)),
        Command::Compare(compare) => supervised(compare::run(compare)),
        Command::Check(check) => supervised(check::run(check)),
        Command::Fairness(fairness) => supervised(fairness::run(fairness)),
        Command::Idle(idle) => supervised(idle::run(idle)),
        Command::Routes(routes) => {
            routes::run(routes.rounds, std::time::Duration::from_millis(routes.milliseconds))
        }
        Command::Relay(options) => relay::run(options.rounds, options.mebibytes, options.messages),
    }
}
