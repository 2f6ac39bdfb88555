//! The configuration folder, from its files to what is in force.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::Error;
use crate::discovery::Discovery;
use crate::metrics::Metrics;
use crate::source::{Diagnostic, Folder, Outcome, Places, Registered, Watcher, claims, lint, read};
use crate::state::StateDir;
use weft_resource::Severity;

/// Time that what is said of all resources together has to hold before it is logged.
const SETTLED: Duration = Duration::from_secs(10);

/// What is in force of the configuration, and what is wrong with it as it is written now.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConfigStatus {
    /// A hash of what is in force.
    pub(crate) version: String,
    pub(crate) errors: Vec<Diagnostic>,
    /// Of each resource by itself.
    pub(crate) warnings: Vec<Diagnostic>,
    /// Where the resources of a folder stand; none: they are those of a cluster.
    pub(crate) places: Option<Arc<Places>>,
}

impl ConfigStatus {
    /// What can be said only of all resources together, and with the workloads that there are now.
    pub(crate) fn together(&self, discovery: &Discovery) -> Vec<Diagnostic> {
        if let Some(places) = &self.places {
            return places.locate(discovery.inspect(|index| lint(index, Registered::Known)));
        }
        let found = discovery.inspect(claims);
        found.iter().map(|(key, problem)| Diagnostic::of_cluster(key, problem)).collect()
    }

    /// Takes what is wrong now, and logs what was not before.
    pub(crate) fn set(&mut self, errors: Vec<Diagnostic>, warnings: Vec<Diagnostic>) {
        let known: HashSet<&Diagnostic> = self.errors.iter().chain(&self.warnings).collect();
        for error in errors.iter().filter(|error| !known.contains(error)) {
            tracing::error!("refused: {error}");
        }
        for warning in warnings.iter().filter(|warning| !known.contains(warning)) {
            tracing::warn!("{warning}");
        }
        self.errors = errors;
        self.warnings = warnings;
    }
}

/// Logs what is said of all resources together, once, and after it has held for a while: at a start the workloads come one
/// after the other. Never returns.
pub(crate) async fn tell_together(status: Arc<Mutex<ConfigStatus>>, discovery: Arc<Discovery>) {
    let mut before: HashSet<Diagnostic> = HashSet::new();
    let mut told: HashSet<Diagnostic> = HashSet::new();
    let changed = discovery.changes();
    loop {
        // Twice, so that what holds at the end of a change is told without another one.
        for _ in 0..2 {
            tokio::time::sleep(SETTLED).await;
            changed.take();
            let status = status.lock().clone();
            let now: HashSet<Diagnostic> = status.together(&discovery).into_iter().collect();
            let holds = |it: &&Diagnostic| before.contains(*it) && !told.contains(*it);
            for warning in now.iter().filter(holds) {
                tracing::warn!("{warning}");
            }
            told = now.iter().filter(|it| before.contains(*it)).cloned().collect();
            before = now;
        }
        changed.wait().await;
    }
}

/// The folder of resources.
pub(crate) struct ConfigFolder {
    path: Option<PathBuf>,
    folder: Folder,
    /// What a restart would take for files that are wrong by then, as it is written down.
    last_good: BTreeMap<String, String>,
    state: Arc<StateDir>,
    discovery: Arc<Discovery>,
    metrics: Arc<Metrics>,
    status: Arc<Mutex<ConfigStatus>>,
}

impl ConfigFolder {
    /// Reads the folder once. Wrong files in it are told of and left out, or taken as they were when they were last
    /// right.
    pub(crate) fn open(
        path: Option<PathBuf>,
        state: Arc<StateDir>,
        discovery: Arc<Discovery>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        let last_good = path.as_deref().map(|path| state.last_good(path)).unwrap_or_default();
        let folder = Folder::new(last_good.clone());
        let status = Arc::default();
        let mut opened = Self { path, folder, last_good, state, discovery, metrics, status };
        if let Some(path) = opened.path.clone() {
            opened.update(&path).map_err(|source| Error::Path {
                what: "configuration folder",
                path,
                source,
            })?;
        }
        Ok(opened)
    }

    /// What is in force and what is wrong; changes with the folder.
    pub(crate) fn status(&self) -> &Arc<Mutex<ConfigStatus>> {
        &self.status
    }

    /// Follows the folder. Never returns.
    pub(crate) async fn follow(mut self) {
        let Some(path) = self.path.clone() else { return std::future::pending().await };
        let mut inode = identity(&path);
        let mut watcher = Watcher::new(&path);
        let mut unreadable = false;
        loop {
            // What changed while nobody watched is seen by reading once at the beginning.
            match self.update(&path) {
                Ok(()) => unreadable = false,
                Err(error) => {
                    if !std::mem::replace(&mut unreadable, true) {
                        tracing::error!(folder = %path.display(), %error, "can't read the configuration; what is in force stays");
                    }
                }
            }
            watcher.changed().await;
            // A watch is on the folder itself, whatever its name stands for by now.
            let now = identity(&path);
            if now.is_some() && now != inode {
                inode = now;
                watcher = Watcher::new(&path);
            }
        }
    }

    /// Reads the folder, and puts what is right in it in force.
    fn update(&mut self, path: &Path) -> std::io::Result<()> {
        let outcome = self.folder.update(read(path)?);
        self.apply(&outcome);
        if outcome.last_good != self.last_good {
            match self.state.keep_last_good(path, &outcome.last_good) {
                Ok(()) => self.last_good = outcome.last_good,
                Err(error) => tracing::warn!(%error, "what is in force is not written down for a restart"),
            }
        }
        Ok(())
    }

    /// Puts what is right in force and tells once of what is wrong.
    fn apply(&self, outcome: &Outcome) {
        let (errors, warnings): (Vec<_>, Vec<_>) =
            outcome.diagnostics.iter().cloned().partition(|it| it.severity == Severity::Error);
        let mut status = self.status.lock();
        self.metrics.config_errors.set(i64::try_from(errors.len()).unwrap_or(i64::MAX));
        let new_version = status.version != outcome.version;
        status.set(errors, warnings);
        status.version.clone_from(&outcome.version);
        status.places = Some(Arc::new(outcome.places.clone()));
        drop(status);
        if new_version {
            self.metrics.config_loads.inc();
            let affected = self.discovery.set_objects(&outcome.objects);
            tracing::info!(
                resources = outcome.objects.len(),
                version = outcome.version,
                destinations = affected.destinations.len(),
                "configuration in force"
            );
        }
    }
}

/// Which folder a name stands for now.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}
