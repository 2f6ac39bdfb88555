//! Failures of requests, each assigned by itself.

use weft_experiment::asymptotic::Effect;
use weft_experiment::difference::{Stage as Difference, Stages};
use weft_experiment::label::{Prior, Side, non_inferior};
use weft_experiment::weighted::{Batch, Weighted};

use crate::traffic::{Counts, daily, falling, label_rejects, label_rejects_ratio, level, share, z_rejects};
use crate::trial::{Trial, beside, keeps, note};

const RAMP: [f64; 5] = [1.0, 5.0, 10.0, 25.0, 50.0];
const STEP: u64 = 20_000;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        ramp("ramp of 1, 5, 10, 25, 50 %, errors falling from 4 to 0.2 %, 400 looks", falling),
        ramp("ramp of 1, 5, 10, 25, 50 %, errors with a daily wave, 400 looks", daily),
        rare(),
        coverage(),
        margin(),
        retries("retries, a further attempt fails half of the time, 10 % canary, 200 looks", 0.5),
        retries("retries, a further attempt fails nine times of ten, 10 % canary, 200 looks", 0.9),
        late("steps of 1, 5, 25, 50 %, the first 100 requests of each counted for the one before", 100),
        late("steps of 1, 5, 25, 50 %, the first 2,000 requests of each counted for the one before", 2_000),
    ]
}

/// The difference of proportions of some stages.
fn stages_of(stages: &[Counts]) -> Stages {
    let differences: Vec<Difference> = stages
        .iter()
        .filter_map(|stage| Difference::proportions(stage.canary, stage.control).ok().flatten())
        .collect();
    Stages::of(&differences)
}

/// Whether the asymptotic confidence sequence with the larger variance excludes a difference.
fn excludes(stages: &[Counts], tau: f64, null: f64) -> bool {
    let sum = stages_of(stages);
    sum.is_ready() && sum.effect(tau).is_ok_and(|effect| effect.against(null).evidence().rejects(level(0.05)))
}

fn ramp(setting: &'static str, rate: fn(f64) -> f64) -> Trial {
    Trial {
        setting,
        methods: vec![
            keeps(0.05, "label test over stages, two-sided"),
            keeps(0.05, "label test over stages, more"),
            keeps(0.05, "asymptotic CS over stages"),
            beside("asymptotic CS of pooled counts"),
            beside("z test of pooled counts, looked at each time"),
        ],
        run: Box::new(move |random, alarms| {
            let [two, more, acs, pooled, z] = alarms else { return };
            let mut stages: Vec<Counts> = Vec::new();
            let mut requests = 0;
            for percent in RAMP {
                stages.push(Counts::new(percent));
                for _ in 0..STEP / 250 {
                    let now = rate(requests as f64 / (STEP * RAMP.len() as u64) as f64);
                    if let Some(stage) = stages.last_mut() {
                        stage.add(random, 250, now, now);
                    }
                    requests += 250;
                    let labels: Vec<_> = stages.iter().map(Counts::labels).collect();
                    note(two, requests, || label_rejects(&labels, Side::Two, level(0.05)));
                    note(more, requests, || label_rejects(&labels, Side::More, level(0.05)));
                    note(acs, requests, || excludes(&stages, 0.002, 0.0));
                    note(pooled, requests, || excludes(&[pool(&stages)], 0.002, 0.0));
                    note(z, requests, || z_rejects(&stages));
                }
            }
        }),
    }
}

fn pool(stages: &[Counts]) -> Counts {
    let mut sum = Counts::new(50.0);
    for stage in stages {
        sum.canary = (sum.canary.0 + stage.canary.0, sum.canary.1 + stage.canary.1);
        sum.control = (sum.control.0 + stage.control.0, sum.control.1 + stage.control.1);
    }
    sum
}

/// Rare events in a small arm, where an arm's own variance is too small exactly when its rate is too low.
fn rare() -> Trial {
    Trial {
        setting: "2 % canary, 0.5 % errors, 400 looks",
        methods: vec![
            keeps(0.05, "label test, two-sided"),
            keeps(0.05, "asymptotic CS, 25 events, larger variance"),
            keeps(0.05, "weighted outcomes, 40 looks"),
            beside("asymptotic CS, 25 events, Welch's variance"),
            beside("asymptotic CS, from the first event on, Welch's variance"),
        ],
        run: Box::new(|random, alarms| {
            let [label, acs, weighted, welch, early] = alarms else { return };
            let mut counts = Counts::new(2.0);
            let mut proof = Weighted::new(share(0.02));
            let mut before = counts;
            for look in 1..=400_u64 {
                counts.add(random, 1_000, 0.005, 0.005);
                let requests = look * 1_000;
                note(label, requests, || label_rejects(&[counts.labels()], Side::Two, level(0.05)));
                let sum = stages_of(&[counts]);
                let by = |variance: f64| {
                    Effect::new(sum.difference, variance, 0.005)
                        .is_ok_and(|e| e.evidence().rejects(level(0.05)))
                };
                note(acs, requests, || sum.is_ready() && by(sum.variance()));
                note(welch, requests, || sum.is_ready() && by(sum.welch));
                note(early, requests, || by(sum.welch));
                if look % 10 == 0 {
                    let since = |now: (u64, u64), then: (u64, u64)| (now.0 - then.0, now.1 - then.1);
                    let batch = Batch {
                        canary: since(counts.canary, before.canary),
                        control: since(counts.control, before.control),
                    };
                    before = counts;
                    note(weighted, requests, || {
                        proof.add(batch).is_ok()
                            && proof.interval(level(0.05), 1e5).is_ok_and(|interval| !interval.contains(0.0))
                    });
                }
            }
        }),
    }
}

/// How often intervals do not hold the truth, at any look.
fn coverage() -> Trial {
    Trial {
        setting: "10 % canary, true ratio 2, 0.5 to 1 % errors, 400 looks: interval without the truth",
        methods: vec![keeps(0.05, "ratio by labels"), keeps(0.05, "difference by asymptotic CS")],
        run: Box::new(|random, alarms| {
            let [ratio, difference] = alarms else { return };
            let mut counts = Counts::new(10.0);
            for look in 1..=400_u64 {
                counts.add(random, 500, 0.01, 0.005);
                note(ratio, look * 500, || {
                    label_rejects_ratio(&[counts.labels()], Side::Two, level(0.05), 2.0)
                });
                note(difference, look * 500, || excludes(&[counts], 0.005, 0.005));
            }
        }),
    }
}

/// How often a canary at the margin is called safe.
fn margin() -> Trial {
    Trial {
        setting: "10 % canary, as bad as the margin of 25 % allows: called safe, 100 looks",
        methods: vec![keeps(0.05, "non-inferior by labels")],
        run: Box::new(|random, alarms| {
            let [safe] = alarms else { return };
            let mut counts = Counts::new(10.0);
            for look in 1..=100_u64 {
                counts.add(random, 5_000, 0.0125, 0.01);
                let labels = [counts.labels()];
                note(safe, look * 5_000, || {
                    label_rejects_ratio(&labels, Side::Two, level(0.05), 1.25)
                        && non_inferior(&labels, &Prior::default(), 0.25, level(0.05)).is_ok_and(|safe| safe)
                });
            }
        }),
    }
}

/// Up to three attempts: a request is counted once, as one that ran into a failure, or once for each attempt that failed.
fn retries(setting: &'static str, again: f64) -> Trial {
    Trial {
        setting,
        methods: vec![keeps(0.05, "label test on requests"), beside("label test on attempts")],
        run: Box::new(move |random, alarms| {
            let [requests, attempts] = alarms else { return };
            let (mut of_requests, mut of_attempts) = (Counts::new(10.0), Counts::new(10.0));
            for look in 1..=200_u64 {
                let mut first = Counts::new(10.0);
                first.add(random, 250, 0.01, 0.01);
                for (failed, requests, attempts) in [
                    (first.canary.0, &mut of_requests.canary.0, &mut of_attempts.canary.0),
                    (first.control.0, &mut of_requests.control.0, &mut of_attempts.control.0),
                ] {
                    let second = random.binomial(failed, again);
                    *requests += failed;
                    *attempts += failed + second + random.binomial(second, again);
                }
                note(requests, look * 250, || label_rejects(&[of_requests.labels()], Side::Two, level(0.05)));
                note(attempts, look * 250, || label_rejects(&[of_attempts.labels()], Side::Two, level(0.05)));
            }
        }),
    }
}

/// Requests that new weights decided and that are counted for the old ones.
fn late(setting: &'static str, late: u64) -> Trial {
    Trial {
        setting,
        methods: vec![
            keeps(0.05, "label test over stages, by epoch"),
            beside("label test over stages, by time"),
        ],
        run: Box::new(move |random, alarms| {
            let [epoch, time] = alarms else { return };
            let (mut by_epoch, mut by_time): (Vec<Counts>, Vec<Counts>) = (Vec::new(), Vec::new());
            let mut requests = 0;
            for percent in [1.0, 5.0, 25.0, 50.0] {
                by_epoch.push(Counts::new(percent));
                let mut into = 0;
                while into < STEP {
                    let batch = 100;
                    let mut own = Counts::new(percent);
                    own.add(random, batch, 0.01, 0.01);
                    // The first ones of a step go to the stage before, if there is one.
                    if (into >= late || by_time.is_empty()) && by_time.len() < by_epoch.len() {
                        by_time.push(Counts::new(percent));
                    }
                    into += batch;
                    requests += batch;
                    for stages in [&mut by_epoch, &mut by_time] {
                        if let Some(stage) = stages.last_mut() {
                            stage.canary.0 += own.canary.0;
                            stage.control.0 += own.control.0;
                        }
                    }
                    if requests % 500 == 0 {
                        let labels =
                            |stages: &[Counts]| stages.iter().map(Counts::labels).collect::<Vec<_>>();
                        note(epoch, requests, || label_rejects(&labels(&by_epoch), Side::Two, level(0.05)));
                        note(time, requests, || label_rejects(&labels(&by_time), Side::Two, level(0.05)));
                    }
                }
            }
        }),
    }
}
