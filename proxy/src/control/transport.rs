//! Connections to the control plane: one HTTP/2 connection for everything, made anew when it breaks or when the
//! certificate has changed.

use std::fmt;
use std::future::{Future, Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Notify};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use weft_identity::tls::{ALPN_H2, bundle_client};
use weft_identity::{ExpectedIdentities, Origin, Refusal};
use weft_mesh::name::{Identity, TrustDomain};

use super::bootstrap_credential::Proof;
use super::credentials::Credentials;
use super::error::Error;

/// Who the control plane is: this service account in this namespace.
const CONTROL_PLANE: (&str, &str) = ("weft-system", "control-plane");
/// Time for name resolution, TCP and TLS together: several round trips around the world, and one retransmission.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A control plane that is gone without a word is noticed after at most twice this: discovery is silent while nothing
/// changes.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Any stream of bytes.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Dialled = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;
/// Opens the stream that TLS runs over.
pub(super) type Dial = Arc<dyn Fn() -> Dialled + Send + Sync>;

/// Opens TCP connections to an address, `host:port`.
pub(super) fn tcp(address: &str) -> Dial {
    let address: Arc<str> = address.into();
    Arc::new(move || {
        let address = Arc::clone(&address);
        Box::pin(async move {
            let stream = TcpStream::connect(&*address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    })
}

/// Checks an address of a control plane.
pub(super) fn check(address: &str) -> Result<(), Error> {
    let valid = address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0));
    if valid { Ok(()) } else { Err(Error::Address(address.to_owned())) }
}

/// The connection that is shared.
#[derive(Debug)]
struct Shared {
    channel: Channel,
    open: Arc<AtomicBool>,
    /// Of the TLS configurations that it was made with.
    number: u64,
    /// Which of all connections it is.
    id: u64,
}

/// Connects to the control plane.
pub(super) struct Transport {
    address: Arc<str>,
    dial: Dial,
    credentials: Arc<Credentials>,
    control_plane: Identity,
    shared: Mutex<Option<Shared>>,
    strangers: Notify,
}

/// A connection to prove an identity on.
pub(super) struct Joined {
    pub(super) channel: Channel,
    /// Whether the control plane is known by the roots that came with the proof, and not by those in use.
    pub(super) by_proof: bool,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The identity of the control plane of a trust domain.
pub(super) fn control_plane(trust_domain: &TrustDomain) -> Result<Identity, Error> {
    let (namespace, account) = CONTROL_PLANE;
    Identity::new(trust_domain, namespace, account).map_err(|error| Error::Token(error.into()))
}

impl Transport {
    pub(super) fn new(
        address: &str,
        dial: Dial,
        credentials: Arc<Credentials>,
        trust_domain: &TrustDomain,
    ) -> Result<Self, Error> {
        let control_plane = control_plane(trust_domain)?;
        Ok(Self {
            address: address.into(),
            dial,
            credentials,
            control_plane,
            shared: Mutex::new(None),
            strangers: Notify::new(),
        })
    }

    /// Where the control plane is.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// A channel on the shared connection, which presents the certificate in use. Who comes while it is being made
    /// waits for the same one.
    pub(super) async fn connect(&self) -> Result<Channel, Error> {
        self.connect_other_than(None).await.map(|(channel, _)| channel)
    }

    /// The same on another connection than this one, which is given beside the channel. A replica that has ended a stream does
    /// so to have its clients spread, and would be asked again on a connection that is still open.
    pub(super) async fn connect_other_than(&self, left: Option<u64>) -> Result<(Channel, u64), Error> {
        let mut shared = self.shared.lock().await;
        let tls = self.credentials.tls().ok_or(Error::NoCertificate)?;
        if let Some(shared) = shared.as_ref()
            && shared.number == tls.number
            && Some(shared.id) != left
            && shared.open.load(Ordering::Acquire)
        {
            return Ok((shared.channel.clone(), shared.id));
        }
        let expected = ExpectedIdentities::one(self.control_plane.clone());
        let opened = self.open(tls.client(expected, &[ALPN_H2])).await;
        if opened.as_ref().is_err_and(Error::is_final) {
            self.strangers.notify_one();
        }
        let (channel, open) = opened?;
        let id = shared.as_ref().map_or(0, |before| before.id + 1);
        *shared = Some(Shared { channel: channel.clone(), open, number: tls.number, id });
        Ok((channel, id))
    }

    /// A channel on a connection of its own without a certificate, to prove an identity anew: to whoever has a root that
    /// came with the proof or, where roots are known already, one of those. An authority that was lost and made anew has
    /// none of those: then a proof whose roots somebody keeps fresh is asked for them. A join token is not, which may name
    /// a root that was retired since.
    pub(super) async fn join(&self, proof: &Proof) -> Result<Joined, Error> {
        let expected = ExpectedIdentities::one(self.control_plane.clone());
        let bundle = self.credentials.bundle();
        if !bundle.is_empty() {
            match self.open(bundle_client(bundle, expected.clone(), &[ALPN_H2])).await {
                Err(Error::Impostor { .. }) if proof.lasts() => {}
                opened => return Ok(Joined { channel: opened?.0, by_proof: false }),
            }
        }
        let (channel, _) = self.open(proof.client(expected)?).await?;
        Ok(Joined { channel, by_proof: true })
    }

    /// Returns when the control plane was found not to be known by the roots in use, or not to take the certificate in
    /// use, since this was asked last.
    pub(super) async fn estranged(&self) {
        self.strangers.notified().await;
    }

    async fn open(&self, config: Arc<rustls::ClientConfig>) -> Result<(Channel, Arc<AtomicBool>), Error> {
        let silent = |_| Error::Silent { address: self.address.to_string(), after: CONNECT_TIMEOUT };
        tokio::time::timeout(CONNECT_TIMEOUT, self.open_unbounded(config)).await.map_err(silent)?
    }

    async fn open_unbounded(
        &self,
        config: Arc<rustls::ClientConfig>,
    ) -> Result<(Channel, Arc<AtomicBool>), Error> {
        let stream = (self.dial)().await.map_err(|error| self.failed(error))?;
        // Who the server is is its identity's matter; its name only has to have the form of one.
        let host = self.address.rsplit_once(':').map_or("", |(host, _)| host.trim_matches(['[', ']']));
        let name = ServerName::try_from(host.to_owned())
            .or_else(|_| ServerName::try_from("control-plane"))
            .map_err(|_| Error::Address(self.address.to_string()))?;
        let stream =
            TlsConnector::from(config).connect(name, stream).await.map_err(|error| self.failed(error))?;
        let open = Arc::new(AtomicBool::new(true));
        let connection = Connection { stream, open: Arc::clone(&open) };
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address))
            .map_err(|_| Error::Address(self.address.to_string()))?
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        let channel = endpoint
            .connect_with_connector(Once(Some(TokioIo::new(connection))))
            .await
            .map_err(|error| self.failed(io::Error::other(error)))?;
        Ok((channel, open))
    }

    fn failed(&self, source: io::Error) -> Error {
        let address = self.address.to_string();
        match Refusal::of_io(&source).map(|refusal| refusal.origin) {
            Some(Origin::Local) => Error::Impostor { address, problem: source.to_string() },
            Some(Origin::Peer) => {
                Error::Refused { address, what: "the certificate", problem: source.to_string() }
            }
            None => Error::Connect { address, source },
        }
    }
}

/// A connection that says when it is gone.
struct Connection {
    stream: TlsStream<Box<dyn Stream>>,
    open: Arc<AtomicBool>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.store(false, Ordering::Release);
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Gives a connection that is there already to tonic, once: a new one needs a new certificate check, and so a new
/// channel.
struct Once(Option<TokioIo<Connection>>);

impl tower_service::Service<Uri> for Once {
    type Response = TokioIo<Connection>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let gone =
            || io::Error::new(io::ErrorKind::NotConnected, "the connection to the control plane is gone");
        ready(self.0.take().ok_or_else(gone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for address in ["weft.example:15012", "127.0.0.1:1", "[::1]:15012"] {
            assert!(check(address).is_ok(), "{address}");
        }
        for address in ["", "weft.example", ":1", "weft:0", "weft:70000", "https://weft"] {
            let error = check(address).unwrap_err().to_string();
            assert!(error.contains(address) && error.contains("HOST:PORT"), "{error}");
        }
    }
}
