//! Requests of HTTP/1: no panic, no octet is invented, and neither the cut nor room that is given only when it is asked for changes
//! what may go on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_mesh::http_validation::{End, Requests, encode_target};

fuzz_target!(|input: &[u8]| {
    let Some((&size, bytes)) = input.split_first() else { return };
    let (good, end) = fed(Requests::default(), bytes, usize::MAX);
    let cut = || usize::from(size) + 1;
    for other in [fed(Requests::default(), bytes, cut()), fed(Requests::for_little_room(), bytes, cut())] {
        match end {
            End::Violation(_) => assert!(matches!(other.1, End::Violation(_))),
            _ => assert_eq!((good, end), other),
        }
    }
});

fn fed(mut requests: Requests, bytes: &[u8], size: usize) -> (usize, End) {
    let (mut held, mut good) = (Vec::new(), 0);
    for piece in bytes.chunks(size) {
        held.extend_from_slice(piece);
        let mut checked = requests.check(&held);
        loop {
            match checked.end {
                End::Encode(from, to) => {
                    good += checked.good;
                    held.drain(..checked.good);
                    let encoded = encode_target(&held[from..to]);
                    held.splice(from..to, encoded);
                }
                End::Room => {
                    good += checked.good;
                    held.drain(..checked.good);
                    requests.give_room();
                }
                _ => break,
            }
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
