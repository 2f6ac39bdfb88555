//! The body of an answer from outside the mesh: nothing is counted there, and its end is still an end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::body::Body;
use crate::access::Open;
use crate::error::BoxFailure;
use crate::shared::UnderWay;

/// A body at whose end the access log's entry is complete, and nothing is under way any more.
#[derive(Debug)]
pub struct Logged {
    body: Body,
    /// Taken at the end.
    entry: Option<(Option<Box<Open>>, UnderWay)>,
    received: u64,
}

impl Logged {
    /// The body that ends an entry.
    pub fn over(body: Body, log: Option<Box<Open>>, under_way: UnderWay) -> Body {
        let mut logged = Self { body, entry: Some((log, under_way)), received: 0 };
        if logged.body.is_end_stream() {
            logged.end(|_| {});
            return Body::Empty;
        }
        Body::Logged(Box::new(logged))
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxFailure>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            None => self.end(|_| {}),
            Some(Ok(frame)) => {
                self.received += frame.data_ref().map_or(0, Bytes::len) as u64;
                if let Some(trailers) = frame.trailers_ref() {
                    self.end(|log| log.trailed(trailers));
                } else if self.body.is_end_stream() {
                    self.end(|_| {});
                }
            }
            Some(Err(failure)) => self.end(|log| log.failed(failure.reason)),
        }
        Poll::Ready(frame)
    }

    fn end(&mut self, say: impl FnOnce(&mut Open)) {
        let Some((Some(mut log), under_way)) = self.entry.take() else { return };
        log.entry.bytes_sent = self.received;
        say(&mut log);
        log.end(under_way.shared());
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        // Whoever knows the length stops at the last byte.
        let cut_off = !self.body.is_end_stream();
        self.end(|log| log.entry.cut_off = cut_off);
    }
}
