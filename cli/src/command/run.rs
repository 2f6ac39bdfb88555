//! `weft run`: a program with a sidecar beside it.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use weft_mesh::name::ServiceName;
use weft_mesh::protocol::Protocol;
use weft_proxy::Upstream;

use crate::runtime;

pub(crate) const EXAMPLES: &str = "\
Examples:
  weft run --service web --port 8080 -- ./web
      other workloads reach ./web as http://web:8080/; it listens on the port in $PORT

  weft run --service reviews --version v2 --port 9080 --app-port 3000 -- npm start
      the program listens on port 3000; routes can send a share of the calls to the service reviews-v2

  weft run -- curl http://web:8080/
      one request as the client `default`; HTTP_PROXY leads through the sidecar

  weft run --upstream ratings:9090=0 --env 'RATINGS_URL=http://{ratings:9090}' -- ./reviews
      for what can't go through an HTTP proxy, such as gRPC: a local port that leads to ratings

  weft run --service me --upstream web:8080=127.0.0.1:8080
      no program: a sidecar alone until Ctrl-C, so that a browser can open http://127.0.0.1:8080/

The control plane: with --token or WEFT_TOKEN, the one that the token names; else the one that runs on this machine as
the same user (`weft control-plane --config DIR`).

The program's environment: PORT (with --port), HTTP_PROXY and http_proxy (without --no-outbound), NO_PROXY and no_proxy,
and what --env adds. It starts once the sidecar is ready, so that its first request already finds the mesh. SIGTERM first
lets requests to the program finish, then goes on to it; other signals go on at once. `weft ps` lists what runs.

Exit codes:
  the program's own; 128 and the signal's number when a signal ended it
  2    wrong usage
  125  the sidecar failed, and the program was not started
  126  the program can't be executed
  127  there is no such program";

const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the service that the program is a part of; also its identity
    #[arg(long, value_name = "NAME", value_parser = service_name)]
    pub(crate) service: Option<String>,
    /// Version of the program: adds the label version=V, and offers the service NAME-V too
    #[arg(long, value_name = "V", requires = "service", value_parser = version)]
    pub(crate) version: Option<String>,
    /// Port of the service, which clients dial; without it nothing is offered
    #[arg(long, requires = "service", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// What the program speaks on it: http, http2, grpc, tcp, tls [default: found out from the first bytes]
    #[arg(long, requires = "port", value_parser = protocol)]
    pub(crate) protocol: Option<Protocol>,
    /// Port that the program listens on, if it can't take the one in PORT
    #[arg(long, value_name = "PORT", requires = "port", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) app_port: Option<u16>,
    /// Namespace of the service and of the identity [default: that of the token, else default]
    #[arg(long, value_name = "NAME", env = "WEFT_NAMESPACE", value_parser = service_name)]
    pub(crate) namespace: Option<String>,
    /// A local port that leads to one destination; address or port, 0 for any free one; may be repeated
    #[arg(long = "upstream", value_name = "HOST:PORT=ADDRESS")]
    pub(crate) upstreams: Vec<Upstream>,
    /// Set a variable for the program; `{HOST:PORT}` stands for the address of that --upstream; may be repeated
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) variables: Vec<(String, String)>,
    /// A label that Services can select by; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = variable)]
    pub(crate) labels: Vec<(String, String)>,
    /// Leave the program's own requests alone: no proxy variables
    #[arg(long)]
    pub(crate) no_outbound: bool,
    /// Where the sidecar takes the program's own requests, on loopback: it sends them in the program's name
    #[arg(long, value_name = "ADDRESS", default_value_t = ANYWHERE, conflicts_with = "no_outbound")]
    pub(crate) outbound: SocketAddr,
    /// Where the sidecar takes requests for the program; other machines need one that they can reach
    #[arg(long, value_name = "ADDRESS", default_value_t = ANYWHERE, requires = "port")]
    pub(crate) inbound: SocketAddr,
    /// Where /ready, /metrics and /config of the sidecar are, for this network namespace alone
    #[arg(long, value_name = "ADDRESS", default_value_t = ANYWHERE)]
    pub(crate) admin: SocketAddr,
    /// What is written of each request and connection, one line of JSON each: off, errors or all
    #[arg(long, value_name = "MODE", env = "WEFT_ACCESS_LOG", default_value_t)]
    pub(crate) access_log: weft_proxy::observe::access::Mode,
    /// File that the access log is appended to [default: standard error, beside what the program says]
    #[arg(long, value_name = "FILE", env = "WEFT_ACCESS_LOG_FILE")]
    pub(crate) access_log_file: Option<PathBuf>,
    /// Token to join with, from `weft token create`
    #[arg(long, env = "WEFT_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Address of the control plane [default: the one in the token]
    #[arg(long, value_name = "HOST:PORT", env = "WEFT_CONTROL_PLANE", value_parser = weft_values::authority)]
    pub(crate) control_plane: Option<http::uri::Authority>,
    /// State folder of the local control plane, where no token is given [default: ~/.local/state/weft]
    #[arg(long, value_name = "DIR", env = "WEFT_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// Id of the workload, the same over restarts [default: made of service, version and chance]
    #[arg(long, value_name = "ID", value_parser = workload_id)]
    pub(crate) workload_id: Option<String>,
    /// How long requests may take to finish after SIGTERM
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = weft_values::duration)]
    pub(crate) drain: Duration,
    /// Time without a byte either way after which a request is given up, in whole minutes; off: never
    #[arg(
        long,
        value_name = "DURATION",
        env = "WEFT_RUN_STREAM_IDLE_TIMEOUT",
        default_value = "5m",
        value_parser = weft_proxy::config::args::time_or_off
    )]
    pub(crate) stream_idle_timeout: Duration,
    /// How long the sidecar keeps an unused connection to the program; less where the program's Keep-Alive field says so
    #[arg(
        long,
        value_name = "DURATION",
        env = "WEFT_APPLICATION_IDLE_TIMEOUT",
        default_value = "60s",
        value_parser = weft_proxy::config::args::at_least_a_second
    )]
    pub(crate) application_idle_timeout: Duration,
    /// Write addresses and process ids to this file as JSON, once everything takes requests
    #[arg(long, value_name = "FILE")]
    pub(crate) info: Option<PathBuf>,
    /// The program and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

fn service_name(text: &str) -> Result<String, String> {
    ServiceName::new("default", text).map(|name| name.name().to_owned()).map_err(|error| error.to_string())
}

fn version(text: &str) -> Result<String, String> {
    service_name(text).map_err(|_| "write lower-case letters, digits and -, such as v2".to_owned())
}

fn workload_id(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    if (1..=253).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err("write 1 to 253 of a-z, 0-9, . and -, such as reviews-v2-1".to_owned())
}

fn protocol(text: &str) -> Result<Protocol, String> {
    Protocol::from_name(text).ok_or_else(|| "write http, http2, grpc, tcp or tls".to_owned())
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write a name, = and a value".to_owned()),
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    // What the sidecar waits for at its start is said in a better way; see `crate::run`.
    weft_log::start(crate::run::STARTING);
    runtime::on_this_thread(crate::run::run(args)).map(ExitCode::from)
}
