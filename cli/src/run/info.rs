//! The file of `--info`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use weft_proxy::Addresses;

use crate::process::replace_file;

/// Where things are, for who started `weft run`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Info {
    /// Process id of the sidecar.
    pub(crate) pid: u32,
    /// Process id of the program, if there is one.
    pub(crate) program: Option<u32>,
    /// Port of the program, if it offers something.
    pub(crate) port: Option<u16>,
    /// The HTTP proxy for the program's own requests.
    pub(crate) outbound: Option<SocketAddr>,
    /// Where the sidecar takes requests for the program.
    pub(crate) inbound: Option<SocketAddr>,
    /// The local listener of each `--upstream`.
    pub(crate) upstreams: BTreeMap<String, SocketAddr>,
    /// The admin server of the sidecar.
    pub(crate) admin: SocketAddr,
}

impl Info {
    pub(super) fn new(addresses: &Addresses, port: Option<u16>, program: Option<u32>) -> Self {
        Self {
            pid: std::process::id(),
            program,
            port,
            outbound: addresses.outbound,
            inbound: addresses.offers.first().map(|(_, address)| *address),
            upstreams: addresses.upstreams.iter().cloned().collect(),
            admin: addresses.admin,
        }
    }

    /// Writes it where it was asked for.
    pub(super) fn write(&self, file: Option<&Path>) -> anyhow::Result<()> {
        let Some(file) = file else { return Ok(()) };
        let text = serde_json::to_vec(self)?;
        replace_file(file, &text).with_context(|| format!("cannot write {}", file.display()))
    }
}
