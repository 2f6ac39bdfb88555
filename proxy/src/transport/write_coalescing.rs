//! A connection whose writes wait for each other: what several tasks have to say at one moment leaves in one system
//! call.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are kept back at most: enough for a system call.
const FULL: usize = 64 * 1024;

/// Keeps back what is written until a flush has let all that is ready now have its turn.
#[derive(Debug)]
pub struct Coalesced<S> {
    stream: S,
    kept: BytesMut,
    /// Whether the tasks that were ready at the first flush have had their turn.
    waited: bool,
}

impl<S> Coalesced<S> {
    /// Gathers what is written to `stream`.
    pub fn new(stream: S) -> Self {
        Self { stream, kept: BytesMut::new(), waited: false }
    }
}

impl<S: AsyncWrite + Unpin> Coalesced<S> {
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.kept.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.kept))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.kept.advance(written);
        }
        // An idle connection keeps no buffer.
        self.kept = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Coalesced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Coalesced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.kept.len() >= FULL {
            ready!(self.poll_out(cx))?;
        }
        let taken = buf.len().min(FULL);
        self.kept.extend_from_slice(buf.get(..taken).unwrap_or_default());
        Poll::Ready(Ok(taken))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.kept.len() >= FULL {
            ready!(self.poll_out(cx))?;
        }
        let mut taken = 0;
        for buf in bufs {
            self.kept.extend_from_slice(buf);
            taken += buf.len();
            if self.kept.len() >= FULL {
                break;
            }
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.kept.is_empty() && !std::mem::replace(&mut self.waited, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.poll_out(cx))?;
        self.waited = false;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_is_written_in_one_turn_leaves_together_and_whole() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut near = Coalesced::new(near);
        near.write_all(b"one ").await.unwrap();
        near.write_all(b"two").await.unwrap();
        near.flush().await.unwrap();
        let mut buf = [0; 16];
        assert_eq!(far.read(&mut buf).await.unwrap(), 7);
        let much = vec![7; 300_000];
        near.write_all(&much).await.unwrap();
        near.shutdown().await.unwrap();
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        assert!(rest == much);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stops_stops_the_writer() {
        let (near, _far) = tokio::io::duplex(16);
        let mut near = Coalesced::new(near);
        let endless = vec![7; 1_000_000];
        let writing = near.write_all(&endless);
        assert!(tokio::time::timeout(std::time::Duration::from_millis(20), writing).await.is_err());
        assert!(near.kept.len() <= 2 * FULL);
    }
}
