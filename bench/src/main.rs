//! Side-by-side benchmarks of Weft and other proxies.
//!
//! `compare` measures pairs of sidecars, `check` only verifies that they do what is measured, `idle` measures memory
//! per connection, `fairness` what one client takes away from others, `routes` what finding a rule costs, `relay` what carrying bytes does. The same program is also the load generator (`load`) and the application (`serve`).

use clap::Parser;

mod certificates;
mod chaos;
mod check;
mod churn;
mod compare;
mod differ;
mod fairness;
mod h2load;
mod idle;
mod load;
mod options;
mod relay;
mod report;
mod routes;
mod sample;
mod server;
mod split;
mod stage;
mod subject;
mod workload;

use options::{Command, Options};
use weft_harness::{host, mesh, process, wait};

fn main() -> anyhow::Result<()> {
    match Options::parse().command {
        Command::Exec(exec) => Err(process::exec::replace(&exec)),
        Command::Serve(serve) => local_runtime()?.block_on(server::serve(serve.protocol)),
        Command::Load(load) => local_runtime()?.block_on(load::run(&load)),
        Command::Application(application) => local_runtime()?.block_on(chaos::application::run(application)),
        Command::Backend(backend) => local_runtime()?.block_on(split::backend::run(backend)),
        Command::Split(split) => supervised(split::run(split)),
        Command::Chaos(chaos) => supervised(chaos::run(chaos)),
        Command::Compare(compare) => supervised(compare::run(compare)),
        Command::Check(check) => supervised(check::run(check)),
        Command::Churn(churn) => supervised(churn::run(churn)),
        Command::Differ(differ) => supervised(differ::run(differ)),
        Command::Fairness(fairness) => supervised(fairness::run(fairness)),
        Command::Idle(idle) => supervised(idle::run(idle)),
        Command::Routes(routes) => {
            routes::run(routes.rounds, std::time::Duration::from_millis(routes.milliseconds))
        }
        Command::Relay(options) => relay::run(options.rounds, options.mebibytes, options.messages),
    }
}

/// Everything runs on one thread: children are tied to the thread that started them, and a second thread would
/// only compete for the core it shares with the application.
fn local_runtime() -> std::io::Result<tokio::runtime::LocalRuntime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
}

/// Runs `work` until it ends or a signal arrives; either way its processes are dropped, and so ended, before return.
fn supervised(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    local_runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            result = work => result,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted; every process it started has been ended"),
            _ = terminate.recv() => anyhow::bail!("terminated; every process it started has been ended"),
        }
    })
}
