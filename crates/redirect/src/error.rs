//! What can go wrong, and what to do about it.

use std::io;

/// Why rules could not be applied, removed or shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller lacks the capability.
    #[error(
        "{what}: not permitted; it needs the capability NET_ADMIN in the network namespace: run it as root, or add \
         NET_ADMIN to the container's securityContext.capabilities, or use the CNI plugin instead"
    )]
    NotPermitted {
        /// What was tried.
        what: String,
    },
    /// The kernel has no `nf_tables`.
    #[error(
        "the kernel has no nf_tables ({0}): load it on the node (modprobe nf_tables), or use --backend iptables where the \
         programs of iptables are installed"
    )]
    NoNfTables(io::Error),
    /// The kernel lacks a part of `nf_tables`.
    #[error("{what}: the kernel lacks {module}; load it on the node: modprobe {module}")]
    NoModule {
        /// The rule that needs it.
        what: String,
        /// The kernel module.
        module: &'static str,
    },
    /// The kernel refused something.
    #[error("{what}: {source}")]
    Kernel {
        /// What it refused.
        what: String,
        /// Its answer.
        source: io::Error,
    },
    /// A program that is not there.
    #[error(
        "{program} is not in PATH: install iptables, or use --backend nft with a kernel that has nf_tables"
    )]
    NoProgram {
        /// The program.
        program: &'static str,
    },
    /// Neither way into the kernel works.
    #[error("{nft}; and {iptables}")]
    Neither {
        /// Why not by `nf_tables`.
        nft: Box<Error>,
        /// Why not by iptables.
        iptables: Box<Error>,
    },
    /// A program that failed.
    #[error("{program} failed: {said}{hint}")]
    Program {
        /// The program.
        program: &'static str,
        /// What it wrote to standard error.
        said: String,
        /// What to do.
        hint: &'static str,
    },
    /// The kernel said something that cannot be read.
    #[error("the kernel's answer cannot be read: {0}")]
    Unreadable(&'static str),
}

impl Error {
    /// An error of the kernel, said of what was tried.
    pub(crate) fn of(what: impl Into<String>, source: io::Error) -> Self {
        let what = what.into();
        if source.kind() == io::ErrorKind::PermissionDenied {
            return Self::NotPermitted { what };
        }
        Self::Kernel { what, source }
    }
}
