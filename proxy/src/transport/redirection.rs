//! Whether the kernel leads connections to this proxy, as the rules of its network namespace should.
//!
//! Without the rules a workload works as if there were no mesh: nothing that it sends is encrypted or meets a policy, and
//! what arrives is let in by nobody. That happens where nobody made them, such as a CNI plugin that came after the pod, and
//! nothing else would tell. So the proxy opens connections of its own that only these rules lead to its listeners
//! (`weft_redirect::rules`), and is not ready before they have arrived there.
//!
//! The proof is the kernel's: a connection counts if it is the very socket that was opened for it, and if the kernel says that
//! it was meant to go elsewhere. The rules come into force all at once, so that one of them stands for all.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpSocket;
use tokio::sync::oneshot;
use weft_redirect::rules::{VERIFY_INBOUND_PORT, VERIFY_OUTBOUND_PORT};

use crate::observe::stats::Direction;

/// Time for one connection to arrive: it leaves no machine, and a busy one may be slow.
const ARRIVAL: Duration = Duration::from_secs(2);
/// Pause after a connection that did not arrive. Who makes the rules may do so after the proxy has started.
const PAUSE: Duration = Duration::from_secs(1);

/// The connections that the proxy has opened to itself, until they arrive.
#[derive(Debug, Default)]
pub struct Redirection {
    /// By the address that each was opened from: who waits for it.
    opened: Mutex<HashMap<SocketAddr, oneshot::Sender<Direction>>>,
}

impl Redirection {
    /// Takes note of a connection that came to the listener of a direction and was meant for `original`. Says whether it was
    /// opened to find out about the rules: such a connection has arrived and goes nowhere else.
    pub(crate) fn arrived(&self, direction: Direction, original: SocketAddr, source: SocketAddr) -> bool {
        if !original.ip().is_loopback()
            || !matches!(original.port(), VERIFY_OUTBOUND_PORT | VERIFY_INBOUND_PORT)
        {
            return false;
        }
        if let Some(opened) = self.opened.lock().remove(&source) {
            // Nobody waits any more for one that comes late.
            let _ = opened.send(direction);
        }
        true
    }

    /// Waits until connections of each of these directions arrive where they should. `told` hears of each reason why they
    /// don't, whenever there is another one.
    pub(crate) async fn verify(&self, directions: &[Direction], told: impl Fn(String)) {
        let mut reason = String::new();
        loop {
            let Err(problem) = self.verify_once(directions).await else { return };
            if problem != reason {
                told(problem.clone());
                reason = problem;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn verify_once(&self, directions: &[Direction]) -> Result<(), String> {
        for direction in directions {
            // A machine may have only one of them, and the rules may be for only one.
            let first = self.arrives(*direction, Ipv4Addr::LOCALHOST.into()).await;
            let Err(problem) = first else { continue };
            if self.arrives(*direction, Ipv6Addr::LOCALHOST.into()).await.is_err() {
                return Err(problem);
            }
        }
        Ok(())
    }

    /// Opens a connection and waits for it.
    async fn arrives(&self, direction: Direction, loopback: IpAddr) -> Result<(), String> {
        let (port, what) = match direction {
            Direction::Outbound => (VERIFY_OUTBOUND_PORT, "what the workload opens"),
            Direction::Inbound => (VERIFY_INBOUND_PORT, "what is opened to the workload"),
        };
        let to = SocketAddr::new(loopback, port);
        let problem = |found: String| {
            format!(
                "{what} is not redirected to this proxy: a connection to {to}, which the rules should lead here, {found}"
            )
        };
        let (socket, from) =
            socket(loopback).map_err(|error| problem(format!("could not be opened: {error}")))?;
        let (opened, arrival) = oneshot::channel();
        self.opened.lock().insert(from, opened);
        let _forgotten = Forget(self, from);
        let arriving = async {
            let stream = socket.connect(to).await.map_err(|error| problem(format!("failed: {error}")))?;
            let arrived = arrival.await;
            drop(stream);
            match arrived {
                Ok(at) if at == direction => Ok(()),
                _ => Err(problem("arrived at another listener".to_owned())),
            }
        };
        let late = |_| problem("arrived elsewhere".to_owned());
        tokio::time::timeout(ARRIVAL, arriving).await.map_err(late)?
    }
}

/// A socket with an address, by which it is known when it arrives.
fn socket(loopback: IpAddr) -> io::Result<(TcpSocket, SocketAddr)> {
    let socket = if loopback.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(SocketAddr::new(loopback, 0))?;
    let from = socket.local_addr()?;
    Ok((socket, from))
}

/// Forgets a connection, however waiting for it ends.
struct Forget<'a>(&'a Redirection, SocketAddr);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.opened.lock().remove(&self.1);
    }
}

/// The directions that rules should redirect, for a proxy with these listeners.
pub(crate) fn expected(outbound: bool, inbound: bool) -> Vec<Direction> {
    [(outbound, Direction::Outbound), (inbound, Direction::Inbound)]
        .into_iter()
        .filter_map(|(listens, direction)| listens.then_some(direction))
        .collect()
}

/// What to do where connections are not redirected.
pub(crate) const HINT: &str = "the rules are made when a pod starts, by its container weft-redirect or by the CNI plugin on \
                               its node: delete the pod, so that another one is made; on a machine run weft redirect apply";

#[cfg(test)]
mod tests;
