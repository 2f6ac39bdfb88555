use std::net::SocketAddr;

/// Why a service cannot start or has to end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address to listen on is not to be had.
    #[error("cannot listen on {address}: {}", why_not_bound(.source))]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// An environment variable holds what cannot be used.
    #[error("{variable}={value}: {reason}")]
    Environment {
        /// Name of the variable.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The process cannot be told to end.
    #[error("cannot listen to SIGTERM and SIGINT: {0}")]
    Signals(std::io::Error),
    /// The runtime that everything runs on cannot start.
    #[error("cannot start the runtime: {0}")]
    Runtime(std::io::Error),
    /// The gRPC server ended by itself.
    #[error("gRPC server on {address}: {source}")]
    Grpc {
        /// The address it listened on.
        address: SocketAddr,
        /// What it said.
        source: tonic::transport::Error,
    },
    /// A client of gRPC cannot be made for a URL.
    #[error("{url}: {source}")]
    Client {
        /// The URL.
        url: String,
        /// What is wrong with it.
        source: tonic::transport::Error,
    },
    /// The gRPC reflection service refuses the contract.
    #[error("gRPC reflection: {0}")]
    Reflection(tonic_reflection::server::Error),
}

fn why_not_bound(source: &std::io::Error) -> String {
    match source.kind() {
        std::io::ErrorKind::AddrInUse => {
            "the port is in use; choose another with --port or PORT, or 0 for any free one".to_owned()
        }
        std::io::ErrorKind::PermissionDenied => {
            "not permitted; choose a port from 1024 on with --port or PORT".to_owned()
        }
        std::io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address; choose one of its own with --host".to_owned()
        }
        _ => source.to_string(),
    }
}
