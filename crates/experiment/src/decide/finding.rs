//! What is found of one metric and one variant.

use super::settings::{Better, Method, Metric, Role, Settings};
use super::{Observation, Stage};
use crate::asymptotic::Effect;
use crate::difference::{self, Stages};
use crate::error::Error;
use crate::evidence::{Evidence, Interval, Running};
use crate::groups;
use crate::kernel::Concentration;
use crate::label::{self, Prior, Side};
use crate::latency;

/// What is known of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There are too few data for the method, or none.
    NoData,
    /// Neither of the others.
    Undecided,
    /// A guardrail that is shown to be worse.
    Harmed,
    /// A guardrail that is shown to be worse by less than its margin, or better.
    Safe,
    /// A goal that is shown to be better.
    Reached,
}

/// What is found of one metric and one variant, against control.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Which metric.
    pub metric: usize,
    /// Which variant.
    pub variant: usize,
    /// How it was tested.
    pub method: Method,
    /// The ratio of rates for [`Method::Label`] and [`Method::Omnibus`], the difference for others; none without data. At the end of a test that stopped
    /// by itself it is biased upwards: show the interval.
    pub estimate: Option<f64>,
    /// What is not rejected, at the goal's level.
    pub interval: Interval,
    /// Of this look: that a guardrail is worse, a goal better, another metric different.
    pub evidence: Evidence,
    /// The largest of all looks.
    pub largest: Evidence,
    /// The always-valid p-value, by the largest.
    pub p: f64,
    /// What is known.
    pub state: State,
}

/// An estimate before it is judged.
struct Judged {
    estimate: Option<f64>,
    interval: Interval,
    evidence: Evidence,
    /// Whether it is shown to be worse by less than the margin.
    safe: bool,
    enough: bool,
}

pub(super) fn find(
    settings: &Settings,
    stages: &[Stage],
    (index, variant): (usize, usize),
    treatments: usize,
    largest: &mut Running,
) -> Result<Finding, Error> {
    let metric = settings.metrics().get(index).ok_or(Error::Length {
        what: "metrics",
        found: settings.metrics().len(),
        expected: index + 1,
    })?;
    let found = match metric.method {
        Method::Label => by_label(settings, metric, stages, (index, variant))?,
        Method::Omnibus => by_omnibus(settings, metric, stages, (index, variant))?,
        Method::Proportion { tau } | Method::Mean { tau } | Method::Groups { tau } => {
            by_difference(settings, metric, stages, (index, variant), tau)?
        }
    };
    largest.observe(found.evidence);
    let state = match metric.role {
        Role::Guardrail { .. } if largest.largest().rejects(settings.harm(treatments)) => State::Harmed,
        Role::Goal if largest.largest().rejects(settings.budgets().goal.divided_by(treatments)) => {
            State::Reached
        }
        _ if !found.enough => State::NoData,
        Role::Guardrail { .. } if found.safe => State::Safe,
        _ => State::Undecided,
    };
    Ok(Finding {
        metric: index,
        variant,
        method: metric.method,
        estimate: found.estimate,
        interval: found.interval,
        evidence: found.evidence,
        largest: largest.largest(),
        p: largest.p(),
        state,
    })
}

/// Which direction is tested: worse for a guardrail, better for a goal.
fn more(metric: &Metric) -> Option<bool> {
    match metric.role {
        Role::Guardrail { .. } => Some(metric.better == Better::Lower),
        Role::Goal => Some(metric.better == Better::Higher),
        Role::Shown => None,
    }
}

fn mistaken(metric: &Metric, expected: &'static str) -> Error {
    Error::Observation { metric: metric.name.clone(), expected }
}

/// The observations of a metric in control and in a variant.
fn pair(stage: &Stage, (index, variant): (usize, usize)) -> Option<(&Observation, &Observation)> {
    Some((stage.arms.first()?.metrics.get(index)?, stage.arms.get(variant)?.metrics.get(index)?))
}

fn events(metric: &Metric, observation: &Observation) -> Result<(u64, u64), Error> {
    match observation {
        Observation::Events { events, units } if events > units => {
            Err(Error::MoreThanAll { what: "the events", part: *events, whole: *units })
        }
        Observation::Events { events, units } => Ok((*events, *units)),
        _ => Err(mistaken(metric, "counts of events")),
    }
}

fn by_label(
    settings: &Settings,
    metric: &Metric,
    stages: &[Stage],
    which: (usize, usize),
) -> Result<Judged, Error> {
    let mut labels = Vec::with_capacity(stages.len());
    for stage in stages {
        let Some((control, own)) = pair(stage, which) else { continue };
        let ((control, _), (canary, _)) = (events(metric, control)?, events(metric, own)?);
        // Without a share of one of the two, a stage does not compare them.
        if let Some(share) = stage.shares.against_control(which.1) {
            labels.push(label::Stage { share, canary, control });
        }
    }
    let side = match more(metric) {
        Some(true) => Side::More,
        Some(false) => Side::Fewer,
        None => Side::Two,
    };
    judge(settings, metric, &labels, label::evidence(&labels, &Prior::default(), side, 1.0)?)
}

/// The ratio of rates of some stages, with evidence from wherever.
fn judge(
    settings: &Settings,
    metric: &Metric,
    labels: &[label::Stage],
    evidence: Evidence,
) -> Result<Judged, Error> {
    let ratio = label::interval(labels, &Prior::default(), settings.budgets().goal)?;
    let safe = match (metric.role, metric.better) {
        (Role::Guardrail { margin }, Better::Lower) => ratio.interval.upper < 1.0 + margin,
        (Role::Guardrail { margin }, Better::Higher) => ratio.interval.lower > 1.0 - margin,
        _ => false,
    };
    let enough = labels.iter().any(|stage| stage.canary > 0 || stage.control > 0);
    Ok(Judged { estimate: ratio.estimate, interval: ratio.interval, evidence, safe, enough })
}

fn by_omnibus(
    settings: &Settings,
    metric: &Metric,
    stages: &[Stage],
    which: (usize, usize),
) -> Result<Judged, Error> {
    let (mut buckets, mut labels, mut slower) = (Vec::new(), Vec::new(), 0.0);
    for stage in stages {
        let Some((Observation::Buckets(control), Observation::Buckets(canary))) = pair(stage, which) else {
            return Err(mistaken(metric, "counts between edges"));
        };
        let Some(share) = stage.shares.against_control(which.1) else { continue };
        buckets.push(latency::Stage { share, canary, control });
        let beyond = |counts: &[u64], edge: usize| {
            counts.iter().skip(edge + 1).fold(0_u64, |sum, count| sum.saturating_add(*count))
        };
        let edges = canary.len().saturating_sub(1);
        for edge in 0..edges {
            let (own, others) = (beyond(canary, edge) as f64, beyond(control, edge) as f64);
            slower += own - share.get() * (own + others);
        }
        let middle = edges / 2;
        labels.push(label::Stage { share, canary: beyond(canary, middle), control: beyond(control, middle) });
    }
    let all = latency::omnibus(&buckets, Concentration::OMNIBUS)?;
    // What is never more than an e-value keeps its level, so evidence for the other side may be left out.
    let tested = more(metric).is_none_or(|more| more == (slower > 0.0));
    let evidence = if tested || all < Evidence::NONE { all } else { Evidence::NONE };
    judge(settings, metric, &labels, evidence)
}

fn by_difference(
    settings: &Settings,
    metric: &Metric,
    stages: &[Stage],
    which: (usize, usize),
    tau: f64,
) -> Result<Judged, Error> {
    let mut differences = Vec::with_capacity(stages.len());
    for stage in stages {
        let Some((control, own)) = pair(stage, which) else { continue };
        let found = match (metric.method, own, control) {
            (Method::Proportion { .. }, own, control) => {
                difference::Stage::proportions(events(metric, own)?, events(metric, control)?)?
            }
            (Method::Mean { .. }, Observation::Values(own), Observation::Values(control)) => {
                difference::Stage::means(own.moments(), control.moments())?
            }
            (Method::Groups { .. }, Observation::Groups(own), Observation::Groups(control)) => {
                match stage.shares.against_control(which.1) {
                    Some(share) => groups::difference(&own.sums(), &control.sums(), share)?,
                    None => None,
                }
            }
            (Method::Mean { .. }, ..) => return Err(mistaken(metric, "sums of values")),
            _ => return Err(mistaken(metric, "sums of groups")),
        };
        differences.extend(found);
    }
    let sum = Stages::of(&differences);
    if !sum.is_ready() {
        let estimate = (!differences.is_empty()).then_some(sum.difference);
        return Ok(Judged {
            estimate,
            interval: Interval::ALL,
            evidence: Evidence::NONE,
            safe: false,
            enough: false,
        });
    }
    let effect: Effect = sum.effect(tau)?;
    let interval = effect.interval(settings.budgets().goal);
    let evidence = match more(metric) {
        Some(true) => effect.evidence_greater(),
        Some(false) => effect.evidence_less(),
        None => effect.evidence(),
    };
    let safe = match (metric.role, metric.better) {
        (Role::Guardrail { margin }, Better::Lower) => interval.upper < margin,
        (Role::Guardrail { margin }, Better::Higher) => interval.lower > -margin,
        _ => false,
    };
    Ok(Judged { estimate: Some(effect.estimate()), interval, evidence, safe, enough: true })
}
