//! The way from a proxy's outbound side to its own inbound side, for a workload that is an endpoint of what it calls.
//!
//! The kernel redirects to a proxy what comes from elsewhere, so that its own connections to its own workload would find the
//! application. What enters here is met by the same TLS, policies and counters as a connection of any other workload.

use std::io;
use std::net::SocketAddr;

use tokio::sync::mpsc;

use super::within::{Within, within};

/// Bytes that a connection holds in each direction: one record of TLS, whole.
const PIPE: usize = 17 * 1024;
/// Connections that may wait for the inbound side, which takes them at once: both are of the same worker.
const WAITING: usize = 128;

/// Opens connections to the own workload.
#[derive(Debug, Clone)]
pub struct InternalListener(mpsc::Sender<InternalConnection>);

/// A connection to the own workload.
#[derive(Debug)]
pub struct InternalConnection {
    /// Its bytes.
    pub stream: Within,
    /// The workload's address that it is for.
    pub destination: SocketAddr,
}

/// A door, and where connections come in through it.
pub fn internal_listener() -> (InternalListener, mpsc::Receiver<InternalConnection>) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (InternalListener(sender), receiver)
}

impl InternalListener {
    /// Opens a connection to the own workload; refused while too many wait, or when the inbound side has ended.
    pub fn open(&self, destination: SocketAddr) -> io::Result<Within> {
        let (near, far) = within(PIPE);
        self.0
            .try_send(InternalConnection { stream: far, destination })
            .map_err(|refused| io::Error::new(io::ErrorKind::ConnectionRefused, refused.to_string()))?;
        Ok(near)
    }
}
