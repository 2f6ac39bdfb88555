//! Latencies.

use crate::effect::latency::{Setting, trial};
use crate::trial::Trial;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("latency, lognormal, 10 % canary, 100 looks", Setting { slower: 1.0, wave: 0.0, looks: 100 }),
        trial(
            "latency, median with a wave of 60 %, 10 % canary, 100 looks",
            Setting { slower: 1.0, wave: 0.6, looks: 100 },
        ),
    ]
}
