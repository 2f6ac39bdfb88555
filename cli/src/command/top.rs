//! `weft top`: requests between workloads, as they are now.

use std::process::ExitCode;
use std::time::Duration;

use crate::output::Format;
use crate::runtime;
use crate::sidecar::Sidecar;
use crate::top;

pub(crate) const EXAMPLES: &str = "\
Examples:
  weft top deploy/web -n shop          live, what its pods send and who calls them, until Ctrl-C
  weft top ns/shop                     of all pods of a namespace
  weft top web-7f9c-x2x4q.shop --once  one table
  weft top ns/shop --output json --once | jq '.edges[] | select(.success_percent < 99)'
  weft top                             of all that joined the control plane on this machine
  weft top --proxy 127.0.0.1:15000     of one sidecar on this machine; weft ps says where it is

A line is an edge: who calls whom, and which version of it. Without a target it is told by the control plane that runs on
this machine as the same user, where each sidecar reports. Of a whole namespace it is counted by the caller's sidecar; otherwise what comes in is
shown too, with its caller's service account.
Rate, success, p50 and p99 are those of the last seconds; requests, retries and TCP connections those since the sidecars
began. Copies of requests (mirrors) are not among them. Where standard
output is no terminal there is one table, unless --output json asks for a line of JSON for each interval.

Exit codes:
  0  all went well
  1  no sidecar can be asked, and the last line on stderr says why
  2  wrong usage";

/// Shorter, and rates would be noise.
const SHORTEST: Duration = Duration::from_millis(500);

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) sidecar: Sidecar,
    /// One table, over one interval
    #[arg(long)]
    pub(crate) once: bool,
    /// Time between two looks
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = interval)]
    pub(crate) interval: Duration,
    /// For people or for programs: `json` is a line for each interval, with `edges` and `unanswered`
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

fn interval(text: &str) -> Result<Duration, String> {
    match weft_values::duration(text)? {
        interval if interval < SHORTEST => Err(format!("at least {} ms", SHORTEST.as_millis())),
        interval => Ok(interval),
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    runtime::on_this_thread(top::run(args)).map(|()| ExitCode::SUCCESS)
}
