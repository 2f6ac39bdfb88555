//! The one error of this crate.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the control plane can't start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder can't be used.
    #[error("{what} {}: {source}", path.display())]
    Path {
        /// What it is for, such as `configuration folder`.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// An address can't be listened on.
    #[error("can't listen on {address} for {what}: {source}{hint}")]
    Listen {
        /// What it is for.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
        /// What to do, after `; `; may be empty.
        hint: String,
    },
    /// The certificate authority, a token or a certificate.
    #[error(transparent)]
    Identity(#[from] weft_identity::Error),
    /// A name.
    #[error(transparent)]
    Name(#[from] weft_mesh::Error),
    /// The cluster lacks something.
    #[error("{0}")]
    Kubernetes(String),
    /// A setting that makes no sense.
    #[error("{0}")]
    Setting(String),
}
