//! One request of whichever protocol the URL names.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, Uri};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tonic::transport::{Channel, Endpoint};

use super::tally::Outcome;
use crate::api::WatchRatingsRequest;
use crate::api::ratings_client::RatingsClient;
use crate::client::{Client, Failure};
use crate::{Error, VERSION_HEADER, echo};

/// Says why a proxy answered instead of a service.
const MESH_ERROR_HEADER: &str = "x-weft-error";
/// Messages of one stream, and the time between two of them: a stream lasts about a second.
const MESSAGES: u32 = 20;
const MESSAGE_EVERY_MS: u32 = 50;
/// Lines that are sent over one TCP connection, each once the one before it has come back.
const LINES: u32 = 20;

/// What is sent over HTTP.
#[derive(Clone)]
pub(super) struct Get {
    client: Client,
    url: Uri,
    headers: HeaderMap,
}

/// Sends requests to one place.
#[derive(Clone)]
pub(super) enum Sender {
    /// GET, over HTTP/1.1 or HTTP/2.
    Http(Box<Get>),
    /// A stream of `WatchRatings` over gRPC, all of whose messages have to come.
    Stream(RatingsClient<Channel>),
    /// A TCP connection to `echo`, all of whose lines have to come back.
    Tcp(String),
}

impl Sender {
    /// Sends by the scheme of the URL.
    pub(super) fn new(client: Client, url: Uri, headers: HeaderMap) -> Result<Self, Error> {
        let authority = url.authority().map(ToString::to_string).unwrap_or_default();
        Ok(match url.scheme_str() {
            Some("grpc") => {
                let endpoint = Endpoint::from_shared(format!("http://{authority}"));
                let endpoint = endpoint.map_err(|source| Error::Client { url: url.to_string(), source })?;
                Self::Stream(RatingsClient::new(endpoint.connect_lazy()))
            }
            Some("tcp") => Self::Tcp(authority),
            _ => Self::Http(Box::new(Get { client, url, headers })),
        })
    }

    /// Sends one request, and waits for the whole answer until the deadline.
    pub(super) async fn send(self, deadline: Instant) -> Outcome {
        match self {
            Self::Http(get) => outcome(get.client.get(get.url, get.headers, deadline).await),
            Self::Stream(client) => within(deadline, watch(client)).await,
            Self::Tcp(address) => within(deadline, converse(&address)).await,
        }
    }
}

async fn within(deadline: Instant, sending: impl Future<Output = Result<(), String>>) -> Outcome {
    match timeout_at(deadline, sending).await {
        Ok(Ok(())) => Outcome { status: None, version: None, failure: None },
        Ok(Err(reason)) => Outcome::failed(reason),
        Err(_) => Outcome::failed("timeout"),
    }
}

async fn watch(mut client: RatingsClient<Channel>) -> Result<(), String> {
    let request = WatchRatingsRequest { product: 1, interval_ms: MESSAGE_EVERY_MS, count: MESSAGES };
    let failed = |status: tonic::Status| format!("gRPC status {}: {}", status.code(), status.message());
    let mut messages = client.watch_ratings(request).await.map_err(failed)?.into_inner();
    for expected in 1..=MESSAGES {
        let message = messages.message().await.map_err(failed)?;
        let sequence = message.map(|message| message.sequence);
        if sequence != Some(expected.into()) {
            return Err(format!("the stream has {sequence:?} where message {expected} should be"));
        }
    }
    match messages.message().await.map_err(failed)? {
        None => Ok(()),
        Some(_) => Err(format!("the stream goes on after message {MESSAGES}")),
    }
}

async fn converse(address: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let stream = TcpStream::connect(address).await.map_err(|error| format!("cannot connect: {error}"))?;
    stream.set_nodelay(true).map_err(failed)?;
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = String::new();
    read.read_line(&mut line).await.map_err(failed)?;
    if line != echo::GREETING {
        return Err("the connection ended before the greeting".to_owned());
    }
    for number in 0..LINES {
        let sent = format!("line {number}\n");
        write.write_all(sent.as_bytes()).await.map_err(failed)?;
        line.clear();
        read.read_line(&mut line).await.map_err(failed)?;
        if line != sent {
            return Err("the connection ended between two lines".to_owned());
        }
    }
    write.shutdown().await.map_err(failed)?;
    let mut rest = Vec::new();
    read.read_to_end(&mut rest).await.map_err(failed)?;
    if rest.is_empty() { Ok(()) } else { Err("more came back than was sent".to_owned()) }
}

fn outcome(answer: Result<Response<Bytes>, Failure>) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) => return Outcome::failed(failure.reason),
    };
    let text = |name| answer.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let status = answer.status();
    let failure = (status.is_client_error() || status.is_server_error()).then(|| {
        let reason = text(MESH_ERROR_HEADER).map(|reason| format!(" {reason}")).unwrap_or_default();
        format!("status {}{reason}", status.as_u16())
    });
    Outcome { status: Some(status.as_u16()), version: text(VERSION_HEADER).map(str::to_owned), failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)]) -> Outcome {
        let mut answer = Response::new(Bytes::new());
        *answer.status_mut() = status.try_into().unwrap();
        for (name, value) in headers {
            answer.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        outcome(Ok(answer))
    }

    #[test]
    fn errors_by_status_are_failures_with_the_reason_that_the_mesh_gives() {
        assert_eq!(answer(200, &[("x-version", "v2")]).version.as_deref(), Some("v2"));
        assert_eq!(answer(302, &[]).failure, None);
        assert_eq!(answer(404, &[]).failure.as_deref(), Some("status 404"));
        let reason = answer(503, &[(MESH_ERROR_HEADER, "no_endpoints")]).failure;
        assert_eq!(reason.as_deref(), Some("status 503 no_endpoints"));
    }
}
