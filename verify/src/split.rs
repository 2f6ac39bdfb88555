//! Whether splits are what routes say, from end to end: counts of a million requests at four places that have to agree,
//! and sessions and keys that stay where they are, over restarts, in other sidecars and when weights change.

use std::collections::BTreeMap;

use anyhow::Context;
use clap::Args;
use http::{HeaderName, HeaderValue};
use serde::Serialize;

use client::Visitor;
use processes::{Client, Instance};
use weft_harness::host::{self, Host};
use weft_harness::mesh::exposition::Exposition;
use weft_harness::mesh::{Mesh, admin, local};
use weft_harness::options::Placing;
use weft_harness::process::Cores;
use weft_harness::process::Process;
use weft_harness::report;
use weft_harness::wait::wait_until;
use weights::Weights;

pub(crate) mod backend;
mod client;
mod markdown;
mod processes;
mod weights;

/// How much is counted.
#[derive(Clone, Debug, Args)]
pub(crate) struct Split {
    /// Requests with each set of weights.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) requests: u64,
    /// Clients that come again and again.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) visitors: u32,
    #[command(flatten)]
    pub(crate) placing: Placing,
    /// Names the results, `results/<NAME>.md` and `.json`. Without it they go to `bench/.work/results/`.
    #[arg(long)]
    pub(crate) name: Option<String>,
}

/// The backends that routes split between.
const BACKENDS: [&str; 4] = ["one", "two", "three", "four"];
/// Instances of each, so that a session has an instance to stay with.
const INSTANCES: usize = 2;
/// The field that sessions are told in where they are not in a cookie.
const SESSION_FIELD: &str = "x-session";
/// The field that keys are in.
const KEY_FIELD: &str = "x-user";
/// What is tried with many requests: thirds, a weight of 0 among others, nearly nothing, and all or nothing.
const SETS: [Weights; 5] = [[90, 0, 7, 3], [999, 1, 0, 0], [33, 33, 34, 0], [1, 2, 3, 4], [0, 0, 1, 0]];
/// What sessions and keys begin with, and what they go through: one weight grows, several change, one becomes 0.
const COURSE: [Weights; 4] = [[50, 30, 0, 20], [50, 30, 0, 40], [20, 30, 10, 40], [0, 30, 10, 40]];

/// What is kept.
#[derive(Debug, Serialize)]
struct Report {
    command: String,
    host: Host,
    requests: u64,
    visitors: u32,
    counted: Vec<Counted>,
    followed: Vec<Followed>,
    faults: Vec<String>,
}

/// One backend's requests of one set of weights.
#[derive(Debug, Serialize)]
struct Counted {
    weights: Weights,
    backend: &'static str,
    expected: f64,
    sigmas: f64,
    by_client: u64,
    by_applications: u64,
    by_client_sidecar: u64,
    by_server_sidecars: u64,
}

/// What became of visitors in one step of the course.
#[derive(Debug, Serialize)]
struct Followed {
    /// `cookie`, `field` or `key`.
    by: &'static str,
    step: String,
    /// How many are at another backend, and at another instance of the same.
    moved: u64,
    changed_instance: u64,
    /// How many had to be at another backend, and how many were expected to.
    necessary: f64,
    expected: f64,
}

/// Counts and follows, and fails if anything is not as it should be.
pub(crate) async fn run(options: Split) -> anyhow::Result<()> {
    let host = Host::describe();
    let cores = options.placing.cores();
    weft_harness::process::exec::pin(cores.client)?;
    weft_harness::process::exec::raise_open_files()?;
    let mut stage = Testbed::start(cores).await?;
    let mut report = Report {
        command: host::command_line(env!("CARGO_PKG_NAME")),
        host,
        requests: options.requests,
        visitors: options.visitors,
        counted: Vec::new(),
        followed: Vec::new(),
        faults: Vec::new(),
    };
    let done = async {
        for weights in SETS {
            stage.count(weights, options.requests, &mut report).await?;
        }
        for (by, path) in [("cookie", "/cookie"), ("field", "/field"), ("key", "/")] {
            stage.follow(by, path, options.visitors, &mut report).await?;
        }
        anyhow::Ok(())
    };
    let done = done.await.with_context(|| format!("logs are in {}", stage.mesh.folder.display()));
    stage.stop().await;
    done?;
    report::write(
        &host::verify_folder().join("results"),
        options.name.as_deref(),
        "split",
        &report,
        &report.markdown(),
    )?;
    anyhow::ensure!(report.faults.is_empty(), "{} faults", report.faults.len());
    Ok(())
}

/// Everything, running.
struct Testbed {
    mesh: Mesh,
    instances: Vec<Instance>,
    clients: [Client; 2],
    rounds: u32,
}

impl Testbed {
    async fn start(cores: Cores) -> anyhow::Result<Self> {
        let mesh = Mesh::start("split", &weights::configuration("round-0", COURSE[0]), cores).await?;
        let mut instances = Vec::new();
        for backend in BACKENDS {
            for number in 0..INSTANCES {
                instances.push(Instance::start(&mesh, backend, number)?);
            }
        }
        // What clients know at their first request is what there was.
        wait_until("every instance", async || Ok(mesh.ready().await? >= instances.len())).await?;
        let clients = [Client::start(&mesh, "client-a")?, Client::start(&mesh, "client-b")?];
        let mut stage = Self { mesh, instances, clients, rounds: 0 };
        stage.wait().await.with_context(|| format!("logs are in {}", stage.mesh.folder.display()))?;
        Ok(stage)
    }

    /// Waits until both sidecars of clients have the weights of this round.
    async fn wait(&mut self) -> anyhow::Result<()> {
        let round = self.round();
        wait_until(&format!("{round} at every sidecar"), async || {
            self.ensure_alive()?;
            for port in self.clients.iter().flat_map(|client| client.ports) {
                // Until there are routes, nobody answers.
                if !matches!(client::round(local(port), "/").await, Ok(known) if known == round) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
    }

    fn round(&self) -> String {
        format!("round-{}", self.rounds)
    }

    /// Puts other weights in force everywhere.
    async fn change(&mut self, weights: Weights) -> anyhow::Result<()> {
        self.rounds += 1;
        self.mesh.configure(&weights::configuration(&self.round(), weights))?;
        self.wait().await
    }

    fn ensure_alive(&mut self) -> anyhow::Result<()> {
        self.mesh.ensure_alive()?;
        let clients = self.clients.iter_mut().flat_map(|client| &mut client.process);
        let instances = self.instances.iter_mut().flat_map(|instance| &mut instance.processes);
        clients.chain(instances).try_for_each(Process::ensure_alive)
    }

    /// Sends requests through one sidecar, and compares what all have counted.
    async fn count(&mut self, weights: Weights, requests: u64, report: &mut Report) -> anyhow::Result<()> {
        self.change(weights).await?;
        let before = self.tallies().await?;
        let address = local(self.clients[0].ports[0]);
        let by_client = client::count(address, "/", requests, &self.round()).await?;
        let after = self.tallies().await?;
        for (backend, share) in BACKENDS.into_iter().zip(weights::shares(weights)) {
            let since = |of: fn(&Tally) -> &BTreeMap<&'static str, u64>| {
                let at = |tally: &Tally| of(tally).get(backend).copied().unwrap_or_default();
                at(&after) - at(&before)
            };
            let counted = Counted {
                weights,
                backend,
                expected: requests as f64 * share,
                sigmas: weights::sigmas(by_client.get(backend).copied().unwrap_or_default(), requests, share),
                by_client: by_client.get(backend).copied().unwrap_or_default(),
                by_applications: since(|tally| &tally.applications),
                by_client_sidecar: since(|tally| &tally.client_sidecar),
                by_server_sidecars: since(|tally| &tally.server_sidecars),
            };
            if !weights::is_met(counted.by_client, requests, share) {
                report.faults.push(format!("{weights:?}: {backend} got {}", counted.by_client));
            }
            let others = [counted.by_applications, counted.by_client_sidecar, counted.by_server_sidecars];
            if others != [counted.by_client; 3] {
                report.faults.push(format!("{weights:?}: counts of {backend} differ: {counted:?}"));
            }
            eprintln!("{weights:?} {backend}: {} ({:+.1} sigmas)", counted.by_client, counted.sigmas);
            report.counted.push(counted);
        }
        Ok(())
    }

    /// What everybody has counted so far.
    async fn tallies(&self) -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        let metrics = admin::get(local(self.clients[0].admin), "/metrics").await?;
        let metrics = Exposition::new(metrics);
        for backend in BACKENDS {
            let named = format!("default/{backend}:80");
            let labels = [("direction", "outbound"), ("backend", named.as_str())];
            tally.client_sidecar.insert(backend, metrics.sum("weft_requests_total", &labels));
        }
        for instance in &self.instances {
            let counts = client::counts(instance.address).await?;
            *tally.applications.entry(instance.backend).or_default() += counts.values().sum::<u64>();
            let metrics = Exposition::new(admin::get(instance.admin, "/metrics").await?);
            *tally.server_sidecars.entry(instance.backend).or_default() +=
                metrics.sum("weft_requests_total", &[("direction", "inbound")]);
        }
        Ok(tally)
    }

    /// Lets visitors come again and again: to the same sidecar, after its restart, to another one, and after weights have
    /// changed.
    async fn follow(
        &mut self,
        by: &'static str,
        path: &'static str,
        visitors: u32,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let is_key = by == "key";
        let service = usize::from(is_key);
        let key = |number: u32| {
            let value = HeaderValue::from_str(&format!("visitor-{number}")).ok()?;
            is_key.then_some((HeaderName::from_static(KEY_FIELD), value))
        };
        self.change(COURSE[0]).await?;
        let new: Vec<_> = (0..visitors).map(|number| Visitor::new(key(number))).collect();
        let first = client::visit(local(self.clients[0].ports[service]), path, &new).await?;
        report.faults.extend(shares_met(by, COURSE[0], &first));
        let mut last = first;
        for step in [Step::Again, Step::Restart, Step::Other] {
            if step == Step::Restart {
                self.clients[0].restart(&self.mesh).await?;
                self.wait().await?;
            }
            let at = usize::from(step == Step::Other);
            let now = client::visit(local(self.clients[at].ports[service]), path, &last).await?;
            report.follow(by, step.name().to_owned(), &last, &now, (0.0, 0.0));
            last = now;
        }
        for weights in COURSE.windows(2) {
            let (before, after) = (weights[0], weights[1]);
            self.change(after).await?;
            let now = client::visit(local(self.clients[0].ports[service]), path, &last).await?;
            let of_keys = (weights::necessary(before, after), weights::moving(before, after));
            // A session goes on also at a backend that gets no new ones.
            let expected = if is_key { of_keys } else { (0.0, 0.0) };
            report.follow(by, format!("{before:?} to {after:?}"), &last, &now, expected);
            let newcomers = client::visit(local(self.clients[1].ports[service]), path, &new).await?;
            report.faults.extend(shares_met(by, after, &newcomers));
            if is_key && newcomers.iter().zip(&now).any(|(one, other)| one.at.0 != other.at.0) {
                report.faults.push(format!("{by}, {after:?}: sidecars don't agree on every key"));
            }
            last = now;
        }
        Ok(())
    }

    async fn stop(self) {
        for process in self.clients.into_iter().filter_map(|client| client.process) {
            process.stop().await;
        }
        for instance in self.instances {
            for process in instance.processes {
                process.stop().await;
            }
        }
        self.mesh.stop().await;
    }
}

/// How visitors come again while weights stay the same.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Again,
    Restart,
    Other,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Again => "to the same sidecar",
            Self::Restart => "after its restart",
            Self::Other => "to another sidecar",
        }
    }
}

/// Requests by backend, as they were counted at three places.
#[derive(Debug, Default)]
struct Tally {
    applications: BTreeMap<&'static str, u64>,
    client_sidecar: BTreeMap<&'static str, u64>,
    server_sidecars: BTreeMap<&'static str, u64>,
}

impl Report {
    /// Compares where visitors are with where they were; `parts` of them had to move, and were expected to.
    fn follow(
        &mut self,
        by: &'static str,
        step: String,
        before: &[Visitor],
        after: &[Visitor],
        parts: (f64, f64),
    ) {
        let both = || before.iter().zip(after);
        let moved = both().filter(|(one, other)| one.at.0 != other.at.0).count() as u64;
        let changed = both().filter(|(one, other)| one.at.0 == other.at.0 && one.at.1 != other.at.1);
        let changed_instance = changed.count() as u64;
        let visitors = before.len() as u64;
        if !weights::is_met(moved, visitors, parts.1) {
            self.faults.push(format!("{by}, {step}: {moved} moved"));
        }
        // A key keeps its backend, a session its instance too.
        if by != "key" && changed_instance > 0 {
            self.faults.push(format!("{by}, {step}: {changed_instance} are at another instance"));
        }
        eprintln!("{by}, {step}: {moved} moved");
        let (necessary, expected) = (parts.0 * visitors as f64, parts.1 * visitors as f64);
        self.followed.push(Followed { by, step, moved, changed_instance, necessary, expected });
    }
}

/// What is wrong with the backends that visitors have got.
fn shares_met(by: &str, weights: Weights, visitors: &[Visitor]) -> Vec<String> {
    let mut faults = Vec::new();
    for (backend, share) in BACKENDS.into_iter().zip(weights::shares(weights)) {
        let count = visitors.iter().filter(|visitor| visitor.at.0 == backend).count() as u64;
        if !weights::is_met(count, visitors.len() as u64, share) {
            faults.push(format!("{by}, {weights:?}: {backend} got {count} visitors"));
        }
    }
    faults
}
