//! Finding out which version of HTTP an application speaks that declares none.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use tokio::time::Instant;

use super::{Client, HttpVersion};
use crate::error::BoxFailure;
use crate::http::body::Body;

/// What an address has shown to speak.
#[derive(Debug, Default)]
pub(super) struct Spoken {
    found: Cell<Option<(HttpVersion, Instant)>>,
    /// Makes requests wait for the one that finds out.
    finding: tokio::sync::Mutex<()>,
}

impl Spoken {
    fn version(&self) -> Option<HttpVersion> {
        self.found.get().map(|(version, _)| version)
    }

    /// Forgets what was found `idle` ago or earlier: another application may be there by now.
    pub(super) fn forget(&self, now: Instant, idle: Duration) {
        if self.found.get().is_some_and(|(_, since)| now.duration_since(since) >= idle) {
            self.found.set(None);
        }
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
            HttpVersion::Http1 => self.send_http1(request).await,
            HttpVersion::Http2 | HttpVersion::Either => self.send_http2(request).await,
        };
        if sent.is_err() {
            // It may be that what was found does not hold any more.
            self.spoken.found.set(None);
        }
        sent
    }

    /// A server of HTTP/2 says its SETTINGS before anything else (RFC 9113 section 3.4). One of HTTP/1 says something else
    /// about the preface, or nothing.
    async fn find_out(self: &Rc<Self>) -> Result<HttpVersion, BoxFailure> {
        let _finding = self.spoken.finding.lock().await;
        if let Some(version) = self.spoken.version() {
            return Ok(version);
        }
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
