//! The thread of a worker: what it listens on, and what it does about every second.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Listeners;
use crate::inbound;
use crate::outbound;
use crate::runtime::shared::Shared;
use crate::runtime::unread;
use crate::runtime::worker::Worker;
use crate::transport::own_listeners::OwnListeners;

/// How often idle connections are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Starts a worker; it ends when `stop` is cancelled.
pub(super) fn spawn(
    number: usize,
    shared: Arc<Shared>,
    listeners: Arc<Listeners>,
    stop: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("weft-worker-{number}")).spawn(move || {
        let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "a worker cannot start");
                return;
            }
        };
        unread::divide(shared.workers);
        runtime.block_on(run(Worker::new(shared, listeners.own.clone()), listeners, stop));
    })
}

async fn run(worker: Rc<Worker>, listeners: Arc<Listeners>, stop: CancellationToken) {
    let inbound = inbound::Context::new(Rc::clone(&worker));
    if let Err(error) = listen(&worker, &inbound, &listeners, &stop) {
        tracing::error!(%error, "a worker cannot listen");
        return;
    }
    let mut sweeps = tokio::time::interval(SWEEP_EVERY);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            now = sweeps.tick() => {
                worker.sweep(now);
                inbound.sweep(now);
            }
        }
    }
}

fn listen(
    worker: &Rc<Worker>,
    inbound: &Rc<inbound::Context>,
    listeners: &Listeners,
    stop: &CancellationToken,
) -> io::Result<()> {
    if let Some(bound) = &listeners.outbound {
        outbound::listen_explicit(worker, bound.listener()?, &listeners.announced_by, stop.clone());
    }
    for (upstream, bound) in &listeners.upstreams {
        let (destination, announced_by) = (upstream.destination.as_str().into(), &listeners.announced_by);
        outbound::listen_local(worker, bound.listener()?, destination, announced_by, stop.clone());
    }
    if let Some(bound) = &listeners.transparent_outbound {
        outbound::listen_transparent(worker, bound.listener()?, stop.clone());
    }
    // What comes at the very end finds nobody, which its sender knows to have had no effect.
    let close = &worker.shared.close;
    let offers = listeners.offers.iter().map(|(_, bound)| bound.address());
    let all = OwnListeners::new(listeners.own.iter().copied().chain(offers));
    for (offer, bound) in &listeners.offers {
        inbound::listen_offer(inbound, bound.listener()?, offer, &all, close.clone());
    }
    if let Some(bound) = &listeners.transparent_inbound {
        inbound::listen_transparent(inbound, bound.listener()?, close.clone());
        inbound::listen_own(inbound, close.clone());
    }
    Ok(())
}
