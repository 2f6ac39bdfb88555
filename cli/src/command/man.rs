//! `weft man`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::args::Weft;

pub(crate) const EXAMPLES: &str = "\
Examples:
  weft man ~/.local/share/man/man1     and then: man weft-run";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder that the pages are written to; it is made if it is not there
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let folder = &args.folder;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    clap_mangen::generate_to(Weft::command(), folder)
        .with_context(|| format!("cannot write manual pages to {}", folder.display()))
}
