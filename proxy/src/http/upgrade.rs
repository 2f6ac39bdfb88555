//! Upgrades (RFC 9110 section 7.8) and CONNECT tunnels: after the head, bytes both ways.

use aws_lc_rs::digest;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::ext::Protocol;
use weft_mesh::headers::remove_hop_by_hop;
use weft_mesh::reason::Reason;

use super::body::Body;
use crate::error::{BoxFailure, Failure};

mod content;
mod joined;
mod tunnel;

pub use content::{Half, Upgrading, announced, split};
pub use joined::{Upgrade, Upgraded};
pub use tunnel::{TunnelBody, tunnel};

/// A connection that a request asks to be carried after its head.
#[derive(Debug)]
pub struct Asked {
    /// How it asks.
    pub change: Change,
    /// The connection as it will be.
    pub connection: Upgrade,
}

/// How a request asks for bytes both ways.
#[derive(Debug)]
pub enum Change {
    /// By an upgrade to this protocol (RFC 9110 section 7.8).
    Upgrade(HeaderValue),
    /// By an extended CONNECT that stands for such an upgrade (RFC 8441).
    Extended(HeaderValue),
    /// By CONNECT, for a tunnel to a host that it names (RFC 9110 section 9.3.6).
    Tunnel,
}

impl Change {
    /// Puts back the fields that ask for it, after the hop-by-hop fields were removed.
    pub fn ask(&self, headers: &mut HeaderMap) {
        match self {
            Self::Upgrade(token) | Self::Extended(token) => restore(headers, token),
            Self::Tunnel => {}
        }
    }

    /// What is to be sent before anything goes through the tunnel.
    pub fn content(&self, body: Incoming) -> Body {
        match self {
            Self::Upgrade(_) => body.into(),
            // All that the client sends is for the tunnel.
            Self::Extended(_) | Self::Tunnel => Body::Empty,
        }
    }

    /// Whether an answer agrees to it.
    pub fn is_agreed(&self, status: StatusCode) -> bool {
        match self {
            Self::Upgrade(_) | Self::Extended(_) => is_agreed(status),
            Self::Tunnel => status.is_success(),
        }
    }

    /// The answer that agrees to it, as the client understands it.
    pub fn agreed(&self, response: Response<Body>) -> Response<Body> {
        let (mut head, body) = response.into_parts();
        self.agree(&mut head);
        Response::from_parts(head, body)
    }

    /// Makes the head of an answer that agrees to it what the client understands.
    fn agree(&self, head: &mut http::response::Parts) {
        remove_hop_by_hop(&mut head.headers);
        match self {
            Self::Upgrade(token) => restore(&mut head.headers, token),
            Self::Extended(_) => {
                // RFC 8441 section 5: there is no 101, and the key was not the client's.
                head.status = StatusCode::OK;
                head.headers.remove(header::SEC_WEBSOCKET_ACCEPT);
            }
            Self::Tunnel => {}
        }
    }
}

/// Whether a request is CONNECT as HTTP/1.1 has it, for a tunnel; with a protocol it asks for an upgrade (RFC 8441).
pub fn is_tunnel<B>(request: &Request<B>) -> bool {
    request.method() == Method::CONNECT && request.extensions().get::<Protocol>().is_none()
}

/// Whether a request asks for bytes both ways after its head.
pub fn is_asked<B>(request: &Request<B>) -> bool {
    is_tunnel(request) || token(request.headers()).is_some()
}

/// Whether a request asks for another protocol and has content.
pub fn has_content(parts: &http::request::Parts) -> bool {
    parts.headers.contains_key(header::UPGRADE) && announced(&parts.headers) > 0
}

/// The head of the same request when it does not ask for another protocol.
pub fn without_asking(parts: &http::request::Parts) -> http::request::Parts {
    let mut plain = parts.clone();
    remove_hop_by_hop(&mut plain.headers);
    plain
}

/// What a request asks to be carried after its head, if that is something that a proxy can carry.
///
/// An extended CONNECT of HTTP/2 (RFC 8441) is made the upgrade of HTTP/1.1 that it stands for, which is what nearly every
/// application takes, and what goes through every kind of hop.
///
/// What is asked for begins behind the request's content. Content without a length would leave open where that is: such
/// requests are carried as if they had not asked, which every server has to expect.
pub fn asked(request: &mut Request<Incoming>) -> Option<Asked> {
    if let Some(protocol) = request.extensions_mut().remove::<Protocol>() {
        return extended(request, &protocol);
    }
    if request.method() == Method::CONNECT {
        return Some(Asked { change: Change::Tunnel, connection: Upgrade::of_request(request) });
    }
    if request.version() != Version::HTTP_11 || request.body().size_hint().exact().is_none() {
        return None;
    }
    let token = token(request.headers())?;
    Some(Asked { change: Change::Upgrade(token), connection: Upgrade::of_request(request) })
}

fn extended(request: &mut Request<Incoming>, protocol: &Protocol) -> Option<Asked> {
    let token = HeaderValue::from_str(protocol.as_str()).ok()?;
    if leads_to_http(token.as_bytes()) {
        return None;
    }
    let connection = Upgrade::of_request(request);
    *request.method_mut() = Method::GET;
    *request.version_mut() = Version::HTTP_11;
    weft_mesh::http_validation::host_from_authority(request);
    weft_mesh::http_validation::join_cookies(request.headers_mut());
    if token.as_bytes().eq_ignore_ascii_case(b"websocket") {
        request.headers_mut().insert(header::SEC_WEBSOCKET_KEY, websocket_key());
    }
    Some(Asked { change: Change::Extended(token), connection })
}

/// Sixteen octets by chance in base64 (RFC 6455 section 4.1), which HTTP/2 does without.
fn websocket_key() -> HeaderValue {
    let mut key: String = std::iter::repeat_with(fastrand::alphanumeric).take(21).collect();
    // The last four bits of the last letter are those that sixteen octets don't fill.
    key.push(fastrand::choice(['A', 'Q', 'g', 'w']).unwrap_or('A'));
    key.push_str("==");
    HeaderValue::try_from(key).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Makes a request that asks for an upgrade the extended CONNECT that asks for the same (RFC 8441, sections 4 and 5), and
/// gives the key of its WebSocket, if it is one.
pub fn ask_by_connect<B>(
    request: &mut Request<B>,
    token: &HeaderValue,
) -> Result<Option<HeaderValue>, BoxFailure> {
    let Ok(protocol) = token.to_str() else {
        let detail = "the field Upgrade holds what is no name of a protocol";
        return Err(Failure::downstream(Reason::BadRequest, detail));
    };
    request.extensions_mut().insert(Protocol::from(protocol));
    *request.method_mut() = Method::CONNECT;
    remove_hop_by_hop(request.headers_mut());
    Ok(request.headers_mut().remove(header::SEC_WEBSOCKET_KEY))
}

/// Makes the answer that agrees to an extended CONNECT the one that agrees to the upgrade that it stands for.
pub fn agreed_by_connect(head: &mut http::response::Parts, token: &HeaderValue, key: Option<&HeaderValue>) {
    head.status = StatusCode::SWITCHING_PROTOCOLS;
    head.version = Version::HTTP_11;
    remove_hop_by_hop(&mut head.headers);
    restore(&mut head.headers, token);
    if let Some(accept) = key.and_then(websocket_accept) {
        head.headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
}

/// What a server of WebSocket makes of a client's key, to show that it is one (RFC 6455, section 4.2.2).
fn websocket_accept(key: &HeaderValue) -> Option<HeaderValue> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    HeaderValue::try_from(STANDARD.encode(hash.finish())).ok()
}

/// The protocols that a message asks or agrees to change to, if it does: `Upgrade` named by `Connection`.
///
/// HTTP in another version, or in TLS, is none of them: its requests would go where nobody decides on them. Who asks for it
/// gets an answer as if it had not, which every client has to expect (RFC 9110 section 7.8).
pub fn token(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut tokens = headers.get_all(header::UPGRADE).iter();
    let (token, others) = (tokens.next()?, tokens.next());
    let is_named = has_connection_option(headers, b"upgrade");
    let is_asked = others.is_none() && is_named && !leads_to_http(token.as_bytes());
    is_asked.then(|| token.clone())
}

/// Whether one of the protocols in a list is HTTP (RFC 9110 section 7.8, RFC 2817 section 3).
pub(super) fn leads_to_http(protocols: &[u8]) -> bool {
    protocols.split(|byte| *byte == b',').any(|protocol| {
        let name = protocol.split(|byte| *byte == b'/').next().unwrap_or_default().trim_ascii();
        [&b"h2c"[..], b"h2", b"http", b"tls"].iter().any(|http| name.eq_ignore_ascii_case(http))
    })
}

/// Whether `Connection` has an option (RFC 9110 section 7.6.1), which is given in lower case.
pub(super) fn has_connection_option(headers: &HeaderMap, option: &[u8]) -> bool {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|named| named.trim_ascii().eq_ignore_ascii_case(option))
}

/// Puts back the fields that make a message an upgrade.
pub fn restore(headers: &mut HeaderMap, token: &HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, token.clone());
}

/// Whether a response agrees to an upgrade.
pub fn is_agreed(status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(connection: &str, upgrade: Option<&str>) -> HeaderMap {
        let mut builder = Request::builder().header("connection", connection);
        if let Some(upgrade) = upgrade {
            builder = builder.header("upgrade", upgrade);
        }
        builder.body(()).unwrap().into_parts().0.headers
    }

    #[test]
    fn a_websockets_key_is_answered_as_its_standard_has_it() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(websocket_accept(&key).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn an_upgrade_has_to_be_named_by_connection() {
        assert_eq!(token(&fields("keep-alive, Upgrade", Some("websocket"))).unwrap(), "websocket");
        assert_eq!(token(&fields("keep-alive", Some("websocket"))), None);
        assert_eq!(token(&fields("upgrade", None)), None);
    }

    #[test]
    fn nothing_changes_to_http_past_those_who_decide_on_requests() {
        for protocols in ["h2c", "H2C", "websocket, h2c", "h2c , websocket", "HTTP/2.0", "TLS/1.0, HTTP/1.1"]
        {
            assert_eq!(token(&fields("upgrade", Some(protocols))), None, "{protocols}");
        }
        let mut twice = fields("upgrade", Some("websocket"));
        twice.append("upgrade", HeaderValue::from_static("h2c"));
        assert_eq!(token(&twice), None);
    }
}
