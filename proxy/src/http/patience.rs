//! How long a server of HTTP/1 waits: seldom long for a head that has begun, and long for one that has not.
//!
//! hyper has one time for both. Whoever keeps a connection for later has to find it open, or its next request may be
//! lost on the way to a connection that is just being closed; whoever sends a head octet by octet is to be cut off.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Time between requests: that of opaque connections, and longer than clients keep connections for later.
const IDLE: Duration = Duration::from_hours(1);

/// Whether anything was read since hyper began to wait for a head. One thread alone uses it; hyper asks for more.
type Begun = Arc<AtomicBool>;

/// A connection whose reads the timer hears of.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    begun: Begun,
}

/// A timer for heads: what hyper takes for the end of the time for a head begins to run with the head.
#[derive(Debug)]
pub(super) struct HeadTimer {
    begun: Begun,
    time: Duration,
}

/// A stream, and the timer that allows `time` for each head on it.
pub(super) fn watch<S>(stream: S, time: Duration) -> (Watched<S>, HeadTimer) {
    let begun = Begun::default();
    (Watched { stream, begun: Arc::clone(&begun) }, HeadTimer { begun, time })
}

impl Timer for HeadTimer {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Sleep>> {
        // Whoever waits from now on has heard nothing yet.
        self.begun.store(false, Ordering::Relaxed);
        Box::pin(Waiting { begun: Arc::clone(&self.begun), time: self.time, sleep: None, in_head: false })
    }

    fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(self.time)
    }

    fn now(&self) -> Instant {
        crate::clock::now()
    }
}

/// Waits for a head, first for it to begin.
struct Waiting {
    begun: Begun,
    time: Duration,
    /// Made at the first look: most heads are there already.
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
    in_head: bool,
}

impl Sleep for Waiting {}

impl Future for Waiting {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let begins = !this.in_head && this.begun.load(Ordering::Relaxed);
        this.in_head |= begins;
        let time = if this.in_head { this.time } else { IDLE };
        let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
        if begins {
            sleep.as_mut().reset(tokio::time::Instant::now() + time);
        }
        sleep.as_mut().poll(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.begun.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
