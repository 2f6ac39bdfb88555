//! Starting the binary, and waiting for what it does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
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

/// Sends a signal to a process.
pub(crate) fn signal(pid: u64, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

/// A process that is killed at the end of the test.
pub(crate) struct Killed(pub(crate) Child);

impl Killed {
    /// Asks it to end, and waits until it has.
    pub(crate) fn end(mut self) {
        signal(self.0.id().into(), Signal::TERM);
        wait_for("end of a process that was asked to", || self.0.try_wait().unwrap());
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A control plane with a state folder of its own.
pub(crate) struct ControlPlane {
    pub(crate) folder: TempDir,
    process: Option<Killed>,
}

impl ControlPlane {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("mesh")).unwrap();
        let mut control_plane = Self { folder, process: None };
        control_plane.start_at("127.0.0.1:0");
        control_plane
    }

    fn start_at(&mut self, listen: &str) {
        let state = self.state();
        let process = weft(&["control-plane", "--listen", listen, "--admin", "127.0.0.1:0"])
            .arg("--state")
            .arg(&state)
            .arg("--config")
            .arg(self.folder.path().join("mesh"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(Killed(process));
        wait_for("control plane", || fs::read(state.join("control-plane.json")).ok());
    }

    /// Ends it, and starts another one in its place.
    pub(crate) fn restart(&mut self) {
        let announcement = self.state().join("control-plane.json");
        let said: serde_json::Value = serde_json::from_slice(&fs::read(&announcement).unwrap()).unwrap();
        let address = said["address"].as_str().unwrap().to_owned();
        self.process.take().unwrap().end();
        let _ = fs::remove_file(&announcement);
        self.start_at(&address);
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
