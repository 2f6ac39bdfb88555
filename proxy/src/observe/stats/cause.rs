//! Why a request or a connection did not end with a whole answer of its destination.

use weft_mesh::reason::Reason;

/// The counterpart of Envoy's response flags: what is behind an end that was not the destination's own answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A proxy, this one or the one at the destination, answered in the destination's place, or the answer broke off.
    Failed(Reason),
    /// A fault filter answered.
    FaultAbort,
    /// A redirect filter answered.
    Redirect,
    /// The CORS filter answered a preflight request.
    CorsPreflight,
    /// The request was for this proxy itself: it may be forwarded no more (RFC 9110, section 7.6.2).
    MaxForwards,
    /// The client went away before the end of the answer.
    Cancelled,
}

impl Cause {
    /// How many there are.
    pub const COUNT: usize = Reason::ALL.len() + 5;

    /// Each of them once.
    pub fn all() -> impl Iterator<Item = Self> {
        let own = [Self::FaultAbort, Self::Redirect, Self::CorsPreflight, Self::MaxForwards, Self::Cancelled];
        Reason::ALL.into_iter().map(Self::Failed).chain(own)
    }

    /// Its position, for tables of counters.
    pub const fn index(self) -> usize {
        match self {
            Self::Failed(reason) => reason.index(),
            Self::FaultAbort => Reason::ALL.len(),
            Self::Redirect => Reason::ALL.len() + 1,
            Self::CorsPreflight => Reason::ALL.len() + 2,
            Self::MaxForwards => Reason::ALL.len() + 3,
            Self::Cancelled => Reason::ALL.len() + 4,
        }
    }

    /// The value of the label `reason`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Failed(reason) => reason.label(),
            Self::FaultAbort => "fault_abort",
            Self::Redirect => "redirect",
            Self::CorsPreflight => "cors_preflight",
            Self::MaxForwards => "max_forwards",
            Self::Cancelled => "cancelled",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_cause_has_its_own_label_and_place() {
        for (position, cause) in Cause::all().enumerate() {
            assert_eq!(cause.index(), position);
        }
        let labels: BTreeSet<_> = Cause::all().map(Cause::label).collect();
        assert_eq!((labels.len(), Cause::all().count()), (Cause::COUNT, Cause::COUNT));
    }
}
