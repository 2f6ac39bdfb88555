//! The client: keeps one stream to a discovery server, subscribes on demand, and gives what arrives to handlers.

mod connect;
mod handler;
mod held;
mod resources;
mod session;
mod subscriptions;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use weft_mesh::backoff::{Backoff, Jitter};

use self::handler::Typed;
use self::resources::Resources;
use self::session::Stream;
use crate::Error;
use crate::error::chain;

pub use self::connect::Connect;
pub use self::handler::{Changes, Handler, Update};
pub use self::subscriptions::Subscriptions;

/// What a client is told about itself and its patience.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What the client calls itself; for people and logs, the server authenticates the transport.
    pub node_id: String,
    /// Longest wait for a transport and a stream on it.
    pub connect_timeout: Duration,
    /// Delays between attempts. It starts anew once a stream has lived for its longest step.
    pub backoff: Backoff,
    /// Largest response that is read, in bytes.
    pub max_response_bytes: usize,
    /// A request that subscribes or resumes is split at about this many bytes.
    pub batch_bytes: usize,
}

impl Config {
    /// The defaults for a client of this name.
    pub fn new(node_id: impl Into<String>) -> Self {
        Self {
            node_id: node_id.into(),
            connect_timeout: Duration::from_secs(10),
            // All clients of a server lose it at once: anywhere within the step keeps them from coming back at once.
            backoff: Backoff {
                first: Duration::from_millis(500),
                longest: Duration::from_secs(30),
                jitter: Jitter::Full,
            },
            max_response_bytes: 16 << 20,
            batch_bytes: 1 << 20,
        }
    }
}

/// Whether there is a stream to the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Connection {
    /// A stream is open.
    Connected {
        /// Since when.
        since: Instant,
        /// How many names and collections may be subscribed to, over all types; none: the server did not say. Who has more is
        /// cut off, and has to end some before the next attempt.
        max_subscriptions: Option<usize>,
    },
    /// There is none; what was received last stays in use.
    Disconnected {
        /// Since when.
        since: Instant,
        /// Attempts that failed since then.
        failures: u32,
        /// Why the last stream ended or the last attempt failed; none before the first attempt.
        error: Option<Arc<str>>,
    },
}

/// A client under construction.
pub struct Builder {
    config: Config,
    resources: Resources,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Builder {
    /// A client with no types yet.
    pub fn new(config: Config) -> Self {
        Self { config, resources: Resources::default() }
    }

    /// Gives the resources of a type to a handler. A second handler of a type replaces the first.
    pub fn handle<T, H>(&mut self, type_url: &str, handler: H) -> Subscriptions
    where
        T: Message + Default + 'static,
        H: Handler<T>,
    {
        self.resources.handle(type_url.into(), Box::new(Typed::<T, H>::new(type_url.into(), handler)));
        self.subscriptions(type_url)
    }

    /// The subscriptions of a type, before or after it has a handler; so that a handler can own those of its own type
    /// and of others. Subscriptions of a type that has no handler when the client runs are ignored.
    pub fn subscriptions(&self, type_url: &str) -> Subscriptions {
        self.resources.subscriptions(type_url)
    }

    /// The client; nothing happens before it runs.
    pub fn build<C: Connect>(self, connect: C) -> Client<C> {
        let since = Instant::now();
        let connection = watch::Sender::new(Connection::Disconnected { since, failures: 0, error: None });
        Client { config: self.config, connect, resources: self.resources, connection }
    }
}

/// A client of a discovery server. It is a task: [`run`](Self::run) it, and drop it to end.
pub struct Client<C> {
    config: Config,
    connect: C,
    resources: Resources,
    connection: watch::Sender<Connection>,
}

impl<C> fmt::Debug for Client<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connection = self.connection.borrow().clone();
        f.debug_struct("Client")
            .field("config", &self.config)
            .field("connection", &connection)
            .finish_non_exhaustive()
    }
}

impl<C: Connect> Client<C> {
    /// Whether there is a stream; for readiness and metrics.
    pub fn connection(&self) -> watch::Receiver<Connection> {
        self.connection.subscribe()
    }

    /// Connects and stays connected. Never returns; it may be dropped at any moment.
    pub async fn run(mut self) {
        let mut failures = 0;
        loop {
            let error = match self.open().await {
                Ok(mut stream) => {
                    let since = Instant::now();
                    self.connection.send_replace(Connection::Connected {
                        since,
                        max_subscriptions: stream.max_subscriptions,
                    });
                    tracing::info!(node = %self.config.node_id, "discovery connected");
                    let error = stream.serve(&mut self.resources).await;
                    if since.elapsed() >= self.config.backoff.longest {
                        failures = 0;
                    }
                    error
                }
                Err(error) => error,
            };
            let delay = self.config.backoff.delay(failures, fastrand::u64(..));
            failures = failures.saturating_add(1);
            tracing::warn!(%error, ?delay, "discovery is not connected; the last resources stay in use");
            self.disconnected(&error);
            self.resources.meanwhile(sleep(delay)).await;
        }
    }

    async fn open(&mut self) -> Result<Stream, Error> {
        let limit = self.config.connect_timeout;
        let deadline = Instant::now() + limit;
        let connect = timeout_at(deadline, self.connect.connect());
        let service = match self.resources.meanwhile(connect).await {
            Ok(Ok(service)) => service,
            Ok(Err(error)) => return Err(Error::Connect { reason: chain(&*error) }),
            Err(_) => return Err(Error::ConnectTimeout(limit)),
        };
        let stream = Stream::open::<C>(service, &self.config, &mut self.resources);
        timeout_at(deadline, stream).await.unwrap_or(Err(Error::ConnectTimeout(limit)))
    }

    fn disconnected(&self, error: &Error) {
        let error = Some(error.to_string().into());
        self.connection.send_modify(|connection| {
            let (since, failures) = match connection {
                Connection::Connected { .. } => (Instant::now(), 0),
                Connection::Disconnected { since, failures, .. } => (*since, failures.saturating_add(1)),
            };
            *connection = Connection::Disconnected { since, failures, error };
        });
    }
}
