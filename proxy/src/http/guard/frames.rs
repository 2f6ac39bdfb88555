//! A connection of HTTP/2 whose frames are watched.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_util::io::poll_read_buf;
use weft_mesh::http_validation::{Frames, Taken};
use weft_mesh::violation::Violation;

use super::{Ended, LocalReply, READ, Return, Signals};
use crate::http::violation_recorder::{ClientKind, ViolationRecorder};

/// A connection of HTTP/2. A stream that stands still is reset in the client's name and the client is told: the library
/// has no other way to end one alone that waits for its client.
#[derive(Debug)]
pub(in crate::http) struct GuardedFrames<S> {
    stream: Option<S>,
    frames: Box<Frames>,
    signals: Arc<Signals>,
    violations: ViolationRecorder,
    back: Return<S>,
    /// What has come of a frame whose head, or of trailers that, are not whole yet.
    held: BytesMut,
    /// Frames for the library, and for the client, that neither of them sent, or not as they are.
    to_library: BytesMut,
    to_client: BytesMut,
    violation: Option<Violation>,
    unflushed: bool,
    /// Nothing more is read before this is over.
    pause: Option<Pin<Box<Sleep>>>,
    /// The client has closed its side.
    closed: bool,
}

/// How long nothing is read from a proxy whose clients have done too much for nothing.
const PAUSE: Duration = Duration::from_secs(1);

impl<S> GuardedFrames<S> {
    pub(in crate::http) fn new(
        stream: S,
        signals: &Arc<Signals>,
        violations: ViolationRecorder,
        back: &Return<S>,
    ) -> Self {
        Self {
            stream: Some(stream),
            frames: Box::new(match violations.kind() {
                ClientKind::Single => Frames::default(),
                ClientKind::MeshProxy => Frames::of_proxy(),
            }),
            signals: Arc::clone(signals),
            violations,
            back: Arc::clone(back),
            held: BytesMut::new(),
            to_library: BytesMut::new(),
            to_client: BytesMut::new(),
            violation: None,
            unflushed: false,
            pause: None,
            closed: false,
        }
    }

    /// Ends the streams that stand still. In the middle of a frame of the client's nothing can be said in its name: all
    /// streams wait for the rest of it, so that the connection ends.
    fn look(&mut self) -> Result<(), Violation> {
        let still = self.frames.look(self.violations.looks());
        if still.is_empty() {
            return Ok(());
        }
        if !self.frames.is_between_reads() || !self.held.is_empty() {
            return Err(Violation::Idle);
        }
        for stream in still {
            self.violations.saw(Violation::Idle);
            for frames in [&mut self.to_library, &mut self.to_client] {
                // RST_STREAM without flags (RFC 9113 section 6.4).
                frames.put_slice(&[0, 0, 4, 3, 0]);
                frames.put_u32(stream);
                frames.put_u32(h2::Reason::CANCEL.into());
            }
        }
        Ok(())
    }

    fn broken(&mut self, violation: Violation) -> io::Error {
        self.violation = Some(violation);
        io::Error::other(violation)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for GuardedFrames<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(violation) = this.violation {
            return Poll::Ready(Err(io::Error::other(violation)));
        }
        if this.signals.take_look()
            && let Err(violation) = this.look()
        {
            return Poll::Ready(Err(this.broken(violation)));
        }
        if !this.to_client.is_empty() {
            // What does not leave now leaves with the next thing that is said.
            let _ = this.poll_own(cx)?;
        }
        let before = buf.filled().len();
        loop {
            if !this.to_library.is_empty() {
                let given = this.to_library.len().min(buf.remaining());
                buf.put_slice(&this.to_library.split_to(given));
                return Poll::Ready(Ok(()));
            }
            let came = if this.held.is_empty() { this.poll_take(cx, buf) } else { this.poll_more(cx) };
            if let Err(violation) = ready!(came)? {
                buf.set_filled(before);
                return Poll::Ready(Err(this.broken(violation)));
            }
            if this.closed || buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + Unpin> GuardedFrames<S> {
    /// Reads what comes next, and leaves what may go on where the library wants it.
    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Result<(), Violation>>> {
        ready!(self.poll_pause(cx));
        let Some(stream) = &mut self.stream else { return self.closed() };
        let before = buf.filled().len();
        ready!(Pin::new(stream).poll_read(cx, buf))?;
        let read = buf.filled().get(before..).unwrap_or_default();
        if read.is_empty() {
            return self.closed();
        }
        let taken = match self.frames.read(read, crate::runtime::clock::now) {
            Ok(taken) => taken,
            Err(violation) => return Poll::Ready(Ok(Err(violation))),
        };
        self.took(taken);
        if taken.good == read.len() {
            return Poll::Ready(Ok(Ok(())));
        }
        self.held.extend_from_slice(read.get(taken.good..).unwrap_or_default());
        buf.set_filled(before + taken.good);
        if taken.trailers == 0 {
            return Poll::Ready(Ok(Ok(())));
        }
        Poll::Ready(Ok(self.trailers(taken.trailers).and_then(|()| self.sift())))
    }

    /// Reads what comes behind what is held.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Result<(), Violation>>> {
        ready!(self.poll_pause(cx));
        let Some(stream) = &mut self.stream else { return self.closed() };
        self.held.reserve(READ);
        if ready!(poll_read_buf(Pin::new(stream), cx, &mut self.held))? == 0 {
            // The library is to hear that something was cut off.
            self.to_library = std::mem::take(&mut self.held);
            return Poll::Ready(Ok(Ok(())));
        }
        Poll::Ready(Ok(self.sift()))
    }

    /// Tells what came with these octets.
    fn took(&mut self, taken: Taken) {
        if taken.pinged {
            self.violations.patience().pinged();
        }
        if let Some(violation) = self.frames.take_pause() {
            self.violations.saw(violation);
            self.pause = Some(Box::pin(sleep(PAUSE)));
        }
    }

    /// Ready unless nothing is to be read for now.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }

    /// Sees how much may go on of what is held.
    fn sift(&mut self) -> Result<(), Violation> {
        loop {
            let taken = self.frames.read(&self.held, crate::runtime::clock::now)?;
            self.took(taken);
            self.to_library.extend_from_slice(&self.held.split_to(taken.good));
            if self.held.is_empty() {
                // An idle connection keeps no buffer.
                self.held = BytesMut::new();
            }
            if taken.trailers == 0 {
                return Ok(());
            }
            self.trailers(taken.trailers)?;
        }
    }

    /// Lets the trailers go on that the held octets begin with.
    fn trailers(&mut self, octets: usize) -> Result<(), Violation> {
        let frame = Frames::trailers(&self.held.split_to(octets))?;
        self.to_library.extend_from_slice(&frame);
        Ok(())
    }

    fn closed(&mut self) -> Poll<io::Result<Result<(), Violation>>> {
        self.closed = true;
        Poll::Ready(Ok(Ok(())))
    }
}

impl<S: AsyncWrite + Unpin> GuardedFrames<S> {
    /// Writes frames of the guard's own, between two of the library's.
    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.frames.is_between_writes() {
            return Poll::Ready(Ok(()));
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(())) };
        while !self.to_client.is_empty() {
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, &self.to_client))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.to_client.advance(written);
        }
        Pin::new(stream).poll_flush(cx)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for GuardedFrames<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.to_client.is_empty() {
            ready!(this.poll_own(cx))?;
        }
        let Some(stream) = &mut this.stream else { return Poll::Ready(Ok(0)) };
        this.unflushed = true;
        let written = ready!(Pin::new(stream).poll_write(cx, buf))?;
        let violations = &this.violations;
        let wrote = buf.get(..written).unwrap_or_default();
        this.frames.wrote(wrote, crate::runtime::clock::now, |violation| violations.saw(violation));
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.to_client.is_empty() {
            ready!(this.poll_own(cx))?;
        }
        let Some(stream) = &mut this.stream else { return Poll::Ready(Ok(())) };
        ready!(Pin::new(stream).poll_flush(cx))?;
        this.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.violation.is_some() {
            // There is something left to say.
            return Poll::Ready(Ok(()));
        }
        match &mut this.stream {
            Some(stream) => Pin::new(stream).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<S> Drop for GuardedFrames<S> {
    fn drop(&mut self) {
        let Some(violation) = self.violation else { return };
        self.violations.saw(violation);
        // A frame that has not left whole can't be followed by another.
        if !self.unflushed
            && self.to_client.is_empty()
            && let Some(stream) = self.stream.take()
        {
            let speech = LocalReply::Http2(violation, self.frames.last());
            *self.back.lock() = Some(Ended { stream, speech });
        }
    }
}
