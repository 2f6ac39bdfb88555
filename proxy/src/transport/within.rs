//! A connection within this process, whose two ends tell an end from a reset as those of the kernel do.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::stream::{ResetFlag, Transport};

/// One end of a connection within this process. Dropped, it ends the connection; [aborted](Transport::abort) and dropped,
/// it resets it.
#[derive(Debug)]
pub struct Within {
    stream: DuplexStream,
    own: ResetFlag,
    peer: ResetFlag,
}

/// Both ends of a new connection, which holds at most `capacity` octets in each direction.
pub fn within(capacity: usize) -> (Within, Within) {
    let (one, other) = tokio::io::duplex(capacity);
    let flags = (ResetFlag::default(), ResetFlag::default());
    (
        Within { stream: one, own: flags.0.clone(), peer: flags.1.clone() },
        Within { stream: other, own: flags.1, peer: flags.0 },
    )
}

impl Transport for Within {
    fn abort(&self) {
        self.own.set();
    }

    fn is_reset(&self) -> bool {
        self.peer.is_set()
    }
}

impl AsyncRead for Within {
    /// What came before a reset is read first, as from a socket.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        if buf.filled().len() == before && buf.remaining() > 0 && this.peer.is_set() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Within {
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_reset_is_read_behind_what_was_sent_before_it_and_an_end_is_none() {
        for is_reset in [true, false] {
            let (mut near, mut far) = within(64);
            far.write_all(b"sent").await.unwrap();
            if is_reset {
                far.abort();
            }
            drop(far);
            let mut read = Vec::new();
            let end = near.read_to_end(&mut read).await;
            assert_eq!(read, b"sent");
            assert_eq!(end.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset), is_reset);
        }
    }
}
