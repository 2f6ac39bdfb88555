//! `weft config`: the whole configuration that a sidecar works by.

use std::process::ExitCode;

use crate::inspect::{Part, lines};
use crate::install::yaml;
use crate::output;
use crate::runtime;
use crate::sidecar::Sidecar;

pub(crate) const EXAMPLES: &str = "\
Examples:
  weft config web-7f9c-x2x4q.shop                     as YAML
  weft config deploy/web -n shop --output json | jq '.destinations[].name'
  weft config --proxy 127.0.0.1:15000 --output text   of a sidecar on this machine, as tables
  diff <(weft config web-1.shop) <(weft config web-2.shop)

It is the snapshot in force: what the control plane has told and the sidecar has taken. Names are in order, so that two of
them can be compared. No secret is in it.

Exit codes:
  0  the configuration is on stdout
  1  the sidecar can't be asked, and the last line on stderr says why
  2  wrong usage";

/// How to print it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people and programs.
    #[default]
    Yaml,
    /// For programs.
    Json,
    /// Tables.
    Text,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sidecar: Sidecar,
    /// How to print it
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = runtime::on_this_thread(args.sidecar.config("weft config"))?;
    let _ = match args.output {
        Format::Yaml => output::line(yaml::document(&config).trim_end()),
        Format::Json => output::json(&config),
        Format::Text => output::line(&lines(&config, Part::All).join("\n")),
    };
    Ok(ExitCode::SUCCESS)
}
