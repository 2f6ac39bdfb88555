//! Inputs like the seeds of a parser, but broken: for parsers that are too large to be built once more for libFuzzer. The
//! same ones in each run, so that what fails, fails again.

use std::fs;
use std::path::Path;

/// Numbers that look random (xorshift*, Marsaglia 2003).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// One below `bound`; 0 if that is 0.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33).checked_rem(bound as u64).unwrap_or_default() as usize
    }
}

/// Says what made a test fail.
struct Report<'a>(&'a [u8]);

impl Drop for Report<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input was {:?}", String::from_utf8_lossy(self.0));
        }
    }
}

/// Gives the seeds to `each`, then `runs` inputs that are made of them.
pub fn inputs(seeds: &[Vec<u8>], runs: usize, mut each: impl FnMut(&[u8])) {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let broken = (0..runs).map(|_| {
        let mut input = seeds.get(numbers.below(seeds.len())).cloned().unwrap_or_default();
        for _ in 0..=numbers.below(4) {
            mutate(&mut input, seeds, &mut numbers);
        }
        input
    });
    for input in seeds.iter().cloned().chain(broken) {
        let report = Report(&input);
        each(report.0);
    }
}

/// The files of a folder, as seeds.
pub fn seeds(folder: &Path) -> Vec<Vec<u8>> {
    let mut files: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.iter().filter_map(|file| fs::read(file).ok()).collect()
}

fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], numbers: &mut Numbers) {
    let at = numbers.below(input.len() + 1);
    let length = numbers.below(16.min(input.len() - at) + 1);
    match numbers.below(7) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << numbers.below(8);
            }
        }
        1 => drop(input.drain(at..at + length)),
        2 => {
            let piece = input.get(at..at + length).unwrap_or_default().to_vec();
            let to = numbers.below(input.len() + 1);
            input.splice(to..to, piece);
        }
        3 => input.truncate(at),
        4 => input.insert(at, (numbers.next() >> 56) as u8),
        5 => {
            const HARD: [&[u8]; 8] =
                [b"\0", b"\xff", b"\n", b"{", b"[", b"99999999999999999999", b"-1", b": &a [*a, *a]"];
            let hard = HARD.get(numbers.below(HARD.len())).copied().unwrap_or_default();
            input.splice(at..at, hard.iter().copied());
        }
        _ => {
            let other = seeds.get(numbers.below(seeds.len())).map_or(&[][..], Vec::as_slice);
            let from = numbers.below(other.len() + 1);
            let piece = other.get(from..).unwrap_or_default();
            input.truncate(at);
            input.extend_from_slice(piece.get(..piece.len().min(4096)).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_many_bounded_and_the_same_each_time() {
        let seeds = [b"hello".to_vec(), b"other".to_vec()];
        let made = || {
            let mut made = Vec::new();
            inputs(&seeds, 1000, |input| made.push(input.to_vec()));
            made
        };
        let first = made();
        assert_eq!(first.len(), 1002);
        assert_eq!(first, made());
        assert!(first.iter().all(|input| input.len() < 200));
        let different: std::collections::HashSet<_> = first.iter().collect();
        assert!(different.len() > 600, "{}", different.len());
    }
}
