//! Informational responses (1xx, RFC 9110 section 15.2) on their way back to the client.
//!
//! hyper gives those of servers of HTTP/1 and has no way to send any. On a connection of HTTP/1 they are written below it:
//! when all that it has written is out, and before it gets the final head of the same answer.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use futures_util::task::AtomicWaker;
use http::{HeaderMap, Request, Response, StatusCode, response};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weft_mesh::headers::remove_hop_by_hop;

/// Informational responses that may wait: more than anybody sends at once. What is beyond that is dropped, as a server may send as
/// many as it likes, and a client need not read any.
const MOST: usize = 8;

/// Where the interim answers of a request go, among its extensions; where there is none, they go nowhere.
///
/// One worker alone uses it. It can be shared between threads because hyper asks for that.
#[derive(Clone, Debug, Default)]
pub struct Informational {
    queue: Arc<Queue>,
    /// Whether the client expects to be told to go on.
    expects: bool,
}

#[derive(Debug, Default)]
struct Queue {
    /// Whether anything waits: nearly always nothing does, and this is all that is looked at.
    waiting: AtomicBool,
    heads: Mutex<VecDeque<response::Parts>>,
    task: AtomicWaker,
    /// Whether the names of the final answer's fields are asked for.
    wants_names: bool,
}

impl Informational {
    /// For a request whose answer goes on by other ways than those of hyper, which keeps to itself how the names of
    /// fields were written.
    /// `expects` says whether the client waits for 100.
    pub fn with_names(expects: bool) -> Self {
        Self { queue: Arc::new(Queue { wants_names: true, ..Queue::default() }), expects }
    }

    /// The same queue for one request, whose client may wait for 100.
    #[must_use]
    pub fn of_request(&self, expects: bool) -> Self {
        Self { queue: Arc::clone(&self.queue), expects }
    }

    /// Tells a client that waits for it to go on.
    pub fn go_on(&self) {
        self.put(StatusCode::CONTINUE, HeaderMap::new());
    }

    /// Lets the interim answers to `request`, which is about to be sent by HTTP/1, come here if it asks for that. Says
    /// whether the names of the final answer's fields are asked for, too.
    ///
    /// 101 is a final answer to us.
    pub fn listen<B>(request: &mut Request<B>) -> bool {
        let Some(interim) = request.extensions_mut().remove::<Self>() else { return false };
        let wants_names = interim.queue.wants_names;
        hyper::ext::on_informational(request, move |answer| {
            interim.put(answer.status(), answer.headers().clone());
        });
        wants_names
    }

    /// Puts an interim answer at the end of the queue. 100 is for those alone who wait for it (RFC 9110, section 10.1.1).
    pub fn put(&self, status: StatusCode, mut headers: HeaderMap) {
        let is_unwanted = status == StatusCode::CONTINUE && !self.expects;
        if is_unwanted || status == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        remove_hop_by_hop(&mut headers);
        let mut head = Response::new(()).into_parts().0;
        (head.status, head.headers) = (status, headers);
        let mut heads = self.queue.heads.lock();
        if heads.len() < MOST {
            heads.push_back(head);
            self.queue.waiting.store(true, Ordering::Relaxed);
            self.queue.task.wake();
        }
    }

    /// The first one, if one waits; else the task is woken when one comes.
    pub fn poll_next(&self, cx: &Context<'_>) -> Poll<response::Parts> {
        self.queue.task.register(cx.waker());
        if !self.is_waiting() {
            return Poll::Pending;
        }
        let mut heads = self.queue.heads.lock();
        let head = heads.pop_front();
        self.queue.waiting.store(!heads.is_empty(), Ordering::Relaxed);
        head.map_or(Poll::Pending, Poll::Ready)
    }

    fn is_waiting(&self) -> bool {
        self.queue.waiting.load(Ordering::Relaxed)
    }
}

/// The future of an answer, which comes after the interim ones. Lives in the task that serves the connection.
pub(super) async fn after<F: Future>(interim: Option<Informational>, answer: F) -> F::Output {
    let mut answer = std::pin::pin!(answer);
    let Some(interim) = interim else { return answer.await };
    let output = std::future::poll_fn(|cx| {
        interim.queue.task.register(cx.waker());
        answer.as_mut().poll(cx)
    })
    .await;
    std::future::poll_fn(|cx| {
        if !interim.is_waiting() {
            return Poll::Ready(());
        }
        interim.queue.task.register(cx.waker());
        Poll::Pending
    })
    .await;
    output
}

/// A connection of HTTP/1 with the interim answers that are written between hyper's.
#[derive(Debug)]
pub(super) struct WithInformational<S> {
    stream: S,
    interim: Informational,
    /// What is being written of them.
    bytes: BytesMut,
}

impl<S> WithInformational<S> {
    pub(super) fn new(stream: S, interim: Informational) -> Self {
        Self { stream, interim, bytes: BytesMut::new() }
    }

    pub(super) fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }
}

impl<S: AsyncWrite + Unpin> WithInformational<S> {
    /// hyper flushes when its own buffer is empty, so nothing of an earlier answer can be behind these bytes; and the
    /// answer that they precede is held back by [`after`] until they are out.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.interim.is_waiting() {
            for head in self.interim.queue.heads.lock().drain(..) {
                encode(&head, &mut self.bytes);
            }
            if self.bytes.is_empty() {
                // Most connections see none, and none soon again.
                self.bytes = BytesMut::new();
                self.interim.queue.waiting.store(false, Ordering::Relaxed);
                self.interim.queue.task.wake();
                break;
            }
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.bytes.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

/// Writes a head as HTTP/1.1 has it (RFC 9112, sections 4 and 5).
fn encode(head: &response::Parts, out: &mut BytesMut) {
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(head.status.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(head.status.canonical_reason().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
    for (name, value) in &head.headers {
        out.put_slice(name.as_str().as_bytes());
        out.put_slice(b": ");
        out.put_slice(value.as_bytes());
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
}

impl<S: AsyncRead + Unpin> AsyncRead for WithInformational<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WithInformational<S> {
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
        let this = self.get_mut();
        ready!(this.poll_interim(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
