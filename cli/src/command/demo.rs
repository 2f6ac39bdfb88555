//! `weft demo`: a whole mesh on this machine.

use std::process::ExitCode;
use std::time::Duration;

use crate::demo::scenario::Scenario;
use crate::output::Format;
use crate::runtime;

pub(crate) const EXAMPLES: &str = "\
Examples:
  weft demo                                the scenario, then an open mesh until Ctrl-C
  weft demo --for 30s --scenario canary    half a minute of moving traffic from one version to the next
  weft demo --scenario none                an open mesh to try things on
  weft demo --for 10s --output json | jq 'select(.type == \"summary\").lost'

What runs: a control plane, web, reviews in three versions (v2 twice) and ratings, each a process of its own with a
sidecar process of its own, and a load that calls web. All ports are free ones, and nothing is left behind.

With --output json each line is an object; `type` tells them apart:
  ready    where the mesh is reached and where its YAML is
  event    something that was done or that happened: `event`, `text`
  second   the load over the last second, the split asked for and seen, the edges
  summary  the last line: `lost`, `requests`, `latency_ms`, `splits`, `edges`, `events`
Progress is on stderr.

Exit codes:
  0  no request was lost
  1  requests were lost, or the mesh did not start; the last line on stderr says which and why
  2  wrong usage";

/// Shorter, and processes would be killed before they have started again.
const SHORTEST: Duration = Duration::from_secs(3);

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// End after this long, with all of the scenario in it; without it the mesh stays open until Ctrl-C
    #[arg(long = "for", value_name = "DURATION", value_parser = length)]
    pub(crate) length: Option<Duration>,
    /// What to show
    #[arg(long, value_enum, default_value_t)]
    pub(crate) scenario: Scenario,
    /// Requests per second of the load
    #[arg(long, default_value_t = 50.0, value_parser = weft_values::rate)]
    pub(crate) rate: f64,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
    /// Keep the folder with YAML, certificates and logs
    #[arg(long)]
    pub(crate) keep: bool,
}

fn length(text: &str) -> Result<Duration, String> {
    match weft_values::duration(text)? {
        length if length < SHORTEST => Err(format!("at least {} s", SHORTEST.as_secs())),
        length => Ok(length),
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    runtime::on_this_thread(crate::demo::run(args)).map(ExitCode::from)
}
