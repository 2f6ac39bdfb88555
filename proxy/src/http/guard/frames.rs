//! A connection of HTTP/2 whose frames are watched.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use weft_mesh::violation::Violation;
use weft_mesh::wire::Frames;

use super::{Ended, Return, Signals, Speech};
use crate::http::witness::{ClientKind, Witness};

/// A connection of HTTP/2. A stream that stands still is reset in the client's name and the client is told: the library
/// has no other way to end one alone that waits for its client.
#[derive(Debug)]
pub(in crate::http) struct GuardedFrames<S> {
    stream: Option<S>,
    frames: Box<Frames>,
    signals: Arc<Signals>,
    witness: Witness,
    back: Return<S>,
    /// Looks after which a stream stands still.
    looks: Arc<std::sync::atomic::AtomicU32>,
    /// Frames for the library, and for the client, that neither of them sent.
    to_library: BytesMut,
    to_client: BytesMut,
    violation: Option<Violation>,
    unflushed: bool,
    /// Nothing more is read before this is over.
    pause: Option<Pin<Box<Sleep>>>,
}

/// How long nothing is read from a proxy whose clients have done too much for nothing.
const PAUSE: Duration = Duration::from_secs(1);

impl<S> GuardedFrames<S> {
    pub(in crate::http) fn new(
        stream: S,
        signals: &Arc<Signals>,
        looks: Arc<std::sync::atomic::AtomicU32>,
        witness: Witness,
        back: &Return<S>,
    ) -> Self {
        Self {
            stream: Some(stream),
            frames: Box::new(match witness.kind() {
                ClientKind::Single => Frames::default(),
                ClientKind::MeshProxy => Frames::of_proxy(),
            }),
            signals: Arc::clone(signals),
            witness,
            back: Arc::clone(back),
            looks,
            to_library: BytesMut::new(),
            to_client: BytesMut::new(),
            violation: None,
            unflushed: false,
            pause: None,
        }
    }

    /// Ends the streams that stand still. In the middle of a frame of the client's nothing can be said in its name: all
    /// streams wait for the rest of it, so that the connection ends.
    fn look(&mut self) -> Result<(), Violation> {
        let still = self.frames.look(self.looks.load(std::sync::atomic::Ordering::Relaxed));
        if still.is_empty() {
            return Ok(());
        }
        if !self.frames.is_between_reads() {
            return Err(Violation::Idle);
        }
        for stream in still {
            self.witness.saw(Violation::Idle);
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
        if !this.to_library.is_empty() {
            let given = this.to_library.len().min(buf.remaining());
            buf.put_slice(&this.to_library.split_to(given));
            return Poll::Ready(Ok(()));
        }
        if let Some(pause) = &mut this.pause {
            ready!(pause.as_mut().poll(cx));
            this.pause = None;
        }
        let Some(stream) = &mut this.stream else { return Poll::Ready(Ok(())) };
        let before = buf.filled().len();
        ready!(Pin::new(stream).poll_read(cx, buf))?;
        let read = this.frames.read(buf.filled().get(before..).unwrap_or_default(), crate::clock::now);
        if let Err(violation) = read {
            buf.set_filled(before);
            return Poll::Ready(Err(this.broken(violation)));
        }
        if let Some(violation) = this.frames.take_pause() {
            this.witness.saw(violation);
            this.pause = Some(Box::pin(sleep(PAUSE)));
        }
        Poll::Ready(Ok(()))
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
        let witness = &this.witness;
        let wrote = buf.get(..written).unwrap_or_default();
        this.frames.wrote(wrote, crate::clock::now, |violation| witness.saw(violation));
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
        self.witness.saw(violation);
        // A frame that has not left whole can't be followed by another.
        if !self.unflushed
            && self.to_client.is_empty()
            && let Some(stream) = self.stream.take()
        {
            let speech = Speech::Http2(violation, self.frames.last());
            *self.back.lock() = Some(Ended { stream, speech });
        }
    }
}
