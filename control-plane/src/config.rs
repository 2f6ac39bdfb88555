//! What a control plane is told at its start.

use std::env;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use weft_identity::ca::IntermediateFiles;
use weft_mesh::name::TrustDomain;

/// Where discovery and identity are listened for unless told otherwise.
pub(crate) const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 15012);
/// Where the admin interface is unless told otherwise.
pub(crate) const DEFAULT_ADMIN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 15014);
/// The trust domain unless told otherwise: that of a Kubernetes cluster, so that identities are the same in files and
/// in a cluster.
pub(crate) const DEFAULT_TRUST_DOMAIN: &str = "cluster.local";

/// Subscriptions of one proxy unless told otherwise: for the 10,000 destinations that a proxy follows unless it is told
/// otherwise, with several services that each of them leads to.
pub(crate) const DEFAULT_MAX_SUBSCRIPTIONS: u32 = 100_000;

/// What a control plane is told at its start.
#[derive(Clone, Debug)]
pub struct ControlPlaneConfig {
    /// Folder of resources; none means that there are none but what workloads register.
    pub config_dir: Option<PathBuf>,
    /// Folder for what has to outlive the process: CA, token key, registrations. Made when missing.
    pub state_dir: PathBuf,
    /// Address for discovery, identity, registration and telemetry; port 0 takes any.
    pub listen: SocketAddr,
    /// Address of the admin interface, which is without authentication and so on loopback; port 0 takes any.
    pub admin: SocketAddr,
    /// Address of readiness and metrics for others than this machine; none means that they are on the admin interface
    /// alone.
    pub monitor: Option<SocketAddr>,
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// The Kubernetes cluster that resources and workloads come from, besides those that register.
    pub kubernetes: Option<KubernetesConfig>,
    /// An intermediate to sign with; without one there is an own root in the state folder.
    pub intermediate: Option<IntermediateFiles>,
    /// How long a registration outlives its broken stream.
    pub grace: Duration,
    /// How long registrations from before a restart wait for their workloads to come back.
    pub startup_grace: Duration,
    /// Life of the certificates that are issued, and the longest that may be asked for.
    pub certificate_life: Duration,
    /// Connections at once of clients with certificates.
    pub max_connections: usize,
    /// Names and collections that one proxy may subscribe to: each destination that it uses is a name, and what it leads to
    /// are collections.
    pub max_subscriptions: usize,
}

impl ControlPlaneConfig {
    /// The defaults with this state folder.
    pub fn new(state_dir: impl Into<PathBuf>, trust_domain: TrustDomain) -> Self {
        Self {
            config_dir: None,
            state_dir: state_dir.into(),
            listen: DEFAULT_LISTEN,
            admin: DEFAULT_ADMIN,
            monitor: None,
            trust_domain,
            kubernetes: None,
            intermediate: None,
            grace: Duration::from_secs(10),
            // A client that could not connect for a while tries again within 30 s, and then has to be served.
            startup_grace: Duration::from_secs(40),
            certificate_life: Duration::from_hours(24),
            max_connections: 10_000,
            max_subscriptions: DEFAULT_MAX_SUBSCRIPTIONS as usize,
        }
    }
}

/// How a control plane uses a Kubernetes cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubernetesConfig {
    /// Secret in `weft-system` with an intermediate to sign with, in the form of `kubernetes.io/tls` with `ca.crt`; without
    /// one there is an own root in the Secret `weft-ca`.
    pub ca_secret: Option<String>,
    /// Address of the webhook that injects sidecars; none means that none are injected.
    pub webhook: Option<SocketAddr>,
    /// File of the injector's settings.
    pub settings: Option<PathBuf>,
    /// Whether workloads may register that are no pods.
    pub registration: bool,
}

/// The state folder of this user: `$XDG_STATE_HOME/weft`, else `~/.local/state/weft`.
pub fn default_state_dir() -> PathBuf {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    state.unwrap_or_else(env::temp_dir).join("weft")
}
