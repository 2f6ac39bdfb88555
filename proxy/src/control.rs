//! The control thread: what the proxy hears from the control plane and says to it. Nothing here is on a request's path.
//!
//! ```text
//! identity ──> credentials ──> discovery ──> snapshot in force ──> workers
//!                  └──> transport (one connection to the control plane) <── registration, telemetry
//! ```
//!
//! May import `snapshot`, which it makes, and `observe`, which it serves; imported by `start` alone.

mod bootstrap_credential;
mod credentials;
mod discovery;
mod error;
mod identity;
mod model;
mod registration;
mod revoked;
mod serial;
mod telemetry;
mod transport;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use http::Request;
use hyper::body::Incoming;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::bootstrap_credential::Proof;
use self::credentials::Credentials;
use self::discovery::Discovery;
use self::identity::Issuance;
use self::registration::Registration;
use self::telemetry::Telemetry;
#[cfg(test)]
pub(crate) use self::telemetry::told_of;
use self::transport::{Dial, Transport};
use crate::config::{self, Offer, ProxyConfig};
use crate::observe::admin::{Admin, Admits, serve};
use crate::observe::monitor::Monitor;
use crate::observe::stats::Direction;
use crate::runtime::shared::{Lookup, Shared};
use crate::runtime::status::Status;
use crate::runtime::wall_clock::Clock;
use crate::transport::redirection;

pub use self::error::Error;

/// The other end of these.
type Demands = mpsc::Receiver<oneshot::Sender<Result<String, String>>>;

/// Demands for a new certificate that may wait.
const ROTATIONS: usize = 8;

/// The control thread of a proxy.
#[derive(Debug)]
pub struct ControlHandle {
    status: Arc<Status>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl ControlHandle {
    /// Why the proxy can never become ready, such as a token that the control plane refuses.
    pub fn failure(&self) -> Option<String> {
        self.status.failure()
    }

    /// What the proxy still waits for before it takes requests; empty when it takes them.
    pub fn waiting_for(&self) -> Vec<String> {
        self.status.waiting_for()
    }

    /// Withdraws the workload and ends the thread.
    pub fn stop(mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the control thread had panicked");
        }
    }
}

impl Drop for ControlHandle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Starts the control thread. `offers` are what the workload offers, with the addresses that were bound for them.
pub fn spawn(
    config: ProxyConfig,
    shared: Arc<Shared>,
    lookups: mpsc::Receiver<Lookup>,
    offers: Vec<(Offer, SocketAddr)>,
    admin: std::net::TcpListener,
    monitor: Option<std::net::TcpListener>,
) -> anyhow::Result<ControlHandle> {
    transport::check(&config.control_plane)?;
    for listener in [Some(&admin), monitor.as_ref()].into_iter().flatten() {
        listener.set_nonblocking(true)?;
    }
    let dial = transport::tcp(&config.control_plane);
    let control = Control::new(config, shared, lookups, offers, dial, Clock::system())?;
    let status = Arc::clone(&control.status);
    let stop = CancellationToken::new();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
    let stopped = stop.clone();
    let thread = std::thread::Builder::new()
        .name("weft-control".to_owned())
        .spawn(move || runtime.block_on(control.run(admin, monitor, stopped)))
        .map_err(Error::Thread)?;
    Ok(ControlHandle { status, stop, thread: Some(thread) })
}

/// All that the control thread works with.
struct Control {
    config: ProxyConfig,
    proof: Proof,
    clock: Clock,
    offers: Vec<(Offer, SocketAddr)>,
    lookups: mpsc::Receiver<Lookup>,
    shared: Arc<Shared>,
    status: Arc<Status>,
    credentials: Arc<Credentials>,
    transport: Arc<Transport>,
}

impl Control {
    fn new(
        config: ProxyConfig,
        shared: Arc<Shared>,
        lookups: mpsc::Receiver<Lookup>,
        offers: Vec<(Offer, SocketAddr)>,
        dial: Dial,
        clock: Clock,
    ) -> Result<Self, Error> {
        let proof = Proof::new(&config.proof, clock.now())?;
        let status = Arc::new(Status::new(Arc::clone(&shared), &config.workload_id, &config.control_plane));
        let credentials = Arc::new(Credentials::new());
        let trust_domain = proof.identity().trust_domain();
        let transport = Transport::new(&config.control_plane, dial, Arc::clone(&credentials), &trust_domain)?;
        let transport = Arc::new(transport);
        Ok(Self { config, proof, clock, offers, lookups, shared, status, credentials, transport })
    }

    /// Runs until soon after `stop`.
    async fn run(
        self,
        admin: std::net::TcpListener,
        monitor: Option<std::net::TcpListener>,
        stop: CancellationToken,
    ) {
        let (rotations, demanded) = mpsc::channel(ROTATIONS);
        let mut tasks = JoinSet::new();
        let answers = Arc::new(Admin::new(&self.shared, &self.status, &self.config, rotations));
        if let Some(listener) = monitor {
            let monitor = Arc::new(Monitor::new(Arc::clone(&answers), self.config.probes.clone()));
            tasks.spawn(serve(listener, "the monitoring server", Admits::Anybody, move |request, local| {
                let monitor = Arc::clone(&monitor);
                async move { monitor.answer(&request, local).await }
            }));
        }
        let verify = self.config.verify_redirection;
        let expected = redirection::expected(
            verify && self.config.transparent_outbound.is_some(),
            verify && self.config.transparent_inbound.is_some(),
        );
        if !expected.is_empty() {
            // Before anything else may make the proxy ready.
            self.status
                .redirected(Some("it is not known yet whether connections are redirected here".to_owned()));
            tasks.spawn(verify_redirection(Arc::clone(&self.shared), Arc::clone(&self.status), expected));
        }
        let answer = move |request: Request<Incoming>, _| {
            let admin = Arc::clone(&answers);
            async move { admin.answer(&request).await }
        };
        tasks.spawn(serve(admin, "the admin server", Admits::OwnNamespace, answer));
        Box::pin(self.follow(demanded, tasks, stop)).await;
    }

    /// The same without an admin server. `tasks` and those that this adds are not meant to end.
    async fn follow(self, demanded: Demands, mut tasks: JoinSet<()>, stop: CancellationToken) {
        let pins = self.config.upstreams.iter().map(|upstream| upstream.destination.as_str());
        let names_max = usize::try_from(self.config.max_destinations).unwrap_or(usize::MAX);
        let discovery = Discovery::new(&self.shared, &self.status, &self.credentials, names_max, pins);
        tasks.spawn(
            Issuance {
                transport: Arc::clone(&self.transport),
                credentials: Arc::clone(&self.credentials),
                status: Arc::clone(&self.status),
                proof: self.proof,
                clock: self.clock,
            }
            .run(demanded),
        );
        tasks.spawn(discovery.answer(self.lookups));
        tasks.spawn(discovery.run(
            Arc::clone(&self.transport),
            self.config.workload_id.clone(),
            self.config.transparent_inbound.is_some(),
        ));
        let telemetry = Telemetry {
            transport: Arc::clone(&self.transport),
            credentials: Arc::clone(&self.credentials),
            shared: Arc::clone(&self.shared),
            workload: self.config.workload_id.clone(),
        };
        // Pods are known to the control plane from Kubernetes.
        let registers = matches!(self.config.proof, config::Proof::Token(_));
        let registration = Registration {
            transport: self.transport,
            credentials: self.credentials,
            status: Arc::clone(&self.status),
            drain: self.shared.drain.clone(),
            workload: registration::workload(&self.config, &self.offers),
            applications: self.offers.iter().map(|(offer, _)| offer.application).collect(),
        };
        // These end by themselves: the workload is withdrawn, and the last traffic told, before the process goes.
        let registered = async {
            if registers {
                registration.run(stop.clone()).await;
            }
        };
        let ending = async { tokio::join!(registered, telemetry.run(stop.clone())) };
        tokio::pin!(ending);
        loop {
            let ended = tokio::select! {
                _ = &mut ending => return,
                Some(ended) = tasks.join_next() => ended,
            };
            let problem = ended.err().map_or_else(|| "it ended".to_owned(), |error| error.to_string());
            tracing::error!(problem, "a part of the control thread failed; what is in force stays so");
            self.status.broken(format!("a part of the control thread failed, restart the proxy: {problem}"));
        }
    }
}

/// Has readiness wait until connections arrive that the kernel should redirect. Never returns.
async fn verify_redirection(shared: Arc<Shared>, status: Arc<Status>, expected: Vec<Direction>) {
    let told = |problem: String| {
        tracing::error!(problem, "not redirected; {}", redirection::HINT);
        status.redirected(Some(format!("{problem}; {}", redirection::HINT)));
    };
    shared.redirection.verify(&expected, told).await;
    tracing::info!("connections are redirected here, as they should be");
    status.redirected(None);
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests;
