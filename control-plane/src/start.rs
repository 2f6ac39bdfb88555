//! Starting a control plane: the one place where its parts are put together.

mod cluster;
mod observed;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Server;
use weft_identity::{Rotation, TokenIssuer, TrustBundle};
use weft_mesh::name::TrustDomain;
use weft_proto::v1::identity_server::IdentityServer;
use weft_proto::v1::registration_server::RegistrationServer;
use weft_proto::v1::telemetry_server::TelemetryServer;
use weft_xds::server::{Config, Server as DiscoveryServer};

use self::cluster::{Injector, Joined};
use self::observed::Watched;
use crate::Error;
use crate::admin::{Admin, Surface};
use crate::authority::{Authority, Source};
use crate::caller::Authenticator;
use crate::config::ControlPlaneConfig;
use crate::config_watcher::{ConfigFolder, ConfigStatus, tell_together};
use crate::discovery::Discovery;
use crate::grpc::{Issuer, Registrar, TrafficService};
use crate::handshake_errors::HandshakeErrors;
use crate::inject;
use crate::kubernetes::{Accounts, Cluster};
use crate::listener::Listener;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::revocations::Revocations;
use crate::settings::Settings;
use crate::state::{Announcement, StateDir};
use crate::traffic::Traffic;

/// Connections whose handshake is done and that wait for the server.
const HANDSHAKEN: usize = 64;
/// A client that is gone without a word is noticed after at most twice this.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Time for the nodes of a cluster to hear that this replica is not ready any more.
const LINGER: Duration = Duration::from_secs(4);
/// Time for streams to end when the control plane does.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// A control plane that runs. It ends when this is dropped; [`Running::stop`] lets its clients know.
#[derive(Debug)]
pub struct Running {
    /// Where discovery and identity are.
    pub address: SocketAddr,
    /// Where the admin interface is.
    pub admin: SocketAddr,
    /// Where readiness and metrics are for others than this machine.
    pub monitor: Option<SocketAddr>,
    /// Says that it is not ready any more, before it ends.
    retire: CancellationToken,
    linger: Duration,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    // Cuts off whoever is still connected, last.
    _cut: DropGuard,
}

impl Running {
    /// Ends the streams of all clients, then everything. Registrations stay for the next start. In a cluster it first says
    /// that it is not ready and goes on for a while: nodes send connections here until they have heard of it.
    pub async fn stop(mut self) {
        self.retire.cancel();
        tokio::time::sleep(self.linger).await;
        self.stop.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        // Whoever does not hear that it is over is cut off.
        let _ = tokio::time::timeout(STOP_TIMEOUT, ended).await;
    }

    /// Waits until something that should never end has ended.
    pub async fn failed(&mut self) {
        self.tasks.join_next().await;
    }
}

/// Starts a control plane on the current runtime. Everything that may be wrong with its settings is an error here, and
/// nobody is told of it before it can be used.
pub async fn start(config: ControlPlaneConfig) -> Result<Running, Error> {
    check_admin(config.admin)?;
    let state = Arc::new(StateDir::open(&config.state_dir)?);
    let cluster = match &config.kubernetes {
        Some(settings) => Some(Cluster::open(settings, &config.trust_domain).await?),
        None => None,
    };
    let revocations = Arc::new(Revocations::new(config.trust_domain.clone()));
    match &cluster {
        Some(cluster) => cluster.read_revocations(&revocations).await?,
        None => revocations.open(state.path())?,
    }
    let (authority, rotation) = open_authority(&config, cluster.as_ref(), &state, &revocations)?;
    let tokens = match &cluster {
        Some(cluster) => cluster.tokens(),
        None => TokenIssuer::open(state.path())?,
    };
    let metrics = Arc::new(Metrics::default());
    let discovery = Arc::new(Discovery::new(config.trust_domain.clone()));
    discovery.set_bundle(&authority.believed());
    if cluster.is_some() {
        discovery.watch_pods();
    }
    let folder = ConfigFolder::open(
        config.config_dir.clone(),
        Arc::clone(&state),
        Arc::clone(&discovery),
        Arc::clone(&metrics),
    )?;
    let webhook = match (&cluster, config.kubernetes.as_ref().and_then(|it| it.webhook)) {
        (Some(cluster), Some(address)) => {
            let listener = bind(address, "the webhook", "--webhook").await?;
            let cluster = inject::Cluster { native_sidecars: cluster.native_sidecars().await };
            Some((listener, cluster))
        }
        _ => None,
    };
    let settings_file = config.kubernetes.as_ref().and_then(|it| it.settings.clone());
    let settings = settings_file.as_deref().map_or_else(|| Ok(Settings::default()), Settings::read)?;
    let listener = bind(config.listen, "discovery and identity", "--listen").await?;
    let admin_listener = bind(config.admin, "the admin interface", "--admin").await?;
    let monitor_listener = match config.monitor {
        Some(address) => Some(bind(address, "readiness and metrics", "--monitor").await?),
        None => None,
    };
    let monitor = match (&monitor_listener, config.monitor) {
        (Some(listener), Some(address)) => Some(local(listener, address)?),
        _ => None,
    };
    let (address, admin) = (local(&listener, config.listen)?, local(&admin_listener, config.admin)?);
    let registry = Arc::new(Registry::open(
        &state.registrations(),
        Arc::clone(&discovery),
        config.grace,
        config.startup_grace,
    ));
    registry.revoke(&revocations.watch().borrow());
    let announcing = Announcing { address, admin, trust_domain: config.trust_domain.clone() };
    announcing.announce(&state, &authority.believed())?;
    tracing::info!(%address, %admin, trust_domain = %config.trust_domain, "control plane listens");
    let parts = Parts {
        status: Arc::clone(folder.status()),
        traffic: Arc::new(Traffic::new(Arc::clone(&metrics))),
        handshake_errors: Arc::new(HandshakeErrors::new(Arc::clone(&metrics))),
        revocations,
        authority: Arc::new(authority),
        retire: CancellationToken::new(),
        stop: CancellationToken::new(),
        cut: CancellationToken::new(),
        announcing,
        cluster,
        injector: Injector { webhook, settings: Arc::new(Mutex::new(settings)), file: settings_file },
        discovery,
        registry,
        metrics,
        tokens,
        state,
        config,
    };
    let (stop, retire, cut) = (parts.stop.clone(), parts.retire.clone(), parts.cut.clone().drop_guard());
    let linger = if parts.config.kubernetes.is_some() { LINGER } else { Duration::ZERO };
    let listeners = Listeners { listener, admin: admin_listener, monitor: monitor_listener };
    let tasks = parts.run(listeners, folder, rotation);
    Ok(Running { address, admin, monitor, retire, linger, stop, tasks, _cut: cut })
}

/// The admin interface has no authentication.
fn check_admin(address: SocketAddr) -> Result<(), Error> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    Err(Error::Setting(format!(
        "--admin {address}: whoever reaches it is answered, so it has to be on loopback; readiness and metrics for others are \
         at --monitor"
    )))
}

/// What is listened on.
struct Listeners {
    /// For discovery and identity.
    listener: TcpListener,
    admin: TcpListener,
    monitor: Option<TcpListener>,
}

/// The authority from where the settings say that it is.
fn open_authority(
    config: &ControlPlaneConfig,
    cluster: Option<&Cluster>,
    state: &StateDir,
    revocations: &Revocations,
) -> Result<(Authority, Rotation), Error> {
    let source = match (&config.intermediate, cluster) {
        (Some(files), _) => Source::Files(files.clone()),
        (None, Some(cluster)) => Source::Secret(cluster.authority()),
        (None, None) => Source::Folder(state.ca()),
    };
    let trust = cluster.map(Cluster::trust);
    Authority::open(source, &config.trust_domain, config.certificate_life, revocations.watch(), trust)
}

/// What is announced and does not change.
#[derive(Clone)]
struct Announcing {
    address: SocketAddr,
    admin: SocketAddr,
    trust_domain: TrustDomain,
}

impl Announcing {
    fn announce(&self, state: &StateDir, bundle: &TrustBundle) -> Result<(), Error> {
        let roots = bundle.fingerprints(&self.trust_domain);
        state.announce(&Announcement {
            address: self.address,
            admin: self.admin,
            pid: std::process::id(),
            trust_domain: self.trust_domain.as_str().to_owned(),
            roots: roots.iter().map(ToString::to_string).collect(),
        })
    }
}

async fn bind(address: SocketAddr, what: &'static str, flag: &str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| {
        let hint = if source.kind() == std::io::ErrorKind::AddrInUse {
            format!("; stop what uses it, or choose another address with {flag}")
        } else {
            format!("; choose another address with {flag}")
        };
        Error::Listen { what, address, source, hint }
    })
}

fn local(listener: &TcpListener, asked: SocketAddr) -> Result<SocketAddr, Error> {
    let fail = |source| Error::Listen { what: "a connection", address: asked, source, hint: String::new() };
    listener.local_addr().map_err(fail)
}

/// Everything that runs.
struct Parts {
    config: ControlPlaneConfig,
    state: Arc<StateDir>,
    authority: Arc<Authority>,
    tokens: TokenIssuer,
    discovery: Arc<Discovery>,
    registry: Arc<Registry>,
    traffic: Arc<Traffic>,
    status: Arc<Mutex<ConfigStatus>>,
    metrics: Arc<Metrics>,
    handshake_errors: Arc<HandshakeErrors>,
    revocations: Arc<Revocations>,
    announcing: Announcing,
    cluster: Option<Cluster>,
    injector: Injector,
    /// Lets readiness know that it will end.
    retire: CancellationToken,
    /// Lets clients know that it ends.
    stop: CancellationToken,
    /// Ends their connections.
    cut: CancellationToken,
}

impl Parts {
    fn run(mut self, listeners: Listeners, folder: ConfigFolder, rotation: Rotation) -> JoinSet<()> {
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
        let accepting = Listener {
            socket: listeners.listener,
            tls: Arc::clone(self.authority.tls()),
            max_connections: self.config.max_connections,
            revoked: self.revocations.watch(),
            metrics: Arc::clone(&self.metrics),
            handshake_errors: Arc::clone(&self.handshake_errors),
            cut: self.cut.clone(),
        };
        let (authority, dependencies) = (Arc::clone(&self.authority), Arc::clone(&self.discovery));
        let (state, announcing) = (Arc::clone(&self.state), self.announcing.clone());
        let registered = Arc::clone(&self.registry);
        if self.cluster.is_none() {
            let (revocations, folder) = (Arc::clone(&self.revocations), state.path().to_owned());
            tasks.spawn(until_stopped(Box::pin(async move { revocations.follow(folder).await })));
        }
        let Joined { accounts, roots, mut synced, watches } = self.join_cluster(&mut tasks);
        let changed = move |bundle: &TrustBundle| {
            dependencies.set_bundle(bundle);
            registered.revoke(bundle.revoked());
            if let Some(roots) = &roots {
                roots.set(bundle);
            }
            if let Err(error) = announcing.announce(&state, bundle) {
                tracing::error!(%error, "new join tokens name the roots from before");
            }
        };
        tasks.spawn(until_stopped(Box::pin(async move { authority.keep(rotation, changed).await })));
        let registry = Arc::clone(&self.registry);
        tasks.spawn(until_stopped(Box::pin(async move { registry.reap().await })));
        tasks.spawn(until_stopped(Box::pin(folder.follow())));
        let together = tell_together(Arc::clone(&self.status), Arc::clone(&self.discovery));
        tasks.spawn(until_stopped(Box::pin(together)));
        let admin = Arc::new(Admin {
            discovery: Arc::clone(&self.discovery),
            server: discovery.clone(),
            registry: Arc::clone(&self.registry),
            traffic: Arc::clone(&self.traffic),
            status: Arc::clone(&self.status),
            metrics: Arc::clone(&self.metrics),
            synced: synced.clone(),
            watches,
            authority: self.authority.state(),
            stop: self.retire.clone(),
        });
        let stopping = self.stop.clone();
        let mut authority = self.authority.state();
        tasks.spawn(async move {
            let ready = async {
                // Who knows only a part would tell proxies that the rest is gone, and whom nobody believes has nothing to tell.
                let _ = synced.wait_for(|synced| *synced).await;
                let _ = authority.wait_for(|state| state.is_usable).await;
            };
            let known = stopping.run_until_cancelled(ready).await.is_some();
            if known {
                accepting.run(connections, stopping).await;
            }
        });
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

    async fn serve(
        self,
        authenticator: Authenticator,
        accounts: Option<Accounts>,
        discovery: DiscoveryServer,
        connections: mpsc::Receiver<std::io::Result<crate::listener::Connection>>,
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
fn until_stopped(
    stop: &CancellationToken,
    work: Pin<Box<dyn Future<Output = ()> + Send>>,
) -> impl Future<Output = ()> + use<> {
    let stop = stop.clone();
    async move {
        let _ = stop.run_until_cancelled(work).await;
    }
}
