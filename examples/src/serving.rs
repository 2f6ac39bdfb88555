//! What the services share: where they listen, how they say so, and how they end.

use std::future::Future;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::Error;

/// How long requests in flight may go on after SIGTERM. One second less than the 5 s after which the process has to be
/// gone.
pub const DRAIN: Duration = Duration::from_secs(4);

/// Where a service listens.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Serving {
    /// Listen on this port; 0 takes any free one and prints it
    #[arg(long, env = "PORT", default_value_t = 0)]
    pub port: u16,
    /// Listen on this address. The default is reached only from this machine, which is where the sidecar is
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub host: IpAddr,
}

impl Serving {
    /// A free port on the loopback address.
    pub fn anywhere() -> Self {
        Self { port: 0, host: IpAddr::V4(Ipv4Addr::LOCALHOST) }
    }

    pub(crate) async fn listen(&self) -> Result<(TcpListener, SocketAddr), Error> {
        let address = SocketAddr::new(self.host, self.port);
        let refused = |source| Error::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok((listener, address))
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// A service that listens and does not answer yet: connections wait in the system's queue.
pub struct Bound {
    scheme: &'static str,
    name: &'static str,
    address: SocketAddr,
    answering: Box<dyn FnOnce(CancellationToken) -> Answering + Send>,
}

impl Bound {
    pub(crate) fn new<F>(
        scheme: &'static str,
        name: &'static str,
        address: SocketAddr,
        answering: impl FnOnce(CancellationToken) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        Self { scheme, name, address, answering: Box::new(|stop| Box::pin(answering(stop))) }
    }

    /// The address it listens on, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`, then accepts nothing more and lets requests in flight end, at most [`DRAIN`] long.
    pub async fn serve(self, stop: CancellationToken) -> Result<(), Error> {
        (self.answering)(stop).await
    }

    /// Prints where it listens, then answers until SIGTERM or SIGINT.
    pub async fn serve_until_signal(self) -> Result<(), Error> {
        let stop = stop_on_signal()?;
        say(format_args!("{} listens on {}://{}", self.name, self.scheme, self.address));
        self.serve(stop).await
    }
}

/// A token that is cancelled by SIGTERM or SIGINT.
pub fn stop_on_signal() -> Result<CancellationToken, Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let stop = CancellationToken::new();
    let cancelled_on_signal = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        cancelled_on_signal.cancel();
    });
    Ok(stop)
}

/// Prints a line at once, also into a pipe. A reader that has gone is no reason to end.
pub(crate) fn say(line: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
