//! One measurement: a load on a stage, and what the pair used for it.

use std::ffi::OsStr;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use crate::load::{MEASURING, Outcome};
use crate::workload::Workload;
use weft_harness::process::Cores;
use weft_harness::process::usage::{self, Memory};
use weft_harness::process::{Launch, Process};
use weft_harness::subject::Role;
use weft_harness::testbed::Testbed;

/// What one measurement found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    /// Answers per second.
    pub(crate) throughput: f64,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
    /// `None` without proxies.
    pub(crate) pair: Option<PairUse>,
    /// Share of the time that the client's core was busy.
    pub(crate) client_core_busy_percent: f64,
}

/// What both sidecars used.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct PairUse {
    /// User and system time of both, all threads.
    pub(crate) cpu_us_per_request: f64,
    /// The part of it that the client's sidecar used.
    pub(crate) client_sidecar_cpu_us_per_request: f64,
    /// Share of the time that the pair ran; near 100 means that it limited the throughput.
    pub(crate) busy_percent: f64,
    /// Share of the proxies' core that others than the pair used, or that the hypervisor withheld. High values
    /// make absolute figures worthless and cost even ratios some trust.
    pub(crate) disturbance_percent: f64,
    #[serde(flatten)]
    pub(crate) memory: Memory,
}

/// Time that processors have spent so far.
pub(crate) struct Meter {
    at: Instant,
    client_sidecar: Duration,
    server_sidecar: Duration,
    client_core_idle: Duration,
    proxy_core_idle: Duration,
}

impl Meter {
    pub(crate) fn read(stage: &Testbed, cores: Cores) -> anyhow::Result<Self> {
        Ok(Self {
            at: Instant::now(),
            client_sidecar: stage.cpu_time(Role::ClientSidecar)?,
            server_sidecar: stage.cpu_time(Role::ServerSidecar)?,
            client_core_idle: usage::core_idle(cores.client)?,
            proxy_core_idle: usage::core_idle(cores.proxy)?,
        })
    }

    /// The sample of the load that ran between `self` and `end`, while the stage still runs.
    pub(crate) fn sample(&self, end: &Self, outcome: Outcome, stage: &Testbed) -> anyhow::Result<Sample> {
        anyhow::ensure!(outcome.answered > 0, "no request was answered; failures: {:?}", outcome.failures);
        let elapsed = end.at - self.at;
        let pair =
            if stage.has_sidecars() { Some(self.pair_use(end, elapsed, &outcome, stage)?) } else { None };
        Ok(Sample {
            throughput: outcome.answered as f64 / outcome.seconds,
            outcome,
            pair,
            client_core_busy_percent: percent(
                busy(self.client_core_idle, end.client_core_idle, elapsed),
                elapsed,
            ),
        })
    }

    fn pair_use(
        &self,
        end: &Self,
        elapsed: Duration,
        outcome: &Outcome,
        stage: &Testbed,
    ) -> anyhow::Result<PairUse> {
        let client = end.client_sidecar.saturating_sub(self.client_sidecar);
        let server = end.server_sidecar.saturating_sub(self.server_sidecar);
        let core = busy(self.proxy_core_idle, end.proxy_core_idle, elapsed);
        let per_request = |time: Duration| time.as_secs_f64() * 1e6 / outcome.answered as f64;
        // No proxy handles a request in less than a microsecond; one that seems to was bypassed.
        for (role, time) in [(Role::ClientSidecar, client), (Role::ServerSidecar, server)] {
            let used = per_request(time);
            anyhow::ensure!(used >= 1.0, "the {role:?} used {used:.2} us per request: requests go around it");
        }
        Ok(PairUse {
            cpu_us_per_request: per_request(client + server),
            client_sidecar_cpu_us_per_request: per_request(client),
            busy_percent: percent(client + server, elapsed),
            disturbance_percent: percent(core.saturating_sub(client + server), elapsed),
            memory: stage.memory(Role::ClientSidecar)? + stage.memory(Role::ServerSidecar)?,
        })
    }
}

fn busy(idle_before: Duration, idle_after: Duration, elapsed: Duration) -> Duration {
    elapsed.saturating_sub(idle_after.saturating_sub(idle_before))
}

fn percent(part: Duration, whole: Duration) -> f64 {
    part.as_secs_f64() / whole.as_secs_f64() * 100.0
}

/// Puts `workload` on `stage` with the own generator.
pub(crate) async fn measure(
    stage: &mut Testbed,
    workload: &Workload,
    cores: Cores,
    warmup: u32,
    seconds: u32,
) -> anyhow::Result<Sample> {
    let program = std::env::current_exe()?;
    let mut words = vec!["load".to_owned()];
    let mut option =
        |name: &str, value: &dyn ToString| words.extend([format!("--{name}"), value.to_string()]);
    option("connect", &stage.connect);
    option("authority", &stage.authority);
    option("protocol", &workload.protocol.name());
    option("connections", &workload.connections);
    option("streams", &workload.streams);
    option("warmup", &warmup);
    option("seconds", &seconds);
    if let Some(rate) = workload.rate {
        option("rate", &rate);
    }
    let command = std::iter::once(program.as_os_str()).chain(words.iter().map(OsStr::new)).collect();
    let folder = &stage.folder;
    let launch =
        Launch { name: "load", core: cores.client, command, environment: Vec::new(), folder, read: true };
    let mut load = Process::start(&launch)?;
    let line = load.line().await?;
    anyhow::ensure!(line == MEASURING, "the load generator said {line:?} instead of {MEASURING:?}");
    let begin = Meter::read(stage, cores)?;
    load.ensure_pinned()?;
    let line = load.line().await?;
    let end = Meter::read(stage, cores)?;
    let outcome = serde_json::from_str(&line).with_context(|| format!("the load generator said {line:?}"))?;
    stage.verify()?;
    let sample = begin.sample(&end, outcome, stage)?;
    load.finish().await?;
    Ok(sample)
}
