//! What a run found, kind by kind.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::Differential;
use super::case::{Case, Sent};
use super::table::Table;
use weft_harness::host::Host;

/// A kind of difference: the point, and what differs.
type Kind = (&'static str, String);

/// Everything found so far.
pub(crate) struct Findings {
    subjects: Vec<String>,
    tried: BTreeMap<&'static str, u64>,
    kinds: BTreeMap<Kind, BTreeMap<String, Found>>,
    unsteady: usize,
}

#[derive(Clone, Debug, Serialize)]
struct Found {
    count: u64,
    /// The first exchange that showed it.
    first: u64,
    explained: Option<usize>,
}

/// What is kept of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    command: String,
    host: Host,
    requests: u64,
    seed: u64,
    subjects: Vec<String>,
    /// Exchanges by what the client spoke.
    tried: BTreeMap<&'static str, u64>,
    /// Differences that did not come a second time and so are not counted.
    unsteady: usize,
    kinds: Vec<KindFound>,
    /// Rows of the table that nothing in this run needed.
    unused: Vec<String>,
}

#[derive(Debug, Serialize)]
struct KindFound {
    point: &'static str,
    difference: String,
    by: BTreeMap<String, Found>,
}

impl Findings {
    pub(crate) fn new(subjects: Vec<String>) -> Self {
        Self { subjects, tried: BTreeMap::new(), kinds: BTreeMap::new(), unsteady: 0 }
    }

    pub(crate) fn tried(&mut self, case: &Case) {
        let spoken = match case.sent {
            Sent::Http1(_) => "HTTP/1",
            Sent::Http2(_) => "HTTP/2",
            Sent::Frames(_) => "HTTP/2 by frames",
        };
        *self.tried.entry(spoken).or_default() += 1;
    }

    pub(crate) fn unsteady(&mut self, count: usize) {
        self.unsteady += count;
    }

    pub(crate) fn found(&mut self, case: &Case, subject: &str, difference: String, explained: Option<usize>) {
        let by = self.kinds.entry((case.point, difference)).or_default();
        by.entry(subject.to_owned()).or_insert(Found { count: 0, first: case.number, explained }).count += 1;
    }

    pub(crate) fn summary(&self) -> String {
        let unexplained =
            self.kinds.values().filter(|by| by.values().any(|found| found.explained.is_none())).count();
        format!("{} kinds of differences, {unexplained} not explained", self.kinds.len())
    }

    pub(crate) fn report(self, command: String, host: Host, options: &Differential, table: &Table) -> Report {
        let used: Vec<usize> =
            self.kinds.values().flat_map(BTreeMap::values).filter_map(|found| found.explained).collect();
        let unused = table.names().filter(|(index, _)| !used.contains(index)).map(|(_, name)| name);
        let kinds =
            self.kinds.into_iter().map(|((point, difference), by)| KindFound { point, difference, by });
        Report {
            command,
            host,
            requests: options.requests,
            seed: options.seed,
            subjects: self.subjects,
            tried: self.tried,
            unsteady: self.unsteady,
            kinds: kinds.collect(),
            unused: unused.collect(),
        }
    }
}

impl Report {
    /// How many kinds nobody has explained.
    pub(crate) fn unexplained(&self) -> usize {
        self.kinds.iter().filter(|kind| kind.by.values().any(|found| found.explained.is_none())).count()
    }

    /// The report for people.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("# The same requests directly and through proxies\n\n");
        report_preamble(&mut text, self);
        let titles = self.subjects.join(" | ");
        let _infallible = writeln!(text, "| point | difference | {titles} | first |");
        let _infallible = writeln!(text, "|---|---|{}---:|", "---:|".repeat(self.subjects.len()));
        for kind in &self.kinds {
            let cell = |subject: &String| match kind.by.get(subject) {
                None => "-".to_owned(),
                Some(found) if found.explained.is_none() => format!("**{}**", found.count),
                Some(found) => found.count.to_string(),
            };
            let cells: Vec<_> = self.subjects.iter().map(cell).collect();
            let first = kind.by.values().map(|found| found.first).min().unwrap_or_default();
            let (point, difference) = (kind.point, &kind.difference);
            let _infallible = writeln!(text, "| {point} | {difference} | {} | {first} |", cells.join(" | "));
        }
        text
    }
}

fn report_preamble(text: &mut String, report: &Report) {
    let (host, tried) = (&report.host, &report.tried);
    let tried: Vec<_> = tried.iter().map(|(spoken, count)| format!("{count} of {spoken}")).collect();
    let _infallible = writeln!(
        text,
        "{}; Linux {}, {} x {}.\n\nTo repeat it:\n\n```sh\n{}\n```\n\n\
         {} exchanges with seed {}: {}. Counted is how many of them showed a difference from what was seen without\n\
         a proxy (to which the routes were applied by a naive model); `first` is the number of one of them, to be looked at\n\
         by `--only`. `docs/differential.md` says why each is right; what it does not explain is bold. {} differences came\n\
         once and not again and are left out.\n",
        host.date,
        host.kernel,
        host.cores,
        host.processor,
        report.command,
        report.requests,
        report.seed,
        tried.join(", "),
        report.unsteady
    );
}
