//! What an exchange that failed means for its request.

use weft_mesh::reason::Reason;

use crate::error::is_disconnect;
use crate::error::{BoxFailure, Failure};

pub(super) fn unsent(error: &hyper::Error) -> BoxFailure {
    Failure::unprocessed(
        Reason::ConnectFailed,
        format!("the connection closed before the request was sent: {error}"),
    )
}

/// Whether the connection ended while an answer was awaited: in an orderly way, or not, as where the server has closed it with
/// something unread.
pub(super) fn is_lost(error: &hyper::Error) -> bool {
    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    error.is_incomplete_message() || io.is_some_and(is_disconnect)
}

/// A request that may be repeated even if it was processed, on a kept connection that closed without a response: a
/// client retries such a one by itself (RFC 9112 section 9.3.1).
pub(super) fn outlived(error: &hyper::Error) -> BoxFailure {
    Failure::unprocessed(
        Reason::UpstreamReset,
        format!("the kept connection closed before the response: {error}"),
    )
}

/// A request that was written, at least in part, and has no response.
pub(super) fn broken(error: &hyper::Error) -> BoxFailure {
    if let Some(inner) = find_failure(error) {
        return Box::new(Failure { detail: inner.detail.clone(), fields: None, ..*inner });
    }
    match find_h2(error) {
        Some(error) if is_refused(error) => {
            return Failure::unprocessed(Reason::UpstreamReset, "the stream was refused");
        }
        Some(error) if is_of_own_body(error) => {
            let detail = "the request's body broke off, or was not a valid one";
            return Box::new(Failure { processed: true, ..*Failure::downstream(Reason::BadRequest, detail) });
        }
        _ => {}
    }
    if error.is_parse() {
        return Failure::upstream(Reason::UpstreamProtocol, format!("not a valid HTTP response: {error}"));
    }
    Failure::upstream(Reason::UpstreamReset, format!("the connection broke before the response: {error}"))
}

/// The failure of the request's own body, if that is what broke the request.
fn find_failure(error: &hyper::Error) -> Option<&Failure> {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return Some(failure);
        }
        if let Some(failure) = error.downcast_ref::<BoxFailure>() {
            return Some(failure);
        }
        source = error.source();
    }
    None
}

fn find_h2(error: &hyper::Error) -> Option<&h2::Error> {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return Some(error);
        }
        source = error.source();
    }
    None
}

/// Whether the peer said that it did not process the stream: by refusing it, or by leaving it out of those that it
/// finishes before it goes away (RFC 9113 sections 6.8 and 8.7). Streams that it does finish don't see its GOAWAY.
fn is_refused(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
}

/// Whether this side ended the stream because of the request's body: hyper does so for no other reason while the answer
/// is awaited, and keeps for itself what was wrong.
fn is_of_own_body(error: &h2::Error) -> bool {
    error.is_reset() && !error.is_remote() && !error.is_library()
}
