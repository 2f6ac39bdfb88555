//! What is done to the code of Weft rather than with it: `cargo xtask house`.

use std::path::Path;

use clap::{Parser, Subcommand};

mod house;

/// What is done to the code of Weft rather than with it.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print numbers of the code: lengths of files and functions, circles of modules, documentation
    House(house::Args),
}

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    match Options::parse().command {
        Command::House(args) => house::run(&root, &args),
    }
}
