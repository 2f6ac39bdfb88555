//! Bytes of a request's body, counted as they come.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::body::Body;
use crate::error::{BoxFailure, Origin};
use crate::observe::stats::Edge;

/// How many bytes of a request's body have come. Where they are counted is known only later, and some come when the answer
/// has ended.
#[derive(Debug, Default)]
pub struct Upload {
    bytes: Cell<u64>,
    /// Whether more is waited for, and has not come.
    waits: Cell<bool>,
    counted: Cell<u64>,
    departed: Cell<bool>,
    edge: RefCell<Option<Arc<Edge>>>,
}

impl Upload {
    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Whether its client is waited for.
    pub fn waits(&self) -> bool {
        self.waits.get()
    }

    pub(super) fn add(&self, bytes: u64) {
        self.bytes.set(self.bytes.get() + bytes);
    }

    /// Whether the client went away before the body's end. Whoever was sending it on need not have been told why it ended.
    pub fn has_departed(&self) -> bool {
        self.departed.get()
    }

    /// Counts what has come at an edge, and what is still to come as well.
    pub fn settle(&self, edge: &Arc<Edge>) {
        *self.edge.borrow_mut() = Some(Arc::clone(edge));
        self.count();
    }

    fn count(&self) {
        if let Some(edge) = &*self.edge.borrow() {
            let bytes = self.bytes.get();
            edge.sent(bytes - self.counted.replace(bytes));
        }
    }
}

/// A body whose bytes are counted.
#[derive(Debug)]
pub struct Uploading {
    body: Body,
    upload: Rc<Upload>,
}

impl Uploading {
    /// Counts what comes of `body`; `None`: nothing will.
    pub fn over(body: Body) -> (Body, Option<Rc<Upload>>) {
        if body.is_end_stream() {
            return (body, None);
        }
        let upload = Rc::new(Upload::default());
        let counted = Self { body, upload: Rc::clone(&upload) };
        (Body::Uploading(Box::new(counted)), Some(upload))
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxFailure>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.upload.waits.set(frame.is_pending());
        let frame = ready!(frame);
        if let Some(Err(failure)) = &frame {
            self.upload.departed.set(failure.origin == Origin::Departed);
        }
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref) {
            self.upload.add(data.len() as u64);
        }
        Poll::Ready(frame)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        self.upload.waits.set(false);
        self.upload.count();
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::hop::tests::Frames;
    use crate::observe::stats::{Direction, EdgeKey, Stats};

    fn sent(stats: &Stats) -> u64 {
        stats.edges().into_iter().map(|(_, totals)| totals.bytes_sent).sum()
    }

    #[tokio::test]
    async fn bytes_are_counted_once_whether_they_come_before_the_end_of_the_answer_or_after() {
        let stats = Stats::default();
        let edge = stats.edge(EdgeKey::outside(Direction::Outbound));
        let source = Frames::new(["one, ", "two"].map(|text| Frame::data(text.into())));
        let (mut body, upload) = Uploading::over(Body::Test(source));
        let upload = upload.unwrap();
        body.frame().await.unwrap().unwrap();
        assert_eq!((upload.bytes(), sent(&stats)), (5, 0), "it is not known yet where");
        upload.settle(&edge);
        assert_eq!(sent(&stats), 5);
        body.frame().await.unwrap().unwrap();
        drop(body);
        assert_eq!(sent(&stats), 8);
    }

    #[test]
    fn what_has_no_body_costs_nothing() {
        assert!(matches!(Uploading::over(Body::Empty), (Body::Empty, None)));
    }
}
