//! The server: one gRPC service in front of a [`ResourceSource`].

mod build;
mod codec;
mod mailbox;
mod notifier;
mod source;
mod state;
mod stats;
mod stream;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::{Body, BoxFuture, Service, StdError};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Status, Streaming};

use self::codec::{Response, ServerCodec};
use self::stream::StreamState;
use crate::MAX_SUBSCRIPTIONS;

pub use self::notifier::Notifier;
pub use self::source::{ClientContext, Identify, Lookup, Members, Observer, Peer, ResourceSource};
pub use self::stats::{ClientStats, TypeStats};

/// The limits of a server.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Names and collections that one stream may subscribe to, over all types. Clients are told of it when a stream begins
    /// ([`MAX_SUBSCRIPTIONS`](crate::MAX_SUBSCRIPTIONS)), so that they can keep to it.
    pub max_subscriptions: usize,
    /// Types that one stream may carry.
    pub max_types: usize,
    /// Resources that one stream may say it holds already.
    pub max_resumed: usize,
    /// Largest request that is read, in bytes: a client that resumes names everything it holds.
    pub max_request_bytes: usize,
    /// A response is closed once its resources have this many bytes; the rest follows after its ACK.
    pub batch_bytes: usize,
    /// How long a response may wait for its ACK or NACK before the stream is ended.
    pub ack_timeout: Duration,
    /// Streams are ended at about this age (a fifth more or less), so that clients spread over the replicas that are
    /// there and are authenticated anew. Resuming sends nothing that did not change.
    pub max_age: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // A client's 10,000 names, each with the collections that it leads to, several times over.
            max_subscriptions: 100_000,
            max_types: 16,
            max_resumed: 1_000_000,
            // About 200,000 names of 60 bytes with their versions.
            max_request_bytes: 16 << 20,
            // A quarter of what a gRPC client reads in one message unless it is told otherwise; a resource that is
            // larger goes alone.
            batch_bytes: 1 << 20,
            ack_timeout: Duration::from_mins(1),
            max_age: Some(Duration::from_hours(1)),
        }
    }
}

/// What all streams of a server share.
struct Shared {
    config: Config,
    source: Arc<dyn ResourceSource>,
    notifier: Notifier,
    observer: Arc<dyn Observer>,
    streams: Mutex<BTreeMap<u64, Arc<StreamState>>>,
    last_id: AtomicU64,
    draining: watch::Sender<bool>,
}

impl Shared {
    fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// The `AggregatedDiscoveryService`, delta variant. Cheap to clone; add it to a tonic router.
///
/// Clients that are gone without a word are found by HTTP/2 keepalive, which is the router's to configure, or by
/// their missing ACKs.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
    identify: Arc<dyn Identify>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clients = self.shared.streams.lock().len();
        f.debug_struct("Server")
            .field("config", &self.shared.config)
            .field("clients", &clients)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// A server of what `source` has. `notifier` is the one through which the source's changes are told; `()` is an
    /// observer that ignores everything.
    pub fn new(
        config: Config,
        source: Arc<dyn ResourceSource>,
        notifier: Notifier,
        identify: impl Identify,
        observer: impl Observer,
    ) -> Self {
        let shared = Shared {
            config,
            source,
            notifier,
            observer: Arc::new(observer),
            streams: Mutex::default(),
            last_id: AtomicU64::new(0),
            draining: watch::Sender::new(false),
        };
        Self { shared: Arc::new(shared), identify: Arc::new(identify) }
    }

    /// Ends all streams, and every new one at once: clients go to another replica and resume there.
    pub fn drain(&self) {
        self.shared.draining.send_replace(true);
    }
}

impl NamedService for Server {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

impl<B> Service<http::Request<B>> for Server
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if request.uri().path() != DELTA {
            let status = Status::unimplemented("only DeltaAggregatedResources is served");
            return Box::pin(async move { Ok(status.into_http()) });
        }
        let server = self.clone();
        Box::pin(async move {
            let limit = server.shared.config.max_request_bytes;
            let mut grpc = Grpc::new(ServerCodec).max_decoding_message_size(limit);
            Ok(grpc.streaming(Delta(server), request).await)
        })
    }
}

/// One call of the method, so that what it answers with stays private.
struct Delta(Server);

impl StreamingService<DeltaDiscoveryRequest> for Delta {
    type Response = Response;
    type ResponseStream = ReceiverStream<Result<Response, Status>>;
    type Future = std::future::Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<DeltaDiscoveryRequest>>) -> Self::Future {
        let Self(Server { shared, identify }) = self;
        if *shared.draining.borrow() {
            return std::future::ready(Err(Status::unavailable(
                "the discovery server drains; use another replica",
            )));
        }
        let peer = match identify.identify(request.metadata(), request.extensions()) {
            Ok(peer) => peer,
            Err(status) => return std::future::ready(Err(status)),
        };
        // One response of each type is on its way at most, and then the status that ends the stream.
        let (sender, receiver) = mpsc::channel(shared.config.max_types + 1);
        tokio::spawn(stream::serve(Arc::clone(shared), peer, request.into_inner(), sender));
        let mut response = tonic::Response::new(ReceiverStream::new(receiver));
        response.metadata_mut().insert(MAX_SUBSCRIPTIONS, shared.config.max_subscriptions.into());
        std::future::ready(Ok(response))
    }
}
