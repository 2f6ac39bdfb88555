//! A block is refused or decoded, and what was decoded survives another round trip.

#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use weft_hop::{Config, OriginalNames, RequestHead, ResponseHead};

fuzz_target!(|input: &[u8]| {
    let config = Config::default();
    let block = Bytes::copy_from_slice(input);
    if let Ok(head) = RequestHead::decode(&block, &config) {
        let mut again = BytesMut::new();
        // A literal name or number may be written longer than it needs to be, never the other way.
        head.encode(&mut again, &config).expect("what was decoded is within the limits");
        let twice = RequestHead::decode(&again.freeze(), &config).expect("what was encoded can be decoded");
        assert_eq!(head.metadata, twice.metadata);
        assert_eq!(head.parts.method, twice.parts.method);
        assert_eq!(head.parts.uri, twice.parts.uri);
        assert_eq!(head.parts.version, twice.parts.version);
        assert_eq!(
            lines(&head.parts.headers, &head.parts.extensions),
            lines(&twice.parts.headers, &twice.parts.extensions)
        );
    }
    if let Ok(head) = ResponseHead::decode(&block, &config) {
        let mut again = BytesMut::new();
        head.encode(&mut again, &config).expect("what was decoded is within the limits");
        let twice = ResponseHead::decode(&again.freeze(), &config).expect("what was encoded can be decoded");
        assert_eq!(head.metadata, twice.metadata);
        assert_eq!(head.parts.status, twice.parts.status);
        assert_eq!(
            lines(&head.parts.headers, &head.parts.extensions),
            lines(&twice.parts.headers, &twice.parts.extensions)
        );
    }
});

/// Names and values in order.
fn lines(fields: &http::HeaderMap, extensions: &http::Extensions) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut lines = Vec::new();
    match extensions.get::<OriginalNames>() {
        Some(names) => {
            names.for_each_line(fields, |name, value| lines.push((name.to_vec(), value.as_bytes().to_vec())));
        }
        None => {
            lines.extend(fields.iter().map(|(name, value)| (name.as_str().into(), value.as_bytes().to_vec())))
        }
    }
    lines
}
