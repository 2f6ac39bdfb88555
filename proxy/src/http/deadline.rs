//! How long a caller is still going to wait, as header fields tell it.

use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use weft_mesh::deadline::{deadline_millis, format_grpc_timeout, parse_deadline_millis, parse_grpc_timeout};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// What `grpc-timeout` is for other requests, in milliseconds.
const X_WEFT_DEADLINE_MS: HeaderName = HeaderName::from_static("x-weft-deadline-ms");

/// How long the sender of a request is still going to wait, where it says so; the least where it says it twice.
pub fn told(headers: &HeaderMap) -> Option<Duration> {
    let grpc = headers.get(GRPC_TIMEOUT).and_then(|value| parse_grpc_timeout(value.as_bytes()));
    let plain = headers.get(X_WEFT_DEADLINE_MS).and_then(|value| parse_deadline_millis(value.as_bytes()));
    match (grpc, plain) {
        (Some(grpc), Some(plain)) => Some(grpc.min(plain)),
        (grpc, plain) => grpc.or(plain),
    }
}

/// Tells whoever gets the request how long an answer is still worth anything. gRPC says it in a field of its own, where
/// the caller did.
pub fn tell(headers: &mut HeaderMap, left: Duration) {
    if headers.contains_key(&GRPC_TIMEOUT)
        && let Ok(value) = HeaderValue::try_from(format_grpc_timeout(left))
    {
        headers.insert(GRPC_TIMEOUT, value);
        if !headers.contains_key(&X_WEFT_DEADLINE_MS) {
            return;
        }
    }
    headers.insert(X_WEFT_DEADLINE_MS, HeaderValue::from(deadline_millis(left)));
}
