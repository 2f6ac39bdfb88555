//! `weft logs`: the log of sidecars, and how much is in it.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::Method;
use http_body_util::BodyExt as _;
use kube::client::Body;
use tokio::task::JoinSet;
use weft_control_plane::inject::PROXY;

use crate::admin::Place;
use crate::cluster::percent_encoded;
use crate::interrupts::Interrupts;
use crate::output;
use crate::runtime;
use crate::sidecar::{Found, Sidecar};

pub(crate) const EXAMPLES: &str = "\
Examples:
  weft logs web-7f9c-x2x4q.shop --tail 50            the last lines of a pod's sidecar
  weft logs deploy/web -n shop -f                    of all pods of a Deployment, as they come
  weft logs deploy/web -n shop -f --level debug      with more in it until Ctrl-C, then as before
  weft logs web-7f9c-x2x4q.shop --level weft_proxy=trace,info --tail 0   and it stays so
  weft logs --proxy 127.0.0.1:15000 --level debug    a sidecar on this machine, whose log is where it was started

Exit codes:
  0  the log is on stdout
  1  it can't be read, and the last line on stderr says why
  2  wrong usage";

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sidecar: Sidecar,
    /// Go on with what comes, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// That many of the last lines of each pod [default: all]
    #[arg(long, value_name = "LINES")]
    tail: Option<u32>,
    /// What is not older than this
    #[arg(long, value_name = "DURATION", value_parser = weft_values::duration)]
    since: Option<Duration>,
    /// Of the container before its last restart
    #[arg(short, long, conflicts_with = "follow")]
    previous: bool,
    /// Change what is logged: off, error, warn, info, debug or trace, or TARGET=LEVEL,... With -f it is as before at the end
    #[arg(long, value_name = "FILTER")]
    level: Option<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    runtime::on_this_thread(async {
        let found = args.sidecar.all("weft logs").await?;
        let before = match &args.level {
            Some(level) => set_levels(&found, level).await?,
            None => Vec::new(),
        };
        let mut interrupts = Interrupts::listen()?;
        let read = tokio::select! {
            read = read(args, &found) => read,
            () = interrupts.next() => Ok(()),
        };
        if args.follow {
            for (sidecar, level) in found.iter().zip(before) {
                set_level(&sidecar.place, &level).await?;
            }
        }
        read.map(|()| ExitCode::SUCCESS)
    })
}

/// Changes what is logged; gives what was before, of each.
async fn set_levels(found: &[Found], level: &str) -> anyhow::Result<Vec<String>> {
    let mut before = Vec::new();
    for sidecar in found {
        let was = set_level(&sidecar.place, level).await?;
        eprintln!("weft logs: {} logs {level} now; before: {was}", sidecar.name);
        before.push(was);
    }
    Ok(before)
}

async fn set_level(place: &Place, level: &str) -> anyhow::Result<String> {
    let mut admin = place.open().await?;
    let before = admin.text(Method::GET, "/log").await?.trim().to_owned();
    admin.text(Method::PUT, &format!("/log?filter={}", percent_encoded(level))).await?;
    Ok(before)
}

async fn read(args: &Args, found: &[Found]) -> anyhow::Result<()> {
    let mut reading = JoinSet::new();
    for sidecar in found {
        let Place::Pod { cluster, namespace, name, .. } = &sidecar.place else {
            if args.level.is_some() {
                return Ok(());
            }
            bail!(
                "the log of a sidecar on this machine is where it was started; --level changes what is in it"
            );
        };
        let path = path(args, namespace, name);
        let prefix = if found.len() > 1 { format!("[{name}] ") } else { String::new() };
        let (cluster, title) = (cluster.clone(), sidecar.place.title());
        reading.spawn(async move {
            let body =
                cluster.stream(&path).await.with_context(|| format!("the log of {title} can't be read"))?;
            print(body, &prefix).await.with_context(|| format!("the log of {title} broke off"))
        });
    }
    while let Some(done) = reading.join_next().await {
        done.context("reading a log")??;
    }
    Ok(())
}

fn path(args: &Args, namespace: &str, pod: &str) -> String {
    let mut path = format!(
        "/api/v1/namespaces/{namespace}/pods/{pod}/log?container={PROXY}&follow={}&previous={}",
        args.follow, args.previous
    );
    if let Some(tail) = args.tail {
        // Writing to a String cannot fail.
        let _ = write!(path, "&tailLines={tail}");
    }
    if let Some(since) = args.since {
        let _ = write!(path, "&sinceSeconds={}", since.as_secs().max(1));
    }
    path
}

/// Prints whole lines as they come.
async fn print(mut body: Body, prefix: &str) -> anyhow::Result<()> {
    let mut held = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        held.extend_from_slice(&data);
        while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = held.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line);
            if output::line(&format!("{prefix}{}", text.trim_end())).is_err() {
                return Ok(());
            }
        }
    }
    if !held.is_empty() {
        let _ = output::line(&format!("{prefix}{}", String::from_utf8_lossy(&held)));
    }
    Ok(())
}
