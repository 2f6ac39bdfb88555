//! Starting other processes so that none of them outlives this one, however it ends.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

/// The file that this process runs, for starting it again.
pub(crate) fn own_program() -> PathBuf {
    // After an update the file of that name is gone or another one; the kernel still has the one that runs.
    match env::current_exe() {
        Ok(path) if path.exists() => path,
        _ => PathBuf::from("/proc/self/exe"),
    }
}

/// A command that is killed when this process ends. It goes through `weft guard`, because only the child itself can ask
/// the kernel for that, and it takes unsafe code to act in a child before it has a program of its own.
pub(crate) fn guarded(program: &OsStr, args: &[OsString]) -> Command {
    let mut command = Command::new(own_program());
    command
        .arg("guard")
        .arg("--parent")
        .arg(std::process::id().to_string())
        .arg("--")
        .arg(program)
        .args(args);
    command
}

/// A child whose end is noticed before it is collected: until then its process id can't become another's.
#[derive(Debug)]
pub(crate) struct Child {
    inner: std::process::Child,
    pid: Pid,
    own_group: bool,
    some_child_ended: Signals,
}

impl Child {
    /// Starts it; in a process group of its own, or in this process' group so that it can use the terminal.
    ///
    /// Only for the main thread: the kernel kills the child when the thread that started it ends.
    pub(crate) fn start(mut command: Command, own_group: bool) -> io::Result<Self> {
        let some_child_ended = signal(SignalKind::child())?;
        if own_group {
            command.process_group(0);
        }
        let inner = command.spawn()?;
        let pid = Pid::from_child(&inner);
        Ok(Self { inner, pid, own_group, some_child_ended })
    }

    pub(crate) fn id(&self) -> u32 {
        self.inner.id()
    }

    /// Its stdout, once, if that is a pipe.
    pub(crate) fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.inner.stdout.take()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // An error says that there is nothing to wait for any more.
        !matches!(waitid(WaitId::Pid(self.pid), look), Ok(None))
    }

    /// Waits until it has ended. Its status is there to be collected.
    pub(crate) async fn ended(&mut self) {
        while !self.has_ended() {
            self.some_child_ended.recv().await;
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        // It may have ended already, which is what most signals are for.
        let _ = rustix::process::kill_process(self.pid, signal);
    }

    /// Kills it and what it started in its group, and waits for its end, which takes no time.
    pub(crate) fn kill(self) -> io::Result<ExitStatus> {
        self.signal(Signal::KILL);
        self.collect()
    }

    /// Waits for its end, then kills what it left behind in its group, and gives its status.
    pub(crate) fn collect(mut self) -> io::Result<ExitStatus> {
        if self.own_group {
            let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(self.pid), look) {}
            // Before its status is collected, the number of the group can't be another's.
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        }
        self.inner.wait()
    }
}

/// Whether this process may use the terminal on its stdin, so that a child in its group may too.
pub(crate) fn has_terminal() -> bool {
    let stdin = rustix::stdio::stdin();
    rustix::termios::isatty(stdin)
        && rustix::termios::tcgetpgrp(stdin).is_ok_and(|front| front == rustix::process::getpgrp())
}

/// Replaces a file at once: a reader sees all of the old or all of the new.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    // The name begins with a dot, so that who watches the folder for resources passes over it.
    let name = path.file_name().unwrap_or_default();
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".new");
    let beside = path.with_file_name(hidden);
    std::fs::write(&beside, content)?;
    std::fs::rename(&beside, path)
}
