//! A Weft control plane and nothing else, for images.

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// The control plane of Weft: identity, discovery and configuration
#[derive(Parser)]
#[command(name = "weft-control-plane", version)]
struct Program {
    #[command(flatten)]
    args: weft_control_plane::Args,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Program::parse().args;
    weft_log::start("info");
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weft-control-plane: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: weft_control_plane::Args) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut running = weft_control_plane::start(args.into_config()).await?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = running.failed() => anyhow::bail!("a part of the control plane ended by itself"),
    }
    running.stop().await;
    Ok(())
}
