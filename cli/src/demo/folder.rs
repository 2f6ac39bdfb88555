//! The folder that the demo lives in.

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::Context as _;
use tempfile::TempDir;

/// What the mesh of the demo begins with.
const ROUTES: &str = include_str!("../../../examples/mesh/routes.yaml");
/// Lines of a log that say why a process ended.
const TAIL: usize = 5;

/// A folder of its own under the system's folder for temporary files; removed when dropped.
#[derive(Debug)]
pub(super) struct Folder {
    root: TempDir,
}

impl Folder {
    pub(super) fn create() -> anyhow::Result<Self> {
        let root = tempfile::Builder::new()
            .prefix("weft-demo-")
            .tempdir()
            .context("cannot make a temporary folder")?;
        let folder = Self { root };
        for path in [folder.config(), folder.logs(), folder.infos()] {
            fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        fs::write(folder.routes(), ROUTES).context("cannot write the routes")?;
        Ok(folder)
    }

    /// The YAML that the control plane reads.
    pub(super) fn config(&self) -> PathBuf {
        self.root.path().join("mesh")
    }

    /// The file of the split.
    pub(super) fn routes(&self) -> PathBuf {
        self.config().join("routes.yaml")
    }

    /// What the control plane keeps.
    pub(super) fn state(&self) -> PathBuf {
        self.root.path().join("state")
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.root.path().join("logs")
    }

    fn infos(&self) -> PathBuf {
        self.root.path().join("info")
    }

    /// Where a process says where it listens.
    pub(super) fn info(&self, name: &str) -> PathBuf {
        self.infos().join(format!("{name}.json"))
    }

    /// The log of a process, to write on at its end.
    pub(super) fn log(&self, name: &str) -> anyhow::Result<File> {
        let path = self.log_path(name);
        let log = File::options().create(true).append(true).open(&path);
        log.with_context(|| format!("cannot write {}", path.display()))
    }

    /// The last lines of a log, in one line.
    pub(super) fn log_tail(&self, name: &str) -> String {
        let text = fs::read_to_string(self.log_path(name)).unwrap_or_default();
        let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default().join("; ")
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    /// Leaves everything where it is, and says where.
    pub(super) fn keep(self) -> PathBuf {
        self.root.keep()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_folder_holds_valid_routes_and_goes_away() {
        let folder = Folder::create().unwrap();
        assert!(weft_control_plane::check(&folder.config()).unwrap().is_ok());
        let path = folder.root.path().to_owned();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn the_end_of_a_log_is_shown() {
        let folder = Folder::create().unwrap();
        for line in 1..=9 {
            writeln!(folder.log("web").unwrap(), "line {line}\n").unwrap();
        }
        assert_eq!(folder.log_tail("web"), "line 5; line 6; line 7; line 8; line 9");
        assert_eq!(folder.log_tail("none"), "");
    }
}
