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
const LAST_GOOD: &str = "last-good.json";
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

impl Announcement {
    /// The control plane of a state folder that runs now; `None`: none does.
    pub fn running(state_dir: &Path) -> Result<Option<Self>, Error> {
        let lock = File::open(state_dir.join(LOCK)).ok();
        let free = lock.is_none_or(|lock| flock(&lock, FlockOperation::NonBlockingLockShared).is_ok());
        if free { Ok(None) } else { Self::read(state_dir) }
    }
}

/// The configuration as it was last right.
#[derive(Default, Serialize, Deserialize)]
struct LastGood {
    /// The folder that it is of: file names mean nothing in another one.
    folder: String,
    texts: BTreeMap<String, String>,
}

/// A folder's name, the same from wherever it is looked at.
fn absolute(folder: &Path) -> String {
    folder.canonicalize().unwrap_or_else(|_| folder.to_owned()).to_string_lossy().into_owned()
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

    /// The texts of a configuration folder as they were last right, by file; none of another folder's.
    pub(crate) fn last_good(&self, folder: &Path) -> BTreeMap<String, String> {
        let text = fs::read(self.path.join(LAST_GOOD)).unwrap_or_default();
        let read: LastGood = serde_json::from_slice(&text).unwrap_or_default();
        if read.folder == absolute(folder) { read.texts } else { BTreeMap::new() }
    }

    /// Writes these texts down.
    pub(crate) fn keep_last_good(
        &self,
        folder: &Path,
        texts: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let last_good = LastGood { folder: absolute(folder), texts: texts.clone() };
        self.replace(LAST_GOOD, &serde_json::to_vec(&last_good).unwrap_or_default())
    }

    fn replace(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let path = self.path.join(name);
        replace(&path, content).map_err(|source| Error::Path { what: "state file", path, source })
    }
}

/// Puts a file in the place of another at once: a reader sees either, also after the machine lost its power.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(content)?;
    // A rename may reach the disk before what it names.
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
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
        assert_eq!(Announcement::running(&path).unwrap(), Some(announcement()));
        drop(state);
        assert_eq!(Announcement::running(&path).unwrap(), None);
        StateDir::open(&path).unwrap();
    }

    #[test]
    fn what_was_last_right_is_read_back_for_the_same_folder_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
        fs::create_dir(&ours).unwrap();
        fs::create_dir(&theirs).unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        assert_eq!(state.last_good(&ours), BTreeMap::new());
        let texts = BTreeMap::from([("a.yaml".to_owned(), "text".to_owned())]);
        state.keep_last_good(&ours, &texts).unwrap();
        assert_eq!(state.last_good(&theirs.join("../ours")), texts);
        assert_eq!(state.last_good(&theirs), BTreeMap::new());
        state.keep_last_good(&ours, &BTreeMap::new()).unwrap();
        assert_eq!(state.last_good(&ours), BTreeMap::new());
    }
}
