//! Files that hold secrets: private, complete or absent, and never overwritten by accident.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::{Error, tls};

/// Readable and writable by the owner alone.
const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_FOLDER: u32 = 0o700;
/// Everyone who is neither the owner nor in the file's group. The group may read: Kubernetes mounts a Secret for a
/// process that isn't root with the group's bit set.
const OTHERS: u32 = 0o007;

/// Makes a folder for its owner alone; one that exists stays as it is.
pub(crate) fn private_folder(folder: &Path) -> Result<(), Error> {
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(|source| Error::io("create folder", parent, source))?;
    }
    match DirBuilder::new().mode(PRIVATE_FOLDER).create(folder) {
        Err(source) if !(source.kind() == io::ErrorKind::AlreadyExists && folder.is_dir()) => {
            Err(Error::io("create folder", folder, source))
        }
        _ => Ok(()),
    }
}

/// Writes a file unless there is one, and says whether it did. Of several that try at once exactly one succeeds, and
/// whoever reads the file finds all of it: the content is on disk before the name is.
pub(crate) fn create_once(path: &Path, content: &[u8]) -> Result<bool, Error> {
    let temporary = write_temporary(path, content)?;
    let linked = fs::hard_link(&temporary, path);
    // What is left behind is a private file that nothing reads.
    let _ = fs::remove_file(&temporary);
    match linked {
        Ok(()) => sync_folder(path).map(|()| true),
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(Error::io("create", path, source)),
    }
}

/// Writes a file in place of the one that is there; a reader finds all of the old one or all of the new one.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), Error> {
    let temporary = write_temporary(path, content)?;
    if let Err(source) = fs::rename(&temporary, path) {
        let _ = fs::remove_file(&temporary);
        return Err(Error::io("replace", path, source));
    }
    sync_folder(path)
}

/// Renames within one folder, over what is there; fine when another process just did.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    match fs::rename(from, to) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::io("rename", from, source)),
        _ => sync_folder(to),
    }
}

/// Removes a file; one that isn't there is fine.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, source)),
        _ => sync_folder(path),
    }
}

/// The text of a file that has to be there.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::io("read", path, source))
}

/// The text of a file, if there is one.
pub(crate) fn read_if_present(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io("read", path, source)),
    }
}

/// The text of a file with a secret, if there is one; refused while everyone on the machine may read it.
pub(crate) fn read_secret(path: &Path) -> Result<Option<String>, Error> {
    let Some(text) = read_if_present(path)? else { return Ok(None) };
    let metadata = fs::metadata(path).map_err(|source| Error::io("read", path, source))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        let problem = format!("mode {mode:04o} lets every user of the machine at it; run `chmod 600` on it");
        return Err(Error::invalid("secret file", problem).in_file(path));
    }
    Ok(Some(text))
}

/// A new private file beside the one that is meant, written and on disk.
fn write_temporary(path: &Path, content: &[u8]) -> Result<PathBuf, Error> {
    let temporary = temporary_name(path);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(PRIVATE_FILE)
        .open(&temporary)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()));
    match written {
        Ok(()) => Ok(temporary),
        Err(source) => {
            let _ = fs::remove_file(&temporary);
            Err(Error::io("write", path, source))
        }
    }
}

/// A hidden name in the same folder, as links and renames don't cross file systems.
fn temporary_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{:016x}", u64::from_ne_bytes(tls::random())));
    path.with_file_name(name)
}

/// Puts the folder's entry for a file on disk.
fn sync_folder(path: &Path) -> Result<(), Error> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| Error::io("write to disk", folder, source))
}
