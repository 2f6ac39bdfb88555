//! A connection that is held open after one request.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;

use super::{Failure, http1, http2};
use crate::workload::Protocol;

/// A connection that has had its answer.
pub(crate) enum Held {
    Http1(http1::Connection),
    Http2(SendRequest<Bytes>),
}

impl Held {
    /// Connects to `address`, sends one request for `authority` and checks the answer.
    pub(crate) async fn open(
        protocol: Protocol,
        address: SocketAddr,
        authority: &str,
    ) -> Result<Self, Failure> {
        match protocol {
            Protocol::H1 => {
                let mut connection = http1::Connection::open(address).await.map_err(|_| Failure::Connect)?;
                connection.exchange(&http1::request(authority)).await?;
                Ok(Self::Http1(connection))
            }
            Protocol::H2 => {
                let sender = http2::open(address).await.ok_or(Failure::Connect)?;
                let mut sender = sender.ready().await.map_err(|_| Failure::Closed)?;
                let request = http2::request(authority).ok_or(Failure::Malformed)?;
                http2::exchange(&mut sender, request).await?;
                Ok(Self::Http2(sender))
            }
        }
    }

    /// Whether the peer still keeps it open.
    pub(crate) fn is_open(&mut self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_idle(),
            // A connection without error is ready at once; `poll_ready` needs no more than a waker.
            Self::Http2(sender) => {
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                matches!(sender.poll_ready(&mut context), std::task::Poll::Ready(Ok(())))
            }
        }
    }
}
