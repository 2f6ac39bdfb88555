//! From counts to a verdict, with its evidence.
//!
//! Verdicts are looked for in this order: [`Verdict::Harm`] (rolling back is safe also when nothing else can be said), then
//! [`Verdict::Mismatch`], [`Verdict::Timeout`], [`Verdict::Success`], [`Verdict::Step`], [`Verdict::Wait`]. It may be asked at any
//! time and as often as one likes.
//!
//! - Harm of any guardrail to any variant shares one level (Bonferroni on e-values); it is looked for against no difference at all.
//! - A step that waits until it is safe, and nothing but that, needs each guardrail shown non-inferior, each at the full level.
//! - The largest evidence of earlier looks is given back and asked for again ([`Memory`]): what was enough once stays so.
//!
//! "No data" is a state of its own, and never a failure or a success.

pub mod finding;
pub mod settings;

use std::time::Duration;

use crate::count::sums::{GroupSums, ValueSums};
use crate::error::Error;
use crate::evidence::{Evidence, Running};
use crate::kernel::Concentration;
use crate::mismatch;
use crate::share::Shares;
use finding::{Finding, State};
use settings::{Advance, Role, Settings};

/// What was counted while shares were the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Of the weights that decided.
    pub epoch: u32,
    /// The shares of all variants, control first.
    pub shares: Shares,
    /// The variants, in the same order.
    pub arms: Vec<Arm>,
}

/// What was counted of one variant in a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Arm {
    /// Requests that it was chosen for; units where they stick.
    pub exposed: u64,
    /// What was observed of each metric, in the order of the settings.
    pub metrics: Vec<Observation>,
}

/// What was observed of a metric.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// Events, at most one for each unit of assignment, of so many units.
    Events {
        /// Units with the event.
        events: u64,
        /// All units.
        units: u64,
    },
    /// Requests between edges, fastest first ([`crate::latency::between`]).
    Buckets(Vec<u64>),
    /// Values of a response's field.
    Values(ValueSums),
    /// Sums of random groups of units.
    Groups(GroupSums),
}

/// Where the experiment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Which step it is at.
    pub step: usize,
    /// How long it has run, without the warm-up.
    pub elapsed: Duration,
    /// How long the step has run.
    pub in_step: Duration,
    /// Whether someone has opened the gate of the step.
    pub gate_open: bool,
}

/// The largest evidence of earlier looks, which is kept with the experiment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Memory {
    /// That shares are not kept.
    pub mismatch: Running,
    /// Of each metric and each variant but control, as [`Decision::findings`] are ordered.
    pub findings: Vec<Running>,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A guardrail is harmed by a variant.
    Harm {
        /// Which metric.
        metric: usize,
        /// Which variant.
        variant: usize,
    },
    /// Variants are not chosen by their shares: nothing can be said of them.
    Mismatch,
    /// The longest duration is over.
    Timeout,
    /// The last step is done and the goal, if there is one, reached.
    Success {
        /// By which variant.
        variant: usize,
    },
    /// The step is done.
    Step,
    /// Nothing yet.
    Wait(Waiting),
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Exposures: none at all, or fewer in this step than it asks for.
    Exposures,
    /// The step's time.
    Time,
    /// The shortest duration of the experiment.
    MinimumDuration,
    /// That a guardrail is shown to be safe.
    Safety,
    /// That someone opens the gate.
    Gate,
    /// That the goal is reached.
    Goal,
}

/// A verdict with its evidence.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What follows.
    pub verdict: Verdict,
    /// The evidence of each metric and each variant but control: all variants of the first metric first.
    pub findings: Vec<Finding>,
    /// The evidence that shares are not kept.
    pub mismatch: Evidence,
    /// The largest evidence, to be given to the next look.
    pub memory: Memory,
}

/// What follows from what was counted. Stages come in the order of their epochs; the last one is the present step's.
///
/// An error where there is no stage, where a stage has not the metrics or variants that the settings or other stages have, where
/// an observation is not of its metric's kind, where events are more than units, or where the memory is that of another experiment.
pub fn decide(
    settings: &Settings,
    stages: &[Stage],
    progress: &Progress,
    memory: &Memory,
) -> Result<Decision, Error> {
    let treatments = check(settings, stages)? - 1;
    let expected = settings.metrics().len() * treatments;
    let remembered = memory.findings.len();
    if remembered != 0 && remembered != expected {
        return Err(Error::Length { what: "remembered findings", found: remembered, expected });
    }
    let mut next = Memory { mismatch: memory.mismatch, findings: memory.findings.clone() };
    let counts: Vec<Vec<u64>> =
        stages.iter().map(|stage| stage.arms.iter().map(|arm| arm.exposed).collect()).collect();
    let exposures =
        counts.iter().zip(stages).map(|(counts, stage)| mismatch::Stage { counts, shares: &stage.shares });
    let mismatch = mismatch::evidence(exposures, Concentration::RATIO)?;
    next.mismatch.observe(mismatch);

    next.findings.resize(expected, Running::default());
    let mut findings = Vec::with_capacity(expected);
    for metric in 0..settings.metrics().len() {
        for variant in 1..=treatments {
            let mut largest = next.findings.get(findings.len()).copied().unwrap_or_default();
            findings.push(finding::find(settings, stages, (metric, variant), treatments, &mut largest)?);
            if let Some(known) = next.findings.get_mut(findings.len() - 1) {
                *known = largest;
            }
        }
    }
    let verdict = verdict(settings, stages, progress, &findings, next.mismatch);
    Ok(Decision { verdict, findings, mismatch, memory: next })
}

/// How many variants there are: two at least.
fn check(settings: &Settings, stages: &[Stage]) -> Result<usize, Error> {
    let Some(first) = stages.first() else {
        return Err(Error::Length { what: "stages", found: 0, expected: 1 });
    };
    let variants = first.shares.get().len();
    for stage in stages {
        for found in [stage.arms.len(), stage.shares.get().len()] {
            if found != variants {
                return Err(Error::Length { what: "variants of a stage", found, expected: variants });
            }
        }
        for arm in &stage.arms {
            let (found, expected) = (arm.metrics.len(), settings.metrics().len());
            if found != expected {
                return Err(Error::Length { what: "observations of a variant", found, expected });
            }
        }
    }
    Ok(variants)
}

fn verdict(
    settings: &Settings,
    stages: &[Stage],
    progress: &Progress,
    findings: &[Finding],
    mismatch: Running,
) -> Verdict {
    if let Some(harmed) = findings.iter().find(|finding| finding.state == State::Harmed) {
        return Verdict::Harm { metric: harmed.metric, variant: harmed.variant };
    }
    if mismatch.largest().rejects(settings.budgets().mismatch) {
        return Verdict::Mismatch;
    }
    if progress.elapsed >= settings.max_duration() {
        return Verdict::Timeout;
    }
    match step(settings, stages, progress, findings) {
        Err(waiting) => Verdict::Wait(waiting),
        Ok(()) if progress.step + 1 < settings.steps().len() => Verdict::Step,
        Ok(()) if progress.elapsed < settings.min_duration() => Verdict::Wait(Waiting::MinimumDuration),
        Ok(()) => winner(settings, findings)
            .map_or(Verdict::Wait(Waiting::Goal), |variant| Verdict::Success { variant }),
    }
}

/// Whether the present step is done, or what it waits for.
fn step(
    settings: &Settings,
    stages: &[Stage],
    progress: &Progress,
    findings: &[Finding],
) -> Result<(), Waiting> {
    // A step beyond the last one asks for what the last one does.
    let Some(step) = settings.steps().get(progress.step).or(settings.steps().last()) else { return Ok(()) };
    let treatments = stages.last().map_or(&[][..], |stage| stage.arms.get(1..).unwrap_or_default());
    let least = treatments.iter().map(|arm| arm.exposed).min().unwrap_or(0);
    if least < step.at_least.max(1) {
        return Err(Waiting::Exposures);
    }
    if progress.in_step < step.duration {
        return Err(Waiting::Time);
    }
    let guardrail = |finding: &&Finding| {
        settings
            .metrics()
            .get(finding.metric)
            .is_some_and(|metric| matches!(metric.role, Role::Guardrail { .. }))
    };
    if step.advance == Advance::WhenSafe
        && !findings.iter().filter(guardrail).all(|finding| finding.state == State::Safe)
    {
        return Err(Waiting::Safety);
    }
    if step.gate && !progress.gate_open {
        return Err(Waiting::Gate);
    }
    Ok(())
}

/// The variant whose goal is reached with the most evidence; the first treatment where there is no goal.
fn winner(settings: &Settings, findings: &[Finding]) -> Option<usize> {
    let Some(goal) = settings.metrics().iter().position(|metric| metric.role == Role::Goal) else {
        return Some(1);
    };
    let reached = findings.iter().filter(|finding| finding.metric == goal && finding.state == State::Reached);
    reached
        .max_by(|one, other| one.largest.log().total_cmp(&other.largest.log()))
        .map(|finding| finding.variant)
}

#[cfg(test)]
mod tests;
