//! `weft control-plane`.

use std::process::ExitCode;

use anyhow::bail;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use weft_control_plane::Args;

use crate::runtime;

pub(crate) const EXAMPLES: &str = "\
Examples:
  weft control-plane --config mesh/
  weft control-plane --config mesh/ --listen 0.0.0.0:15012 --state /var/lib/weft

Sidecars of the same user on the same machine (`weft run`) find it by its state folder; others need a token:
  weft token create --identity shop/web

It ends with 0 on SIGTERM and Ctrl-C, and with 1 when it can't start, such as when its port is in use. Sidecars go on
without it and come back to it.";

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    weft_log::start("info");
    runtime::on_all_threads(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut running = weft_control_plane::start(args.into_config()).await?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = running.failed() => bail!("a part of the control plane ended by itself"),
        }
        running.stop().await;
        Ok(ExitCode::SUCCESS)
    })
}
