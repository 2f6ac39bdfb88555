//! Targets of requests of HTTP/1 (RFC 9112 section 3.2): which ones are taken, and in what form they go on.

use http::Uri;
use http::uri::Authority;

use super::fields::{is_host, is_token};

/// Whether a target has one of the four forms, none of which has a fragment, and can be carried as a [`Uri`]: what goes on
/// is taken by the parser behind this, which answers without a reason. Octets beyond ASCII are put up with where they are
/// UTF-8, as browsers sent them for long.
pub(super) fn is_target(method: &[u8], target: &[u8]) -> bool {
    if !target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#' || !byte.is_ascii()) {
        return false;
    }
    if !target.is_ascii() && std::str::from_utf8(target).is_err() {
        return false;
    }
    match target {
        _ if method == b"CONNECT" => is_host(target) && is_authority(target),
        b"*" => method == b"OPTIONS",
        [b'/', ..] => true,
        _ => {
            let mut parts = target.splitn(2, |byte| *byte == b':');
            let scheme = parts.next().unwrap_or_default();
            let rest = parts.next().unwrap_or_default();
            let authority = rest.strip_prefix(b"//").unwrap_or_default();
            let end = authority.iter().position(|byte| matches!(byte, b'/' | b'?'));
            let authority = authority.get(..end.unwrap_or(authority.len())).unwrap_or_default();
            // A name before the host (`user@host`) is nothing that a request may have (RFC 9110 section 4.2.4).
            let taken = is_token(scheme) && !authority.is_empty() && is_host(authority);
            taken && (scheme == b"http" && is_authority(authority) || Uri::try_from(target).is_ok())
        }
    }
}

/// Whether host and port can be carried. Those of nearly all targets show that at a glance.
fn is_authority(authority: &[u8]) -> bool {
    let mut parts = authority.splitn(2, |byte| *byte == b':');
    let host = parts.next().unwrap_or_default();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let is_plain = !host.is_empty()
        && host.iter().all(plain)
        && parts.next().is_none_or(|port| port.iter().all(u8::is_ascii_digit));
    is_plain || Authority::try_from(authority).is_ok()
}

/// Where in a request line the target stands, if it has octets that clients send as they are though no URI has them (RFC 3986
/// sections 3.3 and 3.4), and a [`Uri`] can't carry.
pub(super) fn to_encode(line: &[u8]) -> Option<(usize, usize)> {
    // Most have none of them.
    if !line.iter().any(|byte| matches!(byte, b'"' | b'<' | b'>' | b'`')) {
        return None;
    }
    let from = line.iter().position(|byte| *byte == b' ')? + 1;
    let to = line.iter().rposition(|byte| *byte == b' ')?;
    let target = line.get(from..to)?;
    (encode_target(target) != target).then_some((from, to))
}

/// A target with these octets percent-encoded in its path and query, as browsers do (WHATWG URL, path and query
/// percent-encode sets): servers read the same.
pub fn encode_target(target: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(target.len() + 16);
    let authority = match target.windows(3).position(|three| three == b"://") {
        Some(at) if !target.starts_with(b"/") => at + 3,
        _ => 0,
    };
    let path = target.iter().skip(authority).position(|byte| matches!(byte, b'/' | b'?'));
    let path = path.map_or(target.len(), |at| authority + at);
    let mut in_query = false;
    for (at, byte) in target.iter().enumerate() {
        in_query |= at >= path && *byte == b'?';
        let raw = match byte {
            b'<' | b'>' => true,
            b'"' => in_query,
            b'`' => !in_query,
            _ => false,
        };
        if raw && at >= path {
            encoded.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            encoded.push(*byte);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(target: &str) -> String {
        String::from_utf8(encode_target(target.as_bytes())).unwrap()
    }

    #[test]
    fn what_a_uri_cannot_carry_is_encoded_and_nothing_else() {
        for (target, expected) in [
            (r#"/api?query=up{job="a"}>1"#, "/api?query=up{job=%22a%22}%3E1"),
            (r#"/a"b{c}|^?d={e}|^`\"#, r#"/a"b{c}|^?d={e}|^`\"#),
            ("/a<b>`?<>`", "/a%3Cb%3E%60?%3C%3E`"),
            (r#"http://a/?"b"#, "http://a/?%22b"),
            (r#"http://a?"b"#, "http://a?%22b"),
            (r#"/a://b?"c"#, "/a://b?%22c"),
            ("/a%22?%3C", "/a%22?%3C"),
            // Of a host, no octet is another one.
            ("http://<a>/", "http://<a>/"),
        ] {
            assert_eq!(encoded(target), expected);
        }
    }

    #[test]
    fn a_request_line_says_where() {
        assert_eq!(to_encode(b"GET /?a=\"b\" HTTP/1.1"), Some((4, 11)));
        assert_eq!(to_encode(b"GET /a\"b\" HTTP/1.1"), None);
        assert_eq!(to_encode(b"GET / HTTP/1.1"), None);
        for none in [&b"\"<>"[..], b"", b" ", b"\" ", b"<< >>"] {
            let _ = to_encode(none);
        }
    }

    /// Pieces that targets are made of.
    const PIECES: [&str; 22] = [
        "http://", "https://", "a+b://", "_://", "/", "?", "a", "B.c-d", ":80", ":", "[::1]", "%41", "%",
        "\"", "<", "`", "{}|^\\", "\u{e4}", "*", "'", "=&;,", "@",
    ];

    proptest! {
        #[test]
        fn what_is_taken_can_be_carried_as_it_goes_on(
            pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 1..8),
            connect in any::<bool>(),
        ) {
            let method: &[u8] = if connect { b"CONNECT" } else { b"OPTIONS" };
            let target = encode_target(pieces.concat().as_bytes());
            prop_assert_eq!(&encode_target(&target), &target);
            if is_target(method, &target) {
                prop_assert!(Uri::try_from(&target[..]).is_ok(), "{}", String::from_utf8_lossy(&target));
            }
        }

        #[test]
        fn every_octet_is_taken_or_refused_here(octet in 0x21_u8..0x7f, in_query in any::<bool>()) {
            let target = [if in_query { &b"/?"[..] } else { b"/" }, &[octet]].concat();
            let encoded = encode_target(&target);
            prop_assert_eq!(is_target(b"GET", &encoded), Uri::try_from(&encoded[..]).is_ok() && octet != b'#');
            prop_assert!(is_target(b"GET", &encoded) || octet == b'#');
        }
    }
}
