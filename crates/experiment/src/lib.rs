//! Experiments whose numbers hold: statistics, counts and decisions, without I/O, clock or randomness of its own.
//!
//! Variants are chosen by us, with a probability that is known exactly. If they do not differ, an event is the canary's with that
//! probability, whatever rates do meanwhile. So events are counted by variant, and the tests ask whose they are. All of them hold at
//! every look: evidence is an e-value, and a p-value is one divided by the largest so far.
//!
//! | question | module |
//! |---|---|
//! | whose are the events, in one stage or over a ramp | [`kernel`], [`label`] |
//! | are variants chosen by their shares | [`mismatch`] |
//! | which mean or proportion is larger, by how much | [`asymptotic`], [`difference`] |
//! | the same for users who stick to a variant | [`groups`], with [`covariate`] and [`regression`] |
//! | who is slower | [`latency`], [`quantile`], [`sketch`] |
//! | several metrics at once | [`multiple`] |
//! | both get the same request, or take turns | [`shadow`], [`switchback`] |
//! | shares that follow success | [`bandit`] |
//! | how long will it take | [`plan`], with [`random`] |
//! | bounds with a proof at any size; planned looks | [`bound`], [`weighted`], [`betting`], [`spending`] |
//! | what proxies count, and how it is merged | [`count`] |
//! | what follows: roll back, wait, take a step, promote | [`decide`] |
//!
//! Rules that the modules rest on: one event for each unit of assignment; a change of shares is a new stage, and stages are
//! multiplied, never pooled; the parameters of a test are fixed before its data.
//!
//! # Counts in, verdict out
//!
//! A canary at 10 % fails 2 % of its requests, control half a percent:
//!
//! ```
//! use std::time::Duration;
//!
//! use weft_experiment::count::ledger::{Ledger, Source};
//! use weft_experiment::count::outcomes::Outcomes;
//! use weft_experiment::count::Counts;
//! use weft_experiment::decide::{self, Arm, Memory, Observation, Progress, Stage, Verdict};
//! use weft_experiment::decide::settings::{Better, Method, Metric, Role, Settings, Step};
//! use weft_experiment::Shares;
//!
//! // What the proxies said: each its own counts since it started, the second one twice.
//! let mut ledger = Ledger::default();
//! let counts = |exposed, failed| Counts {
//!     outcomes: Outcomes { exposed, ok: exposed - failed, failed, ..Outcomes::default() },
//!     ..Counts::default()
//! };
//! ledger.record(Source { instance: 1, epoch: 1, variant: 0 }, 1, &counts(5_400, 27));
//! ledger.record(Source { instance: 2, epoch: 1, variant: 1 }, 1, &counts(310, 5));
//! ledger.record(Source { instance: 2, epoch: 1, variant: 1 }, 2, &counts(600, 12));
//!
//! let totals = ledger.totals();
//! let arm = |variant| {
//!     let outcomes = totals[&(1, variant)].outcomes;
//!     outcomes.check()?;
//!     let events = Observation::Events { events: outcomes.failed, units: outcomes.exposed };
//!     Ok::<_, weft_experiment::Error>(Arm { exposed: outcomes.exposed, metrics: vec![events] })
//! };
//! let stage = Stage { epoch: 1, shares: Shares::of_weights(&[90, 10])?, arms: vec![arm(0)?, arm(1)?] };
//!
//! let errors = Metric {
//!     name: "errors".into(),
//!     method: Method::Label,
//!     better: Better::Lower,
//!     role: Role::Guardrail { margin: 0.1 },
//! };
//! let settings = Settings::new(vec![errors], vec![Step::default()], Duration::ZERO, Duration::from_secs(86_400))?;
//! let progress = Progress { elapsed: Duration::from_secs(30), in_step: Duration::from_secs(30), ..Progress::default() };
//! let decision = decide::decide(&settings, &[stage], &progress, &Memory::default())?;
//! assert_eq!(decision.verdict, Verdict::Harm { metric: 0, variant: 1 });
//! assert!(decision.findings[0].p < 0.01);
//! # Ok::<(), weft_experiment::Error>(())
//! ```

mod error;
mod numeric;

pub mod asymptotic;
pub mod bandit;
pub mod betting;
pub mod bound;
pub mod count;
pub mod covariate;
pub mod decide;
pub mod difference;
pub mod evidence;
pub mod groups;
pub mod kernel;
pub mod label;
pub mod latency;
pub mod mismatch;
pub mod multiple;
pub mod plan;
pub mod quantile;
pub mod random;
pub mod regression;
pub mod shadow;
pub mod share;
pub mod sketch;
pub mod special;
pub mod spending;
pub mod switchback;
pub mod weighted;

pub use error::Error;
pub use evidence::{Evidence, Interval, Level};
pub use share::{Share, Shares};
