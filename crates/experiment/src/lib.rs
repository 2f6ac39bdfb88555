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
//!
//! Rules that the modules rest on: one event for each unit of assignment; a change of shares is a new stage, and stages are
//! multiplied, never pooled; the parameters of a test are fixed before its data.

mod error;
mod numeric;

pub mod asymptotic;
pub mod bandit;
pub mod betting;
pub mod bound;
pub mod covariate;
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
