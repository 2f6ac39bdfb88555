//! Heads of HTTP/1: how a request says where it ends, and whether a response does.

use http::{HeaderMap, Request, header};
use http_body::Body as _;
use weft_mesh::http_validation::{Content, for_http1};
use weft_mesh::reason::Reason;

use crate::error::{BoxFailure, Failure};
use crate::http::body::Body;

/// Takes the framing off an answer that begins a tunnel, where it means nothing (RFC 9110 section 9.3.6).
pub(super) fn unframe(headers: &mut HeaderMap) {
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRANSFER_ENCODING);
}

/// A request without a body once more.
pub(super) fn copy_without_body(request: &Request<Body>) -> Request<Body> {
    let mut copy = Request::new(Body::Empty);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    *copy.version_mut() = request.version();
    copy.headers_mut().clone_from(request.headers());
    copy.extensions_mut().clone_from(request.extensions());
    copy
}

/// Makes a request one of HTTP/1 that ends where its body does: hyper believes the head, and of a request whose method seldom
/// has a body it leaves out one of unknown length.
pub(super) fn frame(request: &mut Request<Body>) -> Result<(), BoxFailure> {
    let body = request.body();
    let content = if body.is_end_stream() {
        Content::None
    } else {
        body.size_hint().exact().map_or(Content::Unknown, Content::Exactly)
    };
    for_http1(request, content)
        .map_err(|violation| Failure::downstream(violation.reason(), violation.detail()))
}

/// Refuses a response whose body ends elsewhere for others than for us (RFC 9112 sections 6.1 and 6.3): one that has two
/// lengths, a length beside a coding, or a coding that is taken off with its name.
pub(super) fn refuse_ambiguous(headers: &HeaderMap) -> Result<(), BoxFailure> {
    let lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let lengths = lengths.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).count();
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let clear = match (codings.next(), codings.next()) {
        (None, _) => lengths <= 1,
        (Some(coding), None) => lengths == 0 && coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    };
    if clear {
        return Ok(());
    }
    let detail =
        "the response's body can be read in several ways: by its Content-Length or Transfer-Encoding";
    Err(Failure::upstream(Reason::UpstreamProtocol, detail))
}
