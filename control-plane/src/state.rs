//! The state folder: what outlives the process, and where local commands find it.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::Error;

const ANNOUNCEMENT: &str = "control-plane.json";
const LOCK: &str = "control-plane.lock";
const KEPT: &str = "last-good.json";
const REGISTRATIONS: &str = "registrations.jsonl";

/// What a control plane says of itself in its state folder, for commands of the same user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Address of discovery and identity, as it was bound.
    pub address: SocketAddr,
    /// Address of the admin interface, as it was bound.
    pub admin: SocketAddr,
    /// Process id.
    pub pid: u32,
    /// Trust domain.
    pub trust_domain: String,
    /// SHA-256 of each root, hexadecimal.
    pub roots: Vec<String>,
}

impl Announcement {
    /// Reads what the control plane of a state folder last said; `None` if there never was one. Whether it still runs
    /// shows when it is asked.
    pub fn read(state_dir: &Path) -> Result<Option<Self>, Error> {
        let path = state_dir.join(ANNOUNCEMENT);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Path { what: "control plane's address", path, source }),
        };
        serde_json::from_str(&text).map(Some).map_err(|error| Error::Path {
            what: "control plane's address",
            path,
            source: io::Error::new(io::ErrorKind::InvalidData, error),
        })
    }
}

/// The state folder of a running control plane: nobody else uses it until this is dropped.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    // The lock lives as long as the file is open, and so ends with the process however that ends.
    _lock: File,
}

impl StateDir {
    /// Makes the folder if need be, for its owner alone, and takes it.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let fail = |source| Error::Path { what: "state folder", path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fail)?;
        let mut options = OpenOptions::new();
        let lock = options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(fail)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(taken(path)),
            Err(error) => Err(fail(error.into())),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.path.join("ca")
    }

    pub(crate) fn registrations(&self) -> PathBuf {
        self.path.join(REGISTRATIONS)
    }

    pub(crate) fn announce(&self, announcement: &Announcement) -> Result<(), Error> {
        self.replace(ANNOUNCEMENT, &serde_json::to_vec_pretty(announcement).unwrap_or_default())
    }

    /// The texts of files that are in force though the files say something else now.
    pub(crate) fn kept(&self) -> BTreeMap<String, String> {
        let text = fs::read(self.path.join(KEPT)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    pub(crate) fn keep(&self, kept: &BTreeMap<String, String>) -> Result<(), Error> {
        if kept.is_empty() {
            return match fs::remove_file(self.path.join(KEPT)) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    Err(Error::Path { what: "state file", path: self.path.join(KEPT), source })
                }
                _ => Ok(()),
            };
        }
        self.replace(KEPT, &serde_json::to_vec(kept).unwrap_or_default())
    }

    fn replace(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let path = self.path.join(name);
        replace(&path, content).map_err(|source| Error::Path { what: "state file", path, source })
    }
}

/// Puts a file in the place of another at once: a reader sees either.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(content)?;
    fs::rename(&beside, path)
}

fn taken(path: &Path) -> Error {
    let who = match Announcement::read(path) {
        Ok(Some(other)) => format!("the control plane with pid {} at {}", other.pid, other.address),
        _ => "another control plane".to_owned(),
    };
    Error::Setting(format!(
        "state folder {}: {who} uses it; stop that one, or choose another folder with --state",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announcement() -> Announcement {
        Announcement {
            address: "127.0.0.1:15012".parse().unwrap(),
            admin: "127.0.0.1:15014".parse().unwrap(),
            pid: 42,
            trust_domain: "cluster.local".to_owned(),
            roots: vec!["ab".to_owned()],
        }
    }

    #[test]
    fn a_state_folder_is_for_one_control_plane() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/state");
        let state = StateDir::open(&path).unwrap();
        state.announce(&announcement()).unwrap();
        assert_eq!(Announcement::read(&path).unwrap(), Some(announcement()));
        let error = StateDir::open(&path).unwrap_err().to_string();
        assert!(error.contains("pid 42 at 127.0.0.1:15012 uses it"), "{error}");
        drop(state);
        StateDir::open(&path).unwrap();
    }

    #[test]
    fn kept_texts_are_read_back_until_there_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let kept = BTreeMap::from([("a.yaml".to_owned(), "text".to_owned())]);
        state.keep(&kept).unwrap();
        assert_eq!(state.kept(), kept);
        state.keep(&BTreeMap::new()).unwrap();
        state.keep(&BTreeMap::new()).unwrap();
        assert_eq!(state.kept(), BTreeMap::new());
    }
}
