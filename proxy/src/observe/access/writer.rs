//! The thread that writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::Message;
use crate::observe::stats::AccessLogOutcome;
use crate::runtime::shared::Shared;

/// Bytes after which a batch is written though more entries wait.
const BATCH: usize = 64 * 1024;
/// How often it is looked whether somebody moved the file away.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The most that the kernel puts into a pipe at once, so that nobody's bytes get between (`pipe(7)`).
const PIPE_BUF: usize = 4096;

/// Where lines go.
#[derive(Debug)]
pub struct Output(Kind);

#[derive(Debug)]
enum Kind {
    Stdout,
    Stderr,
    File { path: PathBuf, file: File, looked: Instant },
}

impl Output {
    /// Standard output.
    pub fn stdout() -> Self {
        Self(Kind::Stdout)
    }

    /// The end of a file, which is made where there is none. Where that is this process's standard output or error, lines
    /// go there by what is open already: opened anew, a file would have two ends, and each writer would overwrite what the
    /// other one wrote.
    pub fn file(path: PathBuf) -> io::Result<Self> {
        match path.to_str() {
            Some("/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1") => return Ok(Self(Kind::Stdout)),
            Some("/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2") => return Ok(Self(Kind::Stderr)),
            _ => {}
        }
        let file = append(&path)?;
        let is = |there: BorrowedFd<'_>| is_same_file(&file, there);
        Ok(Self(if is(io::stderr().as_fd()) {
            Kind::Stderr
        } else if is(io::stdout().as_fd()) {
            Kind::Stdout
        } else {
            Kind::File { path, file, looked: Instant::now() }
        }))
    }

    /// Opens the file again where another one, or none, is at its path: that is how logs are rotated.
    fn follow(&mut self) -> io::Result<()> {
        let Kind::File { path, file, looked } = &mut self.0 else { return Ok(()) };
        if looked.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        *looked = Instant::now();
        let (held, there) = (file.metadata()?, std::fs::metadata(&*path));
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino())) {
            return Ok(());
        }
        *file = append(path)?;
        Ok(())
    }
}

/// Whether a file is what is behind an open descriptor.
fn is_same_file(file: &File, there: BorrowedFd<'_>) -> bool {
    let there = there.try_clone_to_owned().map(File::from).and_then(|there| there.metadata());
    file.metadata().is_ok_and(|file| {
        there.is_ok_and(|there| there.is_file() && (there.dev(), there.ino()) == (file.dev(), file.ino()))
    })
}

/// The end of the last line that ends within `PIPE_BUF` bytes; of a longer line, all of it.
fn lines_at_once(bytes: &[u8]) -> usize {
    let end = |part: &[u8]| part.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
    let within = bytes.get(..PIPE_BUF).and_then(end);
    let one = || bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
    if bytes.len() <= PIPE_BUF { bytes.len() } else { within.unwrap_or_else(one) }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.follow()?;
        match &mut self.0 {
            Kind::File { file, .. } => file.write(bytes),
            Kind::Stdout => io::stdout().lock().write(bytes),
            // Others write there too.
            Kind::Stderr => io::stderr().lock().write(bytes.get(..lines_at_once(bytes)).unwrap_or(bytes)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &self.0 {
            Kind::Stdout => io::stdout().lock().flush(),
            Kind::Stderr | Kind::File { .. } => Ok(()),
        }
    }
}

fn append(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Starts the thread that writes what a proxy logs.
pub fn start(shared: &Arc<Shared>, output: impl Write + Send + 'static) -> io::Result<()> {
    let Some(messages) = shared.access.open() else { return Ok(()) };
    let shared = Arc::clone(shared);
    let name = "weft-access-log".to_owned();
    std::thread::Builder::new().name(name).spawn(move || write(&messages, output, &shared)).map(drop)
}

fn write(messages: &Receiver<Message>, mut output: impl Write, shared: &Shared) {
    let mut lines = Vec::new();
    let mut works = true;
    while let Ok(first) = messages.recv() {
        let mut next = Some(first);
        let mut done = None;
        let mut count = 0;
        while let Some(message) = next {
            match message {
                Message::Line(entry) => {
                    // Texts and numbers only: writing them to memory does not fail.
                    let _ = serde_json::to_writer(&mut lines, &entry);
                    lines.push(b'\n');
                    count += 1;
                }
                Message::End(finished) => {
                    done = Some(finished);
                    break;
                }
            }
            next = if lines.len() < BATCH { messages.try_recv().ok() } else { None };
        }
        match output.write_all(&lines).and_then(|()| output.flush()) {
            Ok(()) => works = true,
            Err(error) => {
                (0..count).for_each(|_| shared.stats.access_logged(AccessLogOutcome::Lost));
                if works {
                    tracing::warn!(%error, "the access log cannot be written; lines are lost until it can");
                }
                works = false;
            }
        }
        lines.clear();
        if let Some(done) = done {
            // Whoever asked may have stopped waiting.
            let _ = done.try_send(());
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_a_shared_pipe_are_written_whole() {
        let line = |length: usize| [vec![b'x'; length - 1], vec![b'\n']].concat();
        assert_eq!(lines_at_once(&line(10)), 10);
        assert_eq!(lines_at_once(&line(10).repeat(1000)), 4090);
        assert_eq!(lines_at_once(&[line(5000), line(10)].concat()), 5000);
        assert_eq!(lines_at_once(&[line(4096), line(10)].concat()), 4096);
    }

    #[test]
    fn the_standard_streams_are_not_opened_anew() {
        for (path, stdout) in [("/dev/stderr", false), ("/proc/self/fd/2", false), ("/dev/stdout", true)] {
            let Output(kind) = Output::file(path.into()).unwrap();
            assert_eq!(matches!(kind, Kind::Stdout), stdout, "{path}");
            assert!(!matches!(kind, Kind::File { .. }), "{path}");
        }
    }
}
