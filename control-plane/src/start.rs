//! Starting a control plane: the one place where its parts are put together.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use weft_identity::{Rotation, TokenIssuer};
use weft_proto::v1::identity_server::IdentityServer;
use weft_proto::v1::registration_server::RegistrationServer;
use weft_proto::v1::telemetry_server::TelemetryServer;
use weft_xds::server::{ClientContext, Config, Observer, Server as DiscoveryServer};

use crate::Error;
use crate::admin::Admin;
use crate::authority::{Authority, Source};
use crate::caller::Authenticator;
use crate::config::ControlPlaneConfig;
use crate::discovery::Discovery;
use crate::listener::Listener;
use crate::metrics::{Metrics, of_type};
use crate::refusals::Refusals;
use crate::registry::Registry;
use crate::resource::Severity;
use crate::service::{Issuer, Registrar, Traffic, TrafficService};
use crate::source::{Diagnostic, Folder, Outcome, Watcher, read};
use crate::state::{Announcement, StateDir};

/// Connections whose handshake is done and that wait for the server.
const HANDSHAKEN: usize = 64;
/// A client that is gone without a word is noticed after at most twice this.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Time for streams to end when the control plane does.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// What is in force of the configuration, and what is wrong with it as it is written now.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConfigStatus {
    /// A hash of what is in force.
    pub(crate) version: String,
    pub(crate) errors: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Diagnostic>,
}

/// A control plane that runs. It ends when this is dropped; [`Running::stop`] lets its clients know.
#[derive(Debug)]
pub struct Running {
    /// Where discovery and identity are.
    pub address: SocketAddr,
    /// Where the admin interface is.
    pub admin: SocketAddr,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Running {
    /// Ends the streams of all clients, then everything. Registrations stay for the next start.
    pub async fn stop(mut self) {
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
    let state = StateDir::open(&config.state_dir)?;
    let source = match &config.intermediate {
        Some(files) => Source::Files(files.clone()),
        None => Source::Folder(state.ca()),
    };
    let (authority, rotation) = Authority::open(source, &config.trust_domain, config.certificate_life)?;
    let tokens = TokenIssuer::open(state.path())?;
    let metrics = Arc::new(Metrics::default());
    let discovery = Arc::new(Discovery::new(config.trust_domain.clone()));
    discovery.set_bundle(authority.current().bundle());
    let folder = ConfigFolder::open(&config, state.kept(), &discovery, &metrics)?;
    let listener = bind(config.listen, "discovery and identity", "--listen").await?;
    let admin_listener = bind(config.admin, "the admin interface", "--admin").await?;
    let (address, admin) = (local(&listener, config.listen)?, local(&admin_listener, config.admin)?);
    let registry = Arc::new(Registry::open(
        &state.registrations(),
        Arc::clone(&discovery),
        config.grace,
        config.startup_grace,
    ));
    let fingerprints = authority.current().bundle().fingerprints(&config.trust_domain);
    state.announce(&Announcement {
        address,
        admin,
        pid: std::process::id(),
        trust_domain: config.trust_domain.as_str().to_owned(),
        roots: fingerprints.iter().map(ToString::to_string).collect(),
    })?;
    tracing::info!(%address, %admin, trust_domain = %config.trust_domain, "control plane listens");
    let parts = Parts {
        status: Arc::clone(&folder.status),
        traffic: Arc::new(Traffic::new(Arc::clone(&metrics))),
        refusals: Arc::new(Refusals::new(Arc::clone(&metrics))),
        authority: Arc::new(authority),
        stop: CancellationToken::new(),
        discovery,
        registry,
        metrics,
        tokens,
        state: Arc::new(state),
        config,
    };
    let stop = parts.stop.clone();
    let tasks = parts.run(listener, admin_listener, folder, rotation);
    Ok(Running { address, admin, stop, tasks })
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
    refusals: Arc<Refusals>,
    stop: CancellationToken,
}

impl Parts {
    fn run(
        self,
        listener: TcpListener,
        admin: TcpListener,
        folder: ConfigFolder,
        rotation: Rotation,
    ) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let until_stopped = |work: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
            let stop = self.stop.clone();
            async move {
                let _ = stop.run_until_cancelled(work).await;
            }
        };
        let authenticator = Authenticator::new(Arc::clone(&self.refusals));
        let observer = Watched(Arc::clone(&self.metrics));
        let notifier = self.discovery.notifier().clone();
        let source = Arc::clone(&self.discovery);
        let discovery =
            DiscoveryServer::new(Config::default(), source, notifier, authenticator.clone(), observer);
        let (connections, handshaken) = mpsc::channel(HANDSHAKEN);
        let accepting = Listener {
            socket: listener,
            tls: Arc::clone(self.authority.tls()),
            max_connections: self.config.max_connections,
            metrics: Arc::clone(&self.metrics),
            refusals: Arc::clone(&self.refusals),
        };
        tasks.spawn(accepting.run(connections, self.stop.clone()));
        let (authority, facts) = (Arc::clone(&self.authority), Arc::clone(&self.discovery));
        tasks.spawn(until_stopped(Box::pin(async move { authority.keep(rotation, &facts).await })));
        let registry = Arc::clone(&self.registry);
        tasks.spawn(until_stopped(Box::pin(async move { registry.reap().await })));
        tasks.spawn(until_stopped(Box::pin(folder.follow(Arc::clone(&self.state)))));
        let admin_server = Admin {
            discovery: Arc::clone(&self.discovery),
            server: discovery.clone(),
            registry: Arc::clone(&self.registry),
            traffic: Arc::clone(&self.traffic),
            status: Arc::clone(&self.status),
            metrics: Arc::clone(&self.metrics),
        };
        tasks.spawn(until_stopped(Box::pin(admin_server.serve(admin))));
        let draining = (self.stop.clone(), discovery.clone());
        tasks.spawn(async move {
            draining.0.cancelled().await;
            draining.1.drain();
        });
        tasks.spawn(self.serve(authenticator, discovery, handshaken));
        tasks
    }

    async fn serve(
        self,
        authenticator: Authenticator,
        discovery: DiscoveryServer,
        connections: mpsc::Receiver<std::io::Result<crate::listener::Connection>>,
    ) {
        let issuer = Issuer {
            authority: self.authority,
            tokens: self.tokens,
            trust_domain: self.config.trust_domain,
            authenticator: authenticator.clone(),
            metrics: Arc::clone(&self.metrics),
        };
        let registrar = Registrar {
            registry: Arc::clone(&self.registry),
            authenticator: authenticator.clone(),
            stop: self.stop.clone(),
        };
        let traffic = TrafficService {
            traffic: self.traffic,
            registry: self.registry,
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
        // The state folder is another's from here on.
        drop(self.state);
    }
}

/// The folder of resources.
struct ConfigFolder {
    path: Option<PathBuf>,
    folder: Folder,
    discovery: Arc<Discovery>,
    metrics: Arc<Metrics>,
    status: Arc<Mutex<ConfigStatus>>,
}

impl ConfigFolder {
    /// Reads the folder once. Wrong files in it are told of and left out, or taken as they were when they were last
    /// right.
    fn open(
        config: &ControlPlaneConfig,
        kept: std::collections::BTreeMap<String, String>,
        discovery: &Arc<Discovery>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, Error> {
        let mut opened = Self {
            path: config.config_dir.clone(),
            folder: Folder::new(kept),
            discovery: Arc::clone(discovery),
            metrics: Arc::clone(metrics),
            status: Arc::default(),
        };
        if let Some(path) = &opened.path {
            let texts = read(path).map_err(|source| Error::Path {
                what: "configuration folder",
                path: path.clone(),
                source,
            })?;
            let outcome = opened.folder.update(texts);
            opened.apply(&outcome);
        }
        Ok(opened)
    }

    /// Follows the folder. Never returns.
    async fn follow(mut self, state: Arc<StateDir>) {
        let Some(path) = self.path.clone() else { return std::future::pending().await };
        let mut watcher = Watcher::new(&path);
        let mut unreadable = false;
        loop {
            // What changed while nobody watched is seen by reading once at the beginning.
            match read(&path) {
                Ok(texts) => {
                    unreadable = false;
                    let outcome = self.folder.update(texts);
                    if self.apply(&outcome)
                        && let Err(error) = state.keep(&outcome.kept)
                    {
                        tracing::warn!(%error, "what was last right is lost at the next restart");
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut unreadable, true) {
                        tracing::error!(folder = %path.display(), %error, "can't read the configuration; what is in force stays");
                    }
                }
            }
            watcher.changed().await;
        }
    }

    /// Puts what is right in force and tells once of what is wrong; says whether anything is new.
    fn apply(&self, outcome: &Outcome) -> bool {
        let (errors, warnings): (Vec<_>, Vec<_>) =
            outcome.diagnostics.iter().cloned().partition(|it| it.severity == Severity::Error);
        let mut status = self.status.lock();
        let new_version = status.version != outcome.version;
        if !new_version && status.errors == errors && status.warnings == warnings {
            return false;
        }
        for error in errors.iter().filter(|error| !status.errors.contains(error)) {
            tracing::error!("refused: {error}");
        }
        for warning in warnings.iter().filter(|warning| !status.warnings.contains(warning)) {
            tracing::warn!("{warning}");
        }
        self.metrics.config_errors.set(i64::try_from(errors.len()).unwrap_or(i64::MAX));
        *status = ConfigStatus { version: outcome.version.clone(), errors, warnings };
        drop(status);
        if new_version {
            self.metrics.config_loads.inc();
            let touched = self.discovery.set_objects(&outcome.objects);
            tracing::info!(
                resources = outcome.objects.len(),
                version = outcome.version,
                destinations = touched.destinations.len(),
                "configuration in force"
            );
        }
        true
    }
}

/// Counts what happens on discovery streams.
struct Watched(Arc<Metrics>);

impl Observer for Watched {
    fn connected(&self, client: &ClientContext) {
        self.0.clients.inc();
        tracing::debug!(client = %client.node_id, identity = %client.identity, "discovery stream opened");
    }

    fn disconnected(&self, client: &ClientContext, reason: &str) {
        self.0.clients.dec();
        tracing::debug!(client = %client.node_id, reason, "discovery stream ended");
    }

    fn sent(&self, _: &ClientContext, type_url: &str, resources: usize, removed: usize, bytes: usize) {
        let labels = of_type(type_url);
        self.0.resources_sent.get_or_create(&labels).inc_by(resources as u64);
        self.0.removals_sent.get_or_create(&labels).inc_by(removed as u64);
        self.0.bytes_sent.get_or_create(&labels).inc_by(bytes as u64);
    }

    fn accepted(&self, _: &ClientContext, _: &str, after: Duration) {
        self.0.ack_seconds.0.observe(after.as_secs_f64());
    }

    fn refused(&self, client: &ClientContext, type_url: &str, message: &str, _: &[weft_xds::Rejection]) {
        self.0.refusals.get_or_create(&of_type(type_url)).inc();
        tracing::warn!(client = %client.node_id, type_url, message, "a proxy refused resources; it keeps what it had");
    }
}
