//! Values, some of them with heavy tails; blocks of time; planned looks.

use weft_experiment::asymptotic::Effect;
use weft_experiment::count::sums::ValueSums;
use weft_experiment::difference::{Stage as Difference, Stages};
use weft_experiment::random::Random;
use weft_experiment::spending::{Spending, bounds};
use weft_experiment::switchback;

use crate::traffic::level;
use crate::trial::{Method, Trial, beside, keeps, note};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        means(Values {
            setting: "values, lognormal of sigma 1, 10 % canary, 300 looks",
            draw: |random| random.normal().exp(),
            cap: f64::MAX,
            tau: 0.2,
            judged: true,
        }),
        means(Values {
            setting: "values, lognormal of sigma 2, capped at their 99.9 %, 10 % canary, 300 looks",
            draw: |random| (2.0 * random.normal()).exp(),
            cap: 483.0,
            tau: 2.0,
            judged: true,
        }),
        means(Values {
            setting: "values, lognormal of sigma 2, not capped, 10 % canary, 300 looks",
            draw: |random| (2.0 * random.normal()).exp(),
            cap: f64::MAX,
            tau: 2.0,
            judged: false,
        }),
        means(Values {
            setting: "values, Pareto of 1.5, capped at their 99.9 %, 10 % canary, 300 looks",
            draw: |random| (1.0 - random.uniform()).powf(-1.0 / 1.5),
            cap: 100.0,
            tau: 0.5,
            judged: true,
        }),
        blocks(),
        planned(),
    ]
}

/// How values are.
#[derive(Clone, Copy)]
struct Values {
    setting: &'static str,
    draw: fn(&mut Random) -> f64,
    cap: f64,
    /// The smallest difference that is worth acting on: about a tenth of a standard deviation.
    tau: f64,
    judged: bool,
}

fn means(values: Values) -> Trial {
    let Values { setting, draw, cap, tau, judged } = values;
    let larger = "asymptotic CS, 1,000 values, larger variance";
    Trial {
        setting,
        methods: vec![
            if judged { keeps(0.05, larger) } else { beside(larger) },
            beside("asymptotic CS, 1,000 values, Welch's variance"),
        ],
        run: Box::new(move |random, alarms| {
            let [larger, welch] = alarms else { return };
            let (mut canary, mut control) = (ValueSums::default(), ValueSums::default());
            for look in 1..=300_u64 {
                for _ in 0..200 {
                    let arm = if random.chance(0.1) { &mut canary } else { &mut control };
                    arm.record(draw(random), cap);
                }
                let Ok(Some(stage)) = Difference::means(canary.moments(), control.moments()) else {
                    continue;
                };
                let sum = Stages::of(&[stage]);
                let by = |variance| {
                    Effect::new(sum.difference, variance, tau)
                        .is_ok_and(|e| e.evidence().rejects(level(0.05)))
                };
                note(larger, look * 200, || sum.is_ready() && by(sum.variance()));
                note(welch, look * 200, || sum.is_ready() && by(sum.welch));
            }
        }),
    }
}

/// Blocks of time, whose differences are skewed now and then.
fn blocks() -> Trial {
    Trial {
        setting: "switchback, up to 200 pairs of blocks, a look after each from the 20th on",
        methods: vec![keeps(0.05, "asymptotic CS of pairs")],
        run: Box::new(|random, alarms| {
            let [pairs] = alarms else { return };
            let mut differences = Vec::new();
            for pair in 0..200_u64 {
                // What drifts within a pair favours either half alike, as chance says which is the canary's.
                let drift = 0.5 + random.normal().exp();
                let sign = if switchback::is_canary(random.bits(), pair * 2) { 1.0 } else { -1.0 };
                differences.push(sign * drift + random.normal());
                if differences.len() >= switchback::PAIRS {
                    note(pairs, pair, || {
                        switchback::effect(&differences, 0.4).is_ok_and(|e| e.evidence().rejects(level(0.05)))
                    });
                }
            }
        }),
    }
}

/// Five planned looks, and the same bound of 1.96 at each of them.
fn planned() -> Trial {
    let times = [0.2, 0.4, 0.6, 0.8, 1.0];
    let at = |spending| bounds(spending, &times, level(0.05)).expect("times that ascend");
    let (fleming, pocock) = (at(Spending::OBrienFleming), at(Spending::Pocock));
    let methods: Vec<Method> = vec![
        keeps(0.05, "O'Brien and Fleming's spending"),
        keeps(0.05, "Pocock's spending"),
        beside("1.96 at each look"),
    ];
    Trial {
        setting: "five planned looks",
        methods,
        run: Box::new(move |random, alarms| {
            let [one, two, plain] = alarms else { return };
            let mut sum = 0.0;
            for (look, (fleming, pocock)) in fleming.iter().zip(&pocock).enumerate() {
                sum += random.normal();
                let z = f64::abs(sum) / ((look + 1) as f64).sqrt();
                let look = look as u64;
                note(one, look, || z >= *fleming);
                note(two, look, || z >= *pocock);
                note(plain, look, || z >= 1.96);
            }
        }),
    }
}
