//! The first bytes of a connection: no panic, and more bytes never change a decision.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_mesh::protocol::{Detection, detect};

fuzz_target!(|bytes: &[u8]| {
    let whole = detect(bytes);
    for cut in [1, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let early = detect(bytes.get(..cut).unwrap_or_default());
        assert!(early == Detection::NeedMore || early == whole, "{early:?} became {whole:?}");
    }
});
