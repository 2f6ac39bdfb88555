//! Client connections of HTTP/1.1 and HTTP/2 that check each answer of the [application](crate::server).

use serde::{Deserialize, Serialize};

mod held;
pub mod http1;
pub mod http2;

pub use held::Held;

/// Why a request isn't counted as answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// No TCP connection or HTTP/2 preface.
    Connect,
    /// The connection ended before the answer did.
    Closed,
    /// A status other than 200.
    Status,
    /// A body that isn't exactly as long as the application's.
    Length,
    /// Bytes that are no answer, or more bytes than the answer has.
    Malformed,
    /// The HTTP/2 stream was reset.
    Reset,
    /// No answer for two seconds at the end of counting.
    Stalled,
}
