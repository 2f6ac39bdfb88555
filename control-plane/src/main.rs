//! A Weft control plane and nothing else, for images.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// While the API server is gone, its client tells of every attempt as of an error, by the dozen each second, and not of which.
/// We tell of it once ourselves.
const QUIET: &str = "kube_client::client::builder=off";

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
    let wanted = std::env::var("WEFT_LOG").unwrap_or_default();
    let filter = EnvFilter::try_new(format!("{QUIET},{wanted}"))
        .ok()
        .filter(|_| !wanted.is_empty())
        .unwrap_or_else(|| EnvFilter::new(format!("{QUIET},info")));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
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
