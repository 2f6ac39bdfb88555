//! Everything that runs, and how it hangs together.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use weft_identity::{Rotation, TokenIssuer, TrustBundle};
use weft_proto::v1::identity_server::IdentityServer;
use weft_proto::v1::registration_server::RegistrationServer;
use weft_proto::v1::telemetry_server::TelemetryServer;
use weft_xds::server::{Config, Server as DiscoveryServer};

use super::cluster::{Injector, Joined};
use super::observed::Watched;
use super::{Announcing, Listeners};
use crate::admin::{Admin, Surface};
use crate::authority::Authority;
use crate::caller::Authenticator;
use crate::config::ControlPlaneConfig;
use crate::config_watcher::{ConfigFolder, ConfigStatus, tell_together};
use crate::discovery::Discovery;
use crate::grpc::{Issuer, Registrar, TrafficService};
use crate::handshake_errors::HandshakeErrors;
use crate::kubernetes::{Accounts, Cluster, Roots};
use crate::listener::{Connection, Listener};
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::revocations::Revocations;
use crate::source::kubernetes::WatchHealth;
use crate::state::StateDir;
use crate::traffic::Traffic;

/// Connections whose handshake is done and that wait for the server.
const HANDSHAKEN: usize = 64;
/// A client that is gone without a word is noticed after at most twice this.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Everything that runs.
pub(super) struct Parts {
    pub(super) config: ControlPlaneConfig,
    pub(super) state: Arc<StateDir>,
    pub(super) authority: Arc<Authority>,
    pub(super) tokens: TokenIssuer,
    pub(super) discovery: Arc<Discovery>,
    pub(super) registry: Arc<Registry>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) status: Arc<Mutex<ConfigStatus>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) handshake_errors: Arc<HandshakeErrors>,
    pub(super) revocations: Arc<Revocations>,
    pub(super) announcing: Announcing,
    pub(super) cluster: Option<Cluster>,
    pub(super) injector: Injector,
    /// Lets readiness know that it will end.
    pub(super) retire: CancellationToken,
    /// Lets clients know that it ends.
    pub(super) stop: CancellationToken,
    /// Ends their connections.
    pub(super) cut: CancellationToken,
}

impl Parts {
    /// Starts all of it.
    pub(super) fn run(
        mut self,
        listeners: Listeners,
        folder: ConfigFolder,
        rotation: Rotation,
    ) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let stop = self.stop.clone();
        let until_stopped = |work| until_stopped(&stop, work);
        let authenticator = Authenticator::new(Arc::clone(&self.handshake_errors), self.revocations.watch());
        let observer = Watched(Arc::clone(&self.metrics));
        let notifier = self.discovery.notifier().clone();
        let source = Arc::clone(&self.discovery);
        let limits = Config { max_subscriptions: self.config.max_subscriptions, ..Config::default() };
        let discovery = DiscoveryServer::new(limits, source, notifier, authenticator.clone(), observer);
        let (connections, handshaken) = mpsc::channel(HANDSHAKEN);
        let accepting = self.listener(listeners.listener);
        if self.cluster.is_none() {
            let (revocations, folder) = (Arc::clone(&self.revocations), self.state.path().to_owned());
            tasks.spawn(until_stopped(Box::pin(async move { revocations.follow(folder).await })));
        }
        let Joined { accounts, roots, synced, watches } = self.join_cluster(&mut tasks);
        let (authority, changed) = (Arc::clone(&self.authority), self.trust_changed(roots));
        tasks.spawn(until_stopped(Box::pin(async move { authority.keep(rotation, changed).await })));
        let registry = Arc::clone(&self.registry);
        tasks.spawn(until_stopped(Box::pin(async move { registry.reap().await })));
        tasks.spawn(until_stopped(Box::pin(folder.follow())));
        let together = tell_together(Arc::clone(&self.status), Arc::clone(&self.discovery));
        tasks.spawn(until_stopped(Box::pin(together)));
        let admin = Arc::new(self.admin(discovery.clone(), synced.clone(), watches));
        tasks.spawn(self.accept(accepting, connections, synced));
        if let Some(monitor) = listeners.monitor {
            let serving = Arc::clone(&admin).serve(monitor, Surface::Monitor);
            tasks.spawn(until_stopped(Box::pin(serving)));
        }
        tasks.spawn(until_stopped(Box::pin(admin.serve(listeners.admin, Surface::Admin))));
        let draining = (self.stop.clone(), discovery.clone());
        tasks.spawn(async move {
            draining.0.cancelled().await;
            draining.1.drain();
        });
        tasks.spawn(self.serve(authenticator, accounts, discovery, handshaken));
        tasks
    }

    /// Takes connections of clients.
    fn listener(&self, socket: TcpListener) -> Listener {
        Listener {
            socket,
            tls: Arc::clone(self.authority.tls()),
            max_connections: self.config.max_connections,
            revoked: self.revocations.watch(),
            metrics: Arc::clone(&self.metrics),
            handshake_errors: Arc::clone(&self.handshake_errors),
            cut: self.cut.clone(),
        }
    }

    /// Tells all that go by the trust bundle that it has changed.
    fn trust_changed(&self, roots: Option<Roots>) -> impl Fn(&TrustBundle) + use<> {
        let (dependencies, registered) = (Arc::clone(&self.discovery), Arc::clone(&self.registry));
        let (state, announcing) = (Arc::clone(&self.state), self.announcing.clone());
        move |bundle: &TrustBundle| {
            dependencies.set_bundle(bundle);
            registered.revoke(bundle.revoked());
            if let Some(roots) = &roots {
                roots.set(bundle);
            }
            if let Err(error) = announcing.announce(&state, bundle) {
                tracing::error!(%error, "new join tokens name the roots from before");
            }
        }
    }

    fn admin(
        &self,
        server: DiscoveryServer,
        synced: watch::Receiver<bool>,
        watches: Option<WatchHealth>,
    ) -> Admin {
        Admin {
            discovery: Arc::clone(&self.discovery),
            server,
            registry: Arc::clone(&self.registry),
            traffic: Arc::clone(&self.traffic),
            status: Arc::clone(&self.status),
            metrics: Arc::clone(&self.metrics),
            synced,
            watches,
            authority: self.authority.state(),
            stop: self.retire.clone(),
        }
    }

    /// Takes connections once all that is to be told is known, until the control plane ends.
    fn accept(
        &self,
        accepting: Listener,
        connections: mpsc::Sender<std::io::Result<Connection>>,
        mut synced: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + use<> {
        let stopping = self.stop.clone();
        let mut authority = self.authority.state();
        async move {
            let ready = async {
                // Who knows only a part would tell proxies that the rest is gone, and whom nobody believes has nothing to tell.
                let _ = synced.wait_for(|synced| *synced).await;
                let _ = authority.wait_for(|state| state.is_usable).await;
            };
            let known = stopping.run_until_cancelled(ready).await.is_some();
            if known {
                accepting.run(connections, stopping).await;
            }
        }
    }

    async fn serve(
        self,
        authenticator: Authenticator,
        accounts: Option<Accounts>,
        discovery: DiscoveryServer,
        connections: mpsc::Receiver<std::io::Result<Connection>>,
    ) {
        let issuer = Issuer {
            authority: self.authority,
            tokens: self.tokens,
            accounts,
            reviews: Issuer::reviews(),
            trust_domain: self.config.trust_domain,
            authenticator: authenticator.clone(),
            metrics: Arc::clone(&self.metrics),
        };
        let registrar = Registrar {
            registry: Arc::clone(&self.registry),
            authenticator: authenticator.clone(),
            open: self.config.kubernetes.as_ref().is_none_or(|cluster| cluster.registration),
            stop: self.stop.clone(),
        };
        let traffic = TrafficService {
            traffic: self.traffic,
            registry: self.registry,
            discovery: self.discovery,
            config: self.status,
            authenticator,
            stop: self.stop.clone(),
        };
        let served = Server::builder()
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE))
            .add_service(IdentityServer::new(issuer))
            .add_service(RegistrationServer::new(registrar))
            .add_service(TelemetryServer::new(traffic))
            .add_service(discovery)
            .serve_with_incoming_shutdown(ReceiverStream::new(connections), self.stop.cancelled_owned())
            .await;
        if let Err(error) = served {
            tracing::error!(%error, "the server ended");
        }
        // Connections that are still open rest on it.
        drop(self.revocations);
        // The state folder is another's from here on.
        drop(self.state);
    }
}

/// Work that ends when the control plane does.
pub(super) fn until_stopped(
    stop: &CancellationToken,
    work: Pin<Box<dyn Future<Output = ()> + Send>>,
) -> impl Future<Output = ()> + use<> {
    let stop = stop.clone();
    async move {
        let _ = stop.run_until_cancelled(work).await;
    }
}
