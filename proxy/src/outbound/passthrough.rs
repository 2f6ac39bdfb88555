//! What the mesh does not know goes where its name says, in plain text.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;
use weft_mesh::reason::Reason;

use crate::error::{BoxFailure, Failure};
use crate::http::client::Client;
use crate::upstream::connect::Connector;

/// Time after which an unused connection is closed.
const IDLE: Duration = Duration::from_mins(1);
/// Time for a name to be resolved.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Connections to what is outside the mesh, by address.
#[derive(Debug, Default)]
pub struct Passthrough {
    clients: RefCell<HashMap<SocketAddr, Rc<Client>>>,
}

impl Passthrough {
    /// The connections to one address.
    pub fn client(&self, address: SocketAddr) -> Rc<Client> {
        Rc::clone(self.clients.borrow_mut().entry(address).or_insert_with(|| Client::new(connector(address))))
    }

    /// Closes idle connections.
    pub fn sweep(&self, now: Instant) {
        self.clients.borrow_mut().retain(|_, client| client.sweep(now, IDLE) || Rc::strong_count(client) > 1);
    }
}

/// How to reach an address outside the mesh.
pub(super) fn connector(address: SocketAddr) -> Connector {
    Connector::plain(address)
}

/// The address of `name` (`host:port`), by the system's resolver.
pub(super) async fn resolve(name: &str) -> Result<SocketAddr, BoxFailure> {
    if let Ok(address) = name.parse() {
        return Ok(address);
    }
    let unknown = |problem: String| {
        let detail = format!("{name} is not in the mesh, and {problem}");
        Failure::unprocessed(Reason::ConnectFailed, detail)
    };
    match tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host(name)).await {
        Ok(Ok(mut addresses)) => {
            addresses.next().ok_or_else(|| unknown("its name has no address".to_owned()))
        }
        Ok(Err(error)) => Err(unknown(format!("its name cannot be resolved: {error}"))),
        Err(_) => Err(unknown(format!("its name was not resolved in {RESOLVE_TIMEOUT:?}"))),
    }
}
