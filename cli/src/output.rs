//! Writing to stdout for people and for programs.

use std::io::{self, ErrorKind, Write as _};

use serde::Serialize;

/// For whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// The reader of stdout has gone, such as `head` when it has seen enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// Writes a line to stdout at once, also into a pipe. `Err` says that nobody reads any more; there is no use in going
/// on, and nothing to complain of.
pub(crate) fn line(text: &str) -> Result<(), Closed> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed),
        // A full disk and the like: the work that the output tells of is still worth doing.
        _ => Ok(()),
    }
}

/// Writes a value as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Closed> {
    line(&serde_json::to_string(value).expect("keys are text and numbers are finite"))
}
