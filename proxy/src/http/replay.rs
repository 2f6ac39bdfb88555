//! A request's body, kept while it is sent so that it can be sent again.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::body::Body;
use super::replay_memory::REPLAY_LIMIT;
use crate::error::{BoxFailure, Failure};
use crate::runtime::shared::Shared;
use weft_mesh::reason::Reason;

/// A request's body of which several attempts can take a copy: one after the other while it still comes, and at once when
/// it is there as a whole.
#[derive(Debug)]
pub struct Replay(Option<Rc<RefCell<Kept>>>);

#[derive(Debug)]
struct Kept {
    source: Body,
    size_hint: SizeHint,
    chunks: Vec<Bytes>,
    bytes: usize,
    trailers: Option<HeaderMap>,
    ended: bool,
    /// What has been read is not all kept: only the attempt that read it can go on.
    lost: bool,
    /// No attempt will follow: nothing more need be kept.
    last: bool,
    /// The attempt that reads: an older one that still lives must not take bytes from it.
    reader: u32,
    /// Where what is kept is counted.
    shared: Option<Arc<Shared>>,
}

impl Replay {
    /// Keeps `source` for sending it again, as long as there is room for that in the whole proxy.
    pub fn new(source: Body, shared: &Arc<Shared>) -> Self {
        Self::keeping(source, Some(Arc::clone(shared)))
    }

    /// The same without counting it among what the whole proxy keeps: for the few requests before it is known what an
    /// application speaks.
    pub fn uncounted(source: Body) -> Self {
        Self::keeping(source, None)
    }

    fn keeping(source: Body, shared: Option<Arc<Shared>>) -> Self {
        if source.is_end_stream() {
            return Self(None);
        }
        let size_hint = source.size_hint();
        Self(Some(Rc::new(RefCell::new(Kept {
            source,
            size_hint,
            chunks: Vec::new(),
            bytes: 0,
            trailers: None,
            ended: false,
            lost: false,
            last: false,
            reader: 0,
            shared,
        }))))
    }

    /// The body for the next attempt, from its beginning; `None` when that is not there any more.
    pub fn attempt(&self) -> Option<Body> {
        let Some(kept) = &self.0 else { return Some(Body::Empty) };
        let mut inner = kept.borrow_mut();
        if inner.lost {
            return None;
        }
        inner.reader += 1;
        let reader = inner.reader;
        drop(inner);
        Some(Body::Replay(ReplayBody { kept: Rc::clone(kept), next: 0, trailers_given: false, reader }))
    }

    /// Whether another attempt could have the whole body.
    pub fn can_replay(&self) -> bool {
        self.0.as_ref().is_none_or(|kept| !kept.borrow().lost)
    }

    /// Whether all of the body is there and kept, so that attempts can overlap.
    pub fn is_whole(&self) -> bool {
        self.0.as_ref().is_none_or(|kept| kept.borrow().is_whole())
    }

    /// No attempt will follow: what is kept may go once it has been sent.
    pub fn settle(&self) {
        if let Some(kept) = &self.0 {
            kept.borrow_mut().last = true;
        }
    }
}

/// The body of one attempt.
#[derive(Debug)]
pub struct ReplayBody {
    kept: Rc<RefCell<Kept>>,
    next: usize,
    trailers_given: bool,
    reader: u32,
}

impl ReplayBody {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxFailure>>> {
        let mut kept = self.kept.borrow_mut();
        if kept.reader != self.reader && !kept.is_whole() {
            return Poll::Ready(Some(Err(Failure::internal(
                Reason::UpstreamReset,
                "another attempt took over",
            ))));
        }
        if let Some(chunk) = kept.chunks.get(self.next) {
            self.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        if kept.ended {
            if self.trailers_given {
                return Poll::Ready(None);
            }
            self.trailers_given = true;
            return Poll::Ready(kept.trailers.clone().map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let frame = ready!(Pin::new(&mut kept.source).poll_frame(cx)).transpose().inspect_err(|_| {
            // It has no rest that another attempt could send.
            kept.lost = true;
        })?;
        Poll::Ready(kept.keep(frame, &mut self.next, &mut self.trailers_given).map(Ok))
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let kept = self.kept.borrow();
        let all_given = self.next >= kept.chunks.len();
        let source_ended = if kept.ended {
            kept.trailers.is_none() || self.trailers_given
        } else {
            kept.source.is_end_stream()
        };
        all_given && source_ended
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        // Asked before the first frame is taken, when it is that of the whole body.
        if self.next == 0 { self.kept.borrow().size_hint } else { SizeHint::default() }
    }
}

impl Kept {
    fn is_whole(&self) -> bool {
        !self.lost && (self.ended || self.source.is_end_stream())
    }

    /// Keeps nothing any more.
    fn lose(&mut self) {
        self.lost = true;
        self.chunks = Vec::new();
        self.give_back();
    }

    fn give_back(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if let Some(shared) = &self.shared {
            shared.replays.give_back(bytes);
        }
    }

    /// Whether so many more bytes can be kept.
    fn has_room(&self, bytes: usize) -> bool {
        if self.lost || self.last || self.bytes + bytes > REPLAY_LIMIT {
            return false;
        }
        let Some(shared) = &self.shared else { return true };
        let taken = shared.replays.take(bytes);
        if !taken {
            shared.stats.unkept();
        }
        taken
    }

    fn keep(
        &mut self,
        frame: Option<Frame<Bytes>>,
        next: &mut usize,
        trailers_given: &mut bool,
    ) -> Option<Frame<Bytes>> {
        let Some(frame) = frame else {
            self.ended = true;
            return None;
        };
        match frame.into_data() {
            Ok(data) => {
                if self.has_room(data.len()) {
                    self.bytes += data.len();
                    self.chunks.push(data.clone());
                    *next = self.chunks.len();
                } else {
                    self.lose();
                    *next = 0;
                }
                Some(Frame::data(data))
            }
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                self.ended = true;
                self.trailers = Some(trailers.clone());
                *trailers_given = true;
                Some(Frame::trailers(trailers))
            }
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use weft_mesh::balance::Locality;

    fn shared() -> Arc<Shared> {
        Shared::new(1, Locality::default()).0
    }

    fn keeping(source: Body) -> Replay {
        Replay::new(source, &shared())
    }

    async fn read(body: Body) -> Result<Vec<u8>, BoxFailure> {
        Ok(body.collect().await?.to_bytes().to_vec())
    }

    #[tokio::test]
    async fn each_attempt_has_the_whole_body() {
        let replay = keeping(Body::full("hello"));
        let mut first = replay.attempt().unwrap();
        let _ = first.frame().await;
        drop(first);
        assert_eq!(read(replay.attempt().unwrap()).await.unwrap(), b"hello");
        assert_eq!(read(replay.attempt().unwrap()).await.unwrap(), b"hello");
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_still_goes_through_but_only_once() {
        let replay = keeping(Body::full(vec![1; REPLAY_LIMIT + 1]));
        assert!(replay.can_replay());
        assert_eq!(read(replay.attempt().unwrap()).await.unwrap().len(), REPLAY_LIMIT + 1);
        assert!(!replay.can_replay());
        assert!(replay.attempt().is_none());
    }

    #[tokio::test]
    async fn an_attempt_that_was_given_up_takes_nothing_from_the_next() {
        let replay = keeping(Body::full("hello"));
        let old = replay.attempt().unwrap();
        let new = replay.attempt().unwrap();
        assert!(read(old).await.is_err());
        assert_eq!(read(new).await.unwrap(), b"hello");
    }

    #[tokio::test]
    async fn a_body_that_is_there_as_a_whole_can_be_sent_several_times_at_once() {
        let replay = keeping(Body::full("hello"));
        let mut first = replay.attempt().unwrap();
        assert!(!replay.is_whole());
        let _ = first.frame().await;
        assert!(replay.is_whole());
        let second = replay.attempt().unwrap();
        assert_eq!(read(first).await.unwrap(), b"");
        assert_eq!(read(second).await.unwrap(), b"hello");
    }

    #[tokio::test]
    async fn no_more_is_kept_than_all_bodies_together_may_take_and_it_is_given_back() {
        let shared = shared();
        shared.replays.set_limit(100);
        let first = Replay::new(Body::full(vec![1; 60]), &shared);
        let second = Replay::new(Body::full(vec![2; 60]), &shared);
        for replay in [&first, &second] {
            assert_eq!(read(replay.attempt().unwrap()).await.unwrap().len(), 60);
        }
        assert_eq!((first.can_replay(), second.can_replay()), (true, false));
        assert_eq!((shared.replays.taken(), shared.stats.unkept_bodies()), (60, 1));
        drop(first);
        assert_eq!(shared.replays.taken(), 0);
    }

    #[test]
    fn an_empty_body_stays_empty() {
        let replay = keeping(Body::Empty);
        assert!(matches!(replay.attempt(), Some(Body::Empty)));
        assert!(replay.can_replay());
    }
}
