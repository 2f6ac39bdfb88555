//! Variants that differ.

pub(crate) mod events;
pub(crate) mod latency;
pub(crate) mod rollout;
mod shares;
pub(crate) mod sticky;

use crate::trial::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    let mut all = events::trials();
    all.push(latency::trial(
        "latency, canary 20 % slower, 10 % canary, 200 looks",
        latency::Setting { slower: 1.2, wave: 0.0, looks: 200 },
    ));
    all.push(sticky::trial(
        "sticky 50/50, half as many more users fail with the canary, 100 looks",
        sticky::Setting { percent: 50.0, users: 1.5, often: 1.0 },
    ));
    all.push(sticky::trial(
        "sticky 50/50, the same users fail half as often again with the canary, 100 looks",
        sticky::Setting { percent: 50.0, users: 1.0, often: 1.5 },
    ));
    all.push(shares::skewed());
    all.push(rollout::trial(
        "decisions, canary at 2 % of errors for 0.5 %, steps of 1, 10, 50 %",
        &rollout::Canary::BAD,
    ));
    all
}
