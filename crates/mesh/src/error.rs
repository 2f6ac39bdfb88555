//! The one error of this crate.

use std::borrow::Cow;

/// A value that this crate refused, where it stood, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A value breaks the rule for its kind.
    #[error("{what} {value:?}: {problem}")]
    Invalid {
        /// The kind of value, such as `trust domain`.
        what: &'static str,
        /// The value as it was given.
        value: String,
        /// The rule that it breaks, as an instruction.
        problem: Cow<'static, str>,
    },
    /// An error together with the place where its cause was written.
    #[error("{place}: {source}")]
    Within {
        /// The place, such as `HTTPRoute shop/cart rule 2`.
        place: String,
        /// What is wrong there.
        source: Box<Error>,
    },
}

impl Error {
    /// A value that breaks the rule for its kind.
    pub fn invalid(
        what: &'static str,
        value: impl Into<String>,
        problem: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Invalid { what, value: value.into(), problem: problem.into() }
    }

    /// Adds the place where the cause was written.
    #[must_use]
    pub fn within(self, place: impl Into<String>) -> Self {
        Self::Within { place: place.into(), source: Box::new(self) }
    }
}
