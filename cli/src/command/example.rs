//! `weft example`: the programs of `examples/`.

use std::process::ExitCode;

use weft_examples::Program;

use crate::runtime;

pub(crate) fn run(program: Program) -> anyhow::Result<ExitCode> {
    runtime::on_this_thread(async { Ok(program.run().await?) })
}
