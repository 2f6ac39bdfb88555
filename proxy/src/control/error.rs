//! What can go wrong between the proxy and the control plane.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tonic::{Code, Status};

/// Why something that needs the control plane did not work. What it means for the proxy is on `/ready`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The join token can't be used.
    #[error(transparent)]
    Token(#[from] weft_identity::Error),
    /// A file that the service account proves itself with can't be used.
    #[error("{what} in {}: {problem}", path.display())]
    File {
        /// What it is to hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The address of the control plane can't be one.
    #[error("{0:?} is not the address of a control plane: write HOST:PORT, such as weft.example:15012")]
    Address(String),
    /// The control thread could not be started.
    #[error("cannot start the control thread: {0}")]
    Thread(io::Error),
    /// There is no connection.
    #[error("cannot connect to the control plane at {address}: {source}")]
    Connect {
        /// Its address.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// No connection came about in time.
    #[error("cannot connect to the control plane at {address}: no answer in {after:?}")]
    Silent {
        /// Its address.
        address: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// Whoever answers is not the control plane that the token, or the trust bundle, speaks of.
    #[error("{address} is not the control plane of this mesh: {problem}")]
    Impostor {
        /// The address.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The control plane refused the certificate or the request.
    #[error("the control plane at {address} refused {what}: {problem}")]
    Refused {
        /// Its address.
        address: String,
        /// What it refused.
        what: &'static str,
        /// Its answer.
        problem: String,
    },
    /// The control plane answered something that can't be used.
    #[error("the control plane at {address} answered {problem}")]
    Answer {
        /// Its address.
        address: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// There is no certificate yet to connect with.
    #[error("there is no certificate yet")]
    NoCertificate,
}

impl Error {
    /// The failure of a call. Statuses that say that the caller is at fault are refusals; the others pass.
    pub(super) fn of_call(address: &str, what: &'static str, status: &Status) -> Self {
        let address = address.to_owned();
        let problem = match status.message() {
            "" => status.code().to_string(),
            message => message.to_owned(),
        };
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument | Code::AlreadyExists => {
                Self::Refused { address, what, problem }
            }
            code => Self::Answer { address, problem: format!("{what} with {code}: {problem}") },
        }
    }

    /// Whether trying again will not help unless someone changes something.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Token(_) | Self::Impostor { .. } | Self::Refused { .. })
    }
}
