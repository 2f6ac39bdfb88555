//! A request as it is written to a server of HTTP/1, whatever it came by.
//!
//! How long its content is follows from what carries it here, never from what a peer says of it: a server that counts
//! otherwise would read the rest of one request as the next one (RFC 9112 sections 6.3 and 11.2).

use http::header::{CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri, Version};

use super::fields::{is_host, length};
use super::requests::MAX_FIELDS;
use crate::violation::Violation;

/// How much content follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// None, or a tunnel once the server has agreed to that.
    None,
    /// So many octets.
    Exactly(u64),
    /// As many as come.
    Unknown,
}

/// What is wrong with a request that its parser takes: with how it says whom and what it is for (RFC 9112 section 3.2, RFC
/// 9113 section 8.3.1), with how many fields it has, or with several lengths in them (RFC 9110 section 8.6). Nothing but a
/// target of HTTP/1 may differ from the Host field, which it replaces.
pub fn objection<B>(request: &Request<B>) -> Option<Violation> {
    if request.headers().len() > MAX_FIELDS {
        return Some(Violation::HeadTooLarge);
    }
    if request.headers().get_all(CONTENT_LENGTH).iter().nth(1).is_some() {
        return Some(Violation::Framing);
    }
    if request.uri().path() == "*" && request.method() != Method::OPTIONS {
        return Some(Violation::RequestLine);
    }
    // In HTTP/1 the path of an absolute target may be empty.
    let target = request.uri().path_and_query();
    if request.version() == Version::HTTP_2 && target.is_some_and(|target| target.as_str().starts_with('?')) {
        return Some(Violation::RequestLine);
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, authority) = (hosts.next(), request.uri().authority());
    if hosts.next().is_some() || authority.is_some_and(|authority| !is_host(authority.as_str().as_bytes())) {
        return Some(Violation::Host);
    }
    if host.is_some_and(|host| !is_host(host.as_bytes())) {
        return Some(Violation::Host);
    }
    let named_once = match (host, authority) {
        (None, None) => request.version() == Version::HTTP_10,
        (None, Some(_)) => request.version() != Version::HTTP_11 || request.method() == Method::CONNECT,
        (Some(_), None) => true,
        (Some(host), Some(authority)) => {
            request.version() != Version::HTTP_2
                || host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
        }
    };
    (!named_once).then_some(Violation::Host)
}

/// Makes a request one of HTTP/1 whose head says how long its content is. What the head said of that before has to agree.
pub fn for_http1<B>(request: &mut Request<B>, content: Content) -> Result<(), Violation> {
    if request.version() > Version::HTTP_11 {
        *request.version_mut() = Version::HTTP_11;
        join_cookies(request.headers_mut());
        host_from_authority(request);
    } else {
        // An absolute target of HTTP/1 is one that its client meant to send.
        host_of_target(request);
    }
    if request.method() == Method::CONNECT {
        host_of_tunnel(request);
    }
    let announced = announced(request.headers())?;
    let is_1_0 = request.version() < Version::HTTP_11;
    let headers = request.headers_mut();
    headers.remove(TRANSFER_ENCODING);
    match (content, announced) {
        (Content::None, None | Some(0)) | (Content::Exactly(_), None) => {}
        (Content::Exactly(octets), Some(announced)) if octets == announced => {}
        (Content::None | Content::Exactly(_), Some(_)) => return Err(Violation::Framing),
        // There are no chunks in HTTP/1.0 (RFC 9112 section 6.1).
        (Content::Unknown, _) if is_1_0 => return Err(Violation::Framing),
        (Content::Unknown, _) => {
            headers.remove(CONTENT_LENGTH);
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
    Ok(())
}

/// The length that a head announces, once, in digits.
fn announced(headers: &HeaderMap) -> Result<Option<u64>, Violation> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(announced) = lengths.next() else { return Ok(None) };
    if lengths.next().is_some() {
        return Err(Violation::Framing);
    }
    length(announced.as_bytes()).map(Some).ok_or(Violation::Framing)
}

/// Makes the target of a request that goes to HTTP/1 the path alone, with the authority in its Host field
/// (RFC 9112 section 3.2.1).
pub fn host_from_authority<B>(request: &mut Request<B>) {
    let Some(authority) = request.uri().authority() else { return };
    if request.method() == Method::CONNECT {
        return;
    }
    if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
        request.headers_mut().insert(HOST, host);
    }
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
}

/// Makes the Host field of a request of HTTP/1 agree with an absolute target, which stays: whatever that field says, it is
/// the target that counts (RFC 9112 section 3.2.2).
pub fn host_of_target<B>(request: &mut Request<B>) {
    if request.version() == Version::HTTP_2 || request.method() == Method::CONNECT {
        return;
    }
    let Some(authority) = request.uri().authority() else { return };
    if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
        request.headers_mut().insert(HOST, host);
    }
}

/// Gives a CONNECT that came without one the Host field that HTTP/1.1 has it send (RFC 9112 section 3.2).
fn host_of_tunnel<B>(request: &mut Request<B>) {
    if request.headers().contains_key(HOST) {
        return;
    }
    let Some(authority) = request.uri().authority() else { return };
    if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
        request.headers_mut().insert(HOST, host);
    }
}

/// Makes one field of a request's cookies, which HTTP/2 may send one by one and HTTP/1 may not (RFC 9113 section 8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let values: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&values.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(lengths: &[&'static str]) -> Request<()> {
        let mut request = Request::post("/").header("host", "a").body(()).unwrap();
        for length in lengths {
            request.headers_mut().append(CONTENT_LENGTH, HeaderValue::from_static(length));
        }
        request
    }

    fn framed(mut request: Request<()>, content: Content) -> Result<[Option<String>; 2], Violation> {
        for_http1(&mut request, content)?;
        let text = |name| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        Ok([text(CONTENT_LENGTH), text(TRANSFER_ENCODING)])
    }

    #[test]
    fn a_length_that_does_not_agree_with_the_content_goes_no_further() {
        for content in [Content::None, Content::Exactly(5)] {
            for lengths in
                [&["77"][..], &["5", "5"], &["5, 5"], &["+5"], &["-1"], &["x"], &["99999999999999999999"]]
            {
                assert_eq!(
                    framed(post(lengths), content),
                    Err(Violation::Framing),
                    "{lengths:?}, {content:?}"
                );
            }
        }
        assert_eq!(framed(post(&["5"]), Content::Exactly(5)), Ok([Some("5".into()), None]));
        assert_eq!(framed(post(&["0"]), Content::None), Ok([Some("0".into()), None]));
        assert_eq!(framed(post(&[]), Content::None), Ok([None, None]));
    }

    #[test]
    fn content_of_unknown_length_comes_in_chunks_whatever_the_head_says() {
        let chunked = Ok([None, Some("chunked".into())]);
        assert_eq!(framed(post(&["5"]), Content::Unknown), chunked);
        let mut coded = post(&[]);
        coded.headers_mut().append(TRANSFER_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(framed(coded, Content::Unknown), chunked);
        let mut old = post(&[]);
        *old.version_mut() = Version::HTTP_10;
        assert_eq!(framed(old, Content::Unknown), Err(Violation::Framing));
    }

    #[test]
    fn a_tunnel_is_asked_for_with_a_host() {
        let mut request = Request::connect("shop:80").version(Version::HTTP_2).body(()).unwrap();
        for_http1(&mut request, Content::None).unwrap();
        assert_eq!(
            (request.uri().to_string(), &request.headers()[HOST]),
            ("shop:80".to_owned(), &HeaderValue::from_static("shop:80"))
        );
    }

    #[test]
    fn a_coding_does_not_outlive_what_carried_it() {
        let mut request = post(&[]);
        request.headers_mut().append(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        assert_eq!(framed(request, Content::None), Ok([None, None]));
    }

    #[test]
    fn every_version_becomes_one_that_http1_has() {
        for version in [Version::HTTP_2, Version::HTTP_3] {
            let mut request = Request::get("http://a:1/b?c").body(()).unwrap();
            *request.version_mut() = version;
            for cookie in ["a=1", "b=2"] {
                request.headers_mut().append(COOKIE, HeaderValue::from_static(cookie));
            }
            for_http1(&mut request, Content::None).unwrap();
            assert_eq!(request.version(), Version::HTTP_11);
            assert_eq!(
                (request.uri().to_string(), &request.headers()[HOST]),
                ("/b?c".to_owned(), &HeaderValue::from_static("a:1"))
            );
            assert_eq!(request.headers().get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
        }
    }
}
