//! Requests over HTTP/2, many at a time, and who has answered them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::Context;
use bytes::Bytes;
use futures_util::StreamExt as _;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri};
use tokio::task::JoinSet;

use super::backend;
use weft_harness::load::http2;

/// Connections of the load, and streams on each.
const CONNECTIONS: usize = 4;
const STREAMS: usize = 25;

/// Sends `requests` requests for `path`, as many at a time as all streams carry. Gives how many each backend has
/// answered; fails at an answer of another round, or that is none of a backend.
pub(super) async fn count(
    address: SocketAddr,
    path: &'static str,
    requests: u64,
    round: &str,
) -> anyhow::Result<BTreeMap<String, u64>> {
    let left = Rc::new(Cell::new(requests));
    let counts: Rc<RefCell<BTreeMap<String, u64>>> = Rc::default();
    let mut streams = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let sender = http2::open(address).await.context("connecting")?;
        for _ in 0..STREAMS {
            let (sender, left, counts, round) =
                (sender.clone(), Rc::clone(&left), Rc::clone(&counts), round.to_owned());
            streams.spawn_local(async move {
                let mut sender = sender;
                let request = request(path, None)?;
                while left.get() > 0 {
                    left.set(left.get() - 1);
                    let answer = exchange(&mut sender, request.clone()).await?;
                    anyhow::ensure!(answer.round == round, "an answer of round {:?}", answer.round);
                    *counts.borrow_mut().entry(answer.backend).or_default() += 1;
                }
                anyhow::Ok(())
            });
        }
    }
    while let Some(ended) = streams.join_next().await {
        ended??;
    }
    Ok(counts.take())
}

/// Who has answered a request, and what the client shall tell when it comes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) backend: String,
    pub(super) instance: String,
    round: String,
    session: Option<(HeaderName, HeaderValue)>,
}

/// A client that has a session, or a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Visitor {
    /// What it tells with each request; a session only once it has one.
    pub(super) tells: Option<(HeaderName, HeaderValue)>,
    /// Backend and instance of its last answer.
    pub(super) at: (String, String),
}

impl Visitor {
    pub(super) fn new(tells: Option<(HeaderName, HeaderValue)>) -> Self {
        Self { tells, at: <(String, String)>::default() }
    }
}

/// Lets every visitor send one request, and gives them with what they have heard.
pub(super) async fn visit(
    address: SocketAddr,
    path: &'static str,
    visitors: &[Visitor],
) -> anyhow::Result<Vec<Visitor>> {
    let sender = http2::open(address).await.context("connecting")?;
    let visits = visitors.iter().map(|visitor| {
        let mut sender = sender.clone();
        async move {
            let answer = exchange(&mut sender, request(path, visitor.tells.as_ref())?).await?;
            let tells = answer.session.or_else(|| visitor.tells.clone());
            anyhow::Ok(Visitor { tells, at: (answer.backend, answer.instance) })
        }
    });
    // In order, so that each visitor stays at its place.
    let visits: Vec<_> = visits.collect();
    futures_util::stream::iter(visits)
        .buffered(STREAMS * CONNECTIONS)
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .collect()
}

/// The round whose weights are in force.
pub(super) async fn round(address: SocketAddr, path: &'static str) -> anyhow::Result<String> {
    let mut sender = http2::open(address).await.context("connecting")?;
    Ok(exchange(&mut sender, request(path, None)?).await?.round)
}

/// What a backend that is asked directly has counted.
pub(super) async fn counts(address: SocketAddr) -> anyhow::Result<BTreeMap<String, u64>> {
    let sender = http2::open(address).await.context("connecting")?;
    let mut sender = sender.ready().await?;
    let (answer, _) = sender.send_request(request(backend::COUNTS, None)?, true)?;
    let mut body = answer.await?.into_body();
    let mut text = Vec::new();
    while let Some(data) = body.data().await {
        text.extend_from_slice(&data?);
    }
    Ok(serde_json::from_slice(&text)?)
}

fn request(path: &str, tells: Option<&(HeaderName, HeaderValue)>) -> anyhow::Result<Request<()>> {
    let uri = Uri::builder().scheme("http").authority("front").path_and_query(path).build()?;
    let mut request = Request::new(());
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    if let Some((name, value)) = tells {
        request.headers_mut().insert(name.clone(), value.clone());
    }
    Ok(request)
}

async fn exchange(sender: &mut SendRequest<Bytes>, request: Request<()>) -> anyhow::Result<Answer> {
    let ready = sender.clone().ready().await?;
    *sender = ready;
    let (answer, _) = sender.send_request(request, true)?;
    let answer = answer.await?;
    let (head, mut body) = answer.into_parts();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
    }
    anyhow::ensure!(head.status == StatusCode::OK, "status {}: {:?}", head.status, head.headers);
    let field = |name: &str| {
        head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    anyhow::ensure!(
        head.headers.contains_key(backend::BACKEND),
        "an answer of no backend: {:?}",
        head.headers
    );
    Ok(Answer {
        backend: field(backend::BACKEND),
        instance: field(backend::INSTANCE),
        round: field(backend::ROUND),
        session: session(&head.headers),
    })
}

/// The session that an answer tells, as the client tells it again.
fn session(headers: &HeaderMap) -> Option<(HeaderName, HeaderValue)> {
    if let Some(cookie) = headers.get(http::header::SET_COOKIE) {
        let pair = cookie.to_str().ok()?.split(';').next()?;
        return Some((http::header::COOKIE, HeaderValue::from_str(pair).ok()?));
    }
    let name = HeaderName::from_static(super::SESSION_FIELD);
    headers.get(&name).map(|value| (name, value.clone()))
}
