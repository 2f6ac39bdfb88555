//! Exposures: the sample ratio, bandits and shadow traffic.

use weft_experiment::bandit;
use weft_experiment::kernel::Concentration;
use weft_experiment::label::Side;
use weft_experiment::mismatch::{Stage, evidence};
use weft_experiment::{Evidence, Shares, shadow};

use crate::traffic::{Counts, label_rejects, level, share, z_rejects};
use crate::trial::{Trial, beside, keeps, note};

pub(super) fn trials() -> Vec<Trial> {
    vec![ratio(), stages(), shadows(), thompson()]
}

fn ratio() -> Trial {
    let shares = Shares::of_weights(&[1, 1]).expect("two weights");
    Trial {
        setting: "sample ratio, 50/50, 300 looks",
        methods: vec![
            keeps(0.05, "sample ratio e-value"),
            keeps(0.001, "sample ratio e-value"),
            beside("chi-square 0.05, looked at each time"),
            beside("chi-square 0.001, looked at each time"),
        ],
        run: Box::new(move |random, alarms| {
            let [all, strict, chi, strict_chi] = alarms else { return };
            let mut counts = [0, 0];
            for look in 1..=300_u64 {
                let own = random.binomial(1_000, 0.5);
                counts[0] += 1_000 - own;
                counts[1] += own;
                let e = evidence([Stage { counts: &counts, shares: &shares }], Concentration::RATIO);
                let e = e.unwrap_or(Evidence::NONE);
                let n = (counts[0] + counts[1]) as f64;
                let statistic = (counts[1] as f64 - n / 2.0).powi(2) / (n / 4.0);
                note(all, look * 1_000, || e.rejects(level(0.05)));
                note(strict, look * 1_000, || e.rejects(level(0.001)));
                note(chi, look * 1_000, || statistic > 3.841);
                note(strict_chi, look * 1_000, || statistic > 10.828);
            }
        }),
    }
}

fn stages() -> Trial {
    let all: Vec<Shares> = [[99, 1], [95, 5], [75, 25], [50, 50]]
        .iter()
        .map(|weights| Shares::of_weights(weights).expect("two weights"))
        .collect();
    Trial {
        setting: "sample ratio, steps of 1, 5, 25, 50 %",
        methods: vec![
            keeps(0.05, "sample ratio e-value by stages"),
            beside("counts pooled against the last shares"),
        ],
        run: Box::new(move |random, alarms| {
            let [by_stages, pooled] = alarms else { return };
            let mut counts = vec![[0_u64; 2]; all.len()];
            let mut requests = 0;
            for (index, shares) in all.iter().enumerate() {
                for _ in 0..50 {
                    let own = random.binomial(1_000, shares.get()[1]);
                    counts[index][0] += 1_000 - own;
                    counts[index][1] += own;
                    requests += 1_000;
                    let stages = counts.iter().zip(&all).map(|(counts, shares)| Stage { counts, shares });
                    note(by_stages, requests, || {
                        evidence(stages, Concentration::RATIO).is_ok_and(|e| e.rejects(level(0.05)))
                    });
                    let sum =
                        counts.iter().fold([0, 0], |sum, counts| [sum[0] + counts[0], sum[1] + counts[1]]);
                    note(pooled, requests, || {
                        let stage = Stage { counts: &sum, shares };
                        evidence([stage], Concentration::RATIO).is_ok_and(|e| e.rejects(level(0.05)))
                    });
                }
            }
        }),
    }
}

fn shadows() -> Trial {
    Trial {
        setting: "shadow, pairs that fail together half of the time, 400 looks",
        methods: vec![
            keeps(0.05, "discordant pairs"),
            beside("label test on all answers as if they were independent"),
        ],
        run: Box::new(|random, alarms| {
            let [pairs, independent] = alarms else { return };
            let (mut shadow_alone, mut control_alone, mut both) = (0, 0, 0);
            for look in 1..=400_u64 {
                let failures = random.binomial(1_000, 0.02);
                let together = random.binomial(failures, 0.5);
                let own = random.binomial(failures - together, 0.5);
                both += together;
                shadow_alone += own;
                control_alone += failures - together - own;
                note(pairs, look * 1_000, || {
                    shadow::evidence(shadow_alone, control_alone).is_ok_and(|e| e.rejects(level(0.05)))
                });
                let labels = Counts {
                    canary: (shadow_alone + both, look * 1_000),
                    control: (control_alone + both, look * 1_000),
                    ..Counts::new(50.0)
                };
                note(independent, look * 1_000, || label_rejects(&[labels.labels()], Side::Two, level(0.05)));
            }
        }),
    }
}

/// Units between changes of a bandit's shares.
const BATCH: u64 = 200;

fn thompson() -> Trial {
    Trial {
        setting: "bandit of two equal arms, rates that go from 2 to 8 %, 2,000 units",
        methods: vec![keeps(0.05, "label test over stages"), beside("z test at the end")],
        run: Box::new(|random, alarms| {
            let [labels, z_at_end] = alarms else { return };
            let mut stages: Vec<Counts> = Vec::new();
            for batch in 0..10_u64 {
                let sum = |of: fn(&Counts) -> (u64, u64)| {
                    let (successes, units) =
                        stages.iter().map(of).fold((0, 0), |sum, own| (sum.0 + own.0, sum.1 + own.1));
                    bandit::Arm { successes, failures: units - successes }
                };
                let arms = [sum(|stage| stage.control), sum(|stage| stage.canary)];
                let shares = bandit::shares(&arms, 0.05).expect("two arms with room for their floors");
                let rate = 0.02 + 0.06 * batch as f64 / 9.0;
                let mut stage = Counts { share: share(shares[1]), ..Counts::new(50.0) };
                stage.add(random, BATCH, rate, rate);
                stages.push(stage);
                let requests = (batch + 1) * BATCH;
                note(labels, requests, || {
                    let labels: Vec<_> = stages.iter().map(Counts::labels).collect();
                    label_rejects(&labels, Side::Two, level(0.05))
                });
            }
            note(z_at_end, 10 * BATCH, || z_rejects(&stages));
        }),
    }
}
