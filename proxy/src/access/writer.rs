//! The thread that writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::Message;
use crate::shared::Shared;
use crate::stats::AccessLogOutcome;

/// Bytes after which a batch is written though more entries wait.
const BATCH: usize = 64 * 1024;
/// How often it is looked whether somebody moved the file away.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where lines go.
#[derive(Debug)]
pub struct Output {
    file: Option<(PathBuf, File, Instant)>,
}

impl Output {
    /// Standard output.
    pub fn stdout() -> Self {
        Self { file: None }
    }

    /// The end of a file, which is made where there is none.
    pub fn file(path: PathBuf) -> io::Result<Self> {
        let file = append(&path)?;
        Ok(Self { file: Some((path, file, Instant::now())) })
    }

    /// Opens the file again where another one, or none, is at its path: that is how logs are rotated.
    fn follow(&mut self) -> io::Result<()> {
        let Some((path, file, looked)) = &mut self.file else { return Ok(()) };
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

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.follow()?;
        match &mut self.file {
            Some((_, file, _)) => file.write(bytes),
            None => io::stdout().lock().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.file.is_some() { Ok(()) } else { io::stdout().lock().flush() }
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
