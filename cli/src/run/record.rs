//! What `weft run` runs on this machine, written down for `weft ps` and for commands that are about a sidecar here.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::info::Info;

/// The folder of the records, in the state folder.
const FOLDER: &str = "runs";

/// One `weft run`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Id of the workload.
    pub(crate) workload: String,
    /// Its namespace.
    pub(crate) namespace: String,
    /// The service that it is a part of, and its version.
    pub(crate) service: Option<String>,
    /// See `service`.
    pub(crate) version: Option<String>,
    /// The port of the service, which clients dial.
    pub(crate) service_port: Option<u16>,
    /// The program and its arguments; empty: there is none.
    pub(crate) command: Vec<String>,
    /// Where things are.
    #[serde(flatten)]
    pub(crate) info: Info,
}

/// A record that is there for as long as this lives.
#[derive(Debug)]
pub(crate) struct Kept {
    path: PathBuf,
    /// Locked for as long as the process lives, however it ends: that tells what runs from what was left behind.
    _locked: File,
}

impl Record {
    /// Writes it down.
    pub(crate) fn keep(&self, state: &Path) -> io::Result<Kept> {
        let folder = state.join(FOLDER);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let path = folder.join(format!("{}.json", self.info.pid));
        // Whole and locked before anybody sees it.
        let beside = folder.join(format!(".{}.new", self.info.pid));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.lock()?;
        file.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(&beside, &path)?;
        Ok(Kept { path, _locked: file })
    }

    /// What runs now, by service and workload. Records of what was killed are removed.
    pub(crate) fn all(state: &Path) -> io::Result<Vec<Self>> {
        let entries = match fs::read_dir(state.join(FOLDER)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut records = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json")
                && let Some(record) = read(&path)
            {
                records.push(record);
            }
        }
        records.sort_by(|one: &Self, other| {
            (&one.service, &one.workload).cmp(&(&other.service, &other.workload))
        });
        Ok(records)
    }
}

/// The record in a file, if the process that wrote it lives.
fn read(path: &Path) -> Option<Record> {
    let file = File::open(path).ok()?;
    if file.try_lock_shared().is_ok() {
        let _ = fs::remove_file(path);
        return None;
    }
    serde_json::from_reader(file).ok()
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn record(pid: u32, service: &str) -> Record {
        let info = Info {
            pid,
            program: None,
            port: None,
            outbound: None,
            inbound: None,
            upstreams: BTreeMap::new(),
            admin: "127.0.0.1:15000".parse().unwrap(),
        };
        Record {
            workload: format!("{service}-1"),
            namespace: "default".to_owned(),
            service: Some(service.to_owned()),
            version: None,
            service_port: Some(80),
            command: vec!["./web".to_owned()],
            info,
        }
    }

    #[test]
    fn a_record_is_there_while_its_process_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Record::all(folder.path()).unwrap(), []);
        let (web, reviews) = (record(1, "web"), record(2, "reviews"));
        let kept = web.keep(folder.path()).unwrap();
        let _other = reviews.keep(folder.path()).unwrap();
        assert_eq!(Record::all(folder.path()).unwrap(), [reviews.clone(), web]);
        drop(kept);
        assert_eq!(Record::all(folder.path()).unwrap(), [reviews]);
    }

    #[test]
    fn what_a_killed_process_left_behind_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join(FOLDER).join("1.json");
        fs::create_dir(folder.path().join(FOLDER)).unwrap();
        fs::write(&left, serde_json::to_vec(&record(1, "web")).unwrap()).unwrap();
        assert_eq!(Record::all(folder.path()).unwrap(), []);
        assert!(!left.exists());
    }
}
