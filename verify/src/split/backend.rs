//! A backend: says in each answer who it is, and counts the requests of each round.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::rc::Rc;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use weft_harness::mesh::local;
use weft_harness::server::LocalExecutor;

/// An instance of a backend.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The backend that it is an instance of.
    #[arg(long)]
    pub(crate) name: String,
    /// Its own name.
    #[arg(long)]
    pub(crate) instance: String,
    /// Port of HTTP/2.
    #[arg(long)]
    pub(crate) port: u16,
}

/// The field, set by the route, that names the round whose weights were in force.
pub(super) const ROUND: &str = "x-round";
/// The field of an answer that names the backend.
pub(super) const BACKEND: &str = "x-backend";
/// The field of an answer that names the instance of the backend.
pub(super) const INSTANCE: &str = "x-instance";
/// What is asked directly for the counts, as JSON.
pub(super) const COUNTS: &str = "/counts";

type Counts = Rc<RefCell<BTreeMap<String, u64>>>;

/// Serves HTTP/2 until it is ended.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let listener = TcpListener::bind(local(options.port)).await.context("listening")?;
    let name = |text: &str| HeaderValue::from_str(text).context("a name is text");
    let (backend, instance) = (name(&options.name)?, name(&options.instance)?);
    let counts = Counts::default();
    loop {
        let (stream, _) = listener.accept().await.context("accepting a connection")?;
        stream.set_nodelay(true)?;
        let (backend, instance, counts) = (backend.clone(), instance.clone(), Rc::clone(&counts));
        let service = service_fn(move |request| {
            let answer = answer(&request, &backend, &instance, &counts);
            async { Ok::<_, Infallible>(answer) }
        });
        let serving = http2::Builder::new(LocalExecutor)
            .max_concurrent_streams(1000)
            .initial_connection_window_size(4 << 20)
            .serve_connection(TokioIo::new(stream), service);
        tokio::task::spawn_local(serving);
    }
}

fn answer(
    request: &Request<Incoming>,
    backend: &HeaderValue,
    instance: &HeaderValue,
    counts: &Counts,
) -> Response<Full<Bytes>> {
    let mut counts = counts.borrow_mut();
    if request.uri().path() == COUNTS {
        let text = serde_json::to_vec(&*counts).unwrap_or_default();
        return Response::new(Full::new(text.into()));
    }
    let round = request.headers().get(ROUND);
    let round_text = round.and_then(|round| round.to_str().ok()).unwrap_or_default();
    match counts.get_mut(round_text) {
        Some(count) => *count += 1,
        None => {
            counts.insert(round_text.to_owned(), 1);
        }
    }
    let mut response = Response::new(Full::default());
    let headers = response.headers_mut();
    headers.insert(BACKEND, backend.clone());
    headers.insert(INSTANCE, instance.clone());
    if let Some(round) = round {
        headers.insert(ROUND, round.clone());
    }
    response
}
