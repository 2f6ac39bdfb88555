//! `weft proxy`.

use std::process::ExitCode;

pub(crate) use weft_proxy::Args;

pub(crate) const EXAMPLES: &str = "\
Examples:
  weft proxy --help";

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    weft_proxy::run(args)?;
    Ok(ExitCode::SUCCESS)
}
