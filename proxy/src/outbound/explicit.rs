//! The explicit listener: what the requests of an HTTP proxy's client are for, and CONNECT (RFC 9110 section 9.3.6).

use std::rc::Rc;
use std::sync::Arc;

use http::uri::{Authority, Scheme};
use http::{Request, Response};
use hyper::body::Incoming;
use weft_mesh::protocol::Protocol;
use weft_mesh::reason::Reason;

use super::{Downstream, Target, connection, destination::peek, opaque, undeclared};
use crate::error::{BoxFailure, Failure};
use crate::http::authority::authority;
use crate::http::body::Body;
use crate::http::upgrade::Upgrade;
use crate::runtime::worker::Worker;

/// Port of a request that names none.
const HTTP_PORT: u16 = 80;

/// The destination that a request names, `host:port`: by the authority of its target, or by its Host field.
///
/// A target of another scheme than `http` is refused: it would go in plain text where its client wants it protected, or in
/// a protocol that is not spoken here.
pub(super) fn destination<B>(request: &Request<B>) -> Result<Arc<str>, BoxFailure> {
    match request.uri().scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => {
            let detail = "a target of https is not taken in plain text: use CONNECT, as clients do for https, or \
                          http, which the mesh protects";
            return Err(Failure::downstream(Reason::BadRequest, detail));
        }
        Some(scheme) if *scheme != Scheme::HTTP => {
            let detail = format!("targets of {scheme} are not served, those of http are");
            return Err(Failure::downstream(Reason::BadRequest, detail));
        }
        _ => {}
    }
    let Some(authority) = authority(request) else {
        let detail = "the request names no host: use an absolute target or a Host field";
        return Err(Failure::downstream(Reason::BadRequest, detail));
    };
    named(&authority, Some(HTTP_PORT))
}

/// An authority as the name of a destination.
fn named(authority: &Authority, default: Option<u16>) -> Result<Arc<str>, BoxFailure> {
    let text = authority.as_str();
    let wrong = |problem: &str| {
        let detail = format!("{text:?} is not HOST:PORT: {problem}");
        Failure::downstream(Reason::BadRequest, detail)
    };
    // What follows the host is a port, whatever a lenient parser makes of it (RFC 3986 section 3.2.3).
    let host = authority.host();
    let port = match text.strip_prefix(host) {
        Some("" | ":") => default.ok_or_else(|| wrong("it has no port"))?,
        Some(rest) => {
            let digits = rest.strip_prefix(':').unwrap_or_default();
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let port = digits.parse::<u16>().ok().filter(|port| is_number && *port != 0);
            let port = port.ok_or_else(|| wrong("its port is not from 1 to 65535"))?;
            if !host.is_empty() && !digits.starts_with('0') {
                // What nearly all say.
                return Ok(Arc::from(text));
            }
            port
        }
        None => return Err(wrong("it has more than a host and a port")),
    };
    if host.is_empty() {
        return Err(wrong("it has no host"));
    }
    Ok(format!("{host}:{port}").into())
}

/// Answers CONNECT, and serves what comes through the tunnel as a connection to the destination that it names.
///
/// Where requests are not told apart in the tunnel, or may not be, that is connected to first, so that a client hears of one
/// that cannot be reached. Requests are answered one by one, each with what is wrong.
pub(super) async fn connect(
    worker: &Rc<Worker>,
    downstream: &Downstream,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, BoxFailure> {
    let Some(authority) = request.uri().authority() else {
        return Err(Failure::downstream(Reason::BadRequest, "CONNECT needs HOST:PORT as its target"));
    };
    let name = named(authority, None)?;
    let inner = Rc::new(Downstream::new(Target::Fixed(Arc::clone(&name)), downstream.source));
    let protocol = peek(worker, &inner, &name).await.protocol();
    let opened = if protocol.is_http() || opaque::is_routed_by_name(worker, &inner).await {
        None
    } else {
        let opened = opaque::open(worker, &inner, &opaque::Opening::Unread).await;
        Some(opened.inspect_err(|_| opaque::count_lookup(worker, &inner))?)
    };
    let upgrade = Upgrade::of_request(&mut request);
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        let stream = match upgrade.upgraded().await {
            Ok(upgraded) => upgraded,
            Err(error) => return tracing::debug!(%error, "a tunnel was agreed but did not come about"),
        };
        match opened {
            None => connection(worker, stream, inner, protocol).await,
            Some(opened) if protocol == Protocol::Detect => {
                Box::pin(undeclared(worker, stream, inner, Some(opened))).await;
            }
            Some((far, place)) => opaque::carry(&worker, &inner, stream, far, place).await,
        }
    });
    Ok(Response::new(Body::Empty))
}

#[cfg(test)]
mod tests {
    use http::Uri;

    use super::*;

    fn destination_of(target: &str, host: Option<&str>) -> Result<String, String> {
        let mut request = Request::builder().uri(target.parse::<Uri>().map_err(|error| error.to_string())?);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let found = destination(&request.body(()).unwrap());
        found.map(|name| name.to_string()).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_destination_is_a_host_and_a_port() {
        for (target, host, name) in [
            ("http://one:8080/", None, "one:8080"),
            ("http://one/", None, "one:80"),
            ("http://one:/", None, "one:80"),
            ("http://one:00080/", None, "one:80"),
            ("http://[::1]:90/", None, "[::1]:90"),
            ("http://[::1]/", None, "[::1]:80"),
            ("HTTP://one:65535/", Some("other"), "one:65535"),
            ("/", Some("one"), "one:80"),
            ("/", Some("one:81"), "one:81"),
        ] {
            assert_eq!(destination_of(target, host).as_deref(), Ok(name), "{target} {host:?}");
        }
    }

    #[test]
    fn what_is_none_is_refused_with_what_is_wrong() {
        for (target, host, problem) in [
            ("http://one:65536/", None, "not from 1 to 65535"),
            ("http://one:0/", None, "not from 1 to 65535"),
            ("http://one:80000000000000000080/", None, "not from 1 to 65535"),
            ("/", Some("one:8a"), "not from 1 to 65535"),
            ("/", Some("one:+80"), "not from 1 to 65535"),
            ("/", Some(":80"), ""),
            ("https://one/", None, "use CONNECT"),
            ("https://one:80/", None, "use CONNECT"),
            ("ftp://one/", None, "targets of ftp"),
            ("ws://one/", None, "targets of ws"),
            ("/", None, "names no host"),
        ] {
            let error = destination_of(target, host).unwrap_err();
            assert!(error.contains(problem), "{target} {host:?}: {error}");
        }
    }
}
