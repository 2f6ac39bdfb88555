//! `reviews`: what reviewers say about a product. Version 1 has no stars; versions 2 and 3 ask `ratings` for them and
//! show them in black and in red.

use std::fmt;
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, StatusCode, Uri};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::api::ratings_client::RatingsClient;
use crate::api::{GetRatingsRequest, Rating};
use crate::behaviour::Behaviour;
use crate::context::Context;
use crate::http_server::{Answer, Service, json, number_after, problem, serve};
use crate::serving::{Bound, Serving};
use crate::{Error, VERSION_HEADER};
use weft_values::BaseUrl;

/// A sidecar is on the same machine and any other destination close by; who doesn't accept by then is gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Who reviews, and what they say of everything.
pub(crate) const REVIEWERS: [(&str, &str); 2] =
    [("Ada", "Kept me up until two in the morning."), ("Grace", "Fine, but the ending came too early.")];

/// Version of `reviews`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Version {
    /// Without stars.
    V1,
    /// Black stars.
    V2,
    /// Red stars.
    V3,
}

impl Version {
    fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::V3 => "v3",
        }
    }

    fn colour(self) -> Option<Colour> {
        match self {
            Self::V1 => None,
            Self::V2 => Some(Colour::Black),
            Self::V3 => Some(Colour::Red),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Options of `reviews`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where to listen.
    #[command(flatten)]
    pub serving: Serving,
    /// v1 shows no stars, v2 black ones, v3 red ones
    #[arg(long, value_enum, default_value_t = Version::V1)]
    pub version: Version,
    /// Where ratings is reached: itself, or a listener of the sidecar that leads to it (gRPC without TLS)
    #[arg(long, value_name = "URL", env = "RATINGS_URL", default_value = "http://ratings:9090")]
    pub ratings: BaseUrl,
    /// Name to call ratings by in :authority, where the URL leads to the sidecar instead
    #[arg(long, value_name = "HOST:PORT", env = "RATINGS_AUTHORITY", value_parser = weft_values::authority)]
    pub ratings_authority: Option<Authority>,
    /// How long ratings may take
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = weft_values::some_duration)]
    pub timeout: Duration,
    /// How to misbehave.
    #[command(flatten)]
    pub behaviour: Behaviour,
}

/// What `GET /reviews/{product}` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reviews {
    /// The product asked for.
    pub product: u32,
    /// The version that answered.
    pub version: String,
    /// One for each reviewer.
    pub reviews: Vec<Review>,
}

/// What one reviewer says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// Name of the reviewer.
    pub reviewer: String,
    /// What they say.
    pub text: String,
    /// Stars, from version 2 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rating: Option<Stars>,
}

/// The stars of one review.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stars {
    /// 1 to 5.
    pub stars: u32,
    /// Colour to show them in.
    pub colour: Colour,
}

/// Colour of stars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// Version 2.
    Black,
    /// Version 3.
    Red,
}

/// Listens and answers until SIGTERM or SIGINT.
pub async fn run(args: Args) -> Result<(), Error> {
    bind(args).await?.serve_until_signal().await
}

/// Listens. `ratings` is connected to at the first request that needs it.
pub async fn bind(args: Args) -> Result<Bound, Error> {
    let (listener, address) = args.serving.listen().await?;
    let app = App {
        version: args.version,
        ratings: RatingsClient::new(channel(&args)),
        called: args.ratings_authority.as_ref().unwrap_or(args.ratings.authority()).to_string(),
        timeout: args.timeout,
    };
    Ok(Bound::new("http", "reviews", address, async move |stop| {
        serve(listener, app, args.behaviour, stop).await;
        Ok(())
    }))
}

fn channel(args: &Args) -> Channel {
    let root = || http::uri::PathAndQuery::from_static("/");
    let mut endpoint = Endpoint::from(args.ratings.join(root())).connect_timeout(CONNECT_TIMEOUT);
    if let Some(authority) = &args.ratings_authority {
        let origin = Uri::builder().scheme(Scheme::HTTP).authority(authority.clone()).path_and_query(root());
        endpoint = endpoint.origin(origin.build().expect("scheme, authority and path make a URL"));
    }
    endpoint.connect_lazy()
}

struct App {
    version: Version,
    ratings: RatingsClient<Channel>,
    called: String,
    timeout: Duration,
}

impl Service for App {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let mut answer = match number_after(request.uri().path(), "/reviews/") {
            Some(product) => self.reviews(product, &Context::of(request.headers())).await,
            None => problem(StatusCode::NOT_FOUND, "there is only /reviews/{product} and /healthz"),
        };
        answer.headers_mut().insert(VERSION_HEADER, HeaderValue::from_static(self.version.name()));
        answer
    }
}

impl App {
    async fn reviews(&self, product: u32, context: &Context) -> Answer {
        let stars = match self.version.colour() {
            None => Vec::new(),
            Some(colour) => match self.stars(product, colour, context).await {
                Ok(stars) => stars,
                Err(status) => return self.without_stars(&status),
            },
        };
        let rating_of =
            |name: &str| stars.iter().find(|(reviewer, _)| reviewer == name).map(|(_, stars)| *stars);
        let reviews = REVIEWERS.map(|(reviewer, text)| Review {
            reviewer: reviewer.to_owned(),
            text: text.to_owned(),
            rating: rating_of(reviewer),
        });
        let version = self.version.to_string();
        json(StatusCode::OK, &Reviews { product, version, reviews: reviews.into() })
    }

    async fn stars(
        &self,
        product: u32,
        colour: Colour,
        context: &Context,
    ) -> Result<Vec<(String, Stars)>, Status> {
        let mut request = tonic::Request::new(GetRatingsRequest { product });
        request.set_timeout(self.timeout);
        context.add_to_metadata(request.metadata_mut());
        let ratings = self.ratings.clone().get_ratings(request).await?.into_inner().ratings;
        let stars = |rating: Rating| (rating.reviewer, Stars { stars: rating.stars, colour });
        Ok(ratings.into_iter().map(stars).collect())
    }

    /// Says that `ratings` failed instead of hiding it: who watches the mesh wants to see it.
    fn without_stars(&self, status: &Status) -> Answer {
        let code = match status.code() {
            // The client's own timer ends a call with CANCELLED.
            Code::DeadlineExceeded | Code::Cancelled => StatusCode::GATEWAY_TIMEOUT,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        };
        let what = format!("{}: {:?}: {}", self.called, status.code(), status.message());
        problem(code, &what)
    }
}
