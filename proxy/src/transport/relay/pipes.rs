//! Pipes through which the kernel moves bytes from one socket to another (`splice(2)`), and how many of them there are.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Bytes that a pipe holds, unless the user has so many that the kernel makes them smaller (`pipe(7)`).
pub(super) const CAPACITY: usize = 64 * 1024;
/// Pipes that are kept for the next connection.
const KEPT: usize = 4;

/// The pipes of one worker.
#[derive(Debug, Clone)]
pub struct Pipes(Rc<Pool>);

#[derive(Debug)]
struct Pool {
    most: usize,
    used: Cell<usize>,
    kept: RefCell<Vec<Ends>>,
}

#[derive(Debug)]
struct Ends {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Default for Pipes {
    fn default() -> Self {
        Self::at_most(Self::MOST)
    }
}

impl Pipes {
    /// Pipes that one worker uses at once. Each takes two descriptors, and of the kernel's memory for pipes, which all
    /// processes of a user share, a thousandth; a worker with more connections in bulk than this is busy with any of them.
    pub const MOST: usize = 64;

    /// No pipe yet; at most so many are used at once.
    pub fn at_most(most: usize) -> Self {
        Self(Rc::new(Pool { most, used: Cell::new(0), kept: RefCell::default() }))
    }

    /// An empty pipe, or `None` where there are enough of them, or the system makes no more that would be worth it.
    pub(super) fn take(&self) -> Option<Pipe> {
        if self.0.used.get() >= self.0.most {
            return None;
        }
        let kept = self.0.kept.borrow_mut().pop();
        let ends = match kept.map_or_else(open, Ok) {
            Ok(ends) => ends,
            Err(error) => {
                tracing::debug!(%error, "no pipe for a connection; its bytes are copied");
                return None;
            }
        };
        self.0.used.set(self.0.used.get() + 1);
        Some(Pipe { ends: Some(ends), held: 0, pool: Rc::clone(&self.0) })
    }
}

fn open() -> Result<Ends, Errno> {
    let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
    if fcntl_getpipe_size(&writer)? < CAPACITY {
        return Err(Errno::NOBUFS);
    }
    Ok(Ends { reader, writer })
}

/// A pipe that is used. It is kept for others afterwards if it is empty.
#[derive(Debug)]
pub(super) struct Pipe {
    /// There until it is dropped.
    ends: Option<Ends>,
    held: usize,
    pool: Rc<Pool>,
}

/// What the kernel says where it does not move bytes between such files.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::OPNOTSUPP)
    )
}

impl Pipe {
    /// Bytes that are in it.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Moves into the pipe, which is empty, what the socket has, and gives how much that was; 0 at its end.
    ///
    /// Were the pipe not empty, "not now" could be said of it as well as of the socket, which then nobody would wait for.
    pub(super) fn fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        let Some(Ends { writer, .. }) = &self.ends else { return Ok(0) };
        let moved =
            from.try_io(Interest::READABLE, || Ok(splice(from, None, writer, None, CAPACITY, flags())?))?;
        self.held += moved;
        Ok(moved)
    }

    /// Moves what is in the pipe to the socket as far as that takes it, and gives how much that was.
    pub(super) fn drain(&mut self, to: &TcpStream) -> io::Result<usize> {
        let Some(Ends { reader, .. }) = &self.ends else { return Ok(0) };
        let moved =
            to.try_io(Interest::WRITABLE, || Ok(splice(reader, None, to, None, self.held, flags())?))?;
        self.held -= moved;
        Ok(moved)
    }

    /// All that is in the pipe.
    pub(super) fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.held];
        while let Some(Ends { reader, .. }) = &self.ends
            && self.held > 0
        {
            let rest = bytes.len() - self.held;
            match rustix::io::read(reader, bytes.get_mut(rest..).unwrap_or_default())? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.held -= read,
            }
        }
        Ok(bytes)
    }
}

fn flags() -> SpliceFlags {
    SpliceFlags::MOVE | SpliceFlags::NONBLOCK
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.pool.used.set(self.pool.used.get() - 1);
        let mut kept = self.pool.kept.borrow_mut();
        if self.held == 0 && kept.len() < KEPT {
            kept.extend(self.ends.take());
        }
    }
}

#[cfg(test)]
impl Pipes {
    /// One that hands out what is no pipe first.
    pub(super) fn broken() -> Self {
        let pipes = Self::at_most(2);
        let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
        pipes.0.kept.borrow_mut().push(Ends { reader: reader.into(), writer: writer.into() });
        pipes
    }

    /// How many are used, and how many are kept.
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.0.used.get(), self.0.kept.borrow().len())
    }
}
