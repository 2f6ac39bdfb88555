//! The command line of a proxy, for its own program and for `weft proxy`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use weft_identity::JoinToken;
use weft_mesh::name::{Identity, TrustDomain};
use weft_mesh::proxy_protocol::Senders;

use crate::config::{MAX_DESTINATIONS, Proof, ProxyConfig, ServiceAccount, Upstream};
use crate::observe::access;
use crate::observe::monitor::Probes;
use crate::runtime::overload;

mod service;
mod time;

pub use service::{ServiceArg, ServiceError};
pub use time::{at_least_a_second, time_or_off};

/// Bytes of the unit that memory is given in.
const MIB: u64 = 1024 * 1024;

/// Options of a proxy.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address of the control plane, HOST:PORT [default: what the token says]
    #[arg(long, value_name = "ADDRESS", env = "WEFT_CONTROL_PLANE")]
    pub control_plane: Option<String>,
    /// Join token, from `weft token create`; better in a file or in the environment, where others don't see it
    #[arg(
        long,
        value_name = "TOKEN",
        env = "WEFT_TOKEN",
        hide_env_values = true,
        conflicts_with = "token_file"
    )]
    pub token: Option<String>,
    /// File that holds the join token
    #[arg(long, value_name = "FILE", env = "WEFT_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// File that holds the token of a Kubernetes service account for audience `weft`, instead of a join token
    #[arg(
        long,
        value_name = "FILE",
        env = "WEFT_SERVICE_ACCOUNT_TOKEN",
        requires_all = ["identity", "roots"],
        conflicts_with_all = ["token", "token_file"]
    )]
    pub service_account_token: Option<PathBuf>,
    /// Who the service account is, NAMESPACE/NAME
    #[arg(long, value_name = "ACCOUNT", env = "WEFT_IDENTITY")]
    pub identity: Option<String>,
    /// File of the roots by which to know the control plane, PEM, for a service account
    #[arg(long, value_name = "FILE", env = "WEFT_ROOTS")]
    pub roots: Option<PathBuf>,
    /// Trust domain of the mesh, for a service account
    #[arg(long, value_name = "NAME", env = "WEFT_TRUST_DOMAIN", default_value = "cluster.local")]
    pub trust_domain: TrustDomain,
    /// Name of the workload: unique in the mesh, the same after a restart [default: made up]
    #[arg(long, value_name = "ID", env = "WEFT_WORKLOAD_ID", value_parser = workload_id)]
    pub workload_id: Option<String>,
    /// Label of the workload, which Services select by; repeatable
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Region that the workload runs in
    #[arg(long, value_name = "NAME", env = "WEFT_REGION", default_value = "", hide_default_value = true)]
    pub region: String,
    /// Zone that the workload runs in
    #[arg(long, value_name = "NAME", env = "WEFT_ZONE", default_value = "", hide_default_value = true)]
    pub zone: String,
    /// Worker threads [default: one for each processor]
    #[arg(long, value_name = "N", env = "WEFT_WORKERS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// Address of the HTTP proxy for the workload's own requests, on loopback: others are not served, as what they ask for
    /// would be sent in the workload's name
    #[arg(long, value_name = "ADDRESS")]
    pub outbound: Option<SocketAddr>,
    /// Local listener for one destination, such as reviews:9080=127.0.0.1:19080 or reviews.shop:9080=19080; repeatable
    #[arg(long = "upstream", value_name = "DESTINATION=ADDRESS")]
    pub upstreams: Vec<Upstream>,
    /// Address, or block such as 10.0.0.0/8, of load balancers whose connections to --outbound and --upstream begin with a
    /// header of the PROXY protocol; repeatable
    #[arg(long = "proxy-protocol-from", value_name = "ADDRESSES")]
    pub proxy_protocol_from: Vec<String>,
    /// Port that the workload offers, such as reviews:9080/http=127.0.0.1:8080@0.0.0.0:19080; repeatable. PROTOCOL is
    /// detect (the default), http, http2, grpc, tcp or tls; APPLICATION is where the application listens; LISTEN is
    /// where peers reach the proxy, and without it any free port that is reachable from this machine alone
    #[arg(long = "service", value_name = "NAME[,NAME]:PORT[/PROTOCOL]=APPLICATION[@LISTEN]")]
    pub services: Vec<ServiceArg>,
    /// Address that redirected outbound connections arrive at
    #[arg(long, value_name = "ADDRESS")]
    pub transparent_outbound: Option<SocketAddr>,
    /// Address that redirected inbound connections arrive at
    #[arg(long, value_name = "ADDRESS")]
    pub transparent_inbound: Option<SocketAddr>,
    /// Be ready only once connections are seen to be redirected to these two; false is for rules that `redirect apply` did
    /// not make
    #[arg(
        long,
        value_name = "BOOL",
        env = "WEFT_VERIFY_REDIRECTION",
        default_value_t = true,
        action = clap::ArgAction::Set
    )]
    pub verify_redirection: bool,
    /// Address of the admin server; it is without authentication, and serves this network namespace alone
    #[arg(long, value_name = "ADDRESS", env = "WEFT_PROXY_ADMIN", default_value = "127.0.0.1:15000")]
    pub admin: SocketAddr,
    /// Address for others than this machine, such as [::]:15020: readiness, metrics, and probes of the application
    #[arg(long, value_name = "ADDRESS", env = "WEFT_MONITOR")]
    pub monitor: Option<SocketAddr>,
    /// Probes of the application that --monitor does for the kubelet, in JSON:
    /// {"CONTAINER/readiness": {"httpGet": {"path": "/", "port": 8080}}, ...}
    #[arg(long, value_name = "JSON", env = "WEFT_PROBES", default_value = "{}", hide_default_value = true)]
    pub probes: Probes,
    /// What is written of each request and connection, one line of JSON each: off, errors or all
    #[arg(long, value_name = "MODE", env = "WEFT_ACCESS_LOG", default_value_t)]
    pub access_log: access::Mode,
    /// Share of what succeeds that --access-log all holds, from 0 to 1; what fails is always there
    #[arg(long, value_name = "SHARE", env = "WEFT_ACCESS_LOG_SHARE", default_value_t)]
    pub access_log_share: access::Share,
    /// File that the access log is appended to [default: standard output]
    #[arg(long, value_name = "FILE", env = "WEFT_ACCESS_LOG_FILE")]
    pub access_log_file: Option<PathBuf>,
    /// Memory that the proxy may take, in MiB [default: the limit of its control group]
    #[arg(long, value_name = "MIB", env = "WEFT_MEMORY_LIMIT", value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    pub memory_limit: Option<u64>,
    /// Percentage of the memory from which a growing part of new requests is refused; 0: none ever is
    #[arg(long, value_name = "PERCENT", env = "WEFT_SHED_MEMORY", default_value_t = 90, value_parser = clap::value_parser!(u8).range(0..=99))]
    pub shed_memory: u8,
    /// How long work may wait for its turn, in milliseconds, before a growing part of new requests is refused; 0: none ever
    /// is
    #[arg(long, value_name = "MILLISECONDS", env = "WEFT_SHED_DELAY", default_value_t = 250)]
    pub shed_delay: u32,
    /// Memory for bodies of requests that may have to be sent again, in MiB; those beyond are sent once
    #[arg(long, value_name = "MIB", env = "WEFT_REPLAY_MEMORY", default_value_t = 32)]
    pub replay_memory: u16,
    /// Connections of clients that are held at once; those beyond are closed as they come [default: as many as there are
    /// descriptors for, `ulimit -n`]
    #[arg(long, value_name = "N", env = "WEFT_MAX_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: Option<u32>,
    /// Destinations that are followed at once, those of the last ten minutes; others are not asked for
    #[arg(
        long,
        value_name = "N",
        env = "WEFT_MAX_DESTINATIONS",
        default_value_t = MAX_DESTINATIONS,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub max_destinations: u32,
    /// Time for requests to finish after SIGTERM, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 25)]
    pub drain_timeout: u64,
    /// Time without a byte either way after which a request is given up, in whole minutes, such as 5m; off: never
    #[arg(
        long,
        value_name = "DURATION",
        env = "WEFT_STREAM_IDLE_TIMEOUT",
        default_value = "5m",
        value_parser = time_or_off
    )]
    pub stream_idle_timeout: Duration,
    /// Time after which an unused connection to the application is closed, such as 90s; less where the application's
    /// Keep-Alive field says so
    #[arg(
        long,
        value_name = "DURATION",
        env = "WEFT_APPLICATION_IDLE_TIMEOUT",
        default_value = "60s",
        value_parser = at_least_a_second
    )]
    pub application_idle_timeout: Duration,
}

fn workload_id(text: &str) -> Result<String, String> {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    if (1..=253).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is not a name for a workload: write 1 to 253 of the characters a-z, 0-9, . and -"))
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not a label: write KEY=VALUE, such as version=v2")),
    }
}

impl Args {
    /// What the options mean. Reads the join token's file.
    pub fn into_config(self) -> anyhow::Result<ProxyConfig> {
        let (proof, account, announced) = self.proof()?;
        let Some(control_plane) = self.control_plane.or(announced) else {
            bail!("it is not said where the control plane is: give --control-plane HOST:PORT");
        };
        let workload_id = self.workload_id.unwrap_or_else(|| format!("{account}-{:08x}", fastrand::u32(..)));
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(ProxyConfig {
            workload_id,
            labels: self.labels,
            region: self.region,
            zone: self.zone,
            control_plane,
            proof,
            workers: self.workers.map_or(processors, usize::from),
            outbound: self.outbound,
            upstreams: self.upstreams,
            proxy_protocol_from: Senders::new(&self.proxy_protocol_from)
                .context("--proxy-protocol-from cannot be used")?,
            transparent_outbound: self.transparent_outbound,
            transparent_inbound: self.transparent_inbound,
            verify_redirection: self.verify_redirection,
            services: self.services.into_iter().map(|ServiceArg(offer)| offer).collect(),
            admin: self.admin,
            monitor: self.monitor,
            probes: self.probes,
            access_log: self.access_log,
            access_log_share: self.access_log_share,
            access_log_file: self.access_log_file,
            overload: overload::Settings {
                memory_limit: self.memory_limit.map(|mib| mib * MIB),
                memory_percent: self.shed_memory,
                delay: Duration::from_millis(self.shed_delay.into()),
            },
            replay_memory: usize::from(self.replay_memory) * MIB as usize,
            max_connections: self.max_connections,
            max_destinations: self.max_destinations,
            drain_timeout: Duration::from_secs(self.drain_timeout),
            stream_idle: self.stream_idle_timeout,
            application_idle: self.application_idle_timeout,
        })
    }

    /// What the workload proves itself with, the name of its account, and where that says that the control plane is.
    fn proof(&self) -> anyhow::Result<(Proof, String, Option<String>)> {
        if let (Some(token), Some(identity), Some(roots)) =
            (&self.service_account_token, &self.identity, &self.roots)
        {
            let (namespace, name) = identity
                .split_once('/')
                .with_context(|| format!("--identity {identity:?} is not NAMESPACE/NAME"))?;
            let identity = Identity::new(&self.trust_domain, namespace, name)
                .with_context(|| format!("--identity {identity:?} cannot be used"))?;
            let account = ServiceAccount { identity, token: token.clone(), roots: roots.clone() };
            return Ok((Proof::ServiceAccount(account), name.to_owned(), None));
        }
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => token.clone(),
            (None, Some(file)) => std::fs::read_to_string(file)
                .with_context(|| format!("--token-file {}: cannot read it", file.display()))?,
            (None, None) => bail!(
                "no join token: give --token-file FILE or set WEFT_TOKEN; `weft token create` makes one"
            ),
        };
        let token = token.trim().to_owned();
        let parsed = JoinToken::parse(&token).context("the join token cannot be used")?;
        let account = parsed.claims().identity.service_account().to_owned();
        let announced = parsed.control_plane().map(str::to_owned);
        Ok((Proof::Token(token), account, announced))
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use clap::Parser;
    use weft_identity::{CaMaterial, CertificateAuthority, NewToken, TokenIssuer};

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    fn token(control_plane: Option<&str>) -> String {
        let now = SystemTime::now();
        let trust_domain = "mesh.example".parse().unwrap();
        let material = CaMaterial::generate(&trust_domain, now).unwrap();
        let authority = CertificateAuthority::from_pem(&material, "", &trust_domain, now).unwrap();
        let new = NewToken {
            identity: "spiffe://mesh.example/ns/shop/sa/web".parse().unwrap(),
            roots: authority.bundle().fingerprints(&trust_domain),
            control_plane: control_plane.map(str::to_owned),
            grants: weft_identity::Grants::default(),
            ttl: Duration::from_mins(10),
        };
        TokenIssuer::from_key(&TokenIssuer::generate_key()).unwrap().mint(&new, now).unwrap()
    }

    fn config(arguments: &[&str]) -> anyhow::Result<ProxyConfig> {
        let arguments = std::iter::once("proxy").chain(arguments.iter().copied());
        Program::try_parse_from(arguments)?.args.into_config()
    }

    #[test]
    fn what_the_token_says_need_not_be_said_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = token(Some("weft.example:15012"));
        std::fs::write(file.path(), format!("{text}\n")).unwrap();
        let path = file.path().to_str().unwrap();
        let from_token = config(&["--token-file", path, "--label", "app=web"]).unwrap();
        assert_eq!(
            (&*from_token.control_plane, from_token.proof),
            ("weft.example:15012", Proof::Token(text))
        );
        assert!(from_token.workload_id.starts_with("web-"), "{}", from_token.workload_id);
        assert_eq!(from_token.labels, [("app".to_owned(), "web".to_owned())]);
        assert!(from_token.workers >= 1);
        let said =
            config(&["--token-file", path, "--control-plane", "other:1", "--workload-id", "w.1"]).unwrap();
        assert_eq!((&*said.control_plane, &*said.workload_id), ("other:1", "w.1"));
    }

    #[test]
    fn a_service_account_takes_the_place_of_a_token() {
        let line = [
            "--service-account-token",
            "/token",
            "--identity",
            "shop/web",
            "--roots",
            "/roots.pem",
            "--control-plane",
            "c:1",
            "--probes",
            r#"{"app/liveness": {"tcpSocket": {"port": 80}}}"#,
        ];
        let config = config(&line).unwrap();
        let Proof::ServiceAccount(account) = config.proof else { panic!("{:?}", config.proof) };
        assert_eq!(account.identity.as_str(), "spiffe://cluster.local/ns/shop/sa/web");
        assert!(config.workload_id.starts_with("web-"), "{}", config.workload_id);
    }

    #[test]
    fn wrong_values_are_named() {
        let token = token(None);
        for (arguments, problem) in [
            (&["--label", "app"][..], "\"app\" is not a label: write KEY=VALUE"),
            (&["--workload-id", "Web"], "\"Web\" is not a name for a workload"),
            (&["--workers", "0"], "0 is not in 1..=1024"),
            (&["--max-connections", "0"], "0 is not in 1.."),
            (&["--upstream", "web=1"], "\"web\" has no port"),
            (
                &["--control-plane", "a:1", "--proxy-protocol-from", "balancer"],
                "\"balancer\": write an address, or a block",
            ),
            (&[], "give --control-plane HOST:PORT"),
            (&["--probes", "{\"app\": {}}"], "\"app\""),
        ] {
            let arguments = [&["--token", &token], arguments].concat();
            let error = format!("{:#}", config(&arguments).unwrap_err());
            assert!(error.contains(problem), "{error}");
        }
        let error = format!("{:#}", config(&["--token", "nonsense"]).unwrap_err());
        assert!(error.contains("the join token cannot be used"), "{error}");
    }
}
