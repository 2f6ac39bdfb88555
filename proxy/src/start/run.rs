//! A proxy as a program: from its options to its end by a signal.

use anyhow::bail;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::args::Args;
use crate::runtime::descriptors;
use crate::start::start;

/// How often it is looked whether the proxy can still become ready.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(100);

/// Runs a proxy until SIGTERM or SIGINT, then lets what is under way finish. An error is why it could not start or can
/// never become ready.
pub fn run(args: Args) -> anyhow::Result<()> {
    weft_log::start("info");
    let config = args.into_config()?;
    descriptors::raise();
    // Caught before anything listens: a signal that comes early is not lost.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt) = {
        let _entered = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let running = start(config)?;
    tracing::info!(addresses = ?running.addresses, "listening");
    let failure = runtime.block_on(async {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                _ = terminate.recv() => return None,
                _ = interrupt.recv() => return None,
                _ = looks.tick() => {}
            }
            if let Some(failure) = running.failure().filter(|_| !running.is_ready()) {
                return Some(failure);
            }
        }
    });
    if let Some(failure) = failure {
        running.stop();
        bail!("{failure}");
    }
    tracing::info!("ending; requests under way may finish, another signal ends at once");
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        tracing::warn!("ended by a second signal; requests under way are cut off");
        std::process::exit(1);
    });
    match running.drain() {
        0 => {}
        cut => tracing::warn!(requests = cut, "did not finish in time and are cut off"),
    }
    running.stop();
    Ok(())
}
