//! Waiting for what other processes do.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::process::Process;

/// How long a process may take until it listens, and a pair until a request passes.
pub const START_DEADLINE: Duration = Duration::from_secs(20);
/// How long to wait between two tries of either.
pub const RETRY_EVERY: Duration = Duration::from_millis(20);

/// Waits until a process accepts connections.
pub async fn wait_for_port(process: &mut Process, address: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + START_DEADLINE;
    while TcpStream::connect(address).await.is_err() {
        process.ensure_alive()?;
        anyhow::ensure!(
            Instant::now() < deadline,
            "{} doesn't listen on {address} within {START_DEADLINE:?}",
            process.name()
        );
        sleep(RETRY_EVERY).await;
    }
    Ok(())
}

/// Tries until `done` says so.
pub async fn wait_until(
    what: &str,
    mut done: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + START_DEADLINE;
    while !done().await? {
        anyhow::ensure!(Instant::now() < deadline, "{what} did not come within {START_DEADLINE:?}");
        sleep(RETRY_EVERY).await;
    }
    Ok(())
}
