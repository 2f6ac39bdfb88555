//! Values of headers and settings that come from outside: no panic, and what is read is written back the same.
#![no_main]

use http::header::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use weft_mesh::affinity::{Life, SessionPersistence};
use weft_mesh::deadline::{format_duration, parse_duration, parse_grpc_timeout};
use weft_mesh::headers::remove_hop_by_hop;
use weft_mesh::name::Identity;
use weft_mesh::trace::TraceContext;

const NAMES: [&str; 8] =
    ["traceparent", "b3", "x-b3-traceid", "x-b3-spanid", "cookie", "connection", "te", "grpc-timeout"];

fuzz_target!(|bytes: &[u8]| {
    let mut headers = HeaderMap::new();
    for (name, line) in NAMES.iter().cycle().zip(bytes.split(|byte| *byte == b'\n')) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(HeaderName::from_static(name), value);
        }
        let _ = parse_grpc_timeout(line);
        let Ok(text) = std::str::from_utf8(line) else { continue };
        if let Ok(duration) = parse_duration(text) {
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
        if let Ok(identity) = text.parse::<Identity>() {
            assert_eq!(identity.as_str(), text);
        }
    }
    let _ = TraceContext::from_headers(&headers);
    if let Ok(sessions) = SessionPersistence::cookie("sid", Life::default(), false) {
        let _ = sessions.read(&headers, 0);
    }
    remove_hop_by_hop(&mut headers);
    assert!(!headers.contains_key("connection"));
});
