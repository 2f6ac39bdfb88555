//! Octets of HTTP/1 and HTTP/2 that a client must not send, or may though few do, and how each has to end.
//!
//! An application that serves them answers by path (see [`answer`]).

mod application;
mod case;
#[cfg(feature = "exchange")]
mod exchange;
mod http1;
mod http2;
mod seen;

pub use application::{answer, end_of_request};
pub use case::{Case, Expected, Version};
#[cfg(feature = "exchange")]
pub use exchange::exchange;
pub use seen::Seen;

/// Whom the requests are for.
pub const AUTHORITY: &str = "reviews:9080";

/// The cases of a version.
pub fn cases(version: Version) -> Vec<Case> {
    match version {
        Version::Http1 => http1::cases(),
        Version::Http2 => http2::cases(),
    }
}
