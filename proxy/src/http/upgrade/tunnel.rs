//! What is carried once an upgrade is agreed to: one side is a connection, the other the body of a message.
//!
//! What breaks off on one side does so on the other: a connection by a reset, a body by an error.
//!
//! Nothing moves on some tunnels for long, and on others never again, because one end has vanished without a word. After an
//! hour in which no byte moved either way a tunnel ends, as an opaque connection does.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};
use tokio_util::io::poll_read_buf;
use weft_mesh::reason::Reason;

use super::joined::{Upgrade, Upgraded};
use crate::error::{BoxFailure, Failure};
use crate::http::body::Body;
use crate::transport::stream::Transport as _;

/// Time without a byte either way after which a tunnel is given up: that of opaque connections.
const IDLE: Duration = Duration::from_hours(1);
/// Bytes that are read from a tunnel at once.
const CHUNK: usize = 16 * 1024;

/// The near side of a tunnel: what it sends is a body, and what comes for it is written to it.
///
/// `upgrade` is the connection as it will be once the upgrade is agreed; `from_far` is what the far side sends.
pub fn tunnel(upgrade: Upgrade) -> (TunnelBody, impl FnOnce(Body)) {
    let (give, take) = oneshot::channel();
    let start = move |from_far: Body| {
        tokio::task::spawn_local(async move {
            let stream = match upgrade.upgraded().await {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::debug!(%error, "an upgrade was agreed but did not come about");
                    return;
                }
            };
            let near = Near { stream, shared: Rc::new(State::new()) };
            let shared = Rc::clone(&near.shared);
            let mut quiet = pin!(Quiet::new(&shared));
            let reader_quiet = Quiet::new(&shared);
            let (half, mut writer) = tokio::io::split(near);
            // The body may be gone already; then there is nobody to read for.
            let _ = give.send(Box::new(Reader { half, quiet: reader_quiet }));
            let mut from_far = BodyReader::new(from_far);
            tokio::select! {
                copied = tokio::io::copy(&mut from_far, &mut writer) => if let Err(error) = copied {
                    tracing::debug!(%error, "a tunnel broke");
                    shared.break_off();
                    return;
                },
                () = quiet.as_mut() => tracing::debug!("a tunnel on which nothing moves is given up"),
            }
            // Whoever takes nothing any more takes no end, either.
            tokio::select! {
                _ = writer.shutdown() => {}
                () = quiet.as_mut() => {}
            }
        });
    };
    (TunnelBody { waiting: Some(take), reader: None, ended: false, held: None }, start)
}

/// What both directions of a tunnel know of it.
#[derive(Debug)]
struct State {
    /// When a byte has moved last, either way.
    moved: Cell<Instant>,
    /// Whether one direction has broken: then the other does so, too, and the connection is reset.
    broken: Cell<bool>,
    reader: RefCell<Option<Waker>>,
}

impl State {
    fn new() -> Self {
        let moved = Cell::new(Instant::now());
        Self { moved, broken: Cell::default(), reader: RefCell::default() }
    }

    fn break_off(&self) {
        self.broken.set(true);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// The near side's connection.
#[derive(Debug)]
struct Near {
    stream: Upgraded,
    shared: Rc<State>,
}

impl Drop for Near {
    fn drop(&mut self) {
        if self.shared.broken.get() {
            self.stream.abort();
        }
    }
}

impl AsyncRead for Near {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.shared.broken.get() {
            // The system tells of a reset once, perhaps to whoever writes.
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        match read {
            Poll::Pending => *self.shared.reader.borrow_mut() = Some(cx.waker().clone()),
            Poll::Ready(Ok(())) => self.shared.moved.set(Instant::now()),
            Poll::Ready(Err(_)) => self.shared.broken.set(true),
        }
        read
    }
}

impl AsyncWrite for Near {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.shared.moved.set(Instant::now());
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Is done once no byte has moved on a tunnel for [`IDLE`].
#[derive(Debug)]
struct Quiet {
    sleep: Pin<Box<Sleep>>,
    shared: Rc<State>,
}

impl Quiet {
    fn new(shared: &Rc<State>) -> Self {
        let sleep = Box::pin(tokio::time::sleep_until(shared.moved.get() + IDLE));
        Self { sleep, shared: Rc::clone(shared) }
    }
}

impl Future for Quiet {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            // Set once an hour instead of at each byte.
            let end = self.shared.moved.get() + IDLE;
            if end <= Instant::now() {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(end);
        }
    }
}

/// What one side of a tunnel sends, as a body.
#[derive(Debug)]
pub struct TunnelBody {
    waiting: Option<oneshot::Receiver<Box<Reader>>>,
    reader: Option<Box<Reader>>,
    ended: bool,
    /// What lasts as long as this.
    held: Option<Box<dyn std::fmt::Debug>>,
}

/// What the near side sends, and when it is waited for no longer. Apart, because bodies are moved with every request.
#[derive(Debug)]
struct Reader {
    half: ReadHalf<Near>,
    quiet: Quiet,
}

impl TunnelBody {
    /// Keeps something until the other side has sent all.
    pub fn hold(&mut self, held: Box<dyn std::fmt::Debug>) {
        self.held = Some(held);
    }

    pub(in crate::http) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxFailure>>> {
        if let Some(waiting) = &mut self.waiting {
            match ready!(Pin::new(waiting).poll(cx)) {
                Ok(reader) => self.reader = Some(reader),
                Err(_) => self.ended = true,
            }
            self.waiting = None;
        }
        let Some(Reader { half, quiet }) = self.reader.as_deref_mut() else { return Poll::Ready(None) };
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let read = match poll_read_buf(Pin::new(half), cx, &mut chunk) {
            Poll::Ready(read) => read,
            // It ends as if the near side had ended it.
            Poll::Pending => Ok({
                ready!(Pin::new(quiet).poll(cx));
                0
            }),
        };
        match read {
            Ok(0) => {
                self.ended = true;
                self.reader = None;
                Poll::Ready(None)
            }
            Ok(_) => Poll::Ready(Some(Ok(Frame::data(chunk.freeze())))),
            Err(error) => {
                self.ended = true;
                self.reader = None;
                Poll::Ready(Some(Err(Failure::upstream(
                    Reason::UpstreamReset,
                    format!("the tunnel broke: {error}"),
                ))))
            }
        }
    }

    pub(in crate::http) fn is_end_stream(&self) -> bool {
        self.ended
    }
}

/// The side of a tunnel that runs over a body: what comes from the peer.
#[derive(Debug)]
struct BodyReader {
    body: Body,
    chunk: Bytes,
}

impl BodyReader {
    fn new(body: Body) -> Self {
        Self { body, chunk: Bytes::new() }
    }
}

impl AsyncRead for BodyReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.chunk.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                Some(Ok(frame)) => self.chunk = frame.into_data().unwrap_or_default(),
            }
        }
        let n = self.chunk.len().min(buf.remaining());
        buf.put_slice(self.chunk.get(..n).unwrap_or_default());
        self.chunk.advance(n);
        Poll::Ready(Ok(()))
    }
}
