//! The command line.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand, ValueEnum};

use weft_harness::options::{Placing, Serve};
use weft_harness::process::exec::Exec;
use weft_harness::protocol::Protocol;

use crate::workload::WorkloadName;

/// Side-by-side benchmarks of pairs of sidecar proxies.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure pairs of sidecars side by side, in interleaved rounds.
    Compare(Compare),
    /// Only verify that each pair does what is measured: mutual TLS 1.3 on the hop, exact answers, pinned cores.
    Check(Check),
    /// Measure the memory that idle client connections cost a pair.
    Idle(Idle),
    /// Measure what clients that do not read, or cancel, take away from others, and of a pair's memory.
    Fairness(Fairness),
    /// Measure what finding a rule costs, by the number of routes and the depth of paths.
    Routes(Routes),
    /// Measure what carrying bytes between two sockets costs, through a buffer and by `splice`.
    Relay(Relay),
    /// Generate load on one address and print the result as JSON.
    Load(Load),
    /// Answer every request with 1 KiB; prints the address it listens on.
    Serve(Serve),
    /// Become another program, bound to a core and to the life of the parent.
    #[command(hide = true)]
    Exec(Exec),
}

/// What is measured and where.
#[derive(Clone, Debug, Args)]
pub(crate) struct Selection {
    /// A subject: the name of a folder in `subjects/`, `name=folder` for one that is elsewhere, or `direct`.
    /// Repeatable; by default direct and every folder whose programs are installed.
    #[arg(long = "subject", value_name = "NAME[=FOLDER]")]
    pub(crate) subjects: Vec<String>,
    #[command(flatten)]
    pub(crate) placing: Placing,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Routes {
    /// How often each table is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Length of each measurement in milliseconds.
    #[arg(long, default_value_t = 500)]
    pub(crate) milliseconds: u64,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Relay {
    /// How often each way is measured.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Mebibytes that go in one direction.
    #[arg(long, default_value_t = 1024)]
    pub(crate) mebibytes: u64,
    /// Messages of 1 KiB that are answered one by one.
    #[arg(long, default_value_t = 20_000)]
    pub(crate) messages: u64,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Compare {
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// What to send; repeatable, all by default.
    #[arg(long = "workload", value_name = "WORKLOAD")]
    pub(crate) workloads: Vec<WorkloadName>,
    /// How often each subject is measured with each workload.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Length of each measurement in seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,
    /// Load before each measurement that is not counted, in seconds.
    #[arg(long, default_value_t = 2)]
    pub(crate) warmup: u32,
    /// Requests per second of the workloads at a fixed rate.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    /// The subject that ratios refer to.
    #[arg(long, default_value = "envoy")]
    pub(crate) baseline: String,
    /// What sends the load; h2load serves to cross-check the own generator.
    #[arg(long, value_enum, default_value_t = Generator::Own)]
    pub(crate) generator: Generator,
    /// Names the results: `results/<NAME>.md` and `results/<NAME>.json`. Without it they go to `.work/results/`.
    #[arg(long)]
    pub(crate) name: Option<String>,
}

/// Who sends the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Generator {
    /// This program.
    Own,
    /// h2load of nghttp2; closed loop only, knows mean and maximum latency only.
    H2load,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) selection: Selection,
}

/// Whose clients are idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    /// The client's sidecar's: in plain text.
    Outbound,
    /// The server's sidecar's: in mutual TLS, from peers that speak standard HTTP.
    Inbound,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Idle {
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// Client connections to hold open.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: u32,
    /// Whose clients they are; repeatable, both by default.
    #[arg(long = "side", value_enum)]
    pub(crate) sides: Vec<Side>,
    /// Connections that send their one request at the same time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) parallel: u32,
    /// What the connections speak; repeatable, both by default.
    #[arg(long = "protocol", value_enum)]
    pub(crate) protocols: Vec<Protocol>,
    /// Names the results, as for `compare`.
    #[arg(long)]
    pub(crate) name: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Fairness {
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// Streams that are not read, where memory is measured.
    #[arg(long, default_value_t = 3000)]
    pub(crate) streams: usize,
    /// Names the results, as for `compare`.
    #[arg(long)]
    pub(crate) name: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Load {
    /// The address to connect to.
    #[arg(long)]
    pub(crate) connect: SocketAddr,
    /// The authority (Host) of the requests.
    #[arg(long)]
    pub(crate) authority: String,
    #[arg(long, value_enum)]
    pub(crate) protocol: Protocol,
    /// Connections.
    #[arg(long, default_value_t = 1)]
    pub(crate) connections: usize,
    /// Concurrent requests per connection; HTTP/1.1 has one.
    #[arg(long, default_value_t = 1)]
    pub(crate) streams: usize,
    /// Requests per second over all connections; without it each stream sends as soon as it has its answer.
    #[arg(long)]
    pub(crate) rate: Option<u32>,
    /// Seconds before counting.
    #[arg(long, default_value_t = 2)]
    pub(crate) warmup: u32,
    /// Seconds of counting.
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u32,
}
