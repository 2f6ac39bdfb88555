//! Bodies that tell whose they are.

use bytes::Bytes;
use weft_mesh::hash::stable_hash;

/// Longest body: several frames and reads, and well below what is kept for another attempt.
const LONGEST: usize = 24 * 1024;
/// Length of a large answer: more than a stream's window, and less than the window of a client's connection.
pub(super) const LARGE: usize = 2 << 20;

/// The field that holds the number of the request, in requests and in answers.
pub(super) const NUMBER: &str = "x-number";
/// The field of an answer that names the instance that gave it.
pub(super) const INSTANCE: &str = "x-instance";
/// The field of an answer that holds the hash of the request's body as it arrived.
pub(super) const RECEIVED: &str = "x-received";

/// The body of the request of this number.
pub(super) fn of_request(number: u64) -> Bytes {
    generate(number, 1)
}

/// The body of the answer to it.
pub(super) fn of_answer(number: u64) -> Bytes {
    generate(number, 2)
}

/// The large answer to it.
pub(super) fn large(number: u64) -> Bytes {
    random(number * 2, LARGE)
}

/// What a body is known by.
pub(super) fn hash(body: &[u8]) -> String {
    format!("{:016x}", stable_hash(body))
}

fn generate(number: u64, kind: u64) -> Bytes {
    let seed = number * 2 + kind;
    random(seed, fastrand::Rng::with_seed(seed).usize(1..LONGEST))
}

fn random(seed: u64, length: usize) -> Bytes {
    let mut body = vec![0; length];
    fastrand::Rng::with_seed(seed).fill(&mut body);
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_requests_have_the_same_bodies() {
        let hashes: std::collections::BTreeSet<_> =
            (0..1000).flat_map(|number| [hash(&of_request(number)), hash(&of_answer(number))]).collect();
        assert_eq!(hashes.len(), 2000);
    }
}
