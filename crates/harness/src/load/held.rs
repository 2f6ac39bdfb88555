//! A connection that is held open after one request.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::SendRequest;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Failure, http1, http2};
use crate::protocol::Protocol;

/// A stream, in plain text or in TLS.
pub trait Io: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Io for S {}

/// A connection that has had its answer.
pub enum Held {
    /// HTTP/1.1: the stream.
    Http1(Box<dyn Io>),
    /// HTTP/2: what sends further requests.
    Http2(SendRequest<Bytes>),
}

impl Held {
    /// Connects to `address`, sends one request for `authority` and checks the answer.
    pub async fn open(protocol: Protocol, address: SocketAddr, authority: &str) -> Result<Self, Failure> {
        let stream = connect(address).await?;
        Self::over(protocol, Box::new(stream), authority).await
    }

    /// As [`Held::open`], in TLS.
    pub async fn open_tls(
        protocol: Protocol,
        address: SocketAddr,
        authority: &str,
        config: &Arc<ClientConfig>,
    ) -> Result<Self, Failure> {
        let stream = connect(address).await?;
        let connector = TlsConnector::from(Arc::clone(config));
        // Mesh peers know each other by their certificates' URIs, not by the name of a server.
        let name = ServerName::from(address.ip());
        let stream = connector.connect(name, stream).await.map_err(|_| Failure::Connect)?;
        Self::over(protocol, Box::new(stream), authority).await
    }

    async fn over(protocol: Protocol, stream: Box<dyn Io>, authority: &str) -> Result<Self, Failure> {
        match protocol {
            Protocol::H1 => {
                let mut connection = http1::Connection::over(stream);
                connection.exchange(&http1::request(authority)).await?;
                Ok(Self::Http1(connection.into_inner()))
            }
            Protocol::H2 => {
                let sender = http2::over(stream).await.ok_or(Failure::Connect)?;
                let mut sender = sender.ready().await.map_err(|_| Failure::Closed)?;
                let request = http2::request(authority).ok_or(Failure::Malformed)?;
                http2::exchange(&mut sender, request).await?;
                Ok(Self::Http2(sender))
            }
        }
    }

    /// Whether the peer still keeps it open.
    pub fn is_open(&mut self) -> bool {
        // A connection without error is ready, or silent, at once: no more than a waker is needed.
        let mut context = Context::from_waker(Waker::noop());
        match self {
            Self::Http1(stream) => {
                let mut octet = [0];
                Pin::new(stream).poll_read(&mut context, &mut ReadBuf::new(&mut octet)).is_pending()
            }
            Self::Http2(sender) => matches!(sender.poll_ready(&mut context), Poll::Ready(Ok(()))),
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(address).await.map_err(|_| Failure::Connect)?;
    stream.set_nodelay(true).map_err(|_| Failure::Connect)?;
    Ok(stream)
}
