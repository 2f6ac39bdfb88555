//! Answers that the proxy gives itself, by the contract that the documentation has for them.

use std::fmt::Write as _;

use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::body::Body;
use crate::error::Failure;
use crate::observe::stats::Cause;

/// Names the reason for which the proxy answered itself.
pub const X_WEFT_ERROR: HeaderName = HeaderName::from_static("x-weft-error");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Whether a connection of HTTP/1 has to end after this answer to a request that had a body: what a proxy answers itself
/// comes without waiting for the body's end, and hyper closes the connection where that is still to come. The client has to
/// be told (RFC 9112 section 9.6), or it sends its next request into a connection that is about to close.
pub fn ends_connection<B>(response: &Response<B>) -> bool {
    response.headers().contains_key(&X_WEFT_ERROR)
}

/// Whether a request is gRPC, so that its caller expects a gRPC status.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// The answer to a request that failed: for gRPC a trailers-only response, otherwise a status and one line of text.
pub fn answer(failure: &Failure, grpc: bool) -> Response<Body> {
    let reason = failure.reason;
    let mut response = if grpc { grpc_answer(failure) } else { http_answer(failure) };
    let headers = response.headers_mut();
    if let Some(fields) = &failure.fields {
        for (name, value) in &**fields {
            headers.append(name, value.clone());
        }
    }
    headers.insert(X_WEFT_ERROR, HeaderValue::from_static(reason.label()));
    if let Some(wait) = failure.retry_after {
        // In whole seconds (RFC 9110, section 10.2.3), never too few.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The answer to a TRACE or OPTIONS request that is for this proxy itself (RFC 9110 section 7.6.2). OPTIONS is all that it
/// serves: what TRACE would give back may be nothing for who reads it (section 9.3.8).
pub fn answer_to_last(method: &Method) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static("OPTIONS"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
    if *method != Method::OPTIONS {
        headers.insert(X_WEFT_ERROR, HeaderValue::from_static(Cause::MaxForwards.label()));
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    }
    response
}

fn http_answer(failure: &Failure) -> Response<Body> {
    let text = format!("{failure}\n");
    let length = text.len();
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = failure.reason.http_status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

fn grpc_answer(failure: &Failure) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(failure.reason.grpc_status())));
    if let Ok(message) = HeaderValue::from_str(&percent_encoded(&failure.to_string())) {
        headers.insert(GRPC_MESSAGE, message);
    }
    response
}

/// Percent-encoding of `grpc-message` (gRPC over HTTP/2, "Responses").
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (0x20..=0x7e).contains(&byte) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use weft_mesh::reason::Reason;

    use super::*;

    #[test]
    fn http_callers_get_status_reason_and_text() {
        let failure = Failure::internal(Reason::NoEndpoints, "default/reviews:9080 has no endpoints");
        let response = answer(&failure, false);
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[X_WEFT_ERROR], "no_endpoints");
        assert_eq!(response.headers()[CONTENT_LENGTH], "52");
    }

    #[test]
    fn grpc_callers_get_a_status_without_a_body() {
        let failure = Failure::internal(Reason::Denied, "100% no: ä");
        let response = answer(&failure, true);
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "7");
        assert_eq!(response.headers()["grpc-message"], "denied: 100%25 no: %C3%A4");
    }
}
