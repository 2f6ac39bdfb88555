//! What is carried once an upgrade is agreed to: one side is a connection, the other the body of a message.
//!
//! Nothing moves on some tunnels for long, and on others never again, because one end has vanished without a word. After an
//! hour in which no byte moved either way a tunnel ends, as an opaque connection does.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};
use tokio_util::io::poll_read_buf;
use weft_mesh::reason::Reason;

use crate::error::{BoxFailure, Failure};
use crate::http::body::Body;

/// Time without a byte either way after which a tunnel is given up: that of opaque connections.
const IDLE: Duration = Duration::from_hours(1);
/// Bytes that are read from a tunnel at once.
const CHUNK: usize = 16 * 1024;

/// The near side of a tunnel: what it sends is a body, and what comes for it is written to it.
///
/// `upgrade` is the connection as it will be once the upgrade is agreed; `from_far` is what the far side sends.
pub fn tunnel(upgrade: OnUpgrade) -> (TunnelBody, impl FnOnce(Body)) {
    let (give, take) = oneshot::channel();
    let start = move |from_far: Body| {
        tokio::task::spawn_local(async move {
            let upgraded = match upgrade.await {
                Ok(upgraded) => upgraded,
                Err(error) => {
                    tracing::debug!(%error, "an upgrade was agreed but did not come about");
                    return;
                }
            };
            let near = Near { stream: TokioIo::new(upgraded), moved: Moved::now() };
            let mut quiet = pin!(Quiet::new(&near.moved));
            let reader_quiet = Quiet::new(&near.moved);
            let (half, mut writer) = tokio::io::split(near);
            // The body may be gone already; then there is nobody to read for.
            let _ = give.send(Box::new(Reader { half, quiet: reader_quiet }));
            let mut from_far = BodyReader::new(from_far);
            tokio::select! {
                _ = tokio::io::copy(&mut from_far, &mut writer) => {}
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

/// When a byte has moved last on a tunnel, either way.
#[derive(Debug, Clone)]
struct Moved(Rc<Cell<Instant>>);

impl Moved {
    fn now() -> Self {
        Self(Rc::new(Cell::new(Instant::now())))
    }
}

/// The near side's connection.
#[derive(Debug)]
struct Near {
    stream: TokioIo<Upgraded>,
    moved: Moved,
}

impl AsyncRead for Near {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.moved.0.set(Instant::now());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Near {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.moved.0.set(Instant::now());
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
    moved: Moved,
}

impl Quiet {
    fn new(moved: &Moved) -> Self {
        Self { sleep: Box::pin(tokio::time::sleep_until(moved.0.get() + IDLE)), moved: moved.clone() }
    }
}

impl Future for Quiet {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            // Set once an hour instead of at each byte.
            let end = self.moved.0.get() + IDLE;
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
