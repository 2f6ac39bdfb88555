//! The sidecar in this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::time::{sleep, timeout};
use weft_proxy::{Addresses, ProxyConfig, Running};

use super::tell;

/// How often the sidecar is asked whether it is ready.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// After so long without a sign of life one wonders.
const SAY_AFTER: Duration = Duration::from_secs(1);
/// How often what is waited for is said again when it stays the same.
const SAY_AGAIN: Duration = Duration::from_secs(10);
/// Longer than it takes to tell the control plane that the workload ends; if that is away, it finds out by itself.
const STOP_MAX: Duration = Duration::from_secs(2);

/// A sidecar that runs in threads of its own.
#[derive(Debug)]
pub(super) struct Sidecar(Arc<Running>);

impl Sidecar {
    pub(super) fn start(config: ProxyConfig) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(weft_proxy::start(config)?)))
    }

    pub(super) fn addresses(&self) -> &Addresses {
        &self.0.addresses
    }

    pub(super) fn offers_something(&self) -> bool {
        !self.addresses().offers.is_empty()
    }

    /// Waits until it takes requests, and says what it waits for when that takes long. Fails when it never will.
    pub(super) async fn ready(&self, began: Instant) -> anyhow::Result<()> {
        let mut said: Option<(Instant, Vec<String>)> = None;
        while !self.0.is_ready() {
            if let Some(failure) = self.0.failure() {
                bail!("{failure}");
            }
            let now = Instant::now();
            let waiting_for = self.0.waiting_for();
            let news = said.as_ref().is_none_or(|(at, before)| {
                *before != waiting_for && now.duration_since(*at) >= SAY_AFTER
                    || now.duration_since(*at) >= SAY_AGAIN
            });
            if news && now.duration_since(began) >= SAY_AFTER && !waiting_for.is_empty() {
                tell(format_args!(
                    "waiting for the sidecar: {}{}",
                    waiting_for.join("; "),
                    hint(&waiting_for)
                ));
                said = Some((now, waiting_for));
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// What there is to use, one thing a line.
    pub(super) fn described(&self) -> Vec<String> {
        let addresses = self.addresses();
        let proxy = addresses.outbound.map(|address| format!("HTTP proxy into the mesh: http://{address}"));
        let upstreams =
            addresses.upstreams.iter().map(|(name, address)| format!("{address} leads to {name}"));
        proxy.into_iter().chain(upstreams).chain([self.admin()]).collect()
    }

    /// Where it tells how it is.
    pub(super) fn admin(&self) -> String {
        format!("admin: http://{}/ready", self.addresses().admin)
    }

    /// Takes nothing new and waits until what is under way has ended, or its time is over.
    pub(super) async fn drain(&self) {
        self.drain_by(Running::drain).await;
    }

    /// The same of what is on its way to the program: what that has begun itself, it ends itself once it is told to.
    pub(super) async fn drain_arriving(&self) {
        self.drain_by(Running::drain_arriving).await;
    }

    async fn drain_by(&self, drain: fn(&Running) -> usize) {
        let running = Arc::clone(&self.0);
        match tokio::task::spawn_blocking(move || drain(&running)).await {
            Ok(0) | Err(_) => {}
            Ok(1) => tell(format_args!("1 request did not finish in time and is cut off")),
            Ok(cut) => tell(format_args!("{cut} requests did not finish in time and are cut off")),
        }
    }

    /// Ends it, and tells the control plane.
    pub(super) async fn stop(self) {
        // A drain that was not waited for still holds it; then the end of the process ends both.
        if let Ok(running) = Arc::try_unwrap(self.0) {
            let stopping = tokio::task::spawn_blocking(move || running.stop());
            let _ = timeout(STOP_MAX, stopping).await;
        }
    }
}

/// What to do about what is waited for, if that is known.
fn hint(waiting_for: &[String]) -> &'static str {
    let unreachable = waiting_for.iter().any(|reason| reason.contains("cannot connect to the control plane"));
    if unreachable { "; start it with `weft control-plane`, this goes on trying" } else { "" }
}
