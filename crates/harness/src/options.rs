//! Options of command lines that the programs share.

use clap::Args;

use crate::process::Cores;
use crate::protocol::Protocol;

/// Where everything runs.
#[derive(Clone, Copy, Debug, Args)]
pub struct Placing {
    /// The core that clients, applications and what isn't measured share.
    #[arg(long, default_value_t = 0)]
    client_core: usize,
    /// The core that the proxies share.
    #[arg(long, default_value_t = 1)]
    proxy_core: usize,
}

impl Placing {
    /// The cores, as a stage takes them.
    pub fn cores(self) -> Cores {
        Cores { client: self.client_core, proxy: self.proxy_core }
    }
}

/// The application behind the sidecars, as a program of its own.
#[derive(Clone, Debug, Args)]
pub struct Serve {
    /// What it speaks.
    #[arg(long, value_enum)]
    pub protocol: Protocol,
}
