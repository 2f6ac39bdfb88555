//! The PROXY protocol: who a connection is of that a load balancer passes on.

use std::fmt;
use std::net::SocketAddr;

use bytes::Buf;
use tokio::io::AsyncRead;
use weft_mesh::proxy_protocol::{Addresses, Parsed, parse};

use crate::transport::prefixed::{Prefixed, read_ahead};
use crate::upstream::connect::HANDSHAKE_TIMEOUT;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// The address.
    pub(crate) address: SocketAddr,
    /// Whether that is what somebody said who passes the connection on.
    pub(crate) announced: bool,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// Reads the header that a connection of `sender` begins with; what the header says nothing of is the sender's own.
pub(crate) async fn read<S>(stream: S, sender: SocketAddr) -> Result<(Peer, Prefixed<S>), String>
where
    S: AsyncRead + Unpin,
{
    let header = read_ahead(stream, |bytes, ended| match parse(bytes) {
        Parsed::NeedMore if !ended => None,
        parsed => Some(parsed),
    });
    let (parsed, stream) = match tokio::time::timeout(HANDSHAKE_TIMEOUT, header).await {
        Ok(Ok(read)) => read,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("none came in {HANDSHAKE_TIMEOUT:?}")),
    };
    match parsed {
        Parsed::Header { addresses, length } => {
            let (mut ahead, stream) = stream.into_parts();
            ahead.advance(length);
            let peer = match addresses {
                Some(Addresses { source, .. }) => Peer { address: source, announced: true },
                None => Peer { address: sender, announced: false },
            };
            Ok((peer, Prefixed::new(ahead, stream)))
        }
        Parsed::Invalid(problem) => Err(problem.to_owned()),
        Parsed::NeedMore => Err("the connection ended in the middle of it".to_owned()),
    }
}
