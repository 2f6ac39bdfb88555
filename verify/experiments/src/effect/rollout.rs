//! Whole decisions over a rollout in steps.

use std::time::Duration;

use weft_experiment::Shares;
use weft_experiment::decide::settings::{Better, Method, Metric, Role, Settings, Step};
use weft_experiment::decide::{Arm, Memory, Observation, Progress, Stage, Verdict, decide};
use weft_experiment::random::Random;

use crate::traffic::falling;
use crate::trial::{Trial, beside, keeps};

/// What a canary is like: how many times as often each of its three events happens.
pub(crate) struct Canary {
    ratios: [f64; 3],
}

impl Canary {
    pub(crate) const GOOD: Self = Self { ratios: [1.0, 1.0, 1.0] };
    pub(crate) const BAD: Self = Self { ratios: [4.0, 1.0, 1.0] };
}

/// Requests between looks, one second apart.
const BATCH: u64 = 400;
/// Looks of a step.
const LOOKS: u64 = 50;
const STEPS: [u32; 3] = [1, 10, 50];

fn settings() -> Settings {
    let metric = |name: &str| Metric {
        name: name.to_owned(),
        method: Method::Label,
        better: Better::Lower,
        role: Role::Guardrail { margin: 0.25 },
    };
    let step = Step { duration: Duration::from_secs(LOOKS), ..Step::default() };
    let metrics = ["errors", "slow", "throttled"].map(metric).to_vec();
    Settings::new(metrics, vec![step; STEPS.len()], Duration::ZERO, Duration::from_hours(1))
        .expect("metrics with margins, and steps")
}

/// One look's requests of a stage.
fn send(random: &mut Random, stage: &mut Stage, percent: u32, ratios: [f64; 3], time: f64) {
    let own = random.binomial(BATCH, f64::from(percent) / 100.0);
    // Errors of 0.5 % in the middle, slow requests of 1 %, throttled ones between 4 and 0.2 %.
    let rates = [0.005 * (1.5 - time), 0.01, falling(time)];
    for (arm, units, canary) in [(0, BATCH - own, false), (1, own, true)] {
        let Some(arm) = stage.arms.get_mut(arm) else { continue };
        arm.exposed += units;
        for (index, observation) in arm.metrics.iter_mut().enumerate() {
            let Observation::Events { events, units: all } = observation else { continue };
            *events += random.binomial(units, rates[index] * if canary { ratios[index] } else { 1.0 });
            *all += units;
        }
    }
}

/// The verdicts of a rollout. Good canaries are judged by their alarms, bad ones by when they are rolled back.
pub(crate) fn trial(name: &'static str, canary: &'static Canary) -> Trial {
    let good = canary.ratios == Canary::GOOD.ratios;
    let method = |level, name| if good { keeps(level, name) } else { beside(name) };
    Trial {
        setting: name,
        methods: vec![
            method(0.01, "rolled back for harm"),
            method(0.001, "stopped for a mismatch"),
            beside("promoted"),
        ],
        run: Box::new(|random, alarms| {
            let [harm, mismatch, promoted] = alarms else { return };
            let settings = settings();
            let mut memory = Memory::default();
            let mut stages: Vec<Stage> = Vec::new();
            let mut sent = 0;
            for (step, percent) in STEPS.into_iter().enumerate() {
                let events = Observation::Events { events: 0, units: 0 };
                let arm = Arm { exposed: 0, metrics: vec![events; 3] };
                let shares = Shares::of_weights(&[100 - percent, percent]).expect("two weights");
                stages.push(Stage { epoch: step as u32, shares, arms: vec![arm; 2] });
                for look in 1..=LOOKS {
                    let time = sent as f64 / (BATCH * LOOKS * STEPS.len() as u64) as f64;
                    if let Some(stage) = stages.last_mut() {
                        send(random, stage, percent, canary.ratios, time);
                    }
                    sent += BATCH;
                    let in_step = Duration::from_secs(look);
                    let progress = Progress { step, elapsed: in_step, in_step, gate_open: false };
                    let Ok(decision) = decide(&settings, &stages, &progress, &memory) else { return };
                    memory = decision.memory;
                    let slot = match decision.verdict {
                        Verdict::Harm { .. } => &mut *harm,
                        Verdict::Mismatch => &mut *mismatch,
                        Verdict::Success { .. } => &mut *promoted,
                        _ => continue,
                    };
                    *slot = Some(sent as f64);
                    return;
                }
            }
        }),
    }
}
