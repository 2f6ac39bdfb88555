//! Bytes in both directions between two streams, until both have ended.
//!
//! They go through a buffer. Where both streams are sockets of the kernel with nothing in between, a direction that turns
//! out to carry much has the kernel move them instead (`splice(2)`), which takes little more than half of the processor time;
//! small messages gain nothing by it, and a pipe takes two descriptors, which connections that are quiet give back.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, Sleep};

use super::stream::Transport;

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

/// Why a relay ended before both directions had.
#[derive(Debug)]
pub enum Ended {
    /// Nothing moved for too long.
    Idle,
    /// It was cut.
    Cut,
    /// A side broke: it was reset, it ended in the middle of its TLS, or its host is gone.
    Broken(io::Error),
}

/// Time between looks at a connection of which one direction has ended, whether its peer has reset it: nothing is read of it
/// any more that would tell.
const HALF_CLOSED_LOOK: Duration = Duration::from_secs(5);

/// Carries both ways until both directions have ended, one fails, nothing moves for `idle`, or `cut` is ready. `pipes` are the
/// worker's.
///
/// The end of one direction is passed on as a half-close; the other goes on. What breaks off on one side, or is cut, does so
/// by a reset on the other: an orderly end would make its peer take what it has for the whole. One that is idle ends in order.
/// `carried` is up to date even when the future is dropped.
pub async fn relay<A, B>(
    a: A,
    b: B,
    idle: Duration,
    pipes: &Pipes,
    carried: &mut Carried,
    cut: impl Future<Output = ()>,
) -> Result<(), Ended>
where
    A: Transport,
    B: Transport,
{
    let now = Instant::now();
    let sleep = tokio::time::sleep(idle);
    tokio::pin!(sleep);
    let (forth, back) = (Direction::new(now), Direction::new(now));
    let mut relay = Relay { a, b, forth, back, idle, looked: now, is_half_closed: false, pipes };
    let ended = tokio::select! {
        biased;
        ended = std::future::poll_fn(|cx| relay.poll(cx, sleep.as_mut(), carried)) => ended,
        () = cut => Err(Ended::Cut),
    };
    match &ended {
        Ok(()) => {}
        Err(Ended::Idle) => relay.end().await,
        Err(Ended::Cut | Ended::Broken(_)) => {
            relay.a.abort();
            relay.b.abort();
        }
    }
    ended
}

/// Time for a side that is idle to take its end.
const LINGER: Duration = Duration::from_secs(1);

struct Relay<'a, A, B> {
    a: A,
    b: B,
    forth: Direction,
    back: Direction,
    idle: Duration,
    /// When it was last looked whether a peer has reset a connection of which it has ended one direction.
    looked: Instant,
    is_half_closed: bool,
    pipes: &'a Pipes,
}

impl<A: Transport, B: Transport> Relay<'_, A, B> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut sleep: Pin<&mut Sleep>,
        carried: &mut Carried,
    ) -> Poll<Result<(), Ended>> {
        loop {
            let before = *carried;
            let forth = self.forth.poll(cx, &mut self.a, &mut self.b, self.pipes, &mut carried.forth);
            let forth = forth.map_err(Ended::Broken)?;
            let back = self.back.poll(cx, &mut self.b, &mut self.a, self.pipes, &mut carried.back);
            let back = back.map_err(Ended::Broken)?;
            if forth.is_ready() && back.is_ready() {
                return Poll::Ready(Ok(()));
            }
            let was_half_closed = self.is_half_closed;
            self.is_half_closed = forth.is_ready() || back.is_ready();
            if *carried != before || self.is_half_closed != was_half_closed {
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

    /// When the connection is idle, or a direction of it quiet, if nothing moves; or when it may have been reset unseen.
    fn next_look(&self) -> Instant {
        let looks = [self.forth.quiet_at(), self.back.quiet_at(), self.half_closed_look()];
        looks.into_iter().flatten().fold(self.idle_at(), Instant::min)
    }

    fn idle_at(&self) -> Instant {
        self.forth.last_moved().max(self.back.last_moved()) + self.idle
    }

    /// Ends both sides in order.
    async fn end(&mut self) {
        let ending = async { tokio::join!(self.a.shutdown(), self.b.shutdown()) };
        // One that takes nothing takes no end, either.
        let _ = tokio::time::timeout(LINGER, ending).await;
    }

    fn half_closed_look(&self) -> Option<Instant> {
        self.is_half_closed.then(|| self.looked + HALF_CLOSED_LOOK)
    }

    fn look(&mut self, now: Instant) -> Result<(), Ended> {
        if self.idle_at() <= now {
            return Err(Ended::Idle);
        }
        if self.half_closed_look().is_some_and(|at| at <= now) {
            self.looked = now;
            if self.a.is_reset() || self.b.is_reset() {
                return Err(Ended::Broken(io::ErrorKind::ConnectionReset.into()));
            }
        }
        if self.forth.quiet_at().is_some_and(|at| at <= now) {
            self.forth.rest(&self.a).map_err(Ended::Broken)?;
        }
        if self.back.quiet_at().is_some_and(|at| at <= now) {
            self.back.rest(&self.b).map_err(Ended::Broken)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
