//! `ratings`: how many stars reviewers gave, over gRPC, with the standard health and reflection services.

use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use http::HeaderValue;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::api::ratings_server::{Ratings, RatingsServer};
use crate::api::{
    DESCRIPTION, GetRatingsRequest, GetRatingsResponse, Rating, WatchRatingsRequest, WatchRatingsResponse,
};
use crate::behaviour::Behaviour;
use crate::reviews::REVIEWERS;
use crate::serving::{Bound, DRAIN, Serving};
use crate::{Error, VERSION_HEADER};

/// Below this, watching would mostly measure the timer.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// Options of `ratings`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where to listen.
    #[command(flatten)]
    pub serving: Serving,
    /// Version to give in the answer's x-version
    #[arg(long, default_value = "v1", value_parser = version)]
    pub version: String,
    /// How to misbehave.
    #[command(flatten)]
    pub behaviour: Behaviour,
}

fn version(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !text.is_empty() && text.len() <= 63 && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err("write 1 to 63 letters, digits, `-`, `.` or `_`, such as v1".to_owned())
}

/// Listens and answers until SIGTERM or SIGINT.
pub async fn run(args: Args) -> Result<(), Error> {
    bind(args).await?.serve_until_signal().await
}

/// Listens.
pub async fn bind(args: Args) -> Result<Bound, Error> {
    let (listener, address) = args.serving.listen().await?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Ok(Bound::new("http", "ratings", address, async move |stop| {
        serve(args, incoming, stop).await.map_err(|cause| match cause {
            Cause::Grpc(source) => Error::Grpc { address, source },
            Cause::Reflection(source) => Error::Reflection(source),
        })
    }))
}

enum Cause {
    Grpc(tonic::transport::Error),
    Reflection(tonic_reflection::server::Error),
}

async fn serve(args: Args, incoming: TcpIncoming, stop: CancellationToken) -> Result<(), Cause> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<RatingsServer<Service>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTION)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(Cause::Reflection)?;
    let version = HeaderValue::from_str(&args.version).expect("a version is plain ASCII");
    let service = Service { version, behaviour: args.behaviour, stop: stop.clone() };
    let server = Server::builder()
        .add_service(health_service)
        .add_service(reflection)
        .add_service(RatingsServer::new(service))
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    let overdue = async {
        stop.cancelled().await;
        health.set_not_serving::<RatingsServer<Service>>().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = server => ended.map_err(Cause::Grpc),
        () = overdue => {
            eprintln!("calls still in flight after {} s are cut off", DRAIN.as_secs());
            Ok(())
        }
    }
}

struct Service {
    version: HeaderValue,
    behaviour: Behaviour,
    stop: CancellationToken,
}

impl Service {
    async fn misbehave(&self) -> Result<(), Status> {
        if self.behaviour.misbehave().await {
            return Err(Status::unavailable("fails on purpose (--fail-share)"));
        }
        Ok(())
    }

    fn answer<T>(&self, message: T) -> Response<T> {
        let mut answer = Response::new(message);
        let metadata = std::mem::take(answer.metadata_mut());
        let mut headers = metadata.into_headers();
        headers.insert(VERSION_HEADER, self.version.clone());
        *answer.metadata_mut() = tonic::metadata::MetadataMap::from_headers(headers);
        answer
    }
}

#[tonic::async_trait]
impl Ratings for Service {
    async fn get_ratings(
        &self,
        request: Request<GetRatingsRequest>,
    ) -> Result<Response<GetRatingsResponse>, Status> {
        self.misbehave().await?;
        let ratings = ratings_of(request.get_ref().product);
        Ok(self.answer(GetRatingsResponse { ratings }))
    }

    type WatchRatingsStream = Pin<Box<dyn Stream<Item = Result<WatchRatingsResponse, Status>> + Send>>;

    async fn watch_ratings(
        &self,
        request: Request<WatchRatingsRequest>,
    ) -> Result<Response<Self::WatchRatingsStream>, Status> {
        self.misbehave().await?;
        Ok(self.answer(Box::pin(watch(request.get_ref(), self.stop.clone()))))
    }
}

/// The messages of one watch; the first at once.
fn watch(
    request: &WatchRatingsRequest,
    stop: CancellationToken,
) -> impl Stream<Item = Result<WatchRatingsResponse, Status>> + use<> {
    let interval = match request.interval_ms {
        0 => Duration::from_secs(1),
        milliseconds => Duration::from_millis(milliseconds.into()).max(SHORTEST_INTERVAL),
    };
    let last = match request.count {
        0 => u64::MAX,
        count => count.into(),
    };
    let product = request.product;
    let ticks = tokio::time::interval(interval);
    unfold((ticks, 0, last), move |(mut ticks, before, last)| {
        let stop = stop.clone();
        async move {
            if before == last {
                return None;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    Some((Err(Status::unavailable("shutting down; call again")), (ticks, before, before)))
                }
                _ = ticks.tick() => {
                    let sequence = before + 1;
                    let message = WatchRatingsResponse { sequence, ratings: ratings_of(product) };
                    Some((Ok(message), (ticks, sequence, last)))
                }
            }
        }
    })
}

/// The same stars at every call, different ones for different products.
fn ratings_of(product: u32) -> Vec<Rating> {
    REVIEWERS
        .iter()
        .zip(0u32..)
        .map(|((reviewer, _), position)| Rating {
            reviewer: (*reviewer).to_owned(),
            stars: 5 - product.wrapping_add(position).wrapping_add(2) % 3,
        })
        .collect()
}
