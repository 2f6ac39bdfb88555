//! What was tried, what must be, and what was seen.

use std::fmt::{self, Display};

/// Who attacks: the actors of SECURITY.md.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Actor {
    /// A client without an identity in the mesh, on the same network.
    Stranger,
    /// A workload of the mesh that does what its attacker wants, with its own valid certificate.
    Workload,
    /// Someone who writes resources of one namespace.
    Tenant,
    /// Someone who holds a token or certificate that is not theirs.
    Thief,
    /// Someone who operates the mesh and makes a mistake.
    Operator,
}

impl Display for Actor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Stranger => "stranger",
            Self::Workload => "workload",
            Self::Tenant => "tenant",
            Self::Thief => "thief",
            Self::Operator => "operator",
        })
    }
}

/// One attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) actor: Actor,
    /// What is tried.
    pub(crate) what: &'a str,
    /// What must be seen.
    pub(crate) expected: &'a str,
}

/// The attempts of a run, printed as they end.
#[derive(Debug, Default)]
pub(crate) struct Report {
    held: u32,
    broken: u32,
    skipped: u32,
}

impl Report {
    /// Records an attempt: `held` says whether what must be was seen.
    pub(crate) fn record(&mut self, attempt: Attempt<'_>, held: bool, seen: impl Display) {
        let verdict = if held {
            self.held += 1;
            "held"
        } else {
            self.broken += 1;
            "BROKEN"
        };
        let Attempt { actor, what, expected } = attempt;
        println!(
            "  {verdict:6}  {actor:8}  {what}\n{:18}expected: {expected}\n{:18}seen:     {seen}",
            "", ""
        );
    }

    /// Records that a group can't be tried here.
    pub(crate) fn skip(&mut self, what: &str, why: &str) {
        self.skipped += 1;
        println!("  skipped {what}: {why}");
    }

    /// Prints the sums. Whether no attempt succeeded.
    pub(crate) fn finish(self) -> bool {
        println!("\nattacks: {} passed, {} failed, {} skipped", self.held, self.broken, self.skipped);
        self.broken == 0
    }
}
