//! A header of the PROXY protocol: no panic, more bytes never change a decision, and what was read is written the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_mesh::proxy_protocol::{Parsed, Version, encode, parse};

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    for cut in [1, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let early = parse(bytes.get(..cut).unwrap_or_default());
        assert!(early == Parsed::NeedMore || early == whole, "{early:?} became {whole:?}");
    }
    if let Parsed::Header { addresses: Some(addresses), length } = whole {
        assert!(length <= bytes.len());
        for version in [Version::V1, Version::V2] {
            let mut written = Vec::new();
            encode(version, addresses, &mut written);
            let length = written.len();
            assert_eq!(parse(&written), Parsed::Header { addresses: Some(addresses), length });
        }
    }
});
