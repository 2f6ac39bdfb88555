//! Bytes in both directions between two streams, until both have ended.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A buffer starts small, because most connections of a mesh are idle or carry little...
const SMALL: usize = 2 * 1024;
/// ...and grows once it has been filled, to what one TLS record holds (RFC 8446 section 5.1).
const LARGE: usize = 16 * 1024;

/// What a relay carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// Bytes from the first stream to the second.
    pub forth: u64,
    /// Bytes from the second stream to the first.
    pub back: u64,
}

/// Copies both ways until both directions have ended, one fails, or nothing moves for `idle`.
///
/// The end of one direction is passed on as a half-close; the other goes on. `carried` is up to date even when the
/// future is dropped.
pub async fn relay<A, B>(a: A, b: B, idle: Duration, carried: &mut Carried) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let sleep = tokio::time::sleep(idle);
    tokio::pin!(sleep);
    let mut relay = Relay { a, b, forth: Direction::default(), back: Direction::default() };
    std::future::poll_fn(|cx| relay.poll(cx, idle, sleep.as_mut(), carried)).await
}

struct Relay<A, B> {
    a: A,
    b: B,
    forth: Direction,
    back: Direction,
}

impl<A, B> Relay<A, B>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        idle: Duration,
        mut sleep: Pin<&mut Sleep>,
        carried: &mut Carried,
    ) -> Poll<io::Result<()>> {
        let before = *carried;
        let forth = self.forth.poll(cx, &mut self.a, &mut self.b, &mut carried.forth)?;
        let back = self.back.poll(cx, &mut self.b, &mut self.a, &mut carried.back)?;
        if forth.is_ready() && back.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if *carried != before {
            sleep.as_mut().reset(Instant::now() + idle);
        }
        ready!(sleep.poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// One direction: at most one buffer of bytes is on its way.
#[derive(Default)]
struct Direction {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    unflushed: bool,
    state: State,
}

#[derive(Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    Closing,
    Closed,
}

impl Direction {
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        count: &mut u64,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            if self.start < self.end {
                let pending = self.buffer.get(self.start..self.end).unwrap_or_default();
                let n = ready!(Pin::new(&mut *to).poll_write(cx, pending))?;
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.start += n;
                *count += n as u64;
                self.unflushed = true;
                continue;
            }
            match self.state {
                State::Open => {}
                State::Closing => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.state = State::Closed;
                    self.buffer = Vec::new();
                    return Poll::Ready(Ok(()));
                }
                State::Closed => return Poll::Ready(Ok(())),
            }
            if self.fill(cx, from)?.is_pending() {
                if self.unflushed {
                    ready!(Pin::new(&mut *to).poll_flush(cx))?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
        }
    }

    fn fill<R: AsyncRead + Unpin>(&mut self, cx: &mut Context<'_>, from: &mut R) -> Poll<io::Result<()>> {
        let was_filled = self.end == self.buffer.len();
        if self.buffer.is_empty() {
            self.buffer.resize(SMALL, 0);
        } else if was_filled && self.buffer.len() < LARGE {
            self.buffer.resize(LARGE, 0);
        }
        let mut space = ReadBuf::new(&mut self.buffer);
        match Pin::new(from).poll_read(cx, &mut space) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {
                self.start = 0;
                self.end = space.filled().len();
                if self.end == 0 {
                    self.state = State::Closing;
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const IDLE: Duration = Duration::from_hours(1);

    #[tokio::test]
    async fn carries_large_amounts_both_ways_and_counts_them() {
        let (client, near) = duplex(1000);
        let (far, server) = duplex(700);
        let mut carried = Carried::default();
        let send = vec![7_u8; 300_000];
        let (mut client_read, mut client_write) = tokio::io::split(client);
        let (mut server_read, mut server_write) = tokio::io::split(server);
        let mut received = Vec::new();
        let mut answered = Vec::new();
        let (relayed, ..) = tokio::join!(
            relay(near, far, IDLE, &mut carried),
            async {
                client_write.write_all(&send).await.unwrap();
                client_write.shutdown().await.unwrap();
            },
            async { server_read.read_to_end(&mut received).await.unwrap() },
            async {
                server_write.write_all(b"answer").await.unwrap();
                server_write.shutdown().await.unwrap();
            },
            async { client_read.read_to_end(&mut answered).await.unwrap() },
        );
        relayed.unwrap();
        assert_eq!(received, send);
        assert_eq!(answered, b"answer");
        assert_eq!(carried, Carried { forth: 300_000, back: 6 });
    }

    #[tokio::test]
    async fn the_end_of_one_direction_leaves_the_other_open() {
        let (mut client, near) = duplex(64);
        let (far, mut server) = duplex(64);
        let mut carried = Carried::default();
        let talk = async {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut question = String::new();
            server.read_to_string(&mut question).await.unwrap();
            server.write_all(b"answer to ").await.unwrap();
            server.write_all(question.as_bytes()).await.unwrap();
            server.shutdown().await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "answer to question");
        };
        let (relayed, ()) = tokio::join!(relay(near, far, IDLE, &mut carried), talk);
        relayed.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_nothing_moves_is_given_up() {
        let (_client, near) = duplex(64);
        let (far, _server) = duplex(64);
        let result = relay(near, far, Duration::from_mins(1), &mut Carried::default()).await;
        assert_eq!(result.err().map(|error| error.kind()), Some(io::ErrorKind::TimedOut));
    }
}
