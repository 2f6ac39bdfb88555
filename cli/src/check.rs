//! What is to be said of a cluster: before Weft is installed there, and afterwards.

mod control_plane;
mod environment;
mod injector;
mod permissions;
mod protocols;
mod proxies;
mod resources;
mod security;
mod trust;

use serde::Serialize;

use crate::cluster::{Cluster, Trouble};
use crate::install::{VERSION, Values};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// It is as it should be.
    Ok,
    /// It works, and not as it might be expected; or it can't be told.
    Warning,
    /// Something does not work.
    Failure,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// Stays the same over versions.
    pub(crate) id: &'static str,
    /// What was looked at.
    pub(crate) about: String,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// What was found.
    pub(crate) found: String,
    /// What to do; empty where nothing has to be done.
    pub(crate) hint: String,
}

impl Check {
    fn ok(id: &'static str, about: &str, found: impl Into<String>) -> Self {
        Self { id, about: about.to_owned(), outcome: Outcome::Ok, found: found.into(), hint: String::new() }
    }

    fn warning(id: &'static str, about: &str, found: impl Into<String>, hint: impl Into<String>) -> Self {
        let (found, hint) = (found.into(), hint.into());
        Self { id, about: about.to_owned(), outcome: Outcome::Warning, found, hint }
    }

    fn failure(id: &'static str, about: &str, found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failure, ..Self::warning(id, about, found, hint) }
    }

    /// It can't be told: who asks may not, or the cluster does not answer.
    fn trouble(id: &'static str, about: &str, trouble: &Trouble) -> Self {
        if let Trouble::Forbidden(message) = trouble {
            return Self::warning(id, about, format!("can't tell: {message}"), "run it as somebody who may");
        }
        Self::failure(id, about, trouble.to_string(), "look at the API server: kubectl get --raw /readyz")
    }
}

/// Checks that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// What they are about.
    pub(crate) title: &'static str,
    /// The checks.
    pub(crate) checks: Vec<Check>,
}

/// Everything that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    sections: Vec<Section>,
}

/// Before Weft is installed with these values: whether it would work.
pub(crate) async fn before(cluster: &Cluster, values: &Values) -> Report {
    let mut report = Report { sections: Vec::new() };
    if !report.add("kubernetes", environment::check(cluster).await) {
        return report;
    }
    report.add("clocks", environment::clocks(cluster).await);
    report.add("permissions", permissions::check(cluster, values).await);
    report.add("pod security", security::before(cluster, values).await);
    report.add("installation", vec![control_plane::previous(cluster).await]);
    report
}

/// With Weft installed: whether everything works.
pub(crate) async fn after(cluster: &Cluster) -> Report {
    let mut report = Report { sections: Vec::new() };
    if !report.add("kubernetes", environment::check(cluster).await) {
        return report;
    }
    report.add("clocks", environment::clocks(cluster).await);
    let (checks, plane) = control_plane::check(cluster).await;
    if !report.add("control plane", checks) {
        return report;
    }
    report.add("certificates", trust::check(cluster, &plane).await);
    report.add("injector", injector::check(cluster).await);
    report.add("proxies", proxies::check(cluster, &plane).await);
    report.add("resources", resources::check(cluster, &plane).await);
    report
}

impl Report {
    /// Adds a section; false says that without what it is about there is no use in the others.
    fn add(&mut self, title: &'static str, checks: Vec<Check>) -> bool {
        let first = checks.first().is_none_or(|first| first.outcome != Outcome::Failure);
        self.sections.push(Section { title, checks });
        first
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.sections
            .iter()
            .flat_map(|section| &section.checks)
            .filter(|check| check.outcome == outcome)
            .count()
    }

    /// Whether everything works.
    pub(crate) fn is_ok(&self) -> bool {
        self.count(Outcome::Failure) == 0
    }

    /// For people; with colours where that is asked for.
    pub(crate) fn text(&self, colours: bool) -> String {
        let mut lines = Vec::new();
        for section in &self.sections {
            lines.push(section.title.to_owned());
            for check in &section.checks {
                let (word, colour) = match check.outcome {
                    Outcome::Ok => ("ok", 32),
                    Outcome::Warning => ("warning", 33),
                    Outcome::Failure => ("FAILURE", 31),
                };
                let word =
                    if colours { format!("\x1b[{colour}m{word:7}\x1b[0m") } else { format!("{word:7}") };
                lines.push(format!("  {word}  {}: {}", check.about, check.found));
                if !check.hint.is_empty() {
                    lines.push(format!("           {} ({})", check.hint, check.id));
                }
            }
            lines.push(String::new());
        }
        let counted =
            |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        lines.push(format!(
            "{} ok, {}, {}",
            self.count(Outcome::Ok),
            counted(self.count(Outcome::Warning), "warning"),
            counted(self.count(Outcome::Failure), "failure")
        ));
        lines.join("\n")
    }

    /// For programs.
    pub(crate) fn json(&self) -> serde_json::Value {
        let checks = self.sections.iter().flat_map(|section| {
            section.checks.iter().map(|check| {
                let mut check = serde_json::to_value(check).expect("a check is texts");
                check["section"] = section.title.into();
                check
            })
        });
        serde_json::json!({ "ok": self.is_ok(), "version": VERSION, "checks": checks.collect::<Vec<_>>() })
    }
}

/// The first of some names, and how many more there are.
fn some(names: &[String]) -> String {
    /// As many as a line holds.
    const SHOWN: usize = 6;
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

#[cfg(test)]
mod tests;
