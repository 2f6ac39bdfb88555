//! A sample ratio that is not kept.

use weft_experiment::kernel::Concentration;
use weft_experiment::mismatch::{Stage, evidence};
use weft_experiment::{Evidence, Shares};

use crate::traffic::level;
use crate::trial::{Trial, beside, note};

/// Half a point too much for one of two variants.
pub(super) fn skewed() -> Trial {
    let shares = Shares::of_weights(&[1, 1]).expect("two weights");
    Trial {
        setting: "sample ratio, 50.5 to 49.5 where 50/50 is due, 400 looks",
        methods: vec![
            beside("sample ratio e-value, level 0.001"),
            beside("sample ratio e-value, level 0.05"),
        ],
        run: Box::new(move |random, alarms| {
            let [strict, all] = alarms else { return };
            let mut counts = [0, 0];
            for look in 1..=400_u64 {
                let own = random.binomial(1_000, 0.505);
                counts[0] += 1_000 - own;
                counts[1] += own;
                let e = evidence([Stage { counts: &counts, shares: &shares }], Concentration::RATIO);
                let e = e.unwrap_or(Evidence::NONE);
                note(strict, look * 1_000, || e.rejects(level(0.001)));
                note(all, look * 1_000, || e.rejects(level(0.05)));
            }
        }),
    }
}
