//! A request's body of which copies go elsewhere.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use smallvec::SmallVec;
use tokio::sync::mpsc;
use weft_mesh::reason::Reason;

use super::body::Body;
use crate::error::{BoxFailure, Failure};

/// Frames, and octets, that a copy may lag behind; one that is slower ends early. The request itself never waits for it.
const LAG: usize = 64;
const LAG_OCTETS: usize = 128 * 1024;

type Piece = Option<Bytes>;

/// A copy as the one who is copied sees it.
#[derive(Debug)]
struct Reader {
    pieces: mpsc::Sender<Piece>,
    /// Octets that it has not read yet.
    unread: Rc<Cell<usize>>,
}

impl Reader {
    /// Gives it a piece; `false`: it lags too far behind.
    fn give(&self, data: &Bytes) -> bool {
        self.unread.set(self.unread.get() + data.len());
        // One piece is always taken.
        let keeps_up = self.unread.get() <= LAG_OCTETS.max(data.len());
        keeps_up && self.pieces.try_send(Some(data.clone())).is_ok()
    }
}

/// A body that gives copies of its data away while it is read.
#[derive(Debug)]
pub struct Tee {
    source: Body,
    copies: SmallVec<[Reader; 1]>,
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
                let unread = Rc::<Cell<usize>>::default();
                let reader = Reader { pieces: sender, unread: Rc::clone(&unread) };
                (reader, Body::Copy(Box::new(Copied { pieces, unread, size_hint, ended: false })))
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
                    self.copies.retain(|copy| copy.give(data));
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
            let _ = copy.pieces.try_send(None);
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
    unread: Rc<Cell<usize>>,
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
            Some(Some(data)) => {
                self.unread.set(self.unread.get() - data.len());
                Some(Ok(Frame::data(data)))
            }
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
    async fn a_copy_that_lags_behind_holds_few_octets() {
        let frames = (0..4).map(|_| Frame::data(vec![7; LAG_OCTETS / 2].into()));
        let (body, mut copies) = Tee::over(Body::Test(Frames::new(frames)), 1);
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 2 * LAG_OCTETS);
        let mut copy = copies.remove(0);
        let mut read = 0;
        while let Some(Ok(frame)) = copy.frame().await {
            read += frame.into_data().unwrap().len();
        }
        assert_eq!(read, LAG_OCTETS);
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
