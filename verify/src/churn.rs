//! Whether memory grows: connections, streams, resets, failing endpoints, new routes and new certificates, all at once and
//! for minutes, while the sidecars' resident memory is looked at every second.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use linear_regression::Line;
use weft_harness::host::{self, Host};
use weft_harness::options::Placing;
use weft_harness::protocol::Protocol;
use weft_harness::report;
use weft_harness::subject::{Role, Subject};
use weft_harness::testbed::{HopPorts, Setting, Testbed};

mod linear_regression;
mod soak;

/// How memory is looked at.
#[derive(Clone, Debug, Args)]
pub(crate) struct Churn {
    /// How long it lasts.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) minutes: u32,
    /// Of these, how long nothing is measured yet, in seconds.
    #[arg(long, default_value_t = 120)]
    pub(crate) warmup: u32,
    #[command(flatten)]
    pub(crate) placing: Placing,
    /// Names the results, `results/<NAME>.md` and `.json`. Without it they go to `bench/.work/results/`.
    #[arg(long)]
    pub(crate) name: Option<String>,
}

/// Clients of each kind at a time.
const CLIENTS: usize = 4;
/// How often routes change.
const CHANGE_EVERY: Duration = Duration::from_millis(500);
/// What may be fitted into ten minutes and is no growth: pages that an allocator takes and gives back.
const NOISE_KIB: f64 = 1024.0;

/// What was done, by kind.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Done {
    pub(crate) connections: Cell<u64>,
    pub(crate) requests: Cell<u64>,
    pub(crate) resets: Cell<u64>,
    pub(crate) malformed: Cell<u64>,
    pub(crate) failed_endpoints: Cell<u64>,
    pub(crate) configurations: Cell<u64>,
}

/// What is kept of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    command: String,
    host: Host,
    minutes: u32,
    warmup: u32,
    done: Done,
    client_sidecar: Line,
    server_sidecar: Line,
}

/// Strains a pair, and fails if its memory grew.
pub(crate) async fn run(options: Churn) -> anyhow::Result<()> {
    let host = Host::describe();
    let folder = host::verify_folder().join("churn");
    let subject = Subject::load(&format!("churn={}", folder.display()))?;
    let setting = Setting::prepare(options.placing.cores())?;
    let mut stage = Testbed::start(&subject, Protocol::H1, &setting, HopPorts::plain()?).await?;
    let done = Rc::new(Done::default());
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        soak::start(&mut clients, stage.connect, &stage.authority, &done);
    }
    clients.spawn_local(change_routes(stage.folder.join("config/routes.yaml"), Rc::clone(&done)));
    sleep(Duration::from_secs(options.warmup.into())).await;
    let (mut of_client, mut of_server) = (Vec::new(), Vec::new());
    let began = Instant::now();
    let until = Duration::from_secs(u64::from(options.minutes) * 60)
        .saturating_sub(Duration::from_secs(options.warmup.into()));
    let mut looks = interval(Duration::from_secs(1));
    looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while began.elapsed() < until {
        looks.tick().await;
        stage.verify()?;
        let minutes = began.elapsed().as_secs_f64() / 60.0;
        of_client.push((minutes, stage.memory(Role::ClientSidecar)?.rss_kib as f64));
        of_server.push((minutes, stage.memory(Role::ServerSidecar)?.rss_kib as f64));
    }
    clients.shutdown().await;
    stage.stop().await;
    let line = |samples: &[(f64, f64)]| Line::fit(samples).context("too few samples; let it last longer");
    let (client_sidecar, server_sidecar) = (line(&of_client)?, line(&of_server)?);
    let done = Rc::into_inner(done).context("all clients have ended")?;
    let (minutes, warmup) = (options.minutes, options.warmup);
    let report = Report {
        command: host::command_line(env!("CARGO_PKG_NAME")),
        host,
        minutes,
        warmup,
        done,
        client_sidecar,
        server_sidecar,
    };
    report::write(
        &host::verify_folder().join("results"),
        options.name.as_deref(),
        "churn",
        &report,
        &report.markdown(),
    )?;
    for (who, line) in [("client's", &report.client_sidecar), ("server's", &report.server_sidecar)] {
        anyhow::ensure!(
            line.growth_kib() < NOISE_KIB,
            "the {who} sidecar grew by {:.0} KiB in {minutes} minutes",
            line.growth_kib()
        );
    }
    Ok(())
}

/// Writes the routes anew, each time with another header and another dead endpoint.
async fn change_routes(path: std::path::PathBuf, done: Rc<Done>) {
    let Ok(template) = std::fs::read_to_string(&path) else { return };
    let mut changes = interval(CHANGE_EVERY);
    loop {
        changes.tick().await;
        let number = done.configurations.get() + 1;
        let text = template
            .replace("value: \"0\"", &format!("value: \"{number}\""))
            .replace("targetPort: 1,", &format!("targetPort: {},", 1 + number % 9));
        if host::write_whole(&path, &text).is_ok() {
            done.configurations.set(number);
        }
    }
}

impl Report {
    fn markdown(&self) -> String {
        let done = &self.done;
        let row = |who: &str, line: &Line| {
            format!(
                "| {who} | {} | {:.0} | {:.0} | {:.0} | {:+.1} +- {:.1} | {:+.0} |\n",
                line.samples,
                line.least,
                line.mean,
                line.greatest,
                line.slope,
                line.slope_error,
                line.growth_kib()
            )
        };
        format!(
            "# Memory under churn\n\n{}; Linux {}, {} x {}.\n\nTo repeat it:\n\n```sh\n{}\n```\n\n\
             {} minutes, of which {} s of warm-up are not measured, of everything that comes and goes at a time:\n\
             {} connections, {} requests, {} streams or connections reset, {} malformed requests, {} requests to endpoints that\n\
             don't take connections, {} changes of the routes, and certificates that live for a minute. Resident memory (RSS) is\n\
             looked at every second; a line is fitted by least squares.\n\n\
             | sidecar | samples | least, KiB | mean, KiB | greatest, KiB | slope, KiB/minute | fitted growth, KiB |\n\
             |---|---:|---:|---:|---:|---:|---:|\n{}{}",
            self.host.date,
            self.host.kernel,
            self.host.cores,
            self.host.processor,
            self.command,
            self.minutes,
            self.warmup,
            done.connections.get(),
            done.requests.get(),
            done.resets.get(),
            done.malformed.get(),
            done.failed_endpoints.get(),
            done.configurations.get(),
            row("client's", &self.client_sidecar),
            row("server's", &self.server_sidecar)
        )
    }
}
