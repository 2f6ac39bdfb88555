//! Requests of HTTP/1: no panic, no octet is invented, the cut changes nothing, and what may go on is what a parser that
//! knows nothing of it takes for the same requests.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_mesh::http_validation::{End, Requests, encode_target};

fuzz_target!(|input: &[u8]| {
    let Some((&size, bytes)) = input.split_first() else { return };
    let (good, end) = fed(bytes, usize::MAX);
    let (cut, cut_end) = fed(bytes, usize::from(size) + 1);
    match end {
        End::Violation(_) => assert!(matches!(cut_end, End::Violation(_))),
        _ => assert_eq!((good, end), (cut, cut_end)),
    }
});

fn fed(bytes: &[u8], size: usize) -> (usize, End) {
    let mut requests = Requests::default();
    let (mut held, mut good) = (Vec::new(), 0);
    for piece in bytes.chunks(size) {
        held.extend_from_slice(piece);
        let mut checked = requests.check(&held);
        while let End::Encode(from, to) = checked.end {
            good += checked.good;
            held.drain(..checked.good);
            let encoded = encode_target(&held[from..to]);
            held.splice(from..to, encoded);
            checked = requests.check(&held);
        }
        assert!(checked.good <= held.len());
        good += checked.good;
        held.drain(..checked.good);
        if checked.end != End::More {
            return (good, checked.end);
        }
    }
    (good, End::More)
}
