//! Failures of requests, each assigned by itself.

use weft_experiment::difference::{Stage as Difference, Stages};
use weft_experiment::label::Side;
use weft_experiment::plan::exposures;
use weft_experiment::weighted::{Batch, Weighted};

use crate::thresholds::{Thresholds, seconds};
use crate::traffic::{Counts, label_rejects, level, share, z};
use crate::trial::{Trial, beside, note};

/// A canary with more failures.
#[derive(Clone, Copy)]
struct Setting {
    name: &'static str,
    percent: f64,
    canary: f64,
    control: f64,
    /// How many requests there are at most, and between looks.
    requests: u64,
    batch: u64,
}

pub(super) fn trials() -> Vec<Trial> {
    vec![
        rates(Setting {
            name: "10 % canary, 0.5 to 2 % errors",
            percent: 10.0,
            canary: 0.02,
            control: 0.005,
            requests: 120_000,
            batch: 100,
        }),
        rates(Setting {
            name: "10 % canary, 0.5 to 0.75 % errors",
            percent: 10.0,
            canary: 0.0075,
            control: 0.005,
            requests: 400_000,
            batch: 1_000,
        }),
        rates(Setting {
            name: "50 % canary, 0.5 to 0.75 % errors",
            percent: 50.0,
            canary: 0.0075,
            control: 0.005,
            requests: 150_000,
            batch: 500,
        }),
        dead(),
        thresholds(),
    ]
}

fn rates(setting: Setting) -> Trial {
    let rates = (setting.control, setting.canary);
    let tau = setting.canary - setting.control;
    let planned = exposures(rates, share(setting.percent / 100.0), tau, level(0.05), 0.9);
    let horizon = planned.expect("rates that differ").fixed.ceil() as u64;
    Trial {
        setting: setting.name,
        methods: vec![
            beside("label test, more, level 0.05"),
            beside("label test, more, level 0.01 / 3"),
            beside("label test, two-sided, level 0.05"),
            beside("asymptotic CS, level 0.05"),
            beside("weighted outcomes, level 0.05, each tenth look"),
            beside("fixed horizon for power 0.9, z test, level 0.05"),
        ],
        run: Box::new(move |random, alarms| {
            let [more, guard, two, acs, proof, fixed] = alarms else { return };
            let mut weighted = Weighted::new(share(setting.percent / 100.0));
            let mut counts = Counts::new(setting.percent);
            let mut before = counts;
            let mut requests = 0;
            while requests < setting.requests {
                // At multiples of the batch, and at the horizon.
                let due = (requests / setting.batch + 1) * setting.batch;
                let due = if requests < horizon { due.min(horizon) } else { due };
                let batch = due - requests;
                counts.add(random, batch, setting.canary, setting.control);
                requests += batch;
                let labels = [counts.labels()];
                note(more, requests, || label_rejects(&labels, Side::More, level(0.05)));
                note(guard, requests, || label_rejects(&labels, Side::More, level(0.01 / 3.0)));
                note(two, requests, || label_rejects(&labels, Side::Two, level(0.05)));
                note(acs, requests, || {
                    let Ok(Some(stage)) = Difference::proportions(counts.canary, counts.control) else {
                        return false;
                    };
                    let sum = Stages::of(&[stage]);
                    sum.is_ready() && sum.effect(tau).is_ok_and(|e| e.evidence().rejects(level(0.05)))
                });
                if requests.is_multiple_of(setting.batch * 10) {
                    let since = |now: (u64, u64), then: (u64, u64)| (now.0 - then.0, now.1 - then.1);
                    let batch = Batch {
                        canary: since(counts.canary, before.canary),
                        control: since(counts.control, before.control),
                    };
                    before = counts;
                    note(proof, requests, || {
                        weighted.add(batch).is_ok()
                            && weighted
                                .interval(level(0.05), 1e4)
                                .is_ok_and(|interval| !interval.contains(0.0))
                    });
                }
                if requests == horizon {
                    note(fixed, requests, || z(&[counts]) > 1.959_964);
                }
            }
        }),
    }
}

/// A canary that answers nothing.
fn dead() -> Trial {
    Trial {
        setting: "1 % canary, all of its requests fail, 0.5 % elsewhere",
        methods: vec![beside("label test, more, level 0.01 / 3"), beside("asymptotic CS, level 0.01 / 3")],
        run: Box::new(|random, alarms| {
            let [label, acs] = alarms else { return };
            let mut counts = Counts::new(1.0);
            for look in 1..=600_u64 {
                counts.add(random, 20, 1.0, 0.005);
                note(label, look * 20, || label_rejects(&[counts.labels()], Side::More, level(0.01 / 3.0)));
                note(acs, look * 20, || {
                    let Ok(Some(stage)) = Difference::proportions(counts.canary, counts.control) else {
                        return false;
                    };
                    let sum = Stages::of(&[stage]);
                    // There are no requests of the canary that do not fail: events are all that it can be ready by.
                    counts.canary.0 >= 25
                        && counts.control.0 >= 25
                        && sum.effect(0.005).is_ok_and(|e| e.evidence().rejects(level(0.01 / 3.0)))
                });
            }
        }),
    }
}

/// The same bad canary for ten minutes: thresholds as others set them, beside the label test each second.
fn thresholds() -> Trial {
    const SLOW: Thresholds = Thresholds { name: "", interval: 60, failures: 5 };
    const FAST: Thresholds = Thresholds { name: "", interval: 10, failures: 5 };
    Trial {
        setting: "ten minutes, 50 requests/s, 10 % canary, 0.5 to 2 % errors",
        methods: vec![
            beside("label test, more, level 0.01 / 3, each second"),
            beside("threshold of 1 %, each 60 s, five failed checks"),
            beside("threshold of 1 %, each 10 s, five failed checks"),
        ],
        run: Box::new(|random, alarms| {
            let [label, slow, fast] = alarms else { return };
            let canary = seconds(random, 5.0, 0.02);
            let mut counts = Counts::new(10.0);
            let control = seconds(random, 45.0, 0.005);
            for (second, ((requests, failures), (others, failed))) in canary.iter().zip(&control).enumerate()
            {
                counts.canary = (counts.canary.0 + failures, counts.canary.1 + requests);
                counts.control = (counts.control.0 + failed, counts.control.1 + others);
                let sent = (second as u64 + 1) * 50;
                note(label, sent, || label_rejects(&[counts.labels()], Side::More, level(0.01 / 3.0)));
            }
            *slow = SLOW.rolled_back(&canary).map(|second| second as f64 * 50.0);
            *fast = FAST.rolled_back(&canary).map(|second| second as f64 * 50.0);
        }),
    }
}
