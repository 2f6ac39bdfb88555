//! `weft check`: what the control plane would say of a folder.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use weft_control_plane::{Report, check};

use crate::output::{self, Format};

pub(crate) const EXAMPLES: &str = "\
Examples:
  weft check mesh/
  weft check mesh/ --output json | jq '.errors[].reason'

Exit codes:
  0  the control plane would take everything
  1  it would refuse something, or the folder can't be read
  2  wrong usage";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder of YAML files
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// How to print what is found: `json` is one object with `ok`, `errors`, `warnings` and `resources`
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
    let report = check(&args.folder)?;
    // What was found decides how the process ends, whether or not somebody reads it.
    let _ = match args.output {
        Format::Text => output::line(&report.to_string()),
        Format::Json => output::json(&Checked { ok: report.is_ok(), report: &report }),
    };
    Ok(if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
