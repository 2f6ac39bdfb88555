//! The one error of this crate.

use std::io;

/// Why connections can't be redirected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port or a range of ports.
    #[error("{0:?} is neither a port nor a range of ports such as 8000-8100")]
    Port(String),
    /// An address or a block.
    #[error("{0:?} is neither an address nor a block such as 10.0.0.0/8")]
    Address(String),
    /// The kernel was not willing.
    #[error("{what}: {source}{hint}")]
    Kernel {
        /// What was asked.
        what: &'static str,
        /// Its answer.
        source: io::Error,
        /// What to do, after `; `.
        hint: &'static str,
    },
    /// A program that is needed.
    #[error("{program}: {problem}")]
    Program {
        /// Its name.
        program: String,
        /// What happened.
        problem: String,
    },
}

impl Error {
    pub(crate) fn kernel(what: &'static str, source: io::Error) -> Self {
        use rustix::io::Errno;
        let hint = match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::PERM | Errno::ACCESS) => {
                "; it takes the capability NET_ADMIN in this network namespace: run as root, or add it to the container"
            }
            Some(Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT | Errno::OPNOTSUPP | Errno::NOENT) => {
                "; the kernel lacks nf_tables with NAT: load the modules nf_tables and nft_redir, or use --backend iptables"
            }
            _ => "",
        };
        Self::Kernel { what, source, hint }
    }

    /// Whether the kernel has no such filter, so that another one may do.
    pub fn is_unsupported(&self) -> bool {
        use rustix::io::Errno;
        let Self::Kernel { source, .. } = self else { return false };
        matches!(
            source.raw_os_error().map(Errno::from_raw_os_error),
            Some(Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT | Errno::OPNOTSUPP | Errno::NOENT)
        )
    }
}
