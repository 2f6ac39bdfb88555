//! `weft`: the one command of the mesh.

mod admin;
mod args;
mod check;
mod cluster;
mod command;
mod demo;
mod exit;
mod inspect;
mod install;
mod interrupts;
mod output;
mod process;
#[cfg(test)]
mod reference;
mod request;
mod revoke;
mod run;
mod runtime;
mod screen;
mod sidecar;
mod table;
mod top;
mod traffic;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Weft;

/// Many small allocations of many lifetimes, on several threads: what the data plane does all day.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Wrong usage ends here, with 2.
    let weft = Weft::parse();
    let name = weft.command.name();
    weft.command.run().unwrap_or_else(|error| exit::failed(name, &error))
}
