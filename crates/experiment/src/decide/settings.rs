//! What an experiment is judged by. Fixed before its data.

use std::time::Duration;

use crate::error::{Error, positive};
use crate::evidence::Level;

/// A metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// What it is called.
    pub name: String,
    /// How it is tested.
    pub method: Method,
    /// Which way is better.
    pub better: Better,
    /// What it decides.
    pub role: Role,
}

/// How a metric is tested.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// Whose events they are ([`crate::label`]): failures, slow requests, conversions of up to a tenth of the units.
    Label,
    /// The whole distribution of latencies, by counts between edges that control's warm-up gave ([`crate::latency::edges`]): it
    /// finds a shift sooner than requests slower than the median do. It alarms where more requests than due are on the tested
    /// side of the edges; estimate, interval and margin are of the ratio of requests slower than the middle edge.
    Omnibus,
    /// The difference of proportions, for events of more than a tenth of the units. `tau` is the smallest difference that is worth
    /// acting on.
    Proportion {
        /// In parts of one.
        tau: f64,
    },
    /// The difference of means of capped values.
    Mean {
        /// The smallest difference that is worth acting on, in the metric's unit.
        tau: f64,
    },
    /// The difference of ratios over random groups of units that stick.
    Groups {
        /// The smallest difference that is worth acting on, in the metric's unit.
        tau: f64,
    },
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Fewer events, lower values.
    Lower,
    /// More events, higher values.
    Higher,
}

/// What a metric decides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Role {
    /// It must not get worse.
    Guardrail {
        /// How much worse is still safe: a part of control's rate for [`Method::Label`] and [`Method::Omnibus`], in the metric's unit
        /// for others.
        margin: f64,
    },
    /// It shall get better.
    Goal,
    /// It is shown.
    Shown,
}

/// A step of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Step {
    /// How long it lasts at least.
    pub duration: Duration,
    /// To how many units each variant but control must have been exposed in it; at least one.
    pub at_least: u64,
    /// When it may end.
    pub advance: Advance,
    /// Whether someone has to let it end.
    pub gate: bool,
}

/// When a step may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Advance {
    /// When nothing is harmed.
    #[default]
    UnlessHarmed,
    /// When each guardrail is shown to be safe.
    WhenSafe,
}

/// Chances of being wrong that are accepted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budgets {
    /// Of any alarm of harm.
    pub harm: Level,
    /// Of a goal that is no better, and of each guardrail that is called safe and is not.
    pub goal: Level,
    /// Of a mismatch that is none.
    pub mismatch: Level,
}

/// What an experiment is judged by.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    metrics: Vec<Metric>,
    steps: Vec<Step>,
    budgets: Budgets,
    min_duration: Duration,
    max_duration: Duration,
}

impl Settings {
    /// Metrics and steps, with a shortest and a longest duration, and levels of 0.01 for harm, 0.05 for the goal and 0.001 for a
    /// mismatch. An error unless there is a step, at most one goal, and margins and smallest differences are finite and above 0.
    pub fn new(
        metrics: Vec<Metric>,
        steps: Vec<Step>,
        min_duration: Duration,
        max_duration: Duration,
    ) -> Result<Self, Error> {
        if steps.is_empty() {
            return Err(Error::Length { what: "steps", found: 0, expected: 1 });
        }
        let goals = metrics.iter().filter(|metric| metric.role == Role::Goal).count();
        if goals > 1 {
            return Err(Error::OutOfRange {
                what: "the number of goals",
                value: goals as f64,
                allowed: "0 or 1",
            });
        }
        for metric in &metrics {
            if let Role::Guardrail { margin } = metric.role {
                positive("the margin of a guardrail", margin)?;
            }
            if let Method::Proportion { tau } | Method::Mean { tau } | Method::Groups { tau } = metric.method
            {
                positive("the smallest difference worth acting on", tau)?;
            }
        }
        let budgets =
            Budgets { harm: Level::new(0.01)?, goal: Level::new(0.05)?, mismatch: Level::new(0.001)? };
        Ok(Self { metrics, steps, budgets, min_duration, max_duration })
    }

    /// The same with other levels.
    #[must_use]
    pub fn with_budgets(self, budgets: Budgets) -> Self {
        Self { budgets, ..self }
    }

    /// The metrics.
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// The steps, one at least.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The levels.
    pub fn budgets(&self) -> Budgets {
        self.budgets
    }

    /// How long it runs before it may succeed.
    pub fn min_duration(&self) -> Duration {
        self.min_duration
    }

    /// When it ends undecided.
    pub fn max_duration(&self) -> Duration {
        self.max_duration
    }

    /// The level of each alarm of harm, of so many variants but control.
    pub(crate) fn harm(&self, treatments: usize) -> Level {
        let guardrails =
            self.metrics.iter().filter(|metric| matches!(metric.role, Role::Guardrail { .. })).count();
        self.budgets.harm.divided_by(guardrails * treatments)
    }
}
