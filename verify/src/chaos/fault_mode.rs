//! How an application behaves, which is switched while it runs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use weft_harness::host;

/// What an application does with a request. Each looks at every request what its fault mode is, in a file: so it is told also
/// while nobody could talk to it, and a fault mode outlives a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultMode {
    /// Answers.
    Well,
    /// Answers after some time.
    Slow,
    /// Resets the connection in the middle of the body.
    Resetting,
    /// Answers what is no HTTP.
    Garbage,
    /// Answers everything with 500, or INTERNAL.
    Failing,
    /// Answers everything with 503, or UNAVAILABLE, as what has lost something that it needs.
    HalfDead,
}

impl FaultMode {
    const ALL: [Self; 6] =
        [Self::Well, Self::Slow, Self::Resetting, Self::Garbage, Self::Failing, Self::HalfDead];

    fn name(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Slow => "slow",
            Self::Resetting => "resetting",
            Self::Garbage => "garbage",
            Self::Failing => "failing",
            Self::HalfDead => "half-dead",
        }
    }

    /// The statuses of HTTP and of gRPC that it answers everything with.
    pub(super) fn failure(self) -> Option<(http::StatusCode, &'static str)> {
        match self {
            Self::Failing => Some((http::StatusCode::INTERNAL_SERVER_ERROR, "13")),
            Self::HalfDead => Some((http::StatusCode::SERVICE_UNAVAILABLE, "14")),
            Self::Well | Self::Slow | Self::Resetting | Self::Garbage => None,
        }
    }

    /// The fault mode of the application of this name; well if nobody has said anything.
    pub(super) fn read(folder: &Path, name: &str) -> Self {
        let text = fs::read_to_string(file(folder, name)).unwrap_or_default();
        Self::ALL.into_iter().find(|fault_mode| fault_mode.name() == text).unwrap_or(Self::Well)
    }

    /// Tells the application of this name.
    pub(super) fn tell(self, folder: &Path, name: &str) -> anyhow::Result<()> {
        host::write_whole(&file(folder, name), self.name()).context("telling a fault mode")
    }
}

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.fault_mode"))
}
