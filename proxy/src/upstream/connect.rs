//! Opening a connection: TCP, then TLS where the peer has an identity to prove.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::Authority;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weft_identity::Refusal;
use weft_mesh::http_validation::AnswerNames;
use weft_mesh::protocol::begins_like_http2_server;
use weft_mesh::proxy_protocol::{Addresses, Version, encode};
use weft_mesh::reason::Reason;

use super::circuit_breaker::{CircuitBreaker, ConnectionPermit};
use super::dns::DnsName;
use super::local::{Local, Ways};
use crate::error::{BoxFailure, Failure};
use crate::transport::internal_listener::InternalListener;
use crate::transport::own_listeners::OwnListeners;
use crate::transport::socket::Socket;
use crate::transport::stream::{ResetFlag, Transport};

/// Time for a TCP connection, unless the service's policy says otherwise.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for a TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// How to reach one address, or one name.
#[derive(Debug, Clone)]
pub struct Connector {
    to: To,
    tls: Option<Arc<rustls::ClientConfig>>,
    breaker: Option<Rc<CircuitBreaker>>,
    /// What is written before anything else.
    header: Option<Rc<[u8]>>,
    /// Where it never leads.
    own: OwnListeners,
}

#[derive(Debug, Clone)]
enum To {
    Address(SocketAddr),
    Own(SocketAddr, InternalListener),
    Local(Ways),
    Name(DnsName),
}

impl Connector {
    /// Connects in plain text, and never to one of the proxy's `own` listeners, as none of these do.
    pub fn plain(address: SocketAddr, own: &OwnListeners) -> Self {
        Self::to(To::Address(address), own)
    }

    /// Connects in plain text to an application of this machine.
    pub fn application(local: Local, own: &OwnListeners) -> Self {
        Self::to(To::Local(Ways::new(local)), own)
    }

    /// Connects in plain text to a name outside the mesh, `host:port`, at the address that answers first.
    pub fn named(name: Arc<str>, own: &OwnListeners) -> Self {
        Self::to(To::Name(DnsName::new(name)), own)
    }

    /// Connects with TLS; the configuration holds who the peer may be and what is offered by ALPN.
    pub fn tls(address: SocketAddr, config: Arc<rustls::ClientConfig>, own: &OwnListeners) -> Self {
        Self { tls: Some(config), ..Self::to(To::Address(address), own) }
    }

    fn to(to: To, own: &OwnListeners) -> Self {
        Self { to, tls: None, breaker: None, header: None, own: own.clone() }
    }

    /// Reaches the address, which is the own workload's, through this proxy's own inbound side.
    #[must_use]
    pub fn through(self, internal_listener: &InternalListener) -> Self {
        let To::Address(address) = self.to else { return self };
        Self { to: To::Own(address, internal_listener.clone()), ..self }
    }

    /// Counts its connections among those that a service may have, and keeps to the service's limits.
    #[must_use]
    pub fn within(self, breaker: &Rc<CircuitBreaker>) -> Self {
        Self { breaker: Some(Rc::clone(breaker)), ..self }
    }

    /// Says on each connection before anything else, in this version of the PROXY protocol, that it is for `source`.
    #[must_use]
    pub fn announcing(self, version: Version, source: SocketAddr) -> Self {
        let destination = match &self.to {
            To::Address(address) => *address,
            To::Local(ways) => ways.address(),
            To::Own(..) | To::Name(_) => return self,
        };
        let mut header = Vec::new();
        encode(version, Addresses { source, destination }, &mut header);
        Self { header: Some(header.into()), ..self }
    }

    /// The limits that its connections count for.
    pub fn breaker(&self) -> Option<&Rc<CircuitBreaker>> {
        self.breaker.as_ref()
    }

    /// What it leads to, as the authority of a request that has none of its own.
    pub fn authority(&self) -> Option<Authority> {
        match &self.to {
            To::Address(address) | To::Own(address, _) => address.to_string().parse().ok(),
            To::Local(ways) => ways.address().to_string().parse().ok(),
            To::Name(named) => named.name().parse().ok(),
        }
    }

    /// Opens a connection, if the service may have one more. A failure is always before any request was sent.
    pub async fn connect(&self) -> Result<Stream, BoxFailure> {
        let held = self.breaker.as_ref().map(|breaker| breaker.enter_now()).transpose()?;
        self.connect_in(held).await
    }

    /// Opens a connection in a place that was taken for it.
    pub async fn connect_in(&self, held: Option<ConnectionPermit>) -> Result<Stream, BoxFailure> {
        Ok(Stream {
            io: self.open().await?,
            bell: None,
            greeted: None,
            names: None,
            reset: None,
            _held: held,
        })
    }

    async fn open(&self) -> Result<Io, BoxFailure> {
        let timeout = self.breaker.as_ref().map_or(CONNECT_TIMEOUT, |breaker| breaker.connect_timeout());
        let (address, mut stream) = match &self.to {
            To::Address(address) => (*address, tcp(*address, timeout, &self.own).await?),
            To::Own(address, internal_listener) => {
                let stream = internal_listener.open(*address);
                let stream = stream.map_err(|error| failed(format!("connecting to {address}: {error}")))?;
                (*address, Socket::Within(stream))
            }
            To::Local(ways) => (ways.address(), ways.connect(timeout, &self.own).await?),
            // Rare and large: what every request carries along stays small.
            To::Name(named) => return Ok(Io::Plain(Box::pin(named.connect(timeout, &self.own)).await?)),
        };
        if let Some(header) = &self.header {
            // It is short enough for what every socket takes at once.
            stream
                .write_all(header)
                .await
                .map_err(|error| failed(format!("connecting to {address}: {error}")))?;
        }
        let Some(config) = &self.tls else { return Ok(Io::Plain(stream)) };
        let handshake =
            TlsConnector::from(Arc::clone(config)).connect(ServerName::from(address.ip()), stream);
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => Ok(Io::Tls(Box::new(stream))),
            Ok(Err(error)) => Err(failed(format!("TLS with {address}: {}", Refusal::explain(&error)))),
            Err(_) => Err(failed(format!("TLS with {address}: no answer in {HANDSHAKE_TIMEOUT:?}"))),
        }
    }
}

/// A TCP connection to an address, in the time that there is. All that the proxy opens for others is opened here.
pub(super) async fn tcp(
    address: SocketAddr,
    timeout: Duration,
    own: &OwnListeners,
) -> Result<Socket, BoxFailure> {
    own.refuse(address, address)?;
    dial(address, timeout).await.map_err(|error| failed(format!("connecting to {address}: {error}")))
}

/// A TCP connection in the time that there is, to an address that leads to none of the proxy's own listeners.
pub(super) async fn dial(address: SocketAddr, timeout: Duration) -> io::Result<Socket> {
    match tokio::time::timeout(timeout, Socket::connect(address)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer in {timeout:?}"))),
    }
}

pub(super) fn failed(detail: String) -> BoxFailure {
    Failure::unprocessed(Reason::ConnectFailed, detail)
}

/// A connection to a peer.
#[derive(Debug)]
pub struct Stream {
    io: Io,
    /// Rings whenever something was read.
    bell: Option<Arc<Notify>>,
    /// To be told whether the first bytes read are those of a server of HTTP/2.
    greeted: Option<Arc<AtomicBool>>,
    /// Sees what was read.
    names: Option<Arc<Mutex<AnswerNames>>>,
    /// Whether it is to end by a reset, as somebody says who does not hold it.
    reset: Option<ResetFlag>,
    /// Given back after the connection is closed.
    _held: Option<ConnectionPermit>,
}

#[derive(Debug)]
enum Io {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    /// Rings `bell` whenever something was read: after that, whoever reads is about to know it.
    pub fn ring_when_read(&mut self, bell: Arc<Notify>) {
        self.bell = Some(bell);
    }

    /// Sets `greeted` if what is read first is what a server of HTTP/2 says first.
    pub fn tell_greeting(&mut self, greeted: Arc<AtomicBool>) {
        self.greeted = Some(greeted);
    }

    /// Shows to `names` all that is read.
    pub fn show_names(&mut self, names: Arc<Mutex<AnswerNames>>) {
        self.names = Some(names);
    }

    /// Ends by a reset if `flag` is set by the time that it is dropped.
    pub fn reset_by(&mut self, flag: ResetFlag) {
        self.reset = Some(flag);
    }

    /// The protocol that the peer chose by ALPN.
    pub fn alpn(&self) -> Option<&[u8]> {
        match &self.io {
            Io::Plain(_) => None,
            Io::Tls(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }

    /// The certificates that the peer proved to own, leaf first.
    pub fn peer_certificates(&self) -> Option<&[rustls::pki_types::CertificateDer<'static>]> {
        match &self.io {
            Io::Plain(_) => None,
            Io::Tls(stream) => stream.get_ref().1.peer_certificates(),
        }
    }
}

impl Transport for Stream {
    fn socket(&self) -> Option<&TcpStream> {
        match &self.io {
            // Nobody asks to be told of what is read.
            Io::Plain(socket) if self.bell.is_none() && self.greeted.is_none() => socket.socket(),
            _ => None,
        }
    }

    fn abort(&self) {
        match &self.io {
            Io::Plain(stream) => stream.abort(),
            Io::Tls(stream) => stream.get_ref().0.abort(),
        }
    }

    fn is_reset(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => stream.is_reset(),
            Io::Tls(stream) => stream.get_ref().0.is_reset(),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.reset.as_ref().is_some_and(ResetFlag::is_set) {
            self.abort();
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = match &mut this.io {
            Io::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        if this.greeted.is_some()
            && let Some(first @ [_, ..]) = buf.filled().get(before..)
            && let Some(greeted) = this.greeted.take()
        {
            greeted.store(begins_like_http2_server(first), Ordering::Relaxed);
        }
        if let Some(names) = &this.names {
            names.lock().pass(buf.filled().get(before..).unwrap_or_default());
        }
        if let (Poll::Ready(_), Some(bell)) = (&read, &this.bell) {
            bell.notify_waiters();
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Io::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
