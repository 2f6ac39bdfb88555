//! `weft-verify experiments` without building all of Weft.

use std::process::ExitCode;

use clap::Parser;
use weft_verify_experiments::{Experiments, run};

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    experiments: Experiments,
}

fn main() -> ExitCode {
    match run(&Options::parse().experiments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}
