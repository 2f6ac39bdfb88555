//! Variants that do not differ.

mod events;
mod latency;
mod means;
mod rollout;
mod shares;
mod sticky;

use crate::trial::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    let mut all = shares::trials();
    all.extend(events::trials());
    all.extend(means::trials());
    all.extend(latency::trials());
    all.extend(sticky::trials());
    all.extend(rollout::trials());
    all
}
