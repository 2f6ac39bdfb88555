//! Putting the plugin on a node, and keeping it there.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::NAME;
use super::conflist::{self, Outcome};

/// Folders of a node.
#[derive(Clone, Debug, clap::Args)]
pub struct Folders {
    /// Folder of the node's plugins
    #[arg(long, value_name = "FOLDER", default_value = "/opt/cni/bin")]
    pub bin_dir: PathBuf,
    /// Folder of the node's lists of plugins
    #[arg(long, value_name = "FOLDER", default_value = "/etc/cni/net.d")]
    pub conf_dir: PathBuf,
}

/// Copies the program `from` to the node, in one step: a pod may start at any moment.
pub fn copy(from: &Path, folders: &Folders) -> io::Result<()> {
    let temporary = folders.bin_dir.join(format!(".{NAME}.new"));
    fs::copy(from, &temporary)?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755))?;
    fs::rename(temporary, folders.bin_dir.join(NAME))
}

/// Makes sure that runtimes run the plugin: it has to be there before a list names it.
pub fn keep(from: &Path, folders: &Folders) -> io::Result<Outcome> {
    if !folders.bin_dir.join(NAME).is_file() {
        copy(from, folders)?;
    }
    conflist::add(&folders.conf_dir)
}

/// Takes the plugin off the node: out of the lists first, so that none names what is not there.
pub fn remove(folders: &Folders) -> io::Result<()> {
    conflist::remove(&folders.conf_dir)?;
    match fs::remove_file(folders.bin_dir.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_the_plugin_before_its_list_names_it_and_neither_afterwards() {
        let node = tempfile::tempdir().unwrap();
        let folders = Folders { bin_dir: node.path().join("bin"), conf_dir: node.path().join("conf") };
        fs::create_dir(&folders.bin_dir).unwrap();
        fs::create_dir(&folders.conf_dir).unwrap();
        let program = node.path().join("program");
        fs::write(&program, "program").unwrap();
        assert_eq!(keep(&program, &folders).unwrap(), Outcome::Waiting);
        let installed = folders.bin_dir.join(NAME);
        assert_eq!(fs::metadata(&installed).unwrap().permissions().mode() & 0o777, 0o755);
        let list = folders.conf_dir.join("10-a.conflist");
        fs::write(&list, r#"{"name": "pods", "plugins": [{"type": "bridge"}]}"#).unwrap();
        assert_eq!(keep(&program, &folders).unwrap(), Outcome::Added(list.clone()));
        remove(&folders).unwrap();
        assert!(!installed.exists() && !fs::read_to_string(&list).unwrap().contains(NAME));
        remove(&folders).unwrap();
    }
}
