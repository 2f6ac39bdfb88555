//! Trace context and request ids as they travel in headers: W3C Trace Context and B3.

use std::fmt;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::hash::Draws;

/// The header that W3C Trace Context travels in.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header that names a request in logs.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT_ID: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");
/// Length of `00-<32 digits>-<16 digits>-<2 digits>`.
const TRACEPARENT_LENGTH: usize = 55;

/// A span within a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The trace; never 0.
    pub trace_id: u128,
    /// The span; never 0.
    pub span_id: u64,
    /// Whether spans of this trace are recorded.
    pub sampled: bool,
}

/// The headers that a trace context was found in, and so goes on in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TraceFormat {
    /// `traceparent`.
    W3c,
    /// `b3`.
    B3,
    /// `x-b3-traceid` and others.
    B3Multiple,
}

impl TraceContext {
    /// The root of a new trace.
    pub fn root(random: u64, sampled: bool) -> Self {
        let mut draws = Draws::new(random);
        let high = u128::from(draws.next());
        Self { trace_id: high << 64 | u128::from(draws.next() | 1), span_id: draws.next() | 1, sampled }
    }

    /// A new span of the same trace.
    #[must_use]
    pub fn child(self, random: u64) -> Self {
        Self { span_id: Draws::new(random).next() | 1, ..self }
    }

    /// The context of a request. `None` if it has none or a malformed one, which W3C (section 3.2) has treated as
    /// none.
    pub fn from_headers(headers: &HeaderMap) -> Option<(Self, TraceFormat)> {
        if let Some(value) = headers.get(TRACEPARENT) {
            return Some((Self::parse_traceparent(value.as_bytes())?, TraceFormat::W3c));
        }
        if let Some(value) = headers.get(B3) {
            return Some((Self::parse_b3(value.as_bytes())?, TraceFormat::B3));
        }
        let get = |name: HeaderName| headers.get(name).map(HeaderValue::as_bytes);
        let sampled = matches!(get(B3_SAMPLED), Some(b"1" | b"true")) || get(B3_FLAGS) == Some(b"1");
        Some((Self::from_b3(get(B3_TRACE_ID)?, get(B3_SPAN_ID)?, sampled)?, TraceFormat::B3Multiple))
    }

    /// Writes the context in place of the one that is there. `parent` is the span that it continues.
    pub fn write(self, headers: &mut HeaderMap, format: TraceFormat, parent: Option<u64>) {
        let put = |headers: &mut HeaderMap, name: HeaderName, value: String| {
            // Hexadecimal digits and dashes are valid in a header.
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        };
        let sampled = u8::from(self.sampled);
        match format {
            TraceFormat::W3c => put(headers, TRACEPARENT, self.to_string()),
            TraceFormat::B3 => {
                let parent = parent.map_or_else(String::new, |parent| format!("-{parent:016x}"));
                put(headers, B3, format!("{:032x}-{:016x}-{sampled}{parent}", self.trace_id, self.span_id));
            }
            TraceFormat::B3Multiple => {
                put(headers, B3_TRACE_ID, format!("{:032x}", self.trace_id));
                put(headers, B3_SPAN_ID, format!("{:016x}", self.span_id));
                put(headers, B3_SAMPLED, sampled.to_string());
                if let Some(parent) = parent {
                    put(headers, B3_PARENT_ID, format!("{parent:016x}"));
                }
            }
        }
    }

    /// Reads `traceparent` (W3C Trace Context, section 3.2). Later versions may append to what version 00 has.
    pub fn parse_traceparent(value: &[u8]) -> Option<Self> {
        let (head, rest) = value.split_at_checked(TRACEPARENT_LENGTH)?;
        let mut parts = head.split(|byte| *byte == b'-');
        let version = lower_hex(parts.next()?, 2)?;
        let trace_id = lower_hex(parts.next()?, 32)?;
        let span_id = lower_hex(parts.next()?, 16)? as u64;
        let flags = lower_hex(parts.next()?, 2)?;
        let ends_well = rest.is_empty() || (version > 0 && rest.starts_with(b"-"));
        let valid = version != 0xff && trace_id != 0 && span_id != 0 && ends_well && parts.next().is_none();
        valid.then_some(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }

    /// Reads `b3`: `<trace>-<span>`, then optionally `-<sampling state>` and `-<parent>`. A sampling state alone is no
    /// context.
    fn parse_b3(value: &[u8]) -> Option<Self> {
        let mut parts = value.split(|byte| *byte == b'-');
        let (trace_id, span_id) = (parts.next()?, parts.next()?);
        let sampled = matches!(parts.next(), Some(b"1" | b"d"));
        Self::from_b3(trace_id, span_id, sampled)
    }

    fn from_b3(trace_id: &[u8], span_id: &[u8], sampled: bool) -> Option<Self> {
        let trace_id = lower_hex(trace_id, 32).or_else(|| lower_hex(trace_id, 16))?;
        let span_id = lower_hex(span_id, 16)? as u64;
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id, sampled })
    }
}

/// As `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// A number of exactly this many lower-case digits.
fn lower_hex(digits: &[u8], length: usize) -> Option<u128> {
    if digits.len() != length {
        return None;
    }
    digits.iter().try_fold(0_u128, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// Where the digits of each octet of a UUID begin, between which there are dashes (RFC 9562, section 4).
const OCTET_PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

/// A new request id: a random UUID (RFC 9562, section 5.4).
pub fn request_id(random: u64) -> HeaderValue {
    let mut draws = Draws::new(random);
    let (high, low) = (draws.next(), draws.next());
    let (high, low) = (high & !0xf000 | 0x4000, low >> 2 | 1 << 63);
    let octets = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
    let mut text = [b'-'; 36];
    for (octet, place) in octets.into_iter().zip(OCTET_PLACES) {
        text[place] = DIGITS[usize::from(octet >> 4)];
        text[place + 1] = DIGITS[usize::from(octet & 15)];
    }
    // Hexadecimal digits and dashes are valid in a header.
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// Keeps the request's id or gives it one, and returns it.
pub fn keep_or_make_request_id(headers: &mut HeaderMap, random: u64) -> HeaderValue {
    match headers.get(REQUEST_ID) {
        Some(id) if !id.is_empty() => id.clone(),
        _ => {
            let id = request_id(random);
            headers.insert(REQUEST_ID, id.clone());
            id
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn traceparent_is_read_as_w3c_says() {
        let context = TraceContext::parse_traceparent(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(context.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert!(context.sampled);
        assert_eq!(context.to_string(), EXAMPLE);
        let later = EXAMPLE.replacen("00", "cc", 1) + "-what-the-future-brings";
        assert_eq!(TraceContext::parse_traceparent(later.as_bytes()), Some(context));
        for malformed in [
            "",
            "00",
            &EXAMPLE[..54],
            &format!("{EXAMPLE}-more"),
            &EXAMPLE.replacen("00", "ff", 1),
            &EXAMPLE.to_uppercase(),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319cb7ad-6b7169203331-01-",
        ] {
            assert_eq!(TraceContext::parse_traceparent(malformed.as_bytes()), None, "{malformed}");
        }
    }

    #[test]
    fn each_format_reads_back_what_it_wrote() {
        let context = TraceContext::root(1, true);
        for format in [TraceFormat::W3c, TraceFormat::B3, TraceFormat::B3Multiple] {
            let mut headers = HeaderMap::new();
            context.write(&mut headers, format, Some(5));
            assert_eq!(TraceContext::from_headers(&headers), Some((context, format)));
        }
    }

    #[test]
    fn b3_has_short_trace_ids_and_states() {
        let parse = |value: &str| TraceContext::parse_b3(value.as_bytes());
        assert!(parse("00000000000000ab-00000000000000cd-d").unwrap().sampled);
        assert!(!parse("00000000000000ab-00000000000000cd-0-00000000000000ef").unwrap().sampled);
        assert_eq!(parse("0"), None);
        assert_eq!(parse("ab-cd-1"), None);
    }

    #[test]
    fn request_ids_are_kept_or_made() {
        let mut headers = HeaderMap::new();
        let made = keep_or_make_request_id(&mut headers, 7);
        assert_eq!(keep_or_make_request_id(&mut headers, 8), made);
        let text = made.to_str().unwrap();
        assert_eq!((text.len(), &text[14..15]), (36, "4"));
        assert!("89ab".contains(&text[19..20]), "{text}");
        for (place, octet) in text.bytes().enumerate() {
            let dash = matches!(place, 8 | 13 | 18 | 23);
            assert!(if dash { octet == b'-' } else { matches!(octet, b'0'..=b'9' | b'a'..=b'f') }, "{text}");
        }
        let ids: std::collections::HashSet<_> = (0..1000).map(request_id).collect();
        assert_eq!(ids.len(), 1000);
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_ignored(
            name in prop::sample::select(&["traceparent", "b3", "x-b3-traceid", "x-b3-spanid"][..]),
            value in prop::collection::vec(0x20_u8..0x7f, 0..80),
        ) {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_bytes(&value).unwrap());
            let _ = TraceContext::from_headers(&headers);
        }

        #[test]
        fn contexts_read_back(random: u64, sampled: bool) {
            let context = TraceContext::root(random, sampled).child(random);
            prop_assert_eq!(TraceContext::parse_traceparent(context.to_string().as_bytes()), Some(context));
        }
    }
}
