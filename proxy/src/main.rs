//! A Weft proxy and nothing else, for images.

use std::process::ExitCode;

use clap::Parser;

/// The data plane of Weft: a sidecar proxy
#[derive(Parser)]
#[command(name = "weft-proxy", version, args_conflicts_with_subcommands = true)]
struct Program {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    args: weft_proxy::Args,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Lead the connections of this network namespace to the proxy
    #[command(subcommand)]
    Redirect(weft_redirect::command::Command),
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let program = Program::parse();
    let ended = match program.command {
        Some(Command::Redirect(command)) => redirect(&command),
        None => weft_proxy::run(program.args),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weft-proxy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn redirect(command: &weft_redirect::command::Command) -> anyhow::Result<()> {
    for line in weft_redirect::command::run(command)? {
        println!("{line}");
    }
    Ok(())
}
