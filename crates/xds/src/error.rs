//! The crate's one error type.

/// What can go wrong when discovery is used; what goes wrong inside a stream travels as a gRPC status.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A version text that no server of this crate writes.
    #[error("\"{text}\" is not a resource version: 16 hexadecimal digits are expected")]
    Version {
        /// What was found instead.
        text: String,
    },
    /// The transport could not be established.
    #[error("cannot connect to the discovery server: {reason}")]
    Connect {
        /// What the connector said, its causes included.
        reason: String,
    },
    /// Connecting and opening the stream took longer than the deadline.
    #[error("no discovery stream within {0:?}; check that the server is reachable")]
    ConnectTimeout(std::time::Duration),
    /// The server ended the stream, or the connection under it broke.
    #[error("the discovery stream ended: {reason}")]
    Stream {
        /// The gRPC status, as text.
        reason: String,
    },
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
