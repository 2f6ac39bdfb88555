//! What a proxy is told when it starts. Everything else comes from the control plane.
//!
//! What a proxy is told at its start; imports only the types of what is configured.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use weft_mesh::name::Identity;
use weft_mesh::protocol::Protocol;

use crate::http::replay_memory::REPLAY_MEMORY;
use crate::observe::access;
use crate::observe::monitor::Probes;
use crate::runtime::overload;
use weft_mesh::proxy_protocol::Senders;

pub mod args;

/// Destinations that a proxy follows at once unless told otherwise: far more than a workload calls within ten minutes. With
/// what they lead to they are far fewer than a control plane lets one proxy subscribe to.
pub(crate) const MAX_DESTINATIONS: u32 = 10_000;

/// How a proxy is set up.
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// Id of the workload: unique in the mesh and the same over restarts.
    pub workload_id: String,
    /// Labels of the workload, that Services select by.
    pub labels: Vec<(String, String)>,
    /// Where the workload runs.
    pub region: String,
    /// Where the workload runs, within its region.
    pub zone: String,
    /// Address of the control plane, `host:port`.
    pub control_plane: String,
    /// What the workload proves its identity with before it has a certificate.
    pub proof: Proof,
    /// Worker threads; at least 1.
    pub workers: usize,
    /// The HTTP proxy for the workload's own requests, if it wants one.
    pub outbound: Option<SocketAddr>,
    /// Local listeners that each stand for one destination.
    pub upstreams: Vec<Upstream>,
    /// Load balancers whose connections to these begin with a header of the PROXY protocol.
    pub proxy_protocol_from: Senders,
    /// Where the kernel redirects what leaves the workload.
    pub transparent_outbound: Option<SocketAddr>,
    /// Where the kernel redirects what arrives at the workload.
    pub transparent_inbound: Option<SocketAddr>,
    /// Whether to be ready only once the kernel is seen to redirect to these.
    pub verify_redirection: bool,
    /// The ports that the workload offers.
    pub services: Vec<Offer>,
    /// Address of the admin server.
    pub admin: SocketAddr,
    /// Where readiness, metrics and the application's probes are for others than this machine.
    pub monitor: Option<SocketAddr>,
    /// The application's probes.
    pub probes: Probes,
    /// What the access log holds.
    pub access_log: access::Mode,
    /// The share of requests that succeed in it.
    pub access_log_share: access::Share,
    /// The file that it is written to, else standard output.
    pub access_log_file: Option<PathBuf>,
    /// When load is shed.
    pub overload: overload::Settings,
    /// Bytes of requests' bodies that are kept for sending them again.
    pub replay_memory: usize,
    /// Connections of clients that are held at once; `None`: as many as there are descriptors for.
    pub max_connections: Option<u32>,
    /// Destinations that are followed at once; others are not asked for.
    pub max_destinations: u32,
    /// Time for requests to finish after the proxy is told to stop.
    pub drain_timeout: Duration,
    /// Time without an octet either way after which a request is given up; zero: never.
    pub stream_idle: Duration,
    /// Time after which an unused connection to the application is closed.
    pub application_idle: Duration,
}

/// What a workload proves its identity with at the first contact with the control plane.
#[derive(Clone, PartialEq, Eq)]
pub enum Proof {
    /// A join token; it says who the workload is and how to know the control plane.
    Token(String),
    /// A service account of Kubernetes.
    ServiceAccount(ServiceAccount),
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token"),
            Self::ServiceAccount(account) => account.fmt(f),
        }
    }
}

/// A service account of Kubernetes, with what it proves itself by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Who the workload is.
    pub identity: Identity,
    /// File of its token, which the kubelet renews.
    pub token: PathBuf,
    /// File of the roots, PEM, by which to know the control plane.
    pub roots: PathBuf,
}

/// A local listener that stands for one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The destination, `host:port`.
    pub destination: String,
    /// Where to listen.
    pub listen: SocketAddr,
}

/// A port of a service that the workload offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Names of the services, in the workload's namespace.
    pub services: Vec<String>,
    /// Port of the services: what clients dial.
    pub port: u16,
    /// What the application speaks.
    pub protocol: Protocol,
    /// Where the proxy takes connections for it.
    pub listen: SocketAddr,
    /// Where the application listens.
    pub application: SocketAddr,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self {
            workload_id: String::new(),
            labels: Vec::new(),
            region: String::new(),
            zone: String::new(),
            control_plane: String::new(),
            proof: Proof::Token(String::new()),
            workers: 1,
            outbound: None,
            upstreams: Vec::new(),
            proxy_protocol_from: Senders::default(),
            transparent_outbound: None,
            transparent_inbound: None,
            verify_redirection: true,
            services: Vec::new(),
            admin: loopback,
            monitor: None,
            probes: Probes::default(),
            access_log: access::Mode::Off,
            access_log_share: access::Share::default(),
            access_log_file: None,
            overload: overload::Settings::default(),
            replay_memory: REPLAY_MEMORY,
            max_connections: None,
            max_destinations: MAX_DESTINATIONS,
            // Kubernetes' default grace period is 30 s; what is left is for the process to end.
            drain_timeout: Duration::from_secs(25),
            stream_idle: crate::runtime::shared::STREAM_IDLE,
            application_idle: crate::runtime::shared::APPLICATION_IDLE,
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "{value:?} is not an upstream: {problem}. Write DESTINATION=ADDRESS, such as reviews:9080=127.0.0.1:19080"
)]
/// A text that does not name an upstream.
pub struct UpstreamError {
    value: String,
    problem: String,
}

impl std::str::FromStr for Upstream {
    type Err = UpstreamError;

    fn from_str(text: &str) -> Result<Self, UpstreamError> {
        let wrong = |problem: String| UpstreamError { value: text.to_owned(), problem };
        let (destination, listen) =
            text.split_once('=').ok_or_else(|| wrong("the \"=\" is missing".to_owned()))?;
        let port = destination.rsplit_once(':').map(|(host, port)| (host.is_empty(), port.parse::<u16>()));
        match port {
            None => return Err(wrong(format!("{destination:?} has no port"))),
            Some((true, _)) => return Err(wrong(format!("{destination:?} has no host"))),
            Some((_, Err(_) | Ok(0))) => {
                return Err(wrong(format!("{destination:?} has no port from 1 to 65535")));
            }
            Some((false, Ok(_))) => {}
        }
        let listen = match listen.parse::<u16>() {
            Ok(port) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
            Err(_) => {
                listen.parse().map_err(|_| wrong(format!("{listen:?} is neither IP:PORT nor a port")))?
            }
        };
        Ok(Self { destination: destination.to_owned(), listen })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_a_destination_and_an_address() {
        let upstream: Upstream = "reviews:9080=127.0.0.1:19080".parse().unwrap();
        assert_eq!(upstream.destination, "reviews:9080");
        assert_eq!(upstream.listen, "127.0.0.1:19080".parse().unwrap());
        let upstream: Upstream = "reviews.shop:9080=0".parse().unwrap();
        assert_eq!(upstream.listen, "127.0.0.1:0".parse().unwrap());
    }

    #[test]
    fn a_wrong_upstream_is_refused_with_what_is_wrong() {
        for (text, problem) in [
            ("reviews:9080", "the \"=\" is missing"),
            ("reviews=127.0.0.1:1", "has no port"),
            (":80=127.0.0.1:1", "has no host"),
            ("reviews:0=127.0.0.1:1", "from 1 to 65535"),
            ("reviews:80=localhost:1", "neither IP:PORT nor a port"),
        ] {
            let error = text.parse::<Upstream>().unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
