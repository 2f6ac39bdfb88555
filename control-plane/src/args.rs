//! The command line of a control plane, for its own program and for `weft control-plane`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use weft_identity::ca::IntermediateFiles;
use weft_mesh::name::TrustDomain;

use crate::config::{DEFAULT_ADMIN, DEFAULT_LISTEN, DEFAULT_MAX_SUBSCRIPTIONS, DEFAULT_TRUST_DOMAIN};
use crate::{ControlPlaneConfig, KubernetesConfig, default_state_dir};

/// State folder in a pod: an empty volume, as everything that matters is in the cluster.
const PODS_STATE: &str = "/var/run/weft";

/// Options of a control plane.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder of YAML files with Services, routes and policies; watched for changes
    #[arg(long, value_name = "DIR", env = "WEFT_CONFIG")]
    pub config: Option<PathBuf>,
    /// Folder for CA, token key and registrations; made when missing [default: ~/.local/state/weft]
    #[arg(long, value_name = "DIR", env = "WEFT_STATE")]
    pub state: Option<PathBuf>,
    /// Address for discovery and identity; port 0 takes any free port
    #[arg(long, value_name = "ADDRESS", env = "WEFT_LISTEN", default_value_t = DEFAULT_LISTEN)]
    pub listen: SocketAddr,
    /// Address for /ready, /metrics, /config and /clients, for this machine alone: it is without authentication
    #[arg(long, value_name = "ADDRESS", env = "WEFT_ADMIN", default_value_t = DEFAULT_ADMIN)]
    pub admin: SocketAddr,
    /// Address for others than this machine, such as [::]:15020: /ready, /live and /metrics
    #[arg(long, value_name = "ADDRESS", env = "WEFT_MONITOR")]
    pub monitor: Option<SocketAddr>,
    /// Trust domain of all identities
    #[arg(long, value_name = "NAME", env = "WEFT_TRUST_DOMAIN", default_value = DEFAULT_TRUST_DOMAIN)]
    pub trust_domain: TrustDomain,
    /// Life of workloads' certificates, in seconds; they are renewed from half of it on
    #[arg(
        long,
        value_name = "SECONDS",
        env = "WEFT_CERTIFICATE_LIFE",
        default_value_t = 24 * 3600,
        value_parser = clap::value_parser!(u32).range(60..=365 * 24 * 3600)
    )]
    pub certificate_life: u32,
    /// Names and collections that one proxy may subscribe to; one that uses more destinations leaves out those that it used
    /// longest ago
    #[arg(
        long,
        value_name = "N",
        env = "WEFT_MAX_SUBSCRIPTIONS",
        default_value_t = DEFAULT_MAX_SUBSCRIPTIONS,
        value_parser = clap::value_parser!(u32).range(16..)
    )]
    pub max_subscriptions: u32,
    /// Take resources and pods from Kubernetes: from the cluster that this runs in, or that KUBECONFIG names
    #[arg(long, env = "WEFT_KUBERNETES", conflicts_with = "config")]
    pub kubernetes: bool,
    /// Secret in weft-system to sign with, with tls.crt, tls.key and ca.crt, such as cert-manager makes [default: an own root
    /// in Secret weft-ca]
    #[arg(long, value_name = "NAME", requires = "kubernetes", conflicts_with = "ca_chain")]
    pub ca_secret: Option<String>,
    /// Address of the webhook that injects sidecars
    #[arg(long, value_name = "ADDRESS", requires = "kubernetes")]
    pub webhook: Option<SocketAddr>,
    /// File of the injector's settings
    #[arg(long, value_name = "FILE", requires = "kubernetes")]
    pub settings: Option<PathBuf>,
    /// Let workloads register that are no pods, with a join token; elsewhere than in Kubernetes they always may
    #[arg(long, env = "WEFT_REGISTRATION", requires = "kubernetes")]
    pub registration: bool,
    /// Chain of an intermediate CA to sign with, PEM, the signing certificate first
    #[arg(long, value_name = "FILE", requires_all = ["ca_key", "ca_roots"])]
    pub ca_chain: Option<PathBuf>,
    /// Private key of the intermediate CA, PEM
    #[arg(long, value_name = "FILE", requires = "ca_chain")]
    pub ca_key: Option<PathBuf>,
    /// Roots that workloads are to believe, PEM
    #[arg(long, value_name = "FILE", requires = "ca_chain")]
    pub ca_roots: Option<PathBuf>,
}

impl Args {
    /// What the options mean.
    pub fn into_config(self) -> ControlPlaneConfig {
        let intermediate = match (self.ca_chain, self.ca_key, self.ca_roots) {
            (Some(chain), Some(key), Some(roots)) => Some(IntermediateFiles { chain, key, roots }),
            _ => None,
        };
        let kubernetes = self.kubernetes.then_some(KubernetesConfig {
            ca_secret: self.ca_secret,
            webhook: self.webhook,
            settings: self.settings,
            registration: self.registration,
        });
        // In a pod there is no home, and the root file system is read-only.
        let state = self.state.or_else(|| kubernetes.is_some().then(|| PODS_STATE.into()));
        ControlPlaneConfig {
            config_dir: self.config,
            kubernetes,
            listen: self.listen,
            admin: self.admin,
            monitor: self.monitor,
            intermediate,
            certificate_life: Duration::from_secs(self.certificate_life.into()),
            max_subscriptions: usize::try_from(self.max_subscriptions).unwrap_or(usize::MAX),
            ..ControlPlaneConfig::new(state.unwrap_or_else(default_state_dir), self.trust_domain)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn options_become_the_configuration() {
        let mut line = vec!["x", "--config", "c", "--state", "s", "--listen", "127.0.0.1:0"];
        line.extend(["--trust-domain", "a.b", "--certificate-life", "3600"]);
        let config = Program::try_parse_from(line).unwrap().args.into_config();
        assert_eq!(config.config_dir, Some("c".into()));
        assert_eq!(config.state_dir, PathBuf::from("s"));
        assert_eq!(config.certificate_life, Duration::from_hours(1));
        assert_eq!(config.listen, "127.0.0.1:0".parse().unwrap());
        assert_eq!(config.trust_domain.as_str(), "a.b");
        assert_eq!(config.intermediate, None);
    }

    #[test]
    fn half_an_intermediate_is_refused() {
        assert!(Program::try_parse_from(["x", "--ca-chain", "c"]).is_err());
        assert!(Program::try_parse_from(["x", "--ca-key", "c"]).is_err());
    }
}
