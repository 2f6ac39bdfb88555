//! Learning that a folder changed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

/// After an event, wait for this long without another: an editor writes a file in several steps.
const QUIET: Duration = Duration::from_millis(20);
/// However busy the folder is, read it after this long: a change is to be live within 100 ms.
const LONGEST: Duration = Duration::from_millis(60);
/// Read the folder this often without an event: some file systems send none, and a link may lead out of the folder.
const POLL: Duration = Duration::from_secs(3);

/// Watches a folder. Watching the folder, and not the files in it, sees editors that write beside and rename, and
/// Kubernetes, which swaps one link.
pub(crate) struct Watcher {
    events: mpsc::Receiver<()>,
    poll: tokio::time::Interval,
    // Watches until it is dropped.
    _watching: Option<RecommendedWatcher>,
}

impl Watcher {
    /// Watches a folder, or polls it alone when it can't be watched.
    pub(crate) fn new(folder: &Path) -> Self {
        // One place: it is enough to know that something happened.
        let (sender, events) = mpsc::channel(1);
        let watcher = watch(folder, sender);
        if let Err(error) = &watcher {
            tracing::warn!(folder = %folder.display(), %error, "can't watch the folder; reading it every {POLL:?} instead");
        }
        let mut poll = tokio::time::interval_at(Instant::now() + POLL, POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { events, poll, _watching: watcher.ok() }
    }

    /// Waits until the folder may have changed and is quiet again.
    pub(crate) async fn changed(&mut self) {
        tokio::select! {
            Some(()) = self.events.recv() => {}
            _ = self.poll.tick() => return,
        }
        let latest = Instant::now() + LONGEST;
        loop {
            let quiet = (Instant::now() + QUIET).min(latest);
            match tokio::time::timeout_at(quiet, self.events.recv()).await {
                Ok(Some(())) if Instant::now() < latest => {}
                _ => return,
            }
        }
    }
}

fn watch(folder: &Path, sender: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the folder is no change of it, and would have it read again.
        let read = matches!(&event, Ok(event) if matches!(event.kind, EventKind::Access(kind) if !is_write_end(kind)));
        if !read {
            // Full means that a wake-up waits already.
            let _ = sender.try_send(());
        }
    })?;
    let folder: PathBuf = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    watcher.watch(&folder, RecursiveMode::Recursive)?;
    Ok(watcher)
}

fn is_write_end(kind: notify::event::AccessKind) -> bool {
    use notify::event::{AccessKind, AccessMode};
    kind == AccessKind::Close(AccessMode::Write)
}
