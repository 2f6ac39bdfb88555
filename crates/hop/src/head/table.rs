//! Names that are one octet on the wire.

use http::HeaderName;

/// Set on the code of a name that was sent the way it is customarily written instead of in lower case.
pub(super) const WRITTEN: u8 = 0x80;

macro_rules! names {
    ($($lower:literal $written:literal)*) => {
        /// The names; the code of a name is its index here plus one.
        static NAMES: [HeaderName; COUNT] = [$(HeaderName::from_static($lower)),*];
        /// The same names as HTTP/1 programs customarily write them.
        static CUSTOMARY: [&str; COUNT] = [$($written),*];
        const LOWER: [&str; COUNT] = [$($lower),*];
        const COUNT: usize = [$($lower),*].len();
    };
}

// The order is the protocol: names are added at the end, and never moved or removed.
names! {
    "host" "Host"
    "user-agent" "User-Agent"
    "accept" "Accept"
    "accept-encoding" "Accept-Encoding"
    "accept-language" "Accept-Language"
    "content-type" "Content-Type"
    "content-length" "Content-Length"
    "content-encoding" "Content-Encoding"
    "date" "Date"
    "server" "Server"
    "connection" "Connection"
    "transfer-encoding" "Transfer-Encoding"
    "cache-control" "Cache-Control"
    "cookie" "Cookie"
    "set-cookie" "Set-Cookie"
    "authorization" "Authorization"
    "x-request-id" "X-Request-Id"
    "traceparent" "Traceparent"
    "tracestate" "Tracestate"
    "x-forwarded-for" "X-Forwarded-For"
    "x-forwarded-proto" "X-Forwarded-Proto"
    "x-forwarded-host" "X-Forwarded-Host"
    "x-forwarded-port" "X-Forwarded-Port"
    "x-forwarded-client-cert" "X-Forwarded-Client-Cert"
    "forwarded" "Forwarded"
    "via" "Via"
    "te" "TE"
    "trailer" "Trailer"
    "grpc-status" "Grpc-Status"
    "grpc-message" "Grpc-Message"
    "grpc-timeout" "Grpc-Timeout"
    "grpc-encoding" "Grpc-Encoding"
    "grpc-accept-encoding" "Grpc-Accept-Encoding"
    "grpc-status-details-bin" "Grpc-Status-Details-Bin"
    "grpc-trace-bin" "Grpc-Trace-Bin"
    "grpc-tags-bin" "Grpc-Tags-Bin"
    "grpc-previous-rpc-attempts" "Grpc-Previous-Rpc-Attempts"
    "grpc-retry-pushback-ms" "Grpc-Retry-Pushback-Ms"
    "x-b3-traceid" "X-B3-TraceId"
    "x-b3-spanid" "X-B3-SpanId"
    "x-b3-parentspanid" "X-B3-ParentSpanId"
    "x-b3-sampled" "X-B3-Sampled"
    "x-b3-flags" "X-B3-Flags"
    "b3" "B3"
    "baggage" "Baggage"
    "etag" "ETag"
    "last-modified" "Last-Modified"
    "if-none-match" "If-None-Match"
    "if-modified-since" "If-Modified-Since"
    "if-match" "If-Match"
    "if-unmodified-since" "If-Unmodified-Since"
    "if-range" "If-Range"
    "range" "Range"
    "content-range" "Content-Range"
    "accept-ranges" "Accept-Ranges"
    "location" "Location"
    "content-location" "Content-Location"
    "content-disposition" "Content-Disposition"
    "content-language" "Content-Language"
    "vary" "Vary"
    "age" "Age"
    "expires" "Expires"
    "pragma" "Pragma"
    "expect" "Expect"
    "upgrade" "Upgrade"
    "origin" "Origin"
    "referer" "Referer"
    "retry-after" "Retry-After"
    "allow" "Allow"
    "www-authenticate" "WWW-Authenticate"
    "proxy-authorization" "Proxy-Authorization"
    "proxy-authenticate" "Proxy-Authenticate"
    "access-control-allow-origin" "Access-Control-Allow-Origin"
    "access-control-allow-methods" "Access-Control-Allow-Methods"
    "access-control-allow-headers" "Access-Control-Allow-Headers"
    "access-control-allow-credentials" "Access-Control-Allow-Credentials"
    "access-control-expose-headers" "Access-Control-Expose-Headers"
    "access-control-max-age" "Access-Control-Max-Age"
    "access-control-request-method" "Access-Control-Request-Method"
    "access-control-request-headers" "Access-Control-Request-Headers"
    "strict-transport-security" "Strict-Transport-Security"
    "content-security-policy" "Content-Security-Policy"
    "x-content-type-options" "X-Content-Type-Options"
    "x-frame-options" "X-Frame-Options"
    "x-xss-protection" "X-XSS-Protection"
    "referrer-policy" "Referrer-Policy"
    "permissions-policy" "Permissions-Policy"
    "alt-svc" "Alt-Svc"
    "link" "Link"
    "keep-alive" "Keep-Alive"
    "proxy-connection" "Proxy-Connection"
    "upgrade-insecure-requests" "Upgrade-Insecure-Requests"
    "sec-fetch-dest" "Sec-Fetch-Dest"
    "sec-fetch-mode" "Sec-Fetch-Mode"
    "sec-fetch-site" "Sec-Fetch-Site"
    "sec-fetch-user" "Sec-Fetch-User"
    "sec-ch-ua" "Sec-CH-UA"
    "sec-ch-ua-mobile" "Sec-CH-UA-Mobile"
    "sec-ch-ua-platform" "Sec-CH-UA-Platform"
    "sec-websocket-key" "Sec-WebSocket-Key"
    "sec-websocket-accept" "Sec-WebSocket-Accept"
    "sec-websocket-version" "Sec-WebSocket-Version"
    "sec-websocket-protocol" "Sec-WebSocket-Protocol"
    "sec-websocket-extensions" "Sec-WebSocket-Extensions"
    "server-timing" "Server-Timing"
    "x-real-ip" "X-Real-IP"
    "x-correlation-id" "X-Correlation-ID"
    "x-api-key" "X-API-Key"
    "x-requested-with" "X-Requested-With"
    "x-powered-by" "X-Powered-By"
    "dnt" "DNT"
    "priority" "Priority"
    "idempotency-key" "Idempotency-Key"
    "x-weft-error" "X-Weft-Error"
}

/// Slots of the hash table: over four for each name, so that a look-up seldom meets a second name.
const SLOTS: usize = 512;

static INDEX: [u8; SLOTS] = index();

const fn index() -> [u8; SLOTS] {
    assert!(COUNT < WRITTEN as usize);
    let mut slots = [0; SLOTS];
    let mut at = 0;
    while at < COUNT {
        let mut slot = slot(LOWER[at].as_bytes());
        while slots[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        at += 1;
        slots[slot] = at as u8;
    }
    slots
}

/// Where the search for a name begins. The same for upper and lower case.
const fn slot(name: &[u8]) -> usize {
    let length = name.len();
    let (Some(first), Some(last)) = (name.first(), name.last()) else { return 0 };
    let middle = name[length / 2];
    let hash = length * 37
        + (*first | 0x20) as usize * 7
        + (*last | 0x20) as usize * 101
        + (middle | 0x20) as usize * 211;
    hash % SLOTS
}

/// What `is` finds first among the names that may be this one, given their places in the table.
fn search(name: &[u8], is: impl Fn(usize) -> Option<u8>) -> Option<u8> {
    let mut at = slot(name);
    loop {
        let known = usize::from(*INDEX.get(at)?).checked_sub(1)?;
        if let Some(code) = is(known) {
            return Some(code);
        }
        at = (at + 1) % SLOTS;
    }
}

/// The code of a name in any case, without [`WRITTEN`].
pub(super) fn code_of(name: &[u8]) -> Option<u8> {
    search(name, |at| LOWER.get(at)?.as_bytes().eq_ignore_ascii_case(name).then_some(at as u8 + 1))
}

/// The code that stands for exactly these octets, if there is one.
pub(super) fn exact_code_of(name: &[u8]) -> Option<u8> {
    search(name, |at| {
        let code = at as u8 + 1;
        if CUSTOMARY.get(at)?.as_bytes() == name {
            return Some(code | WRITTEN);
        }
        (LOWER.get(at)?.as_bytes() == name).then_some(code)
    })
}

/// The name that a code stands for, with or without [`WRITTEN`].
pub(super) fn name_of(code: u8) -> Option<&'static HeaderName> {
    NAMES.get(usize::from(code & !WRITTEN).checked_sub(1)?)
}

/// The octets that a code stands for.
pub(super) fn octets_of(code: u8) -> Option<&'static str> {
    let at = usize::from(code & !WRITTEN).checked_sub(1)?;
    if code & WRITTEN == 0 { LOWER.get(at).copied() } else { CUSTOMARY.get(at).copied() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_a_code_of_its_own_in_both_forms() {
        for (at, (lower, written)) in LOWER.iter().zip(CUSTOMARY).enumerate() {
            let code = at as u8 + 1;
            assert!(lower.eq_ignore_ascii_case(written), "{lower} {written}");
            assert_ne!(*lower, written);
            assert_eq!(code_of(lower.as_bytes()), Some(code), "{lower}");
            assert_eq!(exact_code_of(lower.as_bytes()), Some(code));
            assert_eq!(exact_code_of(written.as_bytes()), Some(code | WRITTEN));
            assert_eq!(name_of(code).map(HeaderName::as_str), Some(*lower));
            assert_eq!(octets_of(code | WRITTEN), Some(written));
            assert_eq!(
                exact_code_of(lower.to_uppercase().as_bytes()).filter(|_| written != lower.to_uppercase()),
                None
            );
        }
    }

    #[test]
    fn other_octets_have_no_code() {
        for name in ["", "x", "x-unknown", "hosts", "hast"] {
            assert_eq!(code_of(name.as_bytes()), None);
        }
        assert_eq!(name_of(0), None);
        assert_eq!(name_of(WRITTEN), None);
        assert_eq!(name_of(0x7f), None);
        assert_eq!(octets_of(0xff), None);
    }

    #[test]
    fn a_look_up_seldom_meets_a_second_name() {
        let probes: usize = LOWER
            .iter()
            .map(|name| {
                let code = code_of(name.as_bytes()).unwrap();
                let at = INDEX.iter().position(|slot| *slot == code).unwrap();
                (at + SLOTS - slot(name.as_bytes())) % SLOTS + 1
            })
            .sum();
        assert!(probes < COUNT * 3 / 2, "{probes} probes for {COUNT} names");
    }
}
