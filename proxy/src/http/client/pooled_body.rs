//! The body of a response that holds the connection it comes from.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::multiplexed::OpenStream;
use super::{Client, Sender};
use crate::error::BoxFailure;
use crate::http::body::{Body, hyper_failure};

/// What hyper reads of an answer of HTTP/1 before anybody wants it: a piece that it hands over, and a buffer.
const HTTP1_AHEAD: usize = 16 * 1024;

/// A response's body, and the connection that it keeps busy until its end.
#[derive(Debug)]
pub struct PooledBody {
    body: Incoming,
    lease: Option<Pooled>,
}

#[derive(Debug)]
enum Pooled {
    /// A connection of HTTP/1 goes back to its client at the end of the body, and is closed when the body is not read
    /// to its end.
    Http1(Rc<Client>, Sender),
    /// A stream of HTTP/2 is counted as long as it lives.
    Http2(OpenStream),
}

impl PooledBody {
    pub(super) fn http1(body: Incoming, client: Rc<Client>, sender: Sender) -> Body {
        Self { body, lease: Some(Pooled::Http1(client, sender)) }.into_body()
    }

    pub(super) fn http2(body: Incoming, stream: OpenStream) -> Body {
        Self { body, lease: Some(Pooled::Http2(stream)) }.into_body()
    }

    fn into_body(mut self) -> Body {
        if self.body.is_end_stream() {
            self.end();
            return Body::Empty;
        }
        Body::PooledBody(Box::new(self))
    }

    /// Takes hold of the body alone: for a connection that changes to another protocol and so never comes back.
    pub fn into_inner(self) -> Incoming {
        self.body
    }

    /// How many octets the server may have sent while nobody reads.
    pub(in crate::http) fn ahead(&self) -> usize {
        match &self.lease {
            Some(Pooled::Http1(..)) => HTTP1_AHEAD,
            Some(Pooled::Http2(stream)) => stream.window(),
            None => 0,
        }
    }

    fn end(&mut self) {
        if let Some(Pooled::Http1(client, sender)) = self.lease.take() {
            client.give_back(sender);
        }
    }

    pub(in crate::http) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxFailure>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            None => self.end(),
            // Nothing comes after trailers, and not everybody asks once more.
            Some(Ok(frame)) if frame.is_trailers() || self.body.is_end_stream() => self.end(),
            Some(Ok(_)) => {}
            Some(Err(_)) => self.lease = None,
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|error| hyper_failure(&error))))
    }

    pub(in crate::http) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(in crate::http) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
