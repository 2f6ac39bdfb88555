//! What a client that does not read, does not end or cancels takes away from others, and holds of a pair's memory.

use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use tokio::time::sleep;

use crate::idle::Growth;
use crate::options;
use clients::{Stream, Target};
use weft_harness::host::{self, Host};
use weft_harness::process::usage::Memory;
use weft_harness::protocol::Protocol;
use weft_harness::subject::{Role, Subject};
use weft_harness::testbed::{HopPorts, Setting, Testbed};

mod clients;
mod markdown;

/// Answers that nobody reads, and uploads that the application does not read, while others ask.
const UNREAD_ANSWERS: usize = 12;
const UNREAD_UPLOADS: usize = 5;
/// Clients that cancel, and requests of each.
const CANCELLING: (usize, usize) = (40, 150);
/// Length of the upload whose rate is measured, and how often it is.
const UPLOAD_MEBIBYTES: usize = 256;
const UPLOADS: u32 = 3;
/// Streams on each connection of those that hold memory.
const STREAMS: usize = 100;
/// Time until everything has been sent that may be, and allocators have given back what is free.
const SETTLING: Duration = Duration::from_secs(5);

/// Everything that `fairness` found.
#[derive(Debug, Serialize)]
pub(crate) struct FairnessReport {
    command: String,
    host: Host,
    streams: usize,
    results: Vec<FairnessResult>,
}

/// What was found of one pair.
#[derive(Debug, Serialize)]
struct FairnessResult {
    subject: String,
    version: String,
    /// While answers of 64 MiB are not read.
    unread_answers: Others,
    /// On a connection with uploads that the application does not read.
    unread_uploads: Others,
    /// While others cancel.
    cancels: Others,
    /// Memory with answers to streams whose clients open no window.
    windows: PairGrowth,
    /// Memory with uploads that the application does not read.
    uploads: PairGrowth,
    /// MiB each second of one upload, the best of some.
    upload_rate: f64,
}

/// How it went for those who did nothing out of the ordinary.
#[derive(Clone, Copy, Debug, Serialize)]
struct Others {
    sent: u32,
    answered: u32,
}

/// Memory of both sidecars.
#[derive(Clone, Copy, Debug, Serialize)]
struct PairGrowth {
    client_sidecar: Growth,
    server_sidecar: Growth,
}

/// Measures every chosen pair and writes the results.
pub(crate) async fn run(options: options::Fairness) -> anyhow::Result<()> {
    let host = Host::describe();
    let subjects = Subject::select(&options.selection.subjects)?;
    let setting = Setting::prepare(options.selection.placing.cores())?;
    let mut results = Vec::new();
    for subject in subjects.iter().filter(|subject| subject.pair.is_some()) {
        let result = measure(subject, &setting, options.streams).await;
        results.push(result.with_context(|| subject.name.clone())?);
    }
    let command = host::command_line(env!("CARGO_PKG_NAME"));
    let report = FairnessReport { command, host, streams: options.streams, results };
    weft_harness::report::write(
        &host::bench_folder().join("results"),
        options.name.as_deref(),
        "fairness",
        &report,
        &report.markdown(),
    )
}

async fn measure(subject: &Subject, setting: &Setting, streams: usize) -> anyhow::Result<FairnessResult> {
    let unread_answers = {
        let (stage, target) = start(subject, setting).await?;
        let _unread = target.unread_alone(UNREAD_ANSWERS).await?;
        sleep(SETTLING).await;
        ended(stage, target.short().await).await
    };
    let unread_uploads = {
        let (stage, target) = start(subject, setting).await?;
        let (_unread, sender) = target.uploads(UNREAD_UPLOADS, STREAMS).await?;
        sleep(SETTLING).await;
        ended(stage, target.short_uploads(&sender).await).await
    };
    let cancels = {
        let (stage, target) = start(subject, setting).await?;
        ended(stage, target.cancels(CANCELLING.0, CANCELLING.1).await?).await
    };
    let windows = growth(subject, setting, async |target: &Target| target.unread(streams, 0).await).await?;
    let uploads =
        growth(subject, setting, async |target: &Target| Ok(target.uploads(streams, STREAMS).await?.0));
    let uploads = uploads.await?;
    let (stage, target) = start(subject, setting).await?;
    let mut upload_rate = 0_f64;
    for _ in 0..UPLOADS {
        upload_rate = upload_rate.max(target.upload_rate(UPLOAD_MEBIBYTES).await?);
    }
    stage.stop().await;
    let (subject, version) = (subject.name.clone(), subject.version().await?);
    Ok(FairnessResult {
        subject,
        version,
        unread_answers,
        unread_uploads,
        cancels,
        windows,
        uploads,
        upload_rate,
    })
}

/// Starts a fresh pair.
async fn start(subject: &Subject, setting: &Setting) -> anyhow::Result<(Testbed, Target)> {
    let stage = Testbed::start(subject, Protocol::H2, setting, HopPorts::plain()?).await?;
    let target = Target::of(&stage);
    Ok((stage, target))
}

async fn ended(stage: Testbed, others: Others) -> Others {
    stage.stop().await;
    others
}

/// Memory of a fresh pair before and with these streams.
async fn growth(
    subject: &Subject,
    setting: &Setting,
    open: impl AsyncFnOnce(&Target) -> anyhow::Result<Vec<Stream>>,
) -> anyhow::Result<PairGrowth> {
    let (mut stage, target) = start(subject, setting).await?;
    let before = memory(&stage)?;
    let held = open(&target).await?;
    sleep(SETTLING).await;
    stage.verify()?;
    let with = memory(&stage)?;
    drop(held);
    stage.stop().await;
    Ok(PairGrowth {
        client_sidecar: Growth { before: before.0, with: with.0 },
        server_sidecar: Growth { before: before.1, with: with.1 },
    })
}

fn memory(stage: &Testbed) -> anyhow::Result<(Memory, Memory)> {
    Ok((stage.memory(Role::ClientSidecar)?, stage.memory(Role::ServerSidecar)?))
}
