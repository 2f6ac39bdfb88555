//! Why a cluster does not answer as it should, and what to do about it.

use kube::Error;

/// Why a question to the cluster has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// There is no cluster to ask.
    #[error("no cluster to ask: {0}")]
    None(String),
    /// The API server can't be reached, or who asks is not known there.
    #[error("can't ask the API server at {server}: {problem}; {hint}")]
    Unreachable {
        /// Where it is.
        server: String,
        /// Why.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// It does not answer in time.
    #[error(
        "the API server at {server} did not answer {what} within {seconds} s; try again, or look at its load"
    )]
    Silent {
        /// Where it is.
        server: String,
        /// What was asked for.
        what: String,
        /// How long was waited.
        seconds: u64,
    },
    /// Who asks may not.
    #[error("not allowed: {0}; ask an administrator of the cluster for a role with this permission")]
    Forbidden(String),
    /// There is no such object, or no such kind.
    #[error("{0}")]
    Missing(String),
    /// The API server, or a webhook that it asks, refuses.
    #[error("refused ({code}): {message}")]
    Refused {
        /// Status of HTTP.
        code: u16,
        /// Why.
        message: String,
    },
    /// What is asked for has no place in the API.
    #[error("{0}")]
    Unknown(String),
}

impl Trouble {
    /// What an error of the client means when `what` was asked of `server`.
    pub(crate) fn of(server: &str, what: &str, error: Error) -> Self {
        let unreachable =
            |problem: String, hint| Self::Unreachable { server: server.to_owned(), problem, hint };
        match error {
            Error::Api(status) => match status.code {
                401 => unreachable(
                    "it does not know who asks (401)".to_owned(),
                    "log in again, or choose another user or context of the kubeconfig",
                ),
                // What admission refuses is forbidden too; of whom may not it is said that he cannot.
                403 if status.message.contains(" cannot ") => Self::Forbidden(status.message),
                404 if status.message.is_empty() => Self::Missing(format!("there is no {what}")),
                404 => Self::Missing(status.message),
                code => Self::Refused { code, message: status.message },
            },
            Error::Auth(problem) => {
                unreachable(problem.to_string(), "log in again: the kubeconfig's credentials can't be used")
            }
            Error::SerdeError(problem) => {
                Self::Refused { code: 200, message: format!("what is at {what} is no object: {problem}") }
            }
            other => unreachable(
                causes(&other),
                "is it the right cluster (kubectl config current-context), and does it run?",
            ),
        }
    }
}

/// The innermost cause: those around it say that a service or a connection failed, not why.
fn causes(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Whether who asks may not.
pub(crate) fn is_forbidden(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Forbidden(_))
}

/// Whether there is no such object.
pub(crate) fn is_missing(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Missing(_))
}
