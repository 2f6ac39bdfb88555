//! A stream some of whose bytes have been read already, to find out what it is.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// Bytes that are read at once to tell what a stream is: a head of HTTP/1 or a `ClientHello` with a post-quantum key share
/// (some 1.7 KB) fits.
pub const AHEAD: usize = 2048;

/// Time for the first byte where the client is the one to speak: whoever opens connections before they are needed finds out
/// that they were closed as of any that idle.
pub const FIRST_BYTE: Duration = Duration::from_mins(1);
/// Time for the next one while there is no verdict: that of opaque connections without a byte.
const NEXT_BYTE: Duration = Duration::from_hours(1);

/// A stream that gives the bytes that were read ahead of it first.
#[derive(Debug)]
pub struct Prefixed<S> {
    prefix: Bytes,
    inner: S,
}

impl<S> Prefixed<S> {
    /// A stream that gives `prefix`, then what `inner` gives.
    pub fn new(prefix: Bytes, inner: S) -> Self {
        Self { prefix, inner }
    }

    /// A stream of which nothing has been read.
    pub fn untouched(inner: S) -> Self {
        Self::new(Bytes::new(), inner)
    }

    /// The stream below, if it is what is read next.
    pub(super) fn untouched_below(&self) -> Option<&S> {
        self.prefix.is_empty().then_some(&self.inner)
    }

    /// The stream below.
    pub(super) fn below(&self) -> &S {
        &self.inner
    }

    /// The bytes not yet given, and the stream below.
    pub fn into_parts(self) -> (Bytes, S) {
        (self.prefix, self.inner)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let n = self.prefix.len().min(buf.remaining());
        if let Some(bytes) = self.prefix.get(..n) {
            buf.put_slice(bytes);
        }
        self.prefix.advance(n);
        if self.prefix.is_empty() {
            // The allocation is not needed any more, though the connection may live for hours.
            self.prefix = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Reads until `judge` comes to a verdict on the bytes so far; an end of the stream is judged too, with `true`.
///
/// Gives the verdict and a stream with all the bytes; a stream on which nothing comes for [`FIRST_BYTE`] is an error. Reads at most what `judge` asks for: it must come to a verdict
/// within a bounded number of bytes.
pub async fn read_ahead<S, V>(
    stream: S,
    judge: impl FnMut(&[u8], bool) -> Option<V>,
) -> io::Result<(V, Prefixed<S>)>
where
    S: AsyncRead + Unpin,
{
    read_ahead_within(stream, NEXT_BYTE, judge).await
}

/// As [`read_ahead`]; silence of that length after the first byte is judged as an end.
pub async fn read_ahead_within<S, V>(
    mut stream: S,
    silence: Duration,
    mut judge: impl FnMut(&[u8], bool) -> Option<V>,
) -> io::Result<(V, Prefixed<S>)>
where
    S: AsyncRead + Unpin,
{
    let mut buffer = tokio::time::timeout(FIRST_BYTE, first_bytes(&mut stream)).await??;
    let mut ended = buffer.is_empty();
    loop {
        if let Some(verdict) = judge(&buffer, ended) {
            return Ok((verdict, Prefixed::new(buffer.freeze(), stream)));
        }
        if ended {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.reserve(AHEAD);
        ended = match tokio::time::timeout(silence, stream.read_buf(&mut buffer)).await {
            Ok(read) => read? == 0,
            Err(_) => true,
        };
    }
}

/// The first bytes that come, none at the end of the stream. While they are waited for they have no buffer.
async fn first_bytes(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<BytesMut> {
    std::future::poll_fn(|cx| {
        let mut space = [std::mem::MaybeUninit::uninit(); AHEAD];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut read))?;
        Poll::Ready(Ok(BytesMut::from(read.filled())))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn gives_what_was_read_ahead_before_the_rest() {
        let (mut near, far) = tokio::io::duplex(64);
        near.write_all(b"abc").await.unwrap();
        let ((), mut stream) = read_ahead(far, |bytes, _| (bytes.len() >= 3).then_some(())).await.unwrap();
        near.write_all(b"def").await.unwrap();
        drop(near);
        let mut all = String::new();
        stream.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "abcdef");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_not_waited_for() {
        let (_near, far) = tokio::io::duplex(64);
        let began = tokio::time::Instant::now();
        let result = read_ahead(far, |_, _| None::<()>).await;
        assert_eq!(result.err().map(|error| error.kind()), Some(io::ErrorKind::TimedOut));
        assert_eq!(began.elapsed(), FIRST_BYTE);
    }

    #[tokio::test]
    async fn a_stream_that_ends_without_a_verdict_is_an_error() {
        let (near, far) = tokio::io::duplex(64);
        drop(near);
        let result = read_ahead(far, |_, _| None::<()>).await;
        assert_eq!(result.err().map(|error| error.kind()), Some(io::ErrorKind::UnexpectedEof));
    }
}
