//! One stream of a connection: what has arrived for it, and who waits.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use weft_hop::{Code, ResponseHead, StreamId};
use weft_mesh::reason::Reason;

use super::Link;
use crate::error::{BoxFailure, Failure};
use crate::http::idle_requests::TUNNEL_LOOKS;
use crate::http::informational::Informational;

/// What has arrived on one stream and was not taken yet; last, whether it began with little credit, of which its reader has
/// to ask for more.
#[derive(Debug, Default)]
pub(in crate::hop) struct Stream(RefCell<Received>, Quiet, Cell<bool>);

/// For how many looks nothing has moved on a stream, and whether it carries a tunnel, on which that may be longer.
#[derive(Debug, Default)]
struct Quiet {
    looks: Cell<u32>,
    tunnel: Cell<bool>,
}

#[derive(Debug, Default)]
struct Received {
    head: Option<Box<ResponseHead>>,
    /// Most bodies are one piece at a time, for which no queue is needed.
    first: Option<Bytes>,
    rest: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    ended: bool,
    /// Whether there was a failure, which only one of those who wait is given.
    failed: bool,
    failure: Option<BoxFailure>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Where interim answers go.
    interim: Option<Informational>,
}

impl Received {
    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn wake_writer(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    fn pop(&mut self) -> Option<Bytes> {
        let first = self.first.take()?;
        self.first = self.rest.pop_front();
        Some(first)
    }
}

impl Stream {
    fn moved(&self) {
        self.1.looks.set(0);
    }

    /// Looks at it once more; says whether it stands still for good.
    pub(super) fn stands_still(&self, looks: u32) -> bool {
        self.1.looks.set(self.1.looks.get() + 1);
        self.1.looks.get() > if self.1.tunnel.get() { looks.max(TUNNEL_LOOKS) } else { looks }
    }

    pub(super) fn finish(&self) {
        self.0.borrow_mut().ended = true;
    }

    pub(super) fn put_head(&self, head: Box<ResponseHead>, end: bool) {
        let mut received = self.0.borrow_mut();
        received.head = Some(head);
        received.ended = end;
        received.wake_reader();
    }

    pub(super) fn put_interim(&self, head: http::response::Parts) {
        if let Some(interim) = &self.0.borrow().interim {
            interim.put(head.status, head.headers);
        }
    }

    pub(super) fn put_data(&self, data: Bytes, end: bool) {
        self.moved();
        let mut received = self.0.borrow_mut();
        if !data.is_empty() {
            if received.first.is_none() {
                received.first = Some(data);
            } else {
                received.rest.push_back(data);
            }
        }
        received.ended |= end;
        received.wake_reader();
    }

    pub(super) fn put_trailers(&self, trailers: HeaderMap) {
        let mut received = self.0.borrow_mut();
        received.trailers = Some(trailers);
        received.ended = true;
        received.wake_reader();
    }

    pub(super) fn put_reset(&self, code: Code, processed: bool) {
        let detail = format!("the peer ended the stream: {}", code.as_str());
        let reason = if code == Code::Timeout { Reason::IdleTimeout } else { Reason::UpstreamReset };
        self.put_failure(Box::new(Failure { processed, ..*Failure::upstream(reason, detail) }));
    }

    pub(super) fn put_failure(&self, failure: BoxFailure) {
        let mut received = self.0.borrow_mut();
        // What happened first is why.
        if !std::mem::replace(&mut received.failed, true) {
            received.failure = Some(failure);
        }
        received.wake_reader();
        received.wake_writer();
    }

    pub(super) fn wake_writer(&self) {
        self.0.borrow_mut().wake_writer();
    }
}

/// A stream in the hands of a request. When the last hold on it goes before an answer is complete, it is reset.
#[derive(Debug, Clone)]
pub(in crate::hop) struct StreamRef {
    pub(super) stream: Rc<Stream>,
    hold: Rc<Hold>,
}

#[derive(Debug)]
struct Hold {
    link: Rc<Link>,
    id: StreamId,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // The end of an answer may be queued still.
        self.link.with(|connection| connection.release(self.id));
        self.link.remove(self.id);
    }
}

impl StreamRef {
    pub(super) fn new(link: Rc<Link>, id: StreamId, stream: Rc<Stream>) -> Self {
        Self { stream, hold: Rc::new(Hold { link, id }) }
    }

    /// Notes whether it began with little credit, of which its reader has to ask for more.
    pub(in crate::hop) fn begins_with_little(&self, little: bool) {
        self.stream.2.set(little);
    }

    /// Gives interim answers on.
    pub(in crate::hop) fn listen(&self, interim: Informational) {
        self.stream.0.borrow_mut().interim = Some(interim);
    }

    pub(in crate::hop) fn id(&self) -> StreamId {
        self.hold.id
    }

    pub(in crate::hop) fn link(&self) -> &Rc<Link> {
        &self.hold.link
    }

    /// Lets it stand still for as long as a tunnel may.
    pub(in crate::hop) fn carries_tunnel(&self) {
        self.stream.1.tunnel.set(true);
    }

    /// Has whoever waits for the stream learn of this failure.
    pub(in crate::hop) fn fail(&self, failure: BoxFailure) {
        self.stream.put_failure(failure);
    }

    pub(in crate::hop) fn is_end_stream(&self) -> bool {
        let received = self.stream.0.borrow();
        received.ended && received.first.is_none() && received.trailers.is_none()
    }

    /// How many bytes have arrived, and whether they are all there is. Trailers count as more to come: a body of known
    /// length has none in HTTP/1.
    pub(in crate::hop) fn arrived(&self) -> (usize, bool) {
        let received = self.stream.0.borrow();
        let first = received.first.as_ref().map_or(0, Bytes::len);
        (
            first + received.rest.iter().map(Bytes::len).sum::<usize>(),
            received.ended && received.trailers.is_none(),
        )
    }

    pub(in crate::hop) fn poll_head(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Box<ResponseHead>, BoxFailure>> {
        let mut received = self.stream.0.borrow_mut();
        if let Some(head) = received.head.take() {
            return Poll::Ready(Ok(head));
        }
        if let Some(failure) = received.failure.take() {
            return Poll::Ready(Err(failure));
        }
        received.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(in crate::hop) fn poll_frame(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxFailure>>> {
        let mut received = self.stream.0.borrow_mut();
        if let Some(data) = received.pop() {
            drop(received);
            self.hold.link.with(|connection| connection.consumed(self.hold.id, data.len()));
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if received.ended {
            return Poll::Ready(received.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
        }
        if let Some(failure) = received.failure.take() {
            received.ended = true;
            return Poll::Ready(Some(Err(failure)));
        }
        received.reader = Some(cx.waker().clone());
        if self.stream.2.get() {
            self.stream.2.set(self.hold.link.with(|connection| connection.wanted(self.hold.id)));
        }
        Poll::Pending
    }

    /// Ready with the number of bytes that may be sent now, or the failure that ended the stream.
    pub(in crate::hop) fn poll_capacity(&self, cx: &mut Context<'_>) -> Poll<Result<usize, ()>> {
        let mut received = self.stream.0.borrow_mut();
        if received.failed || self.hold.link.is_closed() {
            return Poll::Ready(Err(()));
        }
        let capacity = self.hold.link.look(|connection| connection.send_capacity(self.hold.id));
        if capacity > 0 {
            self.stream.moved();
            return Poll::Ready(Ok(capacity));
        }
        received.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready when something may be sent, or the stream is over.
    pub(in crate::hop) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut received = self.stream.0.borrow_mut();
        if received.failed || self.hold.link.is_closed() {
            return Poll::Ready(());
        }
        if self.hold.link.look(|connection| connection.send_capacity(self.hold.id)) > 0 {
            return Poll::Ready(());
        }
        received.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Resets the stream, whoever else still has a hold on it.
    pub(in crate::hop) fn abandon(&self) {
        self.hold.link.with(|connection| connection.reset(self.hold.id, Code::Cancelled, true));
        self.stream.put_failure(Failure::internal(Reason::UpstreamReset, "nobody waits for the answer"));
    }

    /// Ready when the peer has ended the stream by a reset, or the connection is gone.
    pub(in crate::hop) fn poll_reset(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut received = self.stream.0.borrow_mut();
        if received.failed {
            return Poll::Ready(());
        }
        received.writer = Some(cx.waker().clone());
        Poll::Pending
    }
}
