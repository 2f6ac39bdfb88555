//! Closing a connection so that its peer sees that it was refused.

use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::TcpStream;

use super::prefixed::Prefixed;

/// A connection that may be refused after it was accepted.
pub trait Refuse: Sized {
    /// Closes the connection; where that can be told, by a reset (RFC 9293, section 3.10.7).
    fn refuse(self) {}
}

impl Refuse for TcpStream {
    fn refuse(self) {
        // Without time to linger, closing throws away what is queued and resets.
        if let Err(error) = SockRef::from(&self).set_linger(Some(Duration::ZERO)) {
            tracing::debug!(%error, "a refused connection is closed without a reset");
        }
    }
}

impl<S: Refuse> Refuse for Prefixed<S> {
    fn refuse(self) {
        self.into_parts().1.refuse();
    }
}

/// Within a tunnel there is only the end of it.
impl Refuse for TokioIo<Upgraded> {}

#[cfg(test)]
impl Refuse for tokio::io::DuplexStream {}
