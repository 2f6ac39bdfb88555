//! Expectations (`Expect: 100-continue`, RFC 9110 section 10.1.1), which are for the application to answer.
//!
//! hyper tells a client to go on as soon as anybody asks for the body, which a proxy does at once: it can not know what the
//! application thinks of the head. So hyper is not shown the field. The body is asked for and comes when the client sends it,
//! be it that it was told to, or that it did not wait; what the application answers goes back as it comes.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Request, Version, header};

/// The name that stands in the place of the field's, with as many octets.
const HIDDEN: HeaderName = HeaderName::from_static("~xpect");

/// Writes another name over that of each field `Expect` whose name begins there.
pub(super) fn hide(octets: &mut [u8], at: &[usize]) {
    for begin in at {
        if let Some(name) = octets.get_mut(*begin..).and_then(|rest| rest.get_mut(..HIDDEN.as_str().len())) {
            name.copy_from_slice(HIDDEN.as_str().as_bytes());
        }
    }
}

/// Gives the fields their name again. What expects something in HTTP/1.0 is to be served as if it did not.
pub(super) fn show<B>(request: &mut Request<B>) {
    let is_1_0 = request.version() == Version::HTTP_10;
    let headers: &mut HeaderMap = request.headers_mut();
    let expected: Vec<HeaderValue> = headers.get_all(HIDDEN).iter().cloned().collect();
    headers.remove(HIDDEN);
    if !is_1_0 {
        for value in expected {
            headers.append(header::EXPECT, value);
        }
    }
}
