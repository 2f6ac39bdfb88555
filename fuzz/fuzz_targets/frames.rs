//! Frames of HTTP/2, in both directions: no panic, the cut changes nothing, and memory is bounded by the frames.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use weft_mesh::http_validation::Frames;
use weft_mesh::violation::Violation;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fuzz_target!(|input: &[u8]| {
    let Some((&size, bytes)) = input.split_first() else { return };
    let now = Instant::now();
    let whole = play(bytes, usize::MAX, now);
    assert_eq!(whole, play(bytes, usize::from(size) + 1, now));
});

/// The client says all of it, then the server does, or as much as comes before a violation.
fn play(bytes: &[u8], size: usize, now: Instant) -> (bool, usize, Vec<&'static str>) {
    let mut frames = Frames::default();
    frames.read(PREFACE, || now).expect("the preface is one");
    let mut held = Vec::new();
    let broken = bytes.chunks(size).any(|piece| {
        held.extend_from_slice(piece);
        pass(&mut frames, &mut held, now).is_err()
    });
    let mut told = Vec::new();
    for piece in bytes.chunks(size) {
        frames.wrote(piece, || now, |violation| told.push(violation.label()));
    }
    // A frame has nine octets at least.
    assert!(frames.open() <= bytes.len() / 9 + 1);
    frames.look(1);
    (broken, frames.open(), told)
}

/// Takes off the held octets what goes on.
fn pass(frames: &mut Frames, held: &mut Vec<u8>, now: Instant) -> Result<(), Violation> {
    loop {
        let taken = frames.read(held, || now)?;
        held.drain(..taken.good);
        if taken.trailers == 0 {
            return Ok(());
        }
        let trailers = Frames::trailers(&held[..taken.trailers])?;
        assert_eq!(trailers.len(), taken.trailers + 1);
        held.drain(..taken.trailers);
    }
}
