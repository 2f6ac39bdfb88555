//! Stands between a client's connection and the library that serves it: lets through only octets that are read in one way,
//! and hears of what stands still.
//!
//! hyper answers some malformed requests without a word, and takes others that two parties may read differently. Here
//! they end before hyper sees them: what is wrong is counted by its kind, and the client is told.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;
use weft_mesh::http_validation::{End, Requests, encode_target};
use weft_mesh::violation::Violation;

use super::expectation;
use super::violation_recorder::ViolationRecorder;
use crate::transport::stream::Transport;

mod frames;
mod lingering_close;
mod signals;

pub(super) use frames::GuardedFrames;
pub(super) use lingering_close::{Ended, LocalReply};
pub(super) use signals::{HeadTimer, REST, Signals};

/// Octets that are read at once where a head is not whole yet.
const READ: usize = 8 * 1024;
/// Octets that are read, without being looked at, while it is open which protocol they are of.
const AHEAD: usize = 16 * 1024;

/// Octets that are read at once when a connection ends its rest: most heads fit.
pub(super) const WAKING: usize = 2 * 1024;

/// Where a connection goes that its client has broken, for the last words on it.
pub(super) type Return<S> = Arc<Mutex<Option<Ended<S>>>>;

/// A connection of HTTP/1.
#[derive(Debug)]
pub(super) struct GuardedRequests<S: Transport> {
    stream: Option<S>,
    requests: Requests,
    signals: Arc<Signals>,
    violations: ViolationRecorder,
    back: Return<S>,
    /// What was read and not given yet, of which the first octets may be.
    held: BytesMut,
    good: usize,
    end: End,
    /// The client has closed its side.
    closed: bool,
}

impl<S: Transport> GuardedRequests<S> {
    pub(super) fn new(
        stream: S,
        signals: &Arc<Signals>,
        violations: ViolationRecorder,
        back: &Return<S>,
    ) -> Self {
        Self {
            stream: Some(stream),
            requests: Requests::for_little_room(),
            signals: Arc::clone(signals),
            violations,
            back: Arc::clone(back),
            held: BytesMut::new(),
            good: 0,
            end: End::More,
            closed: false,
        }
    }

    /// Whether the client is to be told what it did. What is wrong with a body is answered with its request, or that has
    /// gone on already.
    fn has_last_words(&self) -> bool {
        matches!(self.end, End::Violation(_)) && !self.requests.is_in_body()
    }

    /// Looks at what is held beyond what may be given.
    fn check(&mut self) {
        loop {
            let unchecked = self.held.get_mut(self.good..).unwrap_or_default();
            let checked = self.requests.check(unchecked);
            expectation::hide(unchecked, self.requests.expectations());
            self.good += checked.good;
            let End::Encode(from, to) = checked.end else { return self.found(checked.end) };
            let rest = self.held.split_off((self.good + to).min(self.held.len()));
            let target = self.held.split_off((self.good + from).min(self.held.len()));
            self.held.extend_from_slice(&encode_target(&target));
            self.held.unsplit(rest);
        }
    }

    /// Tells what a look at octets has found.
    fn found(&mut self, end: End) {
        self.end = end;
        self.signals.undecided(end == End::Undecided);
        self.signals.heads(self.requests.take_heads());
        self.signals.in_body(self.requests.is_in_body());
    }

    /// What is to be said to hyper instead of octets, once it has them all that may go on; `None`: more is to be read.
    fn stop(&mut self, cx: &Context<'_>) -> Option<Poll<io::Result<()>>> {
        if self.signals.take_late() {
            self.end = End::Violation(Violation::SlowHead);
        }
        match self.end {
            // A target is encoded where it is found.
            End::More | End::Encode(..) => None,
            End::Room => {
                self.signals.want_room();
                Some(Poll::Pending)
            }
            End::Violation(violation) => {
                // Answers to earlier requests go first: hyper is done with them when it waits for a head.
                let is_turn = self.signals.waits_for_head() && !self.signals.is_unflushed();
                if is_turn || self.requests.is_in_body() {
                    return Some(Poll::Ready(Err(io::Error::other(violation))));
                }
                self.signals.wake_later(cx.waker());
                Some(Poll::Pending)
            }
            End::Undecided => {
                self.signals.wake_later(cx.waker());
                let tunnel = self.signals.take_decision()?;
                self.requests.decided(tunnel);
                self.check();
                None
            }
        }
    }

    /// Lets a head go on for which hyper has room now.
    pub(super) fn give_room(&mut self) {
        self.requests.give_room();
        self.check();
    }

    /// Gives what may be given.
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let given = self.good.min(buf.remaining());
        buf.put_slice(self.held.get(..given).unwrap_or_default());
        self.held.advance(given);
        self.good -= given;
        if self.held.is_empty() {
            // An idle connection keeps no buffer.
            self.held = BytesMut::new();
        }
        given > 0
    }
}

impl<S: Transport> GuardedRequests<S> {
    /// Waits for the next octet while nobody else reads, with no buffer. Octets are held, and looked at as all others;
    /// `false`: there will be none.
    pub(super) fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if !self.held.is_empty() {
            return Poll::Ready(true);
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(false) };
        let mut space = [MaybeUninit::uninit(); WAKING];
        let mut read = ReadBuf::uninit(&mut space);
        let came = ready!(Pin::new(stream).poll_read(cx, &mut read));
        if came.is_err() || read.filled().is_empty() {
            return Poll::Ready(false);
        }
        self.held.extend_from_slice(read.filled());
        self.signals.moved();
        self.check();
        Poll::Ready(true)
    }

    /// Takes octets back that were given and not used.
    pub(super) fn take_back(&mut self, given: &[u8]) {
        if given.is_empty() {
            return;
        }
        self.held = [given, &self.held].concat().as_slice().into();
        self.good += given.len();
    }

    /// Reads what there is; a client that closes its side in the middle of a body has broken it off.
    fn poll_more(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.end == End::Undecided && self.held.len() >= AHEAD {
            return Poll::Pending;
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(())) };
        let before = buf.filled().len();
        let read = if self.held.is_empty() && self.end == End::More {
            ready!(Pin::new(stream).poll_read(cx, buf))?;
            let read = buf.filled_mut().get_mut(before..).unwrap_or_default();
            let checked = self.requests.check(read);
            expectation::hide(read, self.requests.expectations());
            let length = read.len();
            self.held.extend_from_slice(read.get(checked.good..).unwrap_or_default());
            buf.set_filled(before + checked.good);
            match checked.end {
                End::Encode(..) => self.check(),
                end => self.found(end),
            }
            length
        } else {
            self.held.reserve(READ);
            let length = ready!(poll_read_buf(Pin::new(stream), cx, &mut self.held))?;
            if self.end == End::More {
                self.check();
            }
            length
        };
        if read > 0 {
            self.signals.moved();
            self.signals.begins();
        } else {
            self.closed = true;
            if self.requests.is_in_body() {
                self.end = End::Violation(Violation::BodyCutOff);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Transport> AsyncRead for GuardedRequests<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if !this.held.is_empty() {
            this.signals.begins();
        }
        loop {
            if this.give(buf) || buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            if let Some(stop) = this.stop(cx) {
                return stop;
            }
            if this.good > 0 {
                continue;
            }
            if this.closed {
                // Of one that listens, its answer's end is the connection's.
                return if this.signals.may_listen() { Poll::Pending } else { Poll::Ready(Ok(())) };
            }
            ready!(this.poll_more(cx, buf))?;
        }
    }
}

impl<S: Transport> GuardedRequests<S> {
    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.signals.wrote();
        if matches!(written, Poll::Ready(Ok(_))) {
            self.signals.moved();
        }
        written
    }
}

impl<S: Transport> AsyncWrite for GuardedRequests<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(stream) = &mut this.stream else { return Poll::Ready(Ok(0)) };
        let written = Pin::new(stream).poll_write(cx, buf);
        this.wrote(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(stream) = &mut this.stream else { return Poll::Ready(Ok(0)) };
        let written = Pin::new(stream).poll_write_vectored(cx, bufs);
        this.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(stream) = &mut this.stream else { return Poll::Ready(Ok(())) };
        ready!(Pin::new(stream).poll_flush(cx))?;
        if this.signals.flushed() && matches!(this.end, End::Violation(_)) {
            this.signals.wake();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.has_last_words() {
            return Poll::Ready(Ok(()));
        }
        match &mut this.stream {
            Some(stream) => Pin::new(stream).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<S: Transport> Drop for GuardedRequests<S> {
    fn drop(&mut self) {
        if self.signals.is_to_reset()
            && let Some(stream) = &self.stream
        {
            stream.abort();
        }
        let End::Violation(violation) = self.end else { return };
        self.violations.saw(violation);
        if self.has_last_words()
            && let Some(stream) = self.stream.take()
        {
            *self.back.lock() = Some(Ended { stream, speech: LocalReply::Http1(violation) });
        }
    }
}
