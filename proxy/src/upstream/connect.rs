//! Opening a connection: TCP, then TLS where the peer has an identity to prove.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weft_mesh::reason::Reason;

use crate::error::{BoxFailure, Failure};
use crate::stream::socket::Socket;

/// Time for a TCP connection, unless the service's policy says otherwise.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for a TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// How to reach one address.
#[derive(Debug, Clone)]
pub struct Connector {
    address: SocketAddr,
    tls: Option<Arc<rustls::ClientConfig>>,
    timeout: Duration,
}

impl Connector {
    /// Connects in plain text.
    pub fn plain(address: SocketAddr, timeout: Duration) -> Self {
        Self { address, tls: None, timeout }
    }

    /// Connects with TLS; the configuration holds who the peer may be and what is offered by ALPN.
    pub fn tls(address: SocketAddr, timeout: Duration, config: Arc<rustls::ClientConfig>) -> Self {
        Self { address, tls: Some(config), timeout }
    }

    /// The address that is connected to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens a connection. A failure is always before any request was sent.
    pub async fn connect(&self) -> Result<Stream, BoxFailure> {
        let address = self.address;
        let stream = match tokio::time::timeout(self.timeout, Socket::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(failed(format!("connecting to {address}: {error}"))),
            Err(_) => {
                return Err(failed(format!("connecting to {address}: no answer in {:?}", self.timeout)));
            }
        };
        let Some(config) = &self.tls else { return Ok(Stream::Plain(stream)) };
        let handshake =
            TlsConnector::from(Arc::clone(config)).connect(ServerName::from(address.ip()), stream);
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
            Ok(Err(error)) => Err(failed(format!("TLS with {address}: {error}"))),
            Err(_) => Err(failed(format!("TLS with {address}: no answer in {HANDSHAKE_TIMEOUT:?}"))),
        }
    }
}

fn failed(detail: String) -> BoxFailure {
    Failure::unprocessed(Reason::ConnectFailed, detail)
}

/// A connection to a peer.
#[derive(Debug)]
pub enum Stream {
    /// In plain text.
    Plain(Socket),
    /// In TLS.
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    /// The protocol that the peer chose by ALPN.
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }

    /// The certificates that the peer proved to own, leaf first.
    pub fn peer_certificates(&self) -> Option<&[rustls::pki_types::CertificateDer<'static>]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.get_ref().1.peer_certificates(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
