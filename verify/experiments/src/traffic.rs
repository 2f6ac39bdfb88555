//! Traffic of two arms.

use std::f64::consts::PI;

use weft_experiment::label::{Prior, Side, Stage as Labels, evidence, evidence_at_most};
use weft_experiment::random::Random;
use weft_experiment::{Level, Share};

/// Units and events of both arms of one stage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) share: Share,
    /// The canary's events and units.
    pub(crate) canary: (u64, u64),
    /// Control's events and units.
    pub(crate) control: (u64, u64),
}

impl Counts {
    pub(crate) fn new(percent: f64) -> Self {
        Self { share: share(percent / 100.0), canary: (0, 0), control: (0, 0) }
    }

    /// Assigns so many units, with the chance of an event in each arm.
    pub(crate) fn add(&mut self, random: &mut Random, units: u64, canary: f64, control: f64) {
        let own = random.binomial(units, self.share.get());
        self.canary.1 += own;
        self.control.1 += units - own;
        self.canary.0 += random.binomial(own, canary);
        self.control.0 += random.binomial(units - own, control);
    }

    pub(crate) fn labels(&self) -> Labels {
        Labels { share: self.share, canary: self.canary.0, control: self.control.0 }
    }
}

pub(crate) fn share(share: f64) -> Share {
    Share::new(share).expect("the shares of trials are between 0 and 1")
}

pub(crate) fn level(level: f64) -> Level {
    Level::new(level).expect("the levels of trials are between 0 and 1")
}

/// Whether the label test rejects that the arms do not differ.
pub(crate) fn label_rejects(stages: &[Labels], side: Side, level: Level) -> bool {
    label_rejects_ratio(stages, side, level, 1.0)
}

/// Whether the label test rejects a ratio of rates.
pub(crate) fn label_rejects_ratio(stages: &[Labels], side: Side, level: Level, null: f64) -> bool {
    evidence_at_most(stages, side, null).rejects(level)
        && evidence(stages, &Prior::default(), side, null).is_ok_and(|evidence| evidence.rejects(level))
}

/// A rate that falls over the time from 0 to 1, from 4 % to 0.2 %.
pub(crate) fn falling(time: f64) -> f64 {
    0.04 * 0.05_f64.powf(time)
}

/// A rate that goes up and down once a day, in a run of three days.
pub(crate) fn daily(time: f64) -> f64 {
    0.01 * (1.0 + 0.8 * (6.0 * PI * time).sin())
}

/// Whether a z statistic of events of both arms is beyond 1.96: what people look at who do not wait.
pub(crate) fn z_rejects(stages: &[Counts]) -> bool {
    z(stages).abs() > 1.96
}

/// The z statistic of all stages together.
pub(crate) fn z(stages: &[Counts]) -> f64 {
    let sum = |of: fn(&Counts) -> u64| stages.iter().map(of).sum::<u64>() as f64;
    let (k1, n1) = (sum(|stage| stage.canary.0), sum(|stage| stage.canary.1));
    let (k0, n0) = (sum(|stage| stage.control.0), sum(|stage| stage.control.1));
    let both = (k1 + k0) / (n1 + n0);
    let variance = both * (1.0 - both) * (1.0 / n1 + 1.0 / n0);
    if variance > 0.0 { (k1 / n1 - k0 / n0) / variance.sqrt() } else { 0.0 }
}
