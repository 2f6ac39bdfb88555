//! One direction of a relay: at most one buffer, or one pipe, of bytes is on its way.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::pipes::{Pipe, Pipes, is_unsupported};
use crate::transport::stream::Transport;

/// A buffer starts small, because most connections of a mesh are idle or carry little...
const SMALL: usize = 2 * 1024;
/// ...and grows once it has been filled, to what one TLS record holds (RFC 8446 section 5.1).
const LARGE: usize = 16 * 1024;

/// By so many reads that give a large buffer's worth those must outnumber that give less before the bytes go through a
/// pipe: 256 KiB. Small messages cost more through a pipe than through a buffer.
const BULK: u8 = 16;
/// Time without a byte after which a direction gives its pipe back.
pub(super) const QUIET: Duration = Duration::from_secs(1);

/// One direction.
pub(super) struct Direction {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    unflushed: bool,
    state: State,
    /// Where the kernel moves the bytes. Few directions have one, and those that have none are to be small.
    pipe: Option<Box<Pipe>>,
    /// Reads that gave much, less those that gave little.
    bulk: u8,
    /// The kernel does not move bytes between these two.
    unsupported: bool,
    /// When something moved last.
    moved: Instant,
}

#[derive(PartialEq, Eq)]
enum State {
    Open,
    Closing,
    Closed,
}

impl Direction {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            end: 0,
            unflushed: false,
            state: State::Open,
            pipe: None,
            bulk: 0,
            unsupported: false,
            moved: now,
        }
    }

    /// Notes that something has moved.
    pub(super) fn moved(&mut self, now: Instant) {
        self.moved = now;
    }

    /// When something moved last.
    pub(super) fn last_moved(&self) -> Instant {
        self.moved
    }

    /// When the pipe is to be given back if nothing moves; `None`: there is none.
    pub(super) fn quiet_at(&self) -> Option<Instant> {
        self.pipe.as_ref().map(|_| self.moved + QUIET)
    }

    /// Carries what can be carried now; ready once the end was passed on.
    pub(super) fn poll<R: Transport, W: Transport>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        pipes: &Pipes,
        count: &mut u64,
    ) -> Poll<io::Result<()>> {
        loop {
            while self.holds_bytes() {
                *count += ready!(self.poll_give(cx, to))? as u64;
            }
            match self.state {
                State::Open => {}
                State::Closing => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.state = State::Closed;
                    self.buffer = Vec::new();
                    self.pipe = None;
                    return Poll::Ready(Ok(()));
                }
                State::Closed => return Poll::Ready(Ok(())),
            }
            self.choose(from, to, pipes);
            if self.poll_take(cx, from)?.is_pending() {
                if self.unflushed {
                    ready!(Pin::new(&mut *to).poll_flush(cx))?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
        }
    }

    fn holds_bytes(&self) -> bool {
        self.start < self.end || self.pipe.as_ref().is_some_and(|pipe| pipe.held() > 0)
    }

    /// Chooses how the next bytes go, while none are on their way: through a pipe where there is much to carry between two
    /// sockets, else through the buffer.
    fn choose<R: Transport, W: Transport>(&mut self, from: &R, to: &W, pipes: &Pipes) {
        if self.pipe.is_some() {
            if self.bulk == 0 {
                self.pipe = None;
            }
        } else if self.bulk >= BULK {
            if !self.unsupported && from.socket().is_some() && to.socket().is_some() {
                self.pipe = pipes.take().map(Box::new);
            }
            if self.pipe.is_some() {
                self.buffer = Vec::new();
                (self.start, self.end) = (0, 0);
            } else {
                // It is not asked for again at each read.
                self.bulk = 0;
            }
        }
    }

    /// Writes something of what is on its way.
    fn poll_give<W: Transport>(&mut self, cx: &mut Context<'_>, to: &mut W) -> Poll<io::Result<usize>> {
        if self.start == self.end
            && let Some(pipe) = &mut self.pipe
        {
            let Some(socket) = to.socket() else { return Poll::Ready(self.leave_pipe().map(|()| 0)) };
            ready!(socket.poll_write_ready(cx))?;
            return match pipe.drain(socket) {
                Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(moved) => Poll::Ready(Ok(moved)),
                // The socket has to be asked once more when it is ready.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Ready(Ok(0)),
                Err(error) => Poll::Ready(self.without_pipe(error).map(|()| 0)),
            };
        }
        let pending = self.buffer.get(self.start..self.end).unwrap_or_default();
        let written = ready!(Pin::new(to).poll_write(cx, pending))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.start += written;
        self.unflushed = true;
        Poll::Ready(Ok(written))
    }

    /// Reads what comes next; its end, too.
    fn poll_take<R: Transport>(&mut self, cx: &mut Context<'_>, from: &mut R) -> Poll<io::Result<()>> {
        if let (Some(pipe), Some(socket)) = (&mut self.pipe, from.socket()) {
            ready!(socket.poll_read_ready(cx))?;
            match pipe.fill(socket) {
                Ok(moved) => self.took(moved),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => self.without_pipe(error)?,
            }
            return Poll::Ready(Ok(()));
        }
        self.make_room();
        let mut space = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(from).poll_read(cx, &mut space))?;
        let read = space.filled().len();
        (self.start, self.end) = (0, read);
        self.took(read);
        Poll::Ready(Ok(()))
    }

    fn took(&mut self, bytes: usize) {
        if bytes == 0 {
            self.state = State::Closing;
        }
        self.bulk = if bytes >= LARGE { BULK.min(self.bulk + 1) } else { self.bulk.saturating_sub(1) };
    }

    fn make_room(&mut self) {
        let was_filled = self.end == self.buffer.len();
        if self.buffer.is_empty() {
            self.buffer.resize(SMALL, 0);
        } else if self.buffer.len() > LARGE {
            // It held what was in a pipe.
            self.buffer.truncate(LARGE);
            self.buffer.shrink_to_fit();
        } else if was_filled && self.buffer.len() < LARGE {
            self.buffer.resize(LARGE, 0);
        }
    }

    /// Goes on with the buffer where the kernel does not move these bytes; any other error is one of the connection.
    fn without_pipe(&mut self, error: io::Error) -> io::Result<()> {
        if !is_unsupported(&error) {
            return Err(error);
        }
        tracing::debug!(%error, "the kernel does not move bytes between two sockets; they are copied");
        self.unsupported = true;
        self.leave_pipe()
    }

    /// Gives the pipe back after a time in which nothing moved.
    pub(super) fn rest<R: Transport>(&mut self, from: &R) -> io::Result<()> {
        let was_empty = !self.holds_bytes();
        self.leave_pipe()?;
        match from.socket() {
            Some(socket) if was_empty => self.look_again(socket),
            _ => Ok(()),
        }
    }

    /// Goes back to the buffer, with what is in the pipe.
    fn leave_pipe(&mut self) -> io::Result<()> {
        self.bulk = 0;
        if let Some(mut pipe) = self.pipe.take() {
            self.buffer = pipe.read()?;
            (self.start, self.end) = (0, self.buffer.len());
        }
        Ok(())
    }

    /// Reads what may be there though the socket is said to be empty: `splice` says so in front of an urgent byte (RFC 9293
    /// section 3.8.5), which reading passes over, and nothing would tell of what is behind it.
    fn look_again(&mut self, socket: &TcpStream) -> io::Result<()> {
        let mut space = [0; SMALL];
        match recv(socket, &mut space[..], RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok((_, read)) => {
                self.buffer = space.get(..read).unwrap_or_default().to_vec();
                (self.start, self.end) = (0, read);
                self.took(read);
            }
        }
        Ok(())
    }
}
