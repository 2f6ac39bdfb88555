//! Starting a control plane: the one place where its parts are put together.

mod cluster;
mod observed;
mod parts;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use weft_identity::{Rotation, TokenIssuer, TrustBundle};
use weft_mesh::name::TrustDomain;

use self::cluster::Injector;
use self::parts::Parts;
use crate::Error;
use crate::authority::{Authority, Source};
use crate::config::ControlPlaneConfig;
use crate::config_watcher::ConfigFolder;
use crate::discovery::Discovery;
use crate::handshake_errors::HandshakeErrors;
use crate::kubernetes::Cluster;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::revocations::Revocations;
use crate::state::{Announcement, StateDir};
use crate::traffic::Traffic;

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
    let revocations = read_revocations(&config, cluster.as_ref(), &state).await?;
    let (authority, rotation) = open_authority(&config, cluster.as_ref(), &state, &revocations)?;
    let tokens = match &cluster {
        Some(cluster) => cluster.tokens(),
        None => TokenIssuer::open(state.path())?,
    };
    let metrics = Arc::new(Metrics::default());
    let discovery = discovery(&config, cluster.as_ref(), &authority);
    let folder = ConfigFolder::open(
        config.config_dir.clone(),
        Arc::clone(&state),
        Arc::clone(&discovery),
        Arc::clone(&metrics),
    )?;
    let injector = Injector::open(&config, cluster.as_ref()).await?;
    let listeners = Listeners::bind(&config).await?;
    let (address, admin, monitor) = listeners.addresses(&config)?;
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
        injector,
        discovery,
        registry,
        metrics,
        tokens,
        state,
        config,
    };
    let (stop, retire, cut) = (parts.stop.clone(), parts.retire.clone(), parts.cut.clone().drop_guard());
    let linger = if parts.config.kubernetes.is_some() { LINGER } else { Duration::ZERO };
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

impl Listeners {
    async fn bind(config: &ControlPlaneConfig) -> Result<Self, Error> {
        Ok(Self {
            listener: bind(config.listen, "discovery and identity", "--listen").await?,
            admin: bind(config.admin, "the admin interface", "--admin").await?,
            monitor: match config.monitor {
                Some(address) => Some(bind(address, "readiness and metrics", "--monitor").await?),
                None => None,
            },
        })
    }

    /// Where they are, with the ports that were taken.
    fn addresses(
        &self,
        config: &ControlPlaneConfig,
    ) -> Result<(SocketAddr, SocketAddr, Option<SocketAddr>), Error> {
        let monitor = match (&self.monitor, config.monitor) {
            (Some(listener), Some(address)) => Some(local(listener, address)?),
            _ => None,
        };
        Ok((local(&self.listener, config.listen)?, local(&self.admin, config.admin)?, monitor))
    }
}

/// What is revoked, from where that is kept.
async fn read_revocations(
    config: &ControlPlaneConfig,
    cluster: Option<&Cluster>,
    state: &StateDir,
) -> Result<Arc<Revocations>, Error> {
    let revocations = Arc::new(Revocations::new(config.trust_domain.clone()));
    match cluster {
        Some(cluster) => cluster.read_revocations(&revocations).await?,
        None => revocations.open(state.path())?,
    }
    Ok(revocations)
}

/// What proxies can be told so far: whom to believe.
fn discovery(
    config: &ControlPlaneConfig,
    cluster: Option<&Cluster>,
    authority: &Authority,
) -> Arc<Discovery> {
    let discovery = Arc::new(Discovery::new(config.trust_domain.clone()));
    discovery.set_bundle(&authority.believed());
    if cluster.is_some() {
        discovery.watch_pods();
    }
    discovery
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
