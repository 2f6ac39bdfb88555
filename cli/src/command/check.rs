//! `weft check`: what is wrong, in a folder of resources or in a cluster.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;
use tokio::time::sleep;
use weft_control_plane::Report;

use crate::check;
use crate::cluster::{Cluster, Kubeconfig};
use crate::install::{Overrides, Values, defaults};
use crate::output::{self, Format};
use crate::runtime;

pub(crate) const EXAMPLES: &str = "\
Examples:
  weft check mesh/                       a folder of YAML, as the control plane would read it
  weft check mesh/ --output json | jq '.errors[].reason'

  weft check --pre                       the cluster, before weft install: versions, permissions, clocks, pod security
  weft check --pre --set cni.enabled=true    for an installation with these values
  weft check                             the cluster, with Weft installed: everything, sidecars and routes included
  weft check --wait 2m                   waits for it, such as after an installation
  weft check --output json | jq '.checks[] | select(.outcome != \"ok\") | .id, .hint'

Each check ends with ok, warning or failure, says what was found and, in the line below, what to do, with an id that stays
the same over versions. Sidecars and control plane are asked by port-forward; what you may not see is a warning.

Exit codes:
  0  there is no error, or no failure
  1  there is one, or the folder or the cluster can't be read
  2  wrong usage";

/// Pause between two looks at a cluster.
const LOOK_EVERY: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder of YAML files; without it the cluster is checked
    #[arg(value_name = "DIR", conflicts_with_all = ["pre", "wait", "kubeconfig", "context", "files", "sets", "strings"])]
    folder: Option<PathBuf>,
    /// Before the installation: whether it would work
    #[arg(long)]
    pre: bool,
    /// Look again until there is no failure, for at most this long
    #[arg(long, value_name = "DURATION", value_parser = weft_values::some_duration)]
    wait: Option<Duration>,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    kubeconfig: Kubeconfig,
    /// How to print what is found: `json` is one object; of a folder with `ok`, `errors`, `warnings` and `resources`, of a
    /// cluster with `ok`, `version` and `checks`
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

#[derive(Serialize)]
struct Checked<'a> {
    ok: bool,
    #[serde(flatten)]
    report: &'a Report,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let ok = match &args.folder {
        Some(folder) => files(args, folder)?,
        None => runtime::on_this_thread(live(args))?,
    };
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn files(args: &Args, folder: &Path) -> anyhow::Result<bool> {
    let report = weft_control_plane::check(folder)?;
    // What was found decides how the process ends, whether or not somebody reads it.
    let _ = match args.output {
        Format::Text => output::line(&report.to_string()),
        Format::Json => output::json(&Checked { ok: report.is_ok(), report: &report }),
    };
    Ok(report.is_ok())
}

async fn live(args: &Args) -> anyhow::Result<bool> {
    ensure!(
        args.pre || args.overrides.is_empty(),
        "--set and --values say what would be installed: use them with --pre"
    );
    // Wrong values are an error, not a finding.
    let values = args.overrides.apply(&defaults())?;
    let cluster = args.kubeconfig.connect().await?;
    let began = Instant::now();
    let mut report = look(args, &cluster, &values).await;
    while let Some(wait) = args.wait.filter(|wait| !report.is_ok() && began.elapsed() < *wait) {
        sleep(LOOK_EVERY.min(wait.saturating_sub(began.elapsed()))).await;
        report = look(args, &cluster, &values).await;
    }
    let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let _ = match args.output {
        Format::Text => output::line(&report.text(colours)),
        Format::Json => output::json(&report.json()),
    };
    Ok(report.is_ok())
}

async fn look(args: &Args, cluster: &Cluster, values: &Values) -> check::Report {
    if args.pre { check::before(cluster, values).await } else { check::after(cluster).await }
}
