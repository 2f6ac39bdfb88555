//! A request's body of which copies go elsewhere.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use smallvec::SmallVec;
use tokio::sync::mpsc;
use weft_mesh::reason::Reason;

use super::body::Body;
use crate::error::{BoxFailure, Failure};

/// Frames that a copy may lag behind; one that is slower ends early. The request itself never waits for it.
const LAG: usize = 64;

type Piece = Option<Bytes>;

/// A body that gives copies of its data away while it is read.
#[derive(Debug)]
pub struct Tee {
    source: Body,
    copies: SmallVec<[mpsc::Sender<Piece>; 1]>,
}

impl Tee {
    /// The body, and as many copies of it. Trailers are not copied.
    pub fn over(source: Body, copies: usize) -> (Body, Vec<Body>) {
        if source.is_end_stream() || copies == 0 {
            return (source, std::iter::repeat_with(Body::default).take(copies).collect());
        }
        let size_hint = source.size_hint();
        let (senders, bodies) = (0..copies)
            .map(|_| {
                let (sender, pieces) = mpsc::channel(LAG);
                (sender, Body::Copy(Box::new(Copied { pieces, size_hint, ended: false })))
            })
            .unzip();
        (Body::Tee(Box::new(Self { source, copies: senders })), bodies)
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxFailure>>> {
        let frame = ready!(Pin::new(&mut self.source).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.copies.retain(|copy| copy.try_send(Some(data.clone())).is_ok());
                }
                if frame.is_trailers() || self.source.is_end_stream() {
                    self.end();
                }
            }
            None => self.end(),
            // A copy that is not told of an end breaks off too.
            Some(Err(_)) => self.copies.clear(),
        }
        Poll::Ready(frame)
    }

    fn end(&mut self) {
        for copy in self.copies.drain(..) {
            let _ = copy.try_send(None);
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.source.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.source.size_hint()
    }
}

/// A copy of a body.
#[derive(Debug)]
pub struct Copied {
    pieces: mpsc::Receiver<Piece>,
    size_hint: SizeHint,
    ended: bool,
}

impl Copied {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxFailure>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.pieces.poll_recv(cx)) {
            Some(Some(data)) => Some(Ok(Frame::data(data))),
            Some(None) => {
                self.ended = true;
                None
            }
            None => {
                self.ended = true;
                Some(Err(Failure::internal(
                    Reason::UpstreamReset,
                    "the copied request broke off or is ahead",
                )))
            }
        })
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.size_hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::hop::tests::Frames;

    #[tokio::test]
    async fn each_copy_is_the_whole_body() {
        let source = Frames::new(["one, ", "two"].map(|text| Frame::data(text.into())));
        let (body, copies) = Tee::over(Body::Test(source), 2);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "one, two");
        for copy in copies {
            assert_eq!(copy.collect().await.unwrap().to_bytes(), "one, two");
        }
    }

    #[tokio::test]
    async fn a_copy_that_nobody_reads_breaks_off_and_holds_nobody_up() {
        let frames = (0..LAG * 2).map(|_| Frame::data("x".into()));
        let (body, mut copies) = Tee::over(Body::Test(Frames::new(frames)), 1);
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), LAG * 2);
        assert!(copies.remove(0).collect().await.is_err());
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_breaks_off_its_copies() {
        let (body, mut copies) = Tee::over(Body::Test(Frames::new([Frame::data("x".into())])), 1);
        drop(body);
        assert!(copies.remove(0).collect().await.is_err());
    }

    #[test]
    fn an_empty_body_has_empty_copies() {
        let (body, copies) = Tee::over(Body::Empty, 2);
        assert!(matches!((body, &copies[..]), (Body::Empty, [Body::Empty, Body::Empty])));
    }
}
