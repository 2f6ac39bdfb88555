//! Bytes in both directions between two streams, until both have ended.
//!
//! They go through a buffer. Where both streams are sockets of the kernel with nothing in between, a direction that turns
//! out to carry much has the kernel move them instead (`splice(2)`), which takes little more than half of the processor time;
//! small messages gain nothing by it, and a pipe takes two descriptors, which connections that are quiet give back.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::transport::Transport;

mod direction;
mod pipes;

use direction::Direction;
pub use pipes::Pipes;

/// What a relay carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// Bytes from the first stream to the second.
    pub forth: u64,
    /// Bytes from the second stream to the first.
    pub back: u64,
}

/// Carries both ways until both directions have ended, one fails, or nothing moves for `idle`. `pipes` are the worker's.
///
/// The end of one direction is passed on as a half-close; the other goes on. `carried` is up to date even when the
/// future is dropped.
pub async fn relay<A, B>(a: A, b: B, idle: Duration, pipes: &Pipes, carried: &mut Carried) -> io::Result<()>
where
    A: Transport,
    B: Transport,
{
    let now = Instant::now();
    let sleep = tokio::time::sleep(idle);
    tokio::pin!(sleep);
    let mut relay = Relay { a, b, forth: Direction::new(now), back: Direction::new(now), idle, pipes };
    std::future::poll_fn(|cx| relay.poll(cx, sleep.as_mut(), carried)).await
}

struct Relay<'a, A, B> {
    a: A,
    b: B,
    forth: Direction,
    back: Direction,
    idle: Duration,
    pipes: &'a Pipes,
}

impl<A: Transport, B: Transport> Relay<'_, A, B> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut sleep: Pin<&mut Sleep>,
        carried: &mut Carried,
    ) -> Poll<io::Result<()>> {
        loop {
            let before = *carried;
            let forth = self.forth.poll(cx, &mut self.a, &mut self.b, self.pipes, &mut carried.forth)?;
            let back = self.back.poll(cx, &mut self.b, &mut self.a, self.pipes, &mut carried.back)?;
            if forth.is_ready() && back.is_ready() {
                return Poll::Ready(Ok(()));
            }
            if *carried != before {
                let now = Instant::now();
                if carried.forth != before.forth {
                    self.forth.moved(now);
                }
                if carried.back != before.back {
                    self.back.moved(now);
                }
                sleep.as_mut().reset(self.next_look());
            }
            ready!(sleep.as_mut().poll(cx));
            self.look(Instant::now())?;
            sleep.as_mut().reset(self.next_look());
        }
    }

    /// When the connection is idle, or a direction of it quiet, if nothing moves.
    fn next_look(&self) -> Instant {
        let quiet = [self.forth.quiet_at(), self.back.quiet_at()];
        quiet.into_iter().flatten().fold(self.idle_at(), Instant::min)
    }

    fn idle_at(&self) -> Instant {
        self.forth.last_moved().max(self.back.last_moved()) + self.idle
    }

    fn look(&mut self, now: Instant) -> io::Result<()> {
        if self.idle_at() <= now {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if self.forth.quiet_at().is_some_and(|at| at <= now) {
            self.forth.rest(&self.a)?;
        }
        if self.back.quiet_at().is_some_and(|at| at <= now) {
            self.back.rest(&self.b)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
