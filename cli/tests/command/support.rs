//! Starting the binary, and waiting for what it does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Far longer than anything here takes, also on a machine that does much else.
const PATIENCE: Duration = Duration::from_mins(1);

/// The command, without anything from the surroundings that it heeds.
pub(crate) fn weft(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command.args(args).stdin(Stdio::null()).env_remove("WEFT_TOKEN").env_remove("WEFT_STATE");
    command
}

/// Runs it to its end.
pub(crate) fn output(args: &[&str]) -> Output {
    weft(args).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until something is there.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "no {what}");
        // The other side is a process without a channel to here.
        sleep(Duration::from_millis(10));
    }
}

/// Whether a process runs: a zombie doesn't.
pub(crate) fn runs(pid: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// A process that is killed at the end of the test.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A control plane with a state folder of its own.
pub(crate) struct ControlPlane {
    pub(crate) folder: TempDir,
    _process: Killed,
}

impl ControlPlane {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        fs::create_dir(folder.path().join("mesh")).unwrap();
        let process = weft(&["control-plane", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .arg("--state")
            .arg(&state)
            .arg("--config")
            .arg(folder.path().join("mesh"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let process = Killed(process);
        wait_for("control plane", || fs::read(state.join("control-plane.json")).ok());
        Self { folder, _process: process }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// `weft run` in this mesh.
    pub(crate) fn run(&self, args: &[&str]) -> Command {
        let mut command = weft(&["run"]);
        command.arg("--state").arg(self.state()).args(args);
        command
    }
}

/// What `--info` has written.
pub(crate) fn info(file: &Path) -> serde_json::Value {
    wait_for("addresses", || serde_json::from_slice(&fs::read(file).ok()?).ok())
}
