//! Metadata is refused or decoded, and what was decoded survives another round trip.

#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use weft_hop::{RequestMetadata, ResponseMetadata};

fuzz_target!(|input: &[u8]| {
    let octets = Bytes::copy_from_slice(input);
    if let Ok(metadata) = RequestMetadata::decode(&octets) {
        let mut again = BytesMut::new();
        metadata.encode(&mut again);
        assert_eq!(RequestMetadata::decode(&again.freeze()), Ok(metadata));
    }
    if let Ok(metadata) = ResponseMetadata::decode(&octets) {
        let mut again = BytesMut::new();
        metadata.encode(&mut again);
        assert_eq!(ResponseMetadata::decode(&again.freeze()), Ok(metadata));
    }
});
