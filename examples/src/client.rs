//! Calling others over HTTP, directly or through a proxy.

mod connector;
mod proxy;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

use crate::Error;
use connector::Connector;
use proxy::Proxy;
use weft_values::BaseUrl;

/// Shorter than any server's usual patience, so that it is this side that closes an idle connection.
const IDLE: Duration = Duration::from_secs(30);

/// More than any answer of these services.
const MAX_BODY: usize = 1 << 20;

/// How HTTP requests leave.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ClientArgs {
    /// Send HTTP requests through this proxy. Without it, `http_proxy` or `HTTP_PROXY` decides, except for loopback
    /// addresses and for what `no_proxy` names
    #[arg(long, value_name = "URL")]
    pub proxy: Option<BaseUrl>,
}

/// Why a request got no usable answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Names the kind of failure; the same text for all of one kind, so that it can be counted.
    pub(crate) reason: String,
    /// What a server should say when this kept it from answering: 503 not reached, 504 too late, 502 anything else.
    pub(crate) status: StatusCode,
}

impl Failure {
    fn timeout() -> Self {
        Self { reason: "timeout".to_owned(), status: StatusCode::GATEWAY_TIMEOUT }
    }

    fn protocol(reason: String) -> Self {
        Self { reason, status: StatusCode::BAD_GATEWAY }
    }

    fn of_request(error: &legacy::Error) -> Self {
        let reason = root_cause(error);
        if error.is_connect() {
            let reason = format!("cannot connect: {reason}");
            return Self { reason, status: StatusCode::SERVICE_UNAVAILABLE };
        }
        Self::protocol(reason)
    }
}

/// What lies at the bottom of an error, which is where the system says what happened.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// A client that keeps connections for the next request.
#[derive(Clone)]
pub(crate) struct Client {
    inner: legacy::Client<Connector, Empty<Bytes>>,
}

impl Client {
    /// Speaks HTTP/1.1.
    pub(crate) fn new(args: &ClientArgs) -> Result<Self, Error> {
        Self::speaking(args, false)
    }

    /// Speaks HTTP/2 with prior knowledge (RFC 9113 section 3.3).
    pub(crate) fn of_http2(args: &ClientArgs) -> Result<Self, Error> {
        Self::speaking(args, true)
    }

    fn speaking(args: &ClientArgs, http2: bool) -> Result<Self, Error> {
        let proxy = match &args.proxy {
            Some(proxy) => Proxy::always(proxy),
            None => Proxy::from_environment(|name| std::env::var(name).ok())?,
        };
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http2_only(http2)
            .build(Connector::new(proxy));
        Ok(Self { inner })
    }

    /// A GET with its whole answer, or why there is none by the deadline.
    pub(crate) async fn get(
        &self,
        uri: Uri,
        headers: HeaderMap,
        deadline: Instant,
    ) -> Result<Response<Bytes>, Failure> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        timeout_at(deadline, self.exchange(request)).await.unwrap_or_else(|_| Err(Failure::timeout()))
    }

    async fn exchange(&self, request: Request<Empty<Bytes>>) -> Result<Response<Bytes>, Failure> {
        let answer = self.inner.request(request).await.map_err(|error| Failure::of_request(&error))?;
        let (head, mut body) = answer.into_parts();
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame
                .map_err(|error| Failure::protocol(format!("answer cut short: {}", root_cause(&error))))?;
            if let Some(data) = frame.data_ref() {
                if whole.len() + data.len() > MAX_BODY {
                    return Err(Failure::protocol(format!("answer longer than {MAX_BODY} bytes")));
                }
                whole.extend_from_slice(data);
            }
        }
        Ok(Response::from_parts(head, whole.freeze()))
    }
}
