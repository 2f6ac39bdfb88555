//! Instances of an application that fail in every way, as processes on real sockets under constant load: whether clients
//! see failures that could have been avoided, and whether all bounds are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use tokio::time::sleep;

use bounds::{Peaks, Seen};
use client::Clients;
use counts::{Books, Counts, Row, Told};
use instance::Instance;
use journal::Records;
use judge::{Evidence, Traffic, Verdict};
use log::Lines;
use request::{Kind, Outcome, Sent, Service};
use schedule::FaultWindow;
use watch::{Look, Watch};
use weft_harness::host::{self, Host};
use weft_harness::mesh::exposition::Exposition;
use weft_harness::mesh::{Mesh, Sidecar, admin, local};
use weft_harness::options::Placing;
use weft_harness::process::Cores;
use weft_harness::process::Process;
use weft_harness::report;
use weft_harness::wait::wait_until;

mod answer;
pub(crate) mod application;
mod bounds;
mod client;
mod clock;
mod content;
mod counts;
mod fault_mode;
mod instance;
mod journal;
mod judge;
mod log;
mod markdown;
mod request;
mod schedule;
mod watch;

/// What goes wrong, and how long.
#[derive(Clone, Debug, Args)]
pub(crate) struct Chaos {
    /// What happens when, the same for the same seed; repeatable.
    #[arg(long = "seed", default_values_t = [1, 2, 3])]
    pub(crate) seeds: Vec<u64>,
    /// Length of each run in seconds, the last 20 of which are without trouble.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(30..))]
    pub(crate) seconds: u32,
    /// Requests per second.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    /// Instances of the application.
    #[arg(long, default_value_t = 4)]
    pub(crate) instances: usize,
    #[command(flatten)]
    pub(crate) placing: Placing,
    /// Names the results, `results/<NAME>.md` and `.json`. Without it they go to `bench/.work/results/`.
    #[arg(long)]
    pub(crate) name: Option<String>,
}

/// Routes and policies.
const CONFIGURATION: &str = include_str!("../chaos/mesh.yaml");
/// Of a run, the time at its end without trouble.
const CALM: Duration = Duration::from_secs(20);
/// Of that, the time at its end in which nothing may fail: more than the longest request and the longest ejection.
const SETTLED: Duration = Duration::from_secs(10);
/// Longest wait until all have counted what clients have: the longest answer that goes on when its client has left, and
/// then the next report to the control plane.
const COUNTING: Duration = Duration::from_secs(15);
/// Faults that are printed of each run.
const FAULTS_SHOWN: usize = 20;

/// What is kept of all runs.
#[derive(Debug, Serialize)]
struct Report {
    command: String,
    host: Host,
    instances: usize,
    seconds: u32,
    rate: u32,
    runs: Vec<Run>,
}

/// One run, judged.
#[derive(Debug, Serialize)]
struct Run {
    seed: u64,
    requests: BTreeMap<String, u64>,
    troubles: BTreeMap<&'static str, u32>,
    over_budget: u64,
    ejections: u64,
    peaks: Vec<Peaks>,
    /// What clients have counted, beside what others have.
    counts: Vec<Row>,
    crossed: u64,
    verdict: Verdict,
}

/// Runs each seed, and fails if any run found a fault.
pub(crate) async fn run(options: Chaos) -> anyhow::Result<()> {
    let host = Host::describe();
    let cores = options.placing.cores();
    weft_harness::process::exec::pin(cores.client)?;
    weft_harness::process::exec::raise_open_files()?;
    let mut runs = Vec::new();
    for seed in &options.seeds {
        eprintln!("seed {seed}: {} s", options.seconds);
        let mut stage = Testbed::start(*seed, &options, cores).await?;
        let run = stage.run(*seed, &options).await.with_context(|| format!("seed {seed}"));
        stage.stop().await;
        runs.push(run?);
    }
    let faults: usize = runs.iter().map(|run| run.verdict.faults.len()).sum();
    let (seconds, rate, instances) = (options.seconds, options.rate, options.instances);
    let report =
        Report { command: host::command_line(env!("CARGO_PKG_NAME")), host, instances, seconds, rate, runs };
    report::write(
        &host::verify_folder().join("results"),
        options.name.as_deref(),
        "chaos",
        &report,
        &report.markdown(),
    )?;
    anyhow::ensure!(faults == 0, "{faults} faults");
    Ok(())
}

/// Everything that one run needs, running.
struct Testbed {
    mesh: Mesh,
    instances: Vec<Instance>,
    sidecar: Process,
    clients: Rc<Clients>,
    watch: Rc<Watch>,
    admin: SocketAddr,
    /// What was counted before the run.
    before: (Counts, Told),
}

impl Testbed {
    async fn start(seed: u64, options: &Chaos, cores: Cores) -> anyhow::Result<Self> {
        let mesh = Mesh::start(&format!("chaos-{seed}"), CONFIGURATION, cores).await?;
        let mut instances = Vec::new();
        for number in 0..options.instances {
            instances.push(Instance::start(&mesh, format!("application-{number}"))?);
        }
        let (admin, ports) = (host::free_port()?, host::free_ports()?);
        let upstream = |service: Service| {
            format!("--upstream {}={}", service.authority(), local(ports[service as usize]))
        };
        let log = mesh.folder.join(log::FILE);
        let mut arguments: Vec<_> = Service::ALL.map(upstream).into();
        arguments.push(format!("--access-log all --access-log-file {}", log.display()));
        let sidecar = mesh.sidecar(&Sidecar {
            log: "client-sidecar",
            workload: "client",
            account: "client",
            services: Some("*"),
            workers: 1,
            admin,
            arguments,
        })?;
        let inbound = Service::ALL.map(|service| {
            instances.iter().map(|instance| instance.inbound()[service as usize]).collect::<BTreeSet<_>>()
        });
        let (clients, watch) =
            (Clients::new(ports.map(local)), Watch::new(sidecar.id(), local(admin), inbound));
        let (admin, before) = (local(admin), Default::default());
        let mut stage = Self { mesh, instances, sidecar, clients, watch, admin, before };
        stage.wait_for_all().await.with_context(|| format!("logs are in {}", stage.mesh.folder.display()))?;
        Ok(stage)
    }

    /// Waits until each instance has answered for each service.
    async fn wait_for_all(&mut self) -> anyhow::Result<()> {
        let expected = self.instances.len() * Service::ALL.len();
        wait_until("an answer of every instance", async || {
            self.sidecar.ensure_alive()?;
            self.mesh.ensure_alive()?;
            self.instances.iter_mut().try_for_each(Instance::ensure_alive)?;
            for kind in Kind::ordinary() {
                Rc::clone(&self.clients).one(kind).await;
            }
            Ok(answering(&self.clients.sent.borrow(), Duration::ZERO).len() == expected)
        })
        .await?;
        // What failed until here was no failure yet.
        let sent = self.clients.sent.take();
        let answered = sent.iter().filter(|sent| sent.status.is_some()).count();
        self.before = self.counted(answered as u64).await?;
        Ok(())
    }

    /// What the clients' sidecar has counted, and what the control plane was told, once that is as many requests as clients
    /// have sent; or when it is not in time.
    async fn counted(&self, sent: u64) -> anyhow::Result<(Counts, Told)> {
        let until = clock::now() + COUNTING;
        loop {
            let metrics = Exposition::new(admin::get(self.admin, "/metrics").await?);
            let counted = (counts::of_metrics(&metrics), counts::of_telemetry(&self.mesh.traffic().await?)?);
            let is_whole = counted.0.values().sum::<u64>() == sent && counted.1.values().sum::<u64>() == sent;
            if is_whole || clock::now() >= until {
                return Ok(counted);
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn run(&mut self, seed: u64, options: &Chaos) -> anyhow::Result<Run> {
        let trouble = Duration::from_secs(options.seconds.into()).checked_sub(CALM);
        let trouble = trouble.with_context(|| format!("it has to last longer than {CALM:?}"))?;
        let clients = Rc::clone(&self.clients);
        let first = clients.next();
        let load = tokio::task::spawn_local(Rc::clone(&clients).run(options.rate));
        let watched = tokio::task::spawn_local(Rc::clone(&self.watch).run());
        let windows = schedule::run(seed, trouble, &mut self.instances, &self.mesh).await?;
        sleep(CALM).await;
        load.abort();
        let ended = clock::now();
        wait_until("the end of all requests", async || Ok(clients.is_idle())).await?;
        anyhow::ensure!(
            !watched.is_finished(),
            "the clients' sidecar could not be asked: {:?}",
            watched.await
        );
        watched.abort();
        self.watch.look().await?;
        self.sidecar.ensure_alive()?;
        self.mesh.ensure_alive()?;
        self.instances.iter_mut().try_for_each(Instance::ensure_alive)?;
        let settled = ended.saturating_sub(SETTLED);
        let (sent, looks) = (clients.sent.take(), self.watch.looks.take());
        let before: u64 = self.before.0.values().sum();
        let (metrics, telemetry) = self.counted(before + sent.len() as u64).await?;
        let log = self.log(first, sent.len()).await?;
        let mut books = Books::open(&sent, &log);
        books.metrics = counts::since(&metrics, &self.before.0);
        books.telemetry = counts::since(&telemetry, &self.before.1);
        self.judge(seed, &windows, settled, Observed { sent, looks, log, books })
    }

    fn judge(
        &self,
        seed: u64,
        windows: &[FaultWindow],
        settled: Duration,
        of_run: Observed,
    ) -> anyhow::Result<Run> {
        let Observed { sent, looks, log, mut books } = of_run;
        let names: Vec<_> = self.instances.iter().map(|instance| instance.name.clone()).collect();
        let mut records = Records::new();
        for (at, name) in names.iter().enumerate() {
            journal::read(&self.mesh.folder, name, at, &mut records)?;
        }
        let traffic = Traffic::of(&sent);
        let evidence =
            Evidence { records: &records, windows, log: &log, instances: &names, traffic: &traffic };
        let mut verdict = evidence.judge(&sent);
        let (first, last) = (looks.first().context("no look")?, looks.last().context("no look")?);
        let over_budget = last.over_budget - first.over_budget;
        let of_all = Seen { sent: &sent, records: &records, looks: &looks, windows, instances: names.len() };
        let peaks: Vec<_> = Service::ALL.map(|service| Peaks::find(service, of_all)).into();
        verdict.faults.extend(peaks.iter().flat_map(Peaks::faults));
        verdict.faults.extend(overall(&verdict, over_budget, &sent, settled));
        let counts = books.close();
        verdict.faults.append(&mut books.faults);
        let ejected: usize = last.services.iter().map(|of| of.ejected).sum();
        if ejected > 0 {
            verdict
                .faults
                .push(format!("{ejected} endpoints are ejected at the end, when all have long been well"));
        }
        for fault in verdict.faults.iter().take(FAULTS_SHOWN) {
            eprintln!("seed {seed}: {fault}");
        }
        let mut requests = BTreeMap::new();
        for sent in &sent {
            *requests.entry(sent.kind.describe()).or_default() += 1;
        }
        let mut troubles = BTreeMap::new();
        for window in windows {
            *troubles.entry(window.trouble.name()).or_default() += 1;
        }
        let ejections = last.ejections - first.ejections;
        let crossed = books.crossed;
        Ok(Run { seed, requests, troubles, over_budget, ejections, peaks, counts, crossed, verdict })
    }

    /// Lines of the access log, once there are as many as requests, or when there are not in time.
    async fn log(&self, first: u64, requests: usize) -> anyhow::Result<Lines> {
        let until = clock::now() + COUNTING;
        loop {
            let lines = log::read(&self.mesh.folder, first)?;
            if lines.values().map(Vec::len).sum::<usize>() >= requests || clock::now() >= until {
                return Ok(lines);
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn stop(self) {
        self.sidecar.stop().await;
        for instance in self.instances {
            instance.stop().await;
        }
        self.mesh.stop().await;
    }
}

/// What was seen of a run from the clients' side.
struct Observed {
    sent: Vec<Sent>,
    looks: Vec<Look>,
    log: Lines,
    books: Books,
}

/// What concerns the failures of a run as a whole.
fn overall(verdict: &Verdict, over_budget: u64, sent: &[Sent], settled: Duration) -> Vec<String> {
    let mut faults = Vec::new();
    let by_budget = verdict.unavoidable.get(&judge::Unavoidable::Budget).copied().unwrap_or_default();
    if by_budget > over_budget {
        faults.push(format!(
            "{by_budget} failures that only a spent budget explains, which has refused {over_budget} retries"
        ));
    }
    // Bursts go beyond the limit at any time.
    let late = sent.iter().filter(|sent| {
        sent.at >= settled && !sent.is_well() && sent.outcome != Outcome::Refused(judge::LIMITED.to_owned())
    });
    let late = late.count();
    if late > 0 {
        faults.push(format!("{late} failures in the last {SETTLED:?}, when everybody was well"));
    }
    faults
}

/// Which instance has answered for which service since a time.
fn answering(sent: &[Sent], since: Duration) -> BTreeSet<(Service, &str)> {
    let answered = sent.iter().filter(|sent| sent.at >= since).filter_map(|sent| match &sent.outcome {
        Outcome::Answered(instance) => Some((sent.kind.service, instance.as_str())),
        _ => None,
    });
    answered.collect()
}
