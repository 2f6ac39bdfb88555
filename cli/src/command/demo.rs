//! `weft demo`: a whole mesh on this machine.

use std::process::ExitCode;
use std::time::Duration;

use weft_examples::value;

use crate::output::Format;

pub(crate) const EXAMPLES: &str = "\
Examples:
  weft demo";

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// End after this long
    #[arg(long = "for", value_name = "DURATION", value_parser = value::some_duration)]
    pub(crate) length: Option<Duration>,
    /// x
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

pub(crate) fn run(_: Args) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
