//! How the process ends.

use std::io::Write as _;
use std::process::{ExitCode, ExitStatus};

use std::os::unix::process::ExitStatusExt as _;

/// The sidecar of `weft run` failed, so that the command was not started; what `timeout`, `env` and container runtimes
/// say in this case.
pub(crate) const SIDECAR_FAILED: u8 = 125;
/// The command was found and can't be executed.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// There is no such command.
pub(crate) const NOT_FOUND: u8 = 127;
/// Ended by Ctrl-C before there was anything to report.
pub(crate) const INTERRUPTED: u8 = 130;
/// Added to a signal's number, as shells do.
const BY_SIGNAL: u8 = 128;

/// Says in one line why a command failed, and gives the code to end with.
pub(crate) fn failed(command: &str, error: &anyhow::Error) -> ExitCode {
    say(command, error);
    ExitCode::FAILURE
}

/// Says in one line on stderr what is wrong. Nobody has to listen.
pub(crate) fn say(command: &str, error: &anyhow::Error) {
    let _ = writeln!(std::io::stderr(), "{command}: {}", told(error));
}

/// An error with its causes, in one line. An error that tells its cause itself is not followed by it again.
pub(crate) fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string).filter(|cause| !cause.is_empty()) {
        if !text.contains(&cause) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&cause);
        }
    }
    one_line(&text)
}

/// An error may quote a text of several lines; who reads a log wants one.
fn one_line(text: &str) -> String {
    text.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// The code that stands for how another process ended: its own, or 128 and the number of the signal.
pub(crate) fn of(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code as u8,
        (None, Some(signal)) => BY_SIGNAL.saturating_add(signal as u8),
        (None, None) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_passed_on_and_a_signal_counts_from_128() {
        // As waitpid(2) encodes them: the code in the second byte, the signal in the first.
        assert_eq!(of(ExitStatus::from_raw(0)), 0);
        assert_eq!(of(ExitStatus::from_raw(42 << 8)), 42);
        assert_eq!(of(ExitStatus::from_raw(255 << 8)), 255);
        assert_eq!(of(ExitStatus::from_raw(15)), 143);
        assert_eq!(of(ExitStatus::from_raw(9)), 137);
    }

    #[test]
    fn a_cause_that_was_told_is_not_told_again() {
        let cause = std::io::Error::other("port in use");
        assert_eq!(told(&anyhow::Error::new(cause).context("cannot listen")), "cannot listen: port in use");
        let cause = std::io::Error::other("port in use");
        assert_eq!(
            told(&anyhow::Error::new(cause).context("cannot listen: port in use; stop it")),
            "cannot listen: port in use; stop it"
        );
    }

    #[test]
    fn an_error_takes_one_line() {
        assert_eq!(one_line("a:\n  b\n\n c"), "a:; b; c");
    }
}
