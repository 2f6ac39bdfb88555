//! The one error of this crate.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::time::Stamp;
use crate::verify::Refused;

/// Why a certificate, a key, a token or a file of them could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, such as `read`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file holds something that can't be used.
    #[error("{}: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with its content.
        source: Box<Error>,
    },
    /// A value breaks a rule.
    #[error("{what}: {problem}")]
    Invalid {
        /// The kind of value, such as `certificate request`.
        what: &'static str,
        /// The rule that it breaks, and what to do.
        problem: String,
    },
    /// The certificate authority's own certificate is past its end, so nothing it signs would be believed.
    #[error(
        "the certificate authority's certificate expired at {}; put a new one in its place",
        Stamp(*not_after)
    )]
    AuthorityExpired {
        /// The end of its validity.
        not_after: SystemTime,
    },
    /// A join token is past its end.
    #[error(
        "the join token for {identity} expired at {}; create a new one with `weft token create`",
        Stamp(*expired_at)
    )]
    TokenExpired {
        /// Whom the token was for.
        identity: String,
        /// The end of its validity.
        expired_at: SystemTime,
    },
    /// A token that is meant for another purpose.
    #[error(
        "the token is for the audience {audience:?}, not {expected:?}; use a token from `weft token create`"
    )]
    TokenAudience {
        /// What the token says.
        audience: String,
        /// What it has to say.
        expected: &'static str,
    },
    /// A token that this issuer did not make, or that was changed since.
    #[error(
        "the join token's signature does not match; it was changed, or made by another control plane: create a \
         new one with `weft token create`"
    )]
    TokenSignature,
    /// A text that is no join token.
    #[error("not a join token: {problem}; copy the whole line that `weft token create` printed")]
    TokenMalformed {
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate that may not be believed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A name that breaks the rule for its kind.
    #[error(transparent)]
    Name(#[from] weft_mesh::Error),
}

impl Error {
    /// A value that breaks a rule.
    pub(crate) fn invalid(what: &'static str, problem: impl Into<String>) -> Self {
        Self::Invalid { what, problem: problem.into() }
    }

    /// A failed operation on a file or folder.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    /// Names the file that the cause was found in.
    pub(crate) fn in_file(self, path: &Path) -> Self {
        match self {
            named @ (Self::Io { .. } | Self::InFile { .. }) => named,
            cause => Self::InFile { path: path.to_owned(), source: Box::new(cause) },
        }
    }
}
