//! What can be out of the ordinary in an exchange. Each point is tried with whatever else chance adds.

use fastrand::Rng;

pub(crate) mod answers;
pub(crate) mod frames;
pub(crate) mod malformed;
pub(crate) mod requests;

/// What clients speak where a point makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Both,
    Http1,
    Http2,
}

/// A point: its name, and what it does to what would else be ordinary.
pub(crate) struct Point<T: 'static> {
    pub(crate) name: &'static str,
    pub(crate) on: On,
    pub(crate) apply: fn(&mut T, &mut Rng),
}

/// One of several.
pub(crate) fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())]
}

/// Octets of a body: some that mean something in protocols among them.
pub(crate) fn octets(rng: &mut Rng, length: usize) -> Vec<u8> {
    (0..length).map(|_| if rng.u8(..) < 16 { pick(rng, b"\r\n\0:0 ") } else { rng.u8(..) }).collect()
}
