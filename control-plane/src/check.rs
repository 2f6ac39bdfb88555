//! Checking a folder without running anything.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::Error;
use crate::index::Index;
use crate::source::{Diagnostic, Folder, Registered, in_order, lint, read};
use weft_resource::{Key, Object, Severity};

/// What is wrong with a folder of resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What would be refused.
    pub errors: Vec<Diagnostic>,
    /// What would be taken, and would probably not do what was meant.
    pub warnings: Vec<Diagnostic>,
    /// How many resources are right, by kind.
    pub resources: BTreeMap<String, usize>,
}

impl Report {
    /// Whether everything would be taken.
    pub fn is_ok(&self) -> bool {
        self.errors.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.errors {
            writeln!(f, "error: {error}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        let counted =
            |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let total = self.resources.values().sum();
        write!(f, "{}", counted(total, "resource"))?;
        if total > 0 {
            let kinds: Vec<String> =
                self.resources.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            write!(f, " ({})", kinds.join(", "))?;
        }
        write!(f, ", {}, {}", counted(self.errors.len(), "error"), counted(self.warnings.len(), "warning"))
    }
}

/// Checks a folder as the control plane would read it.
///
/// Fails only when the folder can't be read; what is wrong in it is in the report.
pub fn check(path: &Path) -> Result<Report, Error> {
    folder(path).map(|(_, report)| report)
}

/// What is in force of a folder, and what is wrong with it.
pub(crate) fn folder(path: &Path) -> Result<(BTreeMap<Key, Arc<Object>>, Report), Error> {
    let texts = read(path).map_err(|source| Error::Path {
        what: "configuration folder",
        path: path.to_owned(),
        source,
    })?;
    let outcome = Folder::default().update(texts);
    let mut report = Report::default();
    for object in outcome.objects.values() {
        *report.resources.entry(object.key.kind.to_string()).or_default() += 1;
    }
    let mut index = Index::default();
    index.set_objects(&outcome.objects);
    let mut diagnostics = outcome.diagnostics;
    diagnostics.extend(outcome.places.locate(lint(&index, Registered::Unknown)));
    in_order(&mut diagnostics);
    (report.errors, report.warnings) =
        diagnostics.into_iter().partition(|diagnostic| diagnostic.severity == Severity::Error);
    Ok((outcome.objects, report))
}
