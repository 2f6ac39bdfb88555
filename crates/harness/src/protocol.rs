//! What client and application speak.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What client and application speak, and by default the hop between two sidecars too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1 with keep-alive, one request at a time on a connection.
    H1,
    /// HTTP/2 in plaintext with prior knowledge (RFC 9113 section 3.3).
    H2,
}

impl Protocol {
    /// Both, in the order of reports.
    pub const ALL: [Self; 2] = [Self::H1, Self::H2];

    /// The name used on the command line, in templates and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::H1 => "h1",
            Self::H2 => "h2",
        }
    }

    /// The ALPN protocol id (RFC 7301) of the same protocol inside TLS.
    pub fn alpn(self) -> &'static str {
        match self {
            Self::H1 => "http/1.1",
            Self::H2 => "h2",
        }
    }
}
