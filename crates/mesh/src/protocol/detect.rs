//! Detection of a protocol from the first bytes that a client sends.

use super::client_hello::{Hello, read_client_hello};

/// Most bytes that detection looks at; with this many it always decides. As long as the longest request head that
/// the proxy takes, so that a long first line is still seen as HTTP and answered as such.
pub const DETECT_MAX: usize = 64 * 1024;

/// What RFC 9113 (section 3.4) has an HTTP/2 client send first.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HTTP1_VERSION: &[u8] = b"HTTP/1.";
/// Longest method considered; the longest registered one, `UPDATEREDIRECTREF`, has 17 letters.
const METHOD_MAX: usize = 32;
/// Methods frequent enough that with a target that begins with `/` they are HTTP without seeing the line's end.
const METHODS: &[&[u8]] = &[b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE"];

/// What the first bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detection {
    /// The bytes so far begin more than one protocol.
    NeedMore,
    /// An HTTP/1.0 or HTTP/1.1 request line.
    Http1,
    /// The HTTP/2 connection preface.
    Http2,
    /// A TLS `ClientHello`.
    Tls {
        /// The server name asked for, in lower case (RFC 6066, section 3).
        sni: Option<String>,
        /// The application protocols offered, best first (RFC 7301).
        alpn: Vec<Vec<u8>>,
    },
    /// None of these.
    Opaque,
}

/// Tells what a client speaks from its first bytes. Pass all bytes received so far.
///
/// Whatever the bytes are, the answer is given in time linear in their number, and is never
/// [`Detection::NeedMore`] for [`DETECT_MAX`] bytes.
pub fn detect(first_bytes: &[u8]) -> Detection {
    let full = first_bytes.len() >= DETECT_MAX;
    let bytes = first_bytes.get(..DETECT_MAX).unwrap_or(first_bytes);
    let found = match bytes.first() {
        None => Detection::NeedMore,
        Some(0x16) => detect_tls(bytes),
        Some(_) if starts(bytes, HTTP2_PREFACE) => Detection::Http2,
        Some(_) if HTTP2_PREFACE.starts_with(bytes) => Detection::NeedMore,
        Some(_) => detect_http1(bytes),
    };
    match found {
        Detection::NeedMore if full && begins_like_http1(bytes) => Detection::Http1,
        Detection::NeedMore if full => Detection::Opaque,
        decided => decided,
    }
}

/// Whether the first bytes of a server are the frame that HTTP/2 has it send first, SETTINGS (RFC 9113, section 3.4),
/// which it may send before it has heard of its client.
pub fn begins_like_http2_server(first_bytes: &[u8]) -> bool {
    let Some(([high, middle, low, kind, flags, stream @ ..], _)) = first_bytes.split_first_chunk::<9>()
    else {
        return false;
    };
    // SETTINGS without ACK, on stream 0, of whole entries of six bytes.
    let length = u32::from_be_bytes([0, *high, *middle, *low]);
    *kind == 4 && *flags == 0 && *stream == [0; 4] && length.is_multiple_of(6)
}

fn detect_tls(bytes: &[u8]) -> Detection {
    match read_client_hello(bytes) {
        Hello::NeedMore => Detection::NeedMore,
        Hello::NotTls => Detection::Opaque,
        Hello::Complete { server_name, alpn } => Detection::Tls { sni: server_name, alpn },
    }
}

/// A request line (RFC 9112, section 3): `method SP request-target SP HTTP-version`. The version is required, so
/// that line protocols with similar commands (Redis, memcached, RTSP, SSH) are not taken for HTTP.
fn detect_http1(bytes: &[u8]) -> Detection {
    let method = bytes.iter().take(METHOD_MAX + 1).take_while(|byte| is_token(**byte)).count();
    let Some(after_method) = bytes.get(method..) else { return Detection::NeedMore };
    match after_method.first() {
        _ if method > METHOD_MAX => return Detection::Opaque,
        None => return Detection::NeedMore,
        Some(b' ') if method > 0 => {}
        Some(_) => return Detection::Opaque,
    }
    let target_on = after_method.get(1..).unwrap_or_default();
    let target = target_length(target_on);
    let version_on = match target_on.get(target) {
        None => return Detection::NeedMore,
        Some(b' ') if target > 0 => target_on.get(target + 1..).unwrap_or_default(),
        Some(_) => return Detection::Opaque,
    };
    if let Some(minor) = version_on.strip_prefix(HTTP1_VERSION) {
        return match minor.first() {
            None => Detection::NeedMore,
            Some(digit) if digit.is_ascii_digit() => Detection::Http1,
            Some(_) => Detection::Opaque,
        };
    }
    if HTTP1_VERSION.starts_with(version_on) { Detection::NeedMore } else { Detection::Opaque }
}

fn begins_like_http1(bytes: &[u8]) -> bool {
    METHODS.iter().any(|method| bytes.strip_prefix(*method).is_some_and(|rest| rest.starts_with(b" /")))
}

fn starts(bytes: &[u8], with: &[u8]) -> bool {
    bytes.starts_with(with)
}

/// `tchar` of RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// How many bytes of a target there are. All that came so far is looked at whenever more comes, so that this looks at many
/// at once.
fn target_length(bytes: &[u8]) -> usize {
    const AT_ONCE: usize = 64;
    let is_whole = |piece: &&[u8]| piece.iter().fold(true, |so_far, byte| so_far & is_target(*byte));
    let whole = bytes.chunks(AT_ONCE).take_while(is_whole).count() * AT_ONCE;
    let rest = bytes.get(whole..).unwrap_or_default();
    whole.min(bytes.len()) + rest.iter().take_while(|byte| is_target(**byte)).count()
}

/// Any byte that is no control and no space: servers differ in what else they take, and so must not be outguessed.
fn is_target(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f
}

#[cfg(test)]
mod tests {
    use super::super::client_hello::tests::hello;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn request_lines_of_any_method_are_http1() {
        for line in [
            "GET / HTTP/1.1\r\n",
            "PURGE /x HTTP/1.0\r\n",
            "M-SEARCH * HTTP/1.1",
            "CONNECT a:1 HTTP/1.1",
            "x y HTTP/1.9",
        ] {
            assert_eq!(detect(line.as_bytes()), Detection::Http1, "{line}");
        }
    }

    #[test]
    fn other_protocols_are_opaque() {
        for bytes in [
            &b"SSH-2.0-OpenSSH_9.6\r\n"[..],
            b"SSH-2.0-OpenSSH_9.6 Debian\r\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"GET key\r\n",
            b"set key 0 0 1\r\n",
            b"OPTIONS rtsp://a/ RTSP/1.0\r\n",
            b"0032git-upload-pack /project.git\0host=x\0",
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            b"\x10\x10\0\x04MQTT",
            b" GET / HTTP/1.1",
            b"GET  / HTTP/1.1",
            b"GET / HTTP/2.0\r\n",
            b"\x16\x03\x05\0\x05hello",
            b"PRI * HTTP/2.0\r\n\r\nXX",
        ] {
            assert_eq!(detect(bytes), Detection::Opaque, "{bytes:?}");
        }
    }

    #[test]
    fn the_preface_is_http2_only_when_it_is_whole() {
        for length in 0..HTTP2_PREFACE.len() {
            assert_eq!(detect(&HTTP2_PREFACE[..length]), Detection::NeedMore, "{length}");
        }
        assert_eq!(detect(HTTP2_PREFACE), Detection::Http2);
    }

    #[test]
    fn long_lines_end_the_wait() {
        let mut line = b"GET /".to_vec();
        line.resize(DETECT_MAX - 1, b'a');
        assert_eq!(detect(&line), Detection::NeedMore);
        line.push(b'a');
        assert_eq!(detect(&line), Detection::Http1);
        let mut unknown = b"USER /".to_vec();
        unknown.resize(DETECT_MAX, b'a');
        assert_eq!(detect(&unknown), Detection::Opaque);
    }

    #[test]
    fn server_name_and_protocols_are_read_from_a_hello() {
        let bytes = hello(Some("Shop.Example"), &[b"weft/1", b"h2"], 4096, 16_384);
        let expected = Detection::Tls {
            sni: Some("shop.example".into()),
            alpn: vec![b"weft/1".to_vec(), b"h2".to_vec()],
        };
        assert_eq!(detect(&bytes), expected);
        for length in 0..bytes.len() {
            assert_eq!(detect(&bytes[..length]), Detection::NeedMore, "{length}");
        }
    }

    #[test]
    fn a_hello_in_more_records_than_anybody_makes_is_none() {
        let mut bytes = hello(Some("shop"), &[], 100, 1);
        assert_eq!(detect(&bytes), Detection::Opaque);
        bytes.truncate(6 * 20);
        assert_eq!(detect(&bytes), Detection::NeedMore);
    }

    #[test]
    fn a_long_target_is_read_as_far_as_it_goes() {
        for length in [1, 63, 64, 65, 128, 1000] {
            let target = "/".repeat(length);
            assert_eq!(detect(format!("GET {target}").as_bytes()), Detection::NeedMore, "{length}");
            assert_eq!(detect(format!("GET {target} HTTP/1.1\r\n").as_bytes()), Detection::Http1, "{length}");
            assert_eq!(
                detect(format!("GET {target}\n HTTP/1.1\r\n").as_bytes()),
                Detection::Opaque,
                "{length}"
            );
        }
    }

    #[test]
    fn a_hello_in_several_records_is_put_together() {
        let bytes = hello(Some("a.b"), &[], 3000, 100);
        assert_eq!(detect(&bytes), Detection::Tls { sni: Some("a.b".into()), alpn: vec![] });
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = detect(&bytes);
            let mut tls = vec![0x16, 3, 1];
            tls.extend_from_slice(&bytes);
            let _ = detect(&tls);
        }

        #[test]
        fn a_damaged_hello_never_panics(at in 0_usize..400, value in any::<u8>()) {
            let mut bytes = hello(Some("shop.example"), &[b"h2"], 100, 16_384);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            let _ = detect(&bytes);
        }

        #[test]
        fn more_bytes_never_change_a_decision(method in "[A-Z]{1,10}", target in "[!-~]{1,20}", cut in 0_usize..60) {
            let whole = format!("{method} {target} HTTP/1.1\r\nhost: a\r\n\r\n");
            let cut = cut.min(whole.len());
            let early = detect(&whole.as_bytes()[..cut]);
            prop_assert!(early == Detection::NeedMore || early == detect(whole.as_bytes()));
        }
    }
}
