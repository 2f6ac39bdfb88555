//! Finding out which version of HTTP an application speaks that declares none.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use tokio::time::Instant;
use weft_mesh::reason::Reason;

use super::{Client, HttpVersion};
use crate::error::{BoxFailure, Failure};
use crate::http::body::Body;
use crate::http::replay::Replay;
use crate::http::upgrade;
use crate::upstream::shared_attempt::SharedAttempt;

/// What an address has shown to speak.
#[derive(Debug, Default)]
pub(super) struct ProtocolProbe {
    found: Cell<Option<(HttpVersion, Instant)>>,
    /// Since when it is known to speak HTTP/2 and not HTTP/1.
    http2_alone: Cell<Option<Instant>>,
    /// Whether it has answered a request of HTTP/1.
    http1: Cell<bool>,
    /// The attempt to find out.
    finding: SharedAttempt<HttpVersion>,
}

impl ProtocolProbe {
    fn version(&self) -> Option<HttpVersion> {
        self.found.get().map(|(version, _)| version)
    }

    /// Forgets what was found `idle` ago or earlier: another application may be there by now.
    pub(super) fn forget(&self, now: Instant, idle: Duration) {
        let is_old = |since: Instant| now.duration_since(since) >= idle;
        if self.found.get().is_some_and(|(_, since)| is_old(since)) {
            self.found.set(None);
        }
        if self.http2_alone.get().is_some_and(is_old) {
            self.http2_alone.set(None);
        }
        self.http1.set(false);
    }

    /// Whether it is known to speak HTTP/1.
    pub(super) fn is_http1(&self) -> bool {
        self.http1.get()
    }
}

impl Client {
    /// Sends a request of HTTP/2 as such if the address speaks that with prior knowledge, else in HTTP/1.1.
    pub(super) async fn send_either(
        self: &Rc<Self>,
        request: Box<Request<Body>>,
    ) -> Result<Response<Body>, BoxFailure> {
        let version = match self.spoken.version() {
            Some(version) => version,
            None => Box::pin(self.find_out()).await?,
        };
        let sent = match version {
            HttpVersion::Http1 | HttpVersion::LikelyHttp1 => self.send_http1(request, version).await,
            HttpVersion::Http2 | HttpVersion::Either => self.send_http2(request).await,
        };
        if sent.is_err() {
            // It may be that what was found does not hold any more.
            self.spoken.found.set(None);
        }
        sent
    }

    /// Sends a request of HTTP/1 to what has not been heard to speak that: if it speaks HTTP/2 alone, in that. Its body is
    /// kept for that as for a retry.
    pub(super) async fn send_likely(
        self: &Rc<Self>,
        request: Box<Request<Body>>,
    ) -> Result<Response<Body>, BoxFailure> {
        if self.spoken.http2_alone.get().is_some() {
            return self.send_to_http2_alone(request).await;
        }
        if upgrade::is_asked(&request) {
            return self.send_http1(request, HttpVersion::LikelyHttp1).await;
        }
        let (parts, body) = request.into_parts();
        let replay = Replay::uncounted(body);
        let first = Request::from_parts(parts.clone(), replay.attempt().unwrap_or_default());
        let sent = self.send_http1(Box::new(first), HttpVersion::LikelyHttp1).await;
        if sent.is_ok() {
            self.spoken.http1.set(true);
        } else if self.spoken.http2_alone.get().is_some()
            && let Some(body) = replay.attempt()
        {
            return self.send_to_http2_alone(Box::new(Request::from_parts(parts, body))).await;
        }
        replay.settle();
        sent
    }

    /// Takes note that it speaks HTTP/2 and not HTTP/1. The request had no effect, so that it can be sent again in the
    /// right version, unless the wrong one is declared.
    pub(super) fn greeted_in_http2(&self, asked: HttpVersion) -> BoxFailure {
        self.spoken.http2_alone.set(Some(Instant::now()));
        let detail =
            "it was asked by HTTP/1 and speaks HTTP/2; declare http2 or grpc by its appProtocol or name";
        if asked == HttpVersion::Http1 {
            return Failure::upstream(Reason::UpstreamProtocol, detail);
        }
        Failure::unprocessed(Reason::UpstreamProtocol, detail)
    }

    /// Sends a request of HTTP/1 to what has shown to speak HTTP/2 alone.
    async fn send_to_http2_alone(
        self: &Rc<Self>,
        request: Box<Request<Body>>,
    ) -> Result<Response<Body>, BoxFailure> {
        let sent = self.send_http2(request).await;
        if sent.is_err() {
            // Another application may be there by now.
            self.spoken.http2_alone.set(None);
        }
        sent
    }

    /// A server of HTTP/2 says its SETTINGS before anything else (RFC 9113 section 3.4). One of HTTP/1 says something else
    /// about the preface, or nothing.
    async fn find_out(self: &Rc<Self>) -> Result<HttpVersion, BoxFailure> {
        let own = Rc::clone(self);
        self.spoken.finding.join(|| async move { own.ask_in_http2().await }).await
    }

    async fn ask_in_http2(self: Rc<Self>) -> Result<HttpVersion, BoxFailure> {
        let (connection, _) = self.connect_http2().await?;
        let version = if connection.is_spoken().await {
            HttpVersion::Http2
        } else {
            self.multiplexed.borrow_mut().retain(|other| !other.is_same(&connection));
            HttpVersion::Http1
        };
        self.spoken.found.set(Some((version, Instant::now())));
        Ok(version)
    }
}
