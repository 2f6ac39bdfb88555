//! Whole decisions over a rollout, and thresholds of other tools.

use crate::effect::rollout::{Canary, trial};
use crate::thresholds::{Thresholds, good};
use crate::trial::Trial;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("decisions, good canary in steps of 1, 10, 50 %, drift, three guardrails", &Canary::GOOD),
        good(
            "thresholds: good canary at 0.5 % errors, limit 1 %, ten minutes, 5 of its requests a second",
            5.0,
            vec![
                Thresholds { name: "each 60 s, first failed check", interval: 60, failures: 1 },
                Thresholds { name: "each 60 s, five failed checks", interval: 60, failures: 5 },
                Thresholds { name: "each 10 s, five failed checks", interval: 10, failures: 5 },
            ],
        ),
    ]
}
