//! What is wrong with an argument.

/// Why a method can't take its arguments.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// A number is outside of what the method is defined for.
    #[error("{what} is {value}: it must be {allowed}")]
    OutOfRange {
        /// The argument.
        what: &'static str,
        /// Its value.
        value: f64,
        /// What it may be.
        allowed: &'static str,
    },
    /// A part is larger than the whole that it belongs to.
    #[error("{what} are {part} of {whole}: a part can't be more than all")]
    MoreThanAll {
        /// What is counted.
        what: &'static str,
        /// The part.
        part: u64,
        /// The whole.
        whole: u64,
    },
    /// Two lists belong together and differ in length, or one is too short.
    #[error("there are {found} {what} where {expected} are needed")]
    Length {
        /// What is listed.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there must be, at least.
        expected: usize,
    },
    /// Shares that do not divide the whole.
    #[error("the shares add up to {sum}: they must add up to 1")]
    Shares {
        /// Their sum.
        sum: f64,
    },
    /// What was observed is not what a metric's method takes.
    #[error("the method of metric {metric:?} takes {expected}, and something else was observed")]
    Observation {
        /// The metric's name.
        metric: String,
        /// What its method takes.
        expected: &'static str,
    },
    /// Requests that neither ended nor are under way: reports are missing.
    #[error("{exposed} requests were exposed, but {accounted} ended or are under way: reports are missing")]
    Unbalanced {
        /// Requests that a variant was chosen for.
        exposed: u64,
        /// Requests that ended or are under way.
        accounted: u128,
    },
}

/// `value` if it is finite and `holds`.
pub(crate) fn within(
    what: &'static str,
    value: f64,
    allowed: &'static str,
    holds: impl Fn(f64) -> bool,
) -> Result<f64, Error> {
    if value.is_finite() && holds(value) {
        Ok(value)
    } else {
        Err(Error::OutOfRange { what, value, allowed })
    }
}

/// `value` if it is finite and above 0.
pub(crate) fn positive(what: &'static str, value: f64) -> Result<f64, Error> {
    within(what, value, "finite and above 0", |value| value > 0.0)
}

/// `value` if it is finite.
pub(crate) fn finite(what: &'static str, value: f64) -> Result<f64, Error> {
    within(what, value, "finite", |_| true)
}
