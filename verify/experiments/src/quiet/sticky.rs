//! Users who stick to a variant.

use crate::effect::sticky::{Setting, ramp, trial};
use crate::trial::Trial;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "sticky 50/50, 5,000 users, 5 % of them fail 30 % of their requests, 100 looks",
            Setting { percent: 50.0, users: 1.0, often: 1.0 },
        ),
        trial(
            "sticky 10 %, 5,000 users, 5 % of them fail 30 % of their requests, 100 looks",
            Setting { percent: 10.0, users: 1.0, often: 1.0 },
        ),
        ramp(),
    ]
}
