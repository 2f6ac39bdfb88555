//! Connecting to a name that is not the mesh's: by the system's resolver, to whichever of its addresses answers first.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep};
use weft_mesh::eyeballs::{ATTEMPT_DELAY, order};
use weft_mesh::reason::Reason;

use super::connect::tcp;
use crate::error::{BoxFailure, Failure};
use crate::transport::own_listeners::OwnListeners;
use crate::transport::socket::Socket;

/// Time for a name to be resolved.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);

/// A name outside the mesh, `host:port`; the host may be an address.
#[derive(Debug, Clone)]
pub(super) struct DnsName {
    name: Arc<str>,
}

impl DnsName {
    /// The name, `host:port`.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn new(name: Arc<str>) -> Self {
        Self { name }
    }

    /// Connects; `timeout` is the time for each address. A name of which one address is among the proxy's `own` is refused.
    pub(super) async fn connect(&self, timeout: Duration, own: &OwnListeners) -> Result<Socket, BoxFailure> {
        let addresses = order(self.resolve().await?);
        for address in &addresses {
            own.refuse(&self.name, *address)?;
        }
        match *addresses {
            [address] => tcp(address, timeout, own).await,
            _ => self.race(&addresses, timeout, own).await,
        }
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, BoxFailure> {
        let name = &*self.name;
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        let unknown = |problem: String| {
            let detail = format!("{name} is not in the mesh, and {problem}");
            Failure::unprocessed(Reason::ConnectFailed, detail)
        };
        let addresses: Vec<_> = match tokio::time::timeout(RESOLVE_TIMEOUT, lookup(name)).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => return Err(unknown(format!("its name cannot be resolved: {error}"))),
            Err(_) => return Err(unknown(format!("its name was not resolved in {RESOLVE_TIMEOUT:?}"))),
        };
        if addresses.is_empty() {
            return Err(unknown("its name has no address".to_owned()));
        }
        Ok(addresses)
    }

    /// Tries one address after the other, the next when one fails or has not answered for a while; what was begun goes
    /// on until one is connected (RFC 8305 section 5).
    async fn race(
        &self,
        addresses: &[SocketAddr],
        timeout: Duration,
        own: &OwnListeners,
    ) -> Result<Socket, BoxFailure> {
        let mut waiting = addresses.iter();
        let mut attempts = FuturesUnordered::new();
        let mut failures = Vec::new();
        let mut next = std::pin::pin!(sleep(Duration::ZERO));
        loop {
            tokio::select! {
                () = next.as_mut(), if waiting.len() > 0 => {
                    attempts.extend(waiting.next().map(|address| tcp(*address, timeout, own)));
                    next.as_mut().reset(Instant::now() + ATTEMPT_DELAY);
                }
                Some(attempt) = attempts.next() => match attempt {
                    Ok(stream) => return Ok(stream),
                    Err(failure) => {
                        failures.push(failure.detail);
                        next.as_mut().reset(Instant::now());
                    }
                },
                else => {
                    let detail = format!("none of the addresses of {}: {}", self.name, failures.join("; "));
                    return Err(Failure::unprocessed(Reason::ConnectFailed, detail));
                }
            }
        }
    }
}

async fn lookup(name: &str) -> std::io::Result<Vec<SocketAddr>> {
    #[cfg(test)]
    if let Some(addresses) = crate::tests::network::resolve(name) {
        return Ok(addresses);
    }
    Ok(tokio::net::lookup_host(name).await?.collect())
}
