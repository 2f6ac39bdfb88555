//! The one task that reads and writes a connection.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;
use tokio_util::io::poll_read_buf;
use weft_hop::Role;

use super::link::{Arrival, Link};
use crate::runtime::clock::now;

/// Room for one read: what a TLS record holds. Frames are split from it without copying.
const READ: usize = 16 * 1024;
/// Time for the peer to close its side after the last byte to it was written.
const LINGER: Duration = Duration::from_secs(2);
/// Reads before other tasks get their turn.
const READS: usize = 8;

/// Bytes on their way out.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) buffer: BytesMut,
    unflushed: bool,
}

impl Output {
    /// Bytes that are taken from the queues at once: enough for a system call and four TLS records.
    pub(super) const FULL: usize = 64 * 1024;
}

/// Reads and writes until the connection ends; what asks for more than waking a stream goes to `arrived`.
///
/// Streams learn of the end by themselves.
pub(super) async fn drive<S>(link: Rc<Link>, stream: S, mut arrived: impl FnMut(Arrival))
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut driver = Driver {
        link: Rc::clone(&link),
        stream,
        input: BytesMut::new(),
        output: Output::default(),
        joined: false,
        failed: false,
        broken: false,
        lingering: None,
    };
    // Also when this is dropped before its end: whoever waits for a stream hears of it.
    let _closing = Closing(link);
    let ended = std::future::poll_fn(|cx| driver.poll(cx, &mut arrived)).await;
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended with an error");
    }
}

/// Closes a link when its connection is driven no longer.
struct Closing(Rc<Link>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

struct Driver<S> {
    link: Rc<Link>,
    stream: S,
    input: BytesMut,
    output: Output,
    /// Whether what was ready together with the first bytes to write has had its chance to join in.
    joined: bool,
    /// The peer broke the protocol: what is queued says so, then the connection ends.
    failed: bool,
    /// Nothing can be written any more. What the peer sent before it closed is still read.
    broken: bool,
    /// All is said, and only the peer's end is waited for.
    lingering: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    fn poll(&mut self, cx: &mut Context<'_>, arrived: &mut impl FnMut(Arrival)) -> Poll<io::Result<()>> {
        self.link.set_driver(cx.waker());
        if self.link.is_deserted() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if self.lingering.is_some() {
            return self.linger(cx);
        }
        if !self.failed && self.read(cx, arrived)? {
            return Poll::Ready(Ok(()));
        }
        if self.broken {
            return if self.link.open_streams() > 0 { Poll::Pending } else { Poll::Ready(Ok(())) };
        }
        match self.write(cx) {
            Poll::Ready(Err(_)) if !self.failed && self.link.open_streams() > 0 => {
                // The waker is with the reading side already.
                self.broken = true;
                Poll::Pending
            }
            Poll::Ready(Ok(())) if self.link.look(|connection| connection.role()) == Role::Server => {
                self.lingering = Some(Box::pin(tokio::time::sleep(LINGER)));
                self.linger(cx)
            }
            written => written,
        }
    }

    /// Waits for the peer to close. A socket that is closed with something unread in it throws away what the peer has
    /// not received yet (RFC 2525 section 2.17).
    fn linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..READS {
            self.input.clear();
            self.input.reserve(READ);
            match poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    let Some(lingering) = &mut self.lingering else { return Poll::Ready(Ok(())) };
                    return lingering.as_mut().poll(cx).map(Ok);
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Says whether the peer has closed the connection.
    fn read(&mut self, cx: &mut Context<'_>, arrived: &mut impl FnMut(Arrival)) -> io::Result<bool> {
        for _ in 0..READS {
            if self.link.is_paused() {
                return Ok(false);
            }
            self.input.reserve(READ);
            match poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input) {
                Poll::Pending => {
                    if self.input.is_empty() {
                        // A connection that waits holds no buffer.
                        self.input = BytesMut::new();
                    }
                    return Ok(false);
                }
                Poll::Ready(Ok(0)) => return Ok(true),
                Poll::Ready(Ok(_)) => {
                    if let Err(error) = self.link.receive(&mut self.input, now(), &mut *arrived) {
                        tracing::warn!(%error, "the peer broke the protocol");
                        self.failed = true;
                        self.link.set_broken();
                        return Ok(false);
                    }
                }
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        cx.waker().wake_by_ref();
        Ok(false)
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.output.buffer.is_empty() {
                if !self.joined && self.link.look(|connection| connection.wants_write()) {
                    self.joined = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                self.link.fill(&mut self.output);
            }
            if self.output.buffer.is_empty() {
                break;
            }
            match Pin::new(&mut self.stream).poll_write(cx, &self.output.buffer)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(n) => {
                    self.output.buffer.advance(n);
                    self.output.unflushed = true;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        self.joined = false;
        if self.output.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx)? {
                Poll::Ready(()) => {
                    self.output.unflushed = false;
                    self.output.buffer = BytesMut::new();
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        if self.failed || self.link.is_finished() {
            return Pin::new(&mut self.stream).poll_shutdown(cx);
        }
        Poll::Pending
    }
}
