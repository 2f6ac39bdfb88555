//! What idle client connections cost a pair in memory.

use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::host::{self, Host};
use crate::load::{Failure, Held};
use crate::options;
use crate::process::usage::Memory;
use crate::report::{self, IdleReport};
use crate::stage::{Cores, HopPorts, Setting, Stage};
use crate::subject::{Role, Subject};
use crate::workload::Protocol;

/// Requests before the first look, so that what is allocated once isn't charged to the connections.
const WARMING_REQUESTS: u32 = 20;
/// Allocators give pages back some time after they are free.
const SETTLING: Duration = Duration::from_secs(3);

/// What one subject's connections cost.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct IdleResult {
    pub(crate) subject: String,
    pub(crate) version: String,
    pub(crate) protocol: Protocol,
    pub(crate) client_sidecar: Growth,
    pub(crate) server_sidecar: Growth,
}

/// Memory before the connections and with them.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Growth {
    pub(crate) before: Memory,
    pub(crate) with: Memory,
}

impl Growth {
    /// Bytes of proportional memory per connection.
    pub(crate) fn per_connection(&self, connections: u32) -> f64 {
        (self.with.pss_kib as f64 - self.before.pss_kib as f64) * 1024.0 / f64::from(connections)
    }
}

/// Measures every chosen pair with both protocols and writes the results.
pub(crate) async fn run(options: options::Idle) -> anyhow::Result<()> {
    let host = Host::describe();
    let subjects = Subject::select(&options.selection.subjects)?;
    let selection = &options.selection;
    let setting = Setting::prepare(Cores { client: selection.client_core, proxy: selection.proxy_core })?;
    let protocols =
        if options.protocols.is_empty() { Protocol::ALL.to_vec() } else { options.protocols.clone() };
    let mut results = Vec::new();
    for subject in subjects.iter().filter(|subject| subject.pair.is_some()) {
        for &protocol in &protocols {
            let result = measure(subject, protocol, &setting, &options).await;
            results.push(result.with_context(|| format!("{} with {}", subject.name, protocol.name()))?);
        }
    }
    let (connections, parallel) = (options.connections, options.parallel);
    let report = IdleReport { command: host::command_line(), host, connections, parallel, results };
    report::write(options.name.as_deref(), "idle", &report, &report.markdown())
}

async fn measure(
    subject: &Subject,
    protocol: Protocol,
    setting: &Setting,
    options: &options::Idle,
) -> anyhow::Result<IdleResult> {
    let mut stage = Stage::start(subject, protocol, setting, HopPorts::plain()?).await?;
    for _ in 0..WARMING_REQUESTS {
        Held::open(protocol, stage.connect, &stage.authority).await.map_err(failed)?;
    }
    sleep(SETTLING).await;
    let before = (stage.memory(Role::ClientSidecar)?, stage.memory(Role::ServerSidecar)?);
    let mut held = hold(&stage, protocol, options.connections, options.parallel).await?;
    sleep(SETTLING).await;
    let with = (stage.memory(Role::ClientSidecar)?, stage.memory(Role::ServerSidecar)?);
    stage.verify()?;
    let closed = held.iter_mut().filter_map(|connection| (!connection.is_open()).then_some(())).count();
    anyhow::ensure!(
        closed == 0,
        "{closed} of {} connections were closed by the sidecar meanwhile",
        held.len()
    );
    drop(held);
    stage.stop().await;
    Ok(IdleResult {
        subject: subject.name.clone(),
        version: subject.version().await?,
        protocol,
        client_sidecar: Growth { before: before.0, with: with.0 },
        server_sidecar: Growth { before: before.1, with: with.1 },
    })
}

/// Opens `count` connections, `parallel` at a time, each of which sends one request.
async fn hold(stage: &Stage, protocol: Protocol, count: u32, parallel: u32) -> anyhow::Result<Vec<Held>> {
    let mut held = Vec::new();
    let mut opening = JoinSet::new();
    for _ in 0..count {
        if opening.len() >= parallel as usize {
            held.push(opened(opening.join_next().await)?);
        }
        let (address, authority) = (stage.connect, stage.authority.clone());
        opening.spawn_local(async move { Held::open(protocol, address, &authority).await });
    }
    while !opening.is_empty() {
        held.push(opened(opening.join_next().await)?);
    }
    Ok(held)
}

fn opened(joined: Option<Result<Result<Held, Failure>, tokio::task::JoinError>>) -> anyhow::Result<Held> {
    joined.context("a connection is being opened")??.map_err(failed)
}

fn failed(failure: Failure) -> anyhow::Error {
    anyhow::anyhow!("a connection's request failed: {failure:?}")
}
