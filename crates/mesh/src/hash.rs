//! A hash whose values are the same in every process and on every machine.
//!
//! Sticky splits, consistent hashing and session tokens compare hashes between proxies and across restarts, so the
//! function is written down here and its values are pinned by a test: 64-bit FNV-1a over the bytes, then the
//! finisher of `SplitMix64`, because the low bits of FNV-1a alone are badly mixed for short keys.

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash of some bytes.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let mut state = FNV_OFFSET;
    for byte in bytes {
        state = (state ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
    }
    mix(state)
}

/// One hash from two; their order matters.
pub fn combine(first: u64, second: u64) -> u64 {
    mix(first.rotate_left(32).wrapping_add(GOLDEN) ^ mix(second))
}

/// The finisher of `SplitMix64`: a bijection in which every input bit flips about half of the output bits.
pub(crate) fn mix(value: u64) -> u64 {
    let mut state = value;
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// Draws several independent numbers from one random argument (`SplitMix64`).
#[derive(Clone, Debug)]
pub(crate) struct Draws(u64);

impl Draws {
    pub(crate) fn new(random: u64) -> Self {
        Self(random)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number below `bound`, each as likely as the others; 0 if `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        loop {
            let wide = u128::from(self.next()) * u128::from(bound);
            // Of the 2^64 values a few more fall on some results than on others; those few are drawn again.
            if (wide as u64) >= bound.wrapping_neg().checked_rem(bound).unwrap_or(0) {
                return (wide >> 64) as u64;
            }
        }
    }

    /// A number in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        unit(self.next())
    }
}

/// Maps a random number to `[0, 1)` with all the 53 bits that fit.
pub(crate) fn unit(random: u64) -> f64 {
    (random >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_never_change() {
        assert_eq!(stable_hash(b""), 0xf52a_15e9_a9b5_e89b);
        assert_eq!(stable_hash(b"weft"), 0x6ae6_5afe_cbe8_478d);
        assert_eq!(combine(1, 2), 0xdcd3_86fb_3dd5_257b);
    }

    #[test]
    fn numbers_below_a_bound_are_even() {
        let mut draws = Draws::new(7);
        let mut counts = [0_u32; 7];
        for _ in 0..70_000 {
            counts[draws.below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (9_600..10_400).contains(count)), "{counts:?}");
        assert_eq!(draws.below(0), 0);
        assert_eq!(draws.below(1), 0);
    }
}
