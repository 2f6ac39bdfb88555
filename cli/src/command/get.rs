//! `weft get`: what a sidecar knows.

use std::process::ExitCode;

use crate::inspect::{Part, lines};
use crate::output::{self, Format};
use crate::runtime;
use crate::sidecar::Sidecar;

pub(crate) const EXAMPLES: &str = "\
Examples:
  weft get                                      everything, of the sidecar on this machine
  weft get all web-7f9c-x2x4q.shop              everything, of a pod in namespace shop
  weft get endpoints deploy/web -n shop         where the services that it calls are, and who is ejected
  weft get routes deploy/web -n shop            rules, with the shares of their backends
  weft get certificates --proxy 127.0.0.1:15000 of a sidecar on this machine
  weft get endpoints deploy/web --output json | jq '.endpoints[].endpoints[].health'

Without a target it is the sidecar that `weft run` runs on this machine; of several, `weft ps` says which --proxy to write.
Of a pod it is asked by port-forward, which takes `create` and `get` of pods/portforward.

Exit codes:
  0  what it knows is on stdout
  1  it can't be asked, and the last line on stderr says why
  2  wrong usage";

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// What of it
    #[arg(value_enum, value_name = "WHAT", default_value = "all")]
    part: Part,
    #[command(flatten)]
    sidecar: Sidecar,
    /// How to print it: `json` is one object with that part of the configuration
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = runtime::on_this_thread(args.sidecar.config("weft get"))?;
    match args.output {
        Format::Json => {
            let _ = output::json(&args.part.of(&config));
        }
        Format::Text => {
            let _ = output::line(&lines(&config, args.part).join("\n"));
        }
    }
    Ok(ExitCode::SUCCESS)
}
