//! Whom a request is for: the authority of its target and its Host field (RFC 9110 section 7.2, RFC 9113 section 8.3.1).

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri, header};
use hyper::ext::Protocol;
use weft_mesh::violation::Violation;

use super::upgrade::leads_to_http;

/// What is wrong with a request that its parser takes: as [`weft_mesh::http_validation::objection`] says, or an extended CONNECT to a
/// protocol whose requests nobody would decide on.
pub fn objection<B>(request: &Request<B>) -> Option<Violation> {
    if request.method() == Method::CONNECT {
        let taken = if let Some(protocol) = request.extensions().get::<Protocol>() {
            !leads_to_http(protocol.as_str().as_bytes())
        } else {
            // A tunnel leads to a port (RFC 9110 section 9.3.6).
            let port = request.uri().authority().and_then(Authority::port_u16);
            request.uri().path_and_query().is_none() && port.is_some_and(|port| port > 0)
        };
        if !taken {
            return Some(Violation::RequestLine);
        }
    }
    weft_mesh::http_validation::objection(request)
}

/// The host and port that a request is for: the authority of its target, or its Host field.
pub fn authority<B>(request: &Request<B>) -> Option<Authority> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.clone());
    }
    Authority::try_from(request.headers().get(header::HOST)?.as_bytes()).ok()
}

/// Makes the target of a request that goes to HTTP/2 absolute, with the authority that its Host field names
/// (RFC 9113 section 8.3.1). A client of HTTP/1.0 may name none: then it is the other one.
pub fn authority_from_host<B>(request: &mut Request<B>, otherwise: impl FnOnce() -> Option<Authority>) {
    if request.uri().authority().is_some() {
        return;
    }
    let Some(authority) = authority(request).or_else(otherwise) else { return };
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority);
    parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request.headers_mut().remove(header::HOST);
}

#[cfg(test)]
mod tests {
    use weft_mesh::http_validation::host_from_authority;

    use super::*;

    #[test]
    fn the_authority_moves_between_target_and_host() {
        let mut request = Request::get("/a?b=c").header("host", "reviews:9080").body(()).unwrap();
        authority_from_host(&mut request, || None);
        assert_eq!(request.uri(), "http://reviews:9080/a?b=c");
        assert!(request.headers().get("host").is_none());
        host_from_authority(&mut request);
        assert_eq!(request.uri(), "/a?b=c");
        assert_eq!(request.headers()["host"], "reviews:9080");
    }
}
