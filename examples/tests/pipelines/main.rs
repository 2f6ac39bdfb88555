//! The pipelines of `examples/pipelines`: what they do to a cluster when all goes well and when it does not, and that what
//! is written in their files can be run.

// Tests end where they go wrong, helpers included.
#![allow(clippy::unwrap_used)]

mod canary;
mod files;
mod image;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder with a cluster's state and programs that stand for kubectl and others, which alone are found by name.
struct World {
    folder: tempfile::TempDir,
}

/// Where the examples are.
fn pipelines() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines")
}

impl World {
    /// Everybody meets version 1; 100 requests come in while a share is watched.
    fn new() -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap() };
        for (file, content) in [
            ("requests", "0"),
            ("failures", "0"),
            ("requests.each", "100"),
            ("failures.each", "0"),
            ("image.reviews", "weft:1"),
            ("calls", ""),
            ("weights", ""),
        ] {
            world.set(file, content);
        }
        world
    }

    fn set(&self, file: &str, content: &str) {
        fs::write(self.folder.path().join(file), format!("{content}\n")).unwrap();
    }

    /// What stands in a file; empty when there is none.
    fn said(&self, file: &str) -> String {
        fs::read_to_string(self.folder.path().join(file)).unwrap_or_default().trim().to_owned()
    }

    /// The lines of a file, joined by spaces.
    fn line(&self, file: &str) -> String {
        self.said(file).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Runs one of the scripts, with these programs in place of the real ones.
    fn run(&self, script: &str, programs: &[&str], arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let bin = self.folder.path().join("bin");
        let fakes = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pipelines/fakes");
        fs::create_dir_all(&bin).unwrap();
        for program in programs {
            let fake = if fakes.join(program).exists() { *program } else { "tool" };
            let _ = fs::remove_file(bin.join(program));
            std::os::unix::fs::symlink(fakes.join(fake), bin.join(program)).unwrap();
        }
        let path = format!("{}:/usr/bin:/bin", bin.display());
        Command::new("sh")
            .arg(pipelines().join(script))
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", path)
            .env("CLUSTER", self.folder.path())
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }
}

/// What a program said on standard error.
fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
