//! `load` as a program of its own.

use std::process::ExitCode;

use weft_examples::{Program, start};

fn main() -> ExitCode {
    start("load", "Sends requests at a constant rate and counts what comes back", |args| {
        Program::Load(args).run()
    })
}
