//! The one listener: TLS with a certificate of the client where it has one.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use weft_identity::Refusal;

use crate::caller::{Caller, Certified};
use crate::metrics::{Metrics, Refused};
use crate::refusals::Refusals;

/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// How long who has no certificate may stay: long enough to get one.
const ANONYMOUS: Duration = Duration::from_secs(30);
/// Of all connections, one in so many may be without a certificate, so that they can't keep the others out.
const ANONYMOUS_PART: usize = 10;
/// Wait after a failure to accept, such as for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Accepts connections and hands on those whose handshake is done.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) tls: Arc<ArcSwap<ServerConfig>>,
    pub(crate) max_connections: usize,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) refusals: Arc<Refusals>,
    /// Cuts every connection off.
    pub(crate) cut: CancellationToken,
}

/// What a connection holds as long as it is open.
struct Permits {
    _connection: OwnedSemaphorePermit,
    anonymous_place: Option<OwnedSemaphorePermit>,
    metrics: Arc<Metrics>,
}

impl Drop for Permits {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

impl Listener {
    /// Accepts until it is cancelled or nobody takes the connections any more.
    pub(crate) async fn run(
        self,
        connections: mpsc::Sender<io::Result<Connection>>,
        cancel: CancellationToken,
    ) {
        let all = Arc::new(Semaphore::new(self.max_connections));
        let anonymous = Arc::new(Semaphore::new((self.max_connections / ANONYMOUS_PART).max(1)));
        loop {
            let accepted = tokio::select! {
                () = cancel.cancelled() => return,
                accepted = self.socket.accept() => accepted,
            };
            let (stream, address) = match accepted {
                // An address of IPv4 is one, whichever socket it came to: workloads are reached at it.
                Ok((stream, address)) => {
                    (stream, SocketAddr::new(address.ip().to_canonical(), address.port()))
                }
                Err(error) => {
                    tracing::warn!(%error, "can't accept a connection");
                    sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&all).try_acquire_owned() else {
                self.refusals.refuse(address.ip(), Refused::TooManyConnections, "too many connections");
                continue;
            };
            self.metrics.connections.inc();
            let permits =
                Permits { _connection: permit, anonymous_place: None, metrics: Arc::clone(&self.metrics) };
            let acceptor = TlsAcceptor::from(self.tls.load_full());
            let refusals = Arc::clone(&self.refusals);
            let handshake = Handshake { stream, address, permits, refusals, cut: self.cut.clone() };
            let (connections, anonymous) = (connections.clone(), Arc::clone(&anonymous));
            tokio::spawn(async move {
                if let Some(connection) = handshake.finish(acceptor, anonymous).await {
                    // Nobody takes it: the server ends.
                    let _ = connections.send(Ok(connection)).await;
                }
            });
        }
    }
}

struct Handshake {
    stream: TcpStream,
    address: SocketAddr,
    permits: Permits,
    refusals: Arc<Refusals>,
    cut: CancellationToken,
}

impl Handshake {
    async fn finish(mut self, acceptor: TlsAcceptor, anonymous: Arc<Semaphore>) -> Option<Connection> {
        let ip = self.address.ip();
        // Small messages both ways: each is sent when it is written.
        let _ = self.stream.set_nodelay(true);
        let stream = match timeout(HANDSHAKE, acceptor.accept(self.stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let detail =
                    Refusal::of_io(&error).map_or_else(|| error.kind().to_string(), |_| error.to_string());
                self.refusals.refuse(ip, Refused::Handshake, &detail);
                return None;
            }
            Err(_) => {
                self.refusals.refuse(ip, Refused::HandshakeTimeout, "no handshake in time");
                return None;
            }
        };
        let certified = stream.get_ref().1.peer_certificates().and_then(Certified::of);
        let life = if certified.is_none() {
            let Ok(permit) = anonymous.try_acquire_owned() else {
                self.refusals.refuse(
                    ip,
                    Refused::TooManyConnections,
                    "too many connections without a certificate",
                );
                return None;
            };
            self.permits.anonymous_place = Some(permit);
            Some(ANONYMOUS)
        } else {
            None
        };
        let cut = self.cut;
        let end = Box::pin(async move {
            match life {
                // Whichever comes first.
                Some(life) => _ = timeout(life, cut.cancelled()).await,
                None => cut.cancelled().await,
            }
        });
        let caller = Caller { address: self.address, certified };
        Some(Connection { stream, caller, end, _permits: self.permits })
    }
}

/// A connection whose handshake is done.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    caller: Caller,
    /// When it is closed whatever happens on it.
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    _permits: Permits,
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
