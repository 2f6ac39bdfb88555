//! The one listener: TLS with a certificate of the client where it has one.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use weft_identity::{Refusal, Revoked};
use weft_mesh::name::Identity;

use crate::caller::{Caller, Certified};
use crate::handshake_errors::HandshakeErrors;
use crate::metrics::{Metrics, Refused};
use crate::shares::{Share, Shares, source};

/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// How long who has no certificate may stay: long enough to get one.
const ANONYMOUS: Duration = Duration::from_secs(30);
/// Time for the first message of HTTP/2 after the handshake.
const PREFACE: Duration = Duration::from_secs(5);
/// Its length (RFC 9113, section 3.4). From then on HTTP/2 itself notices when the client is gone.
const PREFACE_LEN: usize = 24;
/// As many more as one in so many of all connections may be in their handshakes, which last for seconds at most.
const HANDSHAKES_PART: usize = 4;
/// As many more as one in so many may be without a certificate, so that they can't keep the others out.
const ANONYMOUS_PART: usize = 10;
/// As many as one in so many may be in their handshakes or without a certificate from one source.
const SOURCE_PART: usize = 100;
/// Of all connections, one identity may have one in so many: a single one can't keep the others out.
const IDENTITY_PART: usize = 4;
/// Wait after a failure to accept, such as for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Accepts connections and hands on those whose handshake is done.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) tls: Arc<ArcSwap<ServerConfig>>,
    /// Most connections of clients with certificates.
    pub(crate) max_connections: usize,
    /// What is revoked, now and later.
    pub(crate) revoked: watch::Receiver<Arc<Revoked>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) handshake_errors: Arc<HandshakeErrors>,
    /// Cuts every connection off.
    pub(crate) cut: CancellationToken,
}

/// How many connections there may be, of each kind.
struct Places {
    certified: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    anonymous: Arc<Semaphore>,
    of_source: Arc<Shares<IpAddr>>,
    of_identity: Arc<Shares<Identity>>,
}

impl Places {
    fn new(max: usize) -> Self {
        let part = |part: usize| (max / part).max(1);
        Self {
            certified: Arc::new(Semaphore::new(max)),
            handshakes: Arc::new(Semaphore::new(part(HANDSHAKES_PART))),
            anonymous: Arc::new(Semaphore::new(part(ANONYMOUS_PART))),
            of_source: Shares::new(part(SOURCE_PART)),
            of_identity: Shares::new(part(IDENTITY_PART)),
        }
    }

    /// What a connection holds that is let in, and for how long it is; the error says what there is too much of.
    fn admit(&self, certified: Option<&Certified>, first: First) -> Result<(Held, Option<Duration>), String> {
        let Some(certified) = certified else {
            let permit = Arc::clone(&self.anonymous).try_acquire_owned();
            let permit = permit.map_err(|_| "too many connections without a certificate".to_owned())?;
            return Ok((Held { _permit: permit, _source: first.source, _identity: None }, Some(ANONYMOUS)));
        };
        let identity = &certified.identity;
        let share = self.of_identity.take(identity.clone());
        let share = share.ok_or_else(|| format!("too many connections of {identity}"))?;
        let permit = Arc::clone(&self.certified).try_acquire_owned();
        let permit = permit.map_err(|_| "too many connections".to_owned())?;
        Ok((Held { _permit: permit, _source: None, _identity: Some(share) }, None))
    }

    /// What a connection holds until its handshake is done.
    fn first(&self, address: IpAddr) -> Result<First, &'static str> {
        // Of this machine everything comes from one address.
        let source = if address.is_loopback() {
            None
        } else {
            Some(
                self.of_source
                    .take(source(address))
                    .ok_or("too many connections without a certificate from there")?,
            )
        };
        let permit =
            Arc::clone(&self.handshakes).try_acquire_owned().map_err(|_| "too many handshakes at once")?;
        Ok(First { _permit: permit, source })
    }
}

/// What a connection holds until its handshake is done.
struct First {
    _permit: OwnedSemaphorePermit,
    source: Option<Share<IpAddr>>,
}

/// What a connection holds as long as it is open.
struct Held {
    _permit: OwnedSemaphorePermit,
    _source: Option<Share<IpAddr>>,
    _identity: Option<Share<Identity>>,
}

/// Counts a connection as long as it is open.
struct Counted(Arc<Metrics>);

impl Counted {
    fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.connections.inc();
        Self(Arc::clone(metrics))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}

impl Listener {
    /// Accepts until it is cancelled or nobody takes the connections any more.
    pub(crate) async fn run(
        self,
        connections: mpsc::Sender<io::Result<Connection>>,
        cancel: CancellationToken,
    ) {
        let places = Arc::new(Places::new(self.max_connections));
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
            let first = match places.first(address.ip()) {
                Ok(first) => first,
                Err(problem) => {
                    self.handshake_errors.refuse(address.ip(), Refused::TooManyConnections, problem);
                    continue;
                }
            };
            let acceptor = TlsAcceptor::from(self.tls.load_full());
            let handshake = Handshake {
                stream,
                address,
                first,
                counted: Counted::new(&self.metrics),
                places: Arc::clone(&places),
                errors: Arc::clone(&self.handshake_errors),
                revoked: self.revoked.clone(),
                cut: self.cut.clone(),
            };
            let connections = connections.clone();
            tokio::spawn(async move {
                if let Some(connection) = handshake.finish(acceptor).await {
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
    first: First,
    counted: Counted,
    places: Arc<Places>,
    errors: Arc<HandshakeErrors>,
    revoked: watch::Receiver<Arc<Revoked>>,
    cut: CancellationToken,
}

impl Handshake {
    async fn finish(self, acceptor: TlsAcceptor) -> Option<Connection> {
        let ip = self.address.ip();
        // Small messages both ways: each is sent when it is written.
        let _ = self.stream.set_nodelay(true);
        let stream = match timeout(HANDSHAKE, acceptor.accept(self.stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let detail =
                    Refusal::of_io(&error).map_or_else(|| error.kind().to_string(), |_| error.to_string());
                self.errors.refuse(ip, Refused::Handshake, &detail);
                return None;
            }
            Err(_) => {
                self.errors.refuse(ip, Refused::HandshakeTimeout, "no handshake in time");
                return None;
            }
        };
        let certified = stream.get_ref().1.peer_certificates().and_then(Certified::of);
        let (held, life) = match self.places.admit(certified.as_ref(), self.first) {
            Ok(admitted) => admitted,
            Err(problem) => {
                self.errors.refuse(ip, Refused::TooManyConnections, &problem);
                return None;
            }
        };
        let end = Box::pin(end(life, self.cut, self.revoked, certified.clone()));
        Some(Connection {
            stream,
            caller: Caller { address: self.address, certified },
            end,
            preface: Some(Preface { deadline: Box::pin(sleep(PREFACE)), missing: PREFACE_LEN }),
            _held: (held, self.counted),
        })
    }
}

/// Ready when a connection is to be closed whatever happens on it: its life is over, the control plane ends, or what its
/// client showed is revoked.
async fn end(
    life: Option<Duration>,
    cut: CancellationToken,
    mut revoked: watch::Receiver<Arc<Revoked>>,
    certified: Option<Certified>,
) {
    let over = async {
        match life {
            Some(life) => sleep(life).await,
            None => std::future::pending().await,
        }
    };
    let is_revoked = async {
        // Nobody revokes any more when the control plane ends, which cuts all off itself.
        let told = match certified {
            Some(certified) => revoked.wait_for(|revoked| certified.check(revoked).is_err()).await.is_ok(),
            None => false,
        };
        if !told {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = over => {}
        () = cut.cancelled() => {}
        () = is_revoked => {}
    }
}

/// What a client has still to send before it counts as one.
struct Preface {
    deadline: Pin<Box<Sleep>>,
    missing: usize,
}

/// A connection whose handshake is done.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    caller: Caller,
    /// When it is closed whatever happens on it.
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// `None` once it has come.
    preface: Option<Preface>,
    _held: (Held, Counted),
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
        let late = self.preface.as_mut().is_some_and(|it| it.deadline.as_mut().poll(context).is_ready());
        if late || self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some(preface) = &mut self.preface {
            preface.missing = preface.missing.saturating_sub(buffer.filled().len() - before);
            if preface.missing == 0 {
                self.preface = None;
            }
        }
        read
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
