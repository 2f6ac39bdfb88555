//! `web`: the page that people see. It asks `reviews` over HTTP and puts the answer beside the product.

mod page;
mod product;

use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::behaviour::Behaviour;
use crate::client::{Client, ClientArgs};
use crate::context::Context;
use crate::http_server::{Answer, Service, html, json, number_after, problem, serve};
use crate::reviews::Reviews;
use crate::serving::{Bound, Serving};
use crate::{Error, VERSION_HEADER};
use weft_values::BaseUrl;

pub use product::Product;

/// Characters of a failed answer's body to show; an error is a line, not a page.
const MOST_QUOTED: usize = 200;

/// Options of `web`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where to listen.
    #[command(flatten)]
    pub serving: Serving,
    /// Where reviews is reached
    #[arg(long, value_name = "URL", env = "REVIEWS_URL", default_value = "http://reviews:9080")]
    pub reviews: BaseUrl,
    /// How requests leave.
    #[command(flatten)]
    pub client: ClientArgs,
    /// How long reviews may take
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = weft_values::some_duration)]
    pub timeout: Duration,
    /// How to misbehave.
    #[command(flatten)]
    pub behaviour: Behaviour,
}

/// What `GET /product/{id}` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductPage {
    /// The product asked for.
    pub product: Product,
    /// What `reviews` answered.
    pub reviews: Reviews,
}

/// Listens and answers until SIGTERM or SIGINT.
pub async fn run(args: Args) -> Result<(), Error> {
    bind(args).await?.serve_until_signal().await
}

/// Listens. `reviews` is connected to at the first request that needs it.
pub async fn bind(args: Args) -> Result<Bound, Error> {
    let client = Client::new(&args.client)?;
    let (listener, address) = args.serving.listen().await?;
    let app = App { client, reviews: args.reviews, timeout: args.timeout };
    Ok(Bound::new("http", "web", address, async move |stop| {
        serve(listener, app, args.behaviour, stop).await;
        Ok(())
    }))
}

struct App {
    client: Client,
    reviews: BaseUrl,
    timeout: Duration,
}

impl Service for App {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let context = Context::of(request.headers());
        let path = request.uri().path();
        if path == "/" {
            let found = self.page(Product::first(), &context).await;
            return found.answer(|page| html(StatusCode::OK, page::show(page)));
        }
        let Some(id) = number_after(path, "/product/") else {
            return problem(StatusCode::NOT_FOUND, "there is only /, /product/{id} and /healthz");
        };
        let Some(product) = Product::find(id) else {
            return problem(
                StatusCode::NOT_FOUND,
                &format!("there is no product {id}; try {}", Product::ids()),
            );
        };
        self.page(product, &context).await.answer(|page| json(StatusCode::OK, page))
    }
}

/// The page, or why there is none, and the version of `reviews` that had a part in it.
struct Found {
    page: Result<ProductPage, Problem>,
    version: Option<HeaderValue>,
}

struct Problem {
    status: StatusCode,
    what: String,
}

impl Found {
    fn answer(self, show: impl FnOnce(&ProductPage) -> Answer) -> Answer {
        let mut answer = match self.page {
            Ok(page) => show(&page),
            Err(Problem { status, what }) => problem(status, &what),
        };
        if let Some(version) = self.version {
            answer.headers_mut().insert(VERSION_HEADER, version);
        }
        answer
    }
}

impl App {
    async fn page(&self, product: Product, context: &Context) -> Found {
        let mut headers = HeaderMap::new();
        context.add_to_headers(&mut headers);
        let path = PathAndQuery::try_from(format!("/reviews/{}", product.id)).expect("a number makes a path");
        let deadline = Instant::now() + self.timeout;
        match self.client.get(self.reviews.join(path), headers, deadline).await {
            Ok(answer) => Found {
                version: answer.headers().get(VERSION_HEADER).cloned(),
                page: self.read(product, &answer),
            },
            Err(failure) => Found { version: None, page: Err(self.problem(failure.status, &failure.reason)) },
        }
    }

    /// Says that `reviews` failed instead of hiding it: who watches the mesh wants to see it. Its 503 and 504 go on as
    /// they are, so that a retry rule in front of this service sees what it could repeat.
    fn read(&self, product: Product, answer: &Response<Bytes>) -> Result<ProductPage, Problem> {
        let status = match answer.status() {
            StatusCode::OK => {
                let reviews = serde_json::from_slice(answer.body()).map_err(|error| {
                    let what = format!("the answer is not understood: {error}");
                    self.problem(StatusCode::BAD_GATEWAY, &what)
                })?;
                return Ok(ProductPage { product, reviews });
            }
            status @ (StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT) => status,
            _ => StatusCode::BAD_GATEWAY,
        };
        let said: String = String::from_utf8_lossy(answer.body()).chars().take(MOST_QUOTED).collect();
        Err(self.problem(status, &format!("{}: {}", answer.status(), said.trim())))
    }

    fn problem(&self, status: StatusCode, what: &str) -> Problem {
        Problem { status, what: format!("{}: {what}", self.reviews) }
    }
}
