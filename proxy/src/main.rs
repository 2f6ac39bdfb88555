//! A Weft proxy and nothing else, for images.

use std::process::ExitCode;

use clap::Parser;

/// The data plane of Weft: a sidecar proxy
#[derive(Parser)]
#[command(name = "weft-proxy", version)]
struct Program {
    #[command(flatten)]
    args: weft_proxy::Args,
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match weft_proxy::run(Program::parse().args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weft-proxy: {error:#}");
            ExitCode::FAILURE
        }
    }
}
