//! The report for people.

use std::fmt::Write as _;

use super::judge::Unavoidable;
use super::{CALM, Report, Run, SETTLED, schedule};

impl Report {
    pub(super) fn markdown(&self) -> String {
        let mut text = self.introduction();
        self.table(&mut text, "Requests", |run| {
            let kinds = run.requests.iter().map(|(kind, count)| (kind.clone(), count.to_string()));
            kinds
                .chain([
                    ("answered as they should be".to_owned(), run.verdict.answered.to_string()),
                    ("left by their clients".to_owned(), run.verdict.left.to_string()),
                ])
                .collect()
        });
        self.table(&mut text, "Trouble", |run| {
            run.troubles.iter().map(|(name, count)| ((*name).to_owned(), count.to_string())).collect()
        });
        self.table(&mut text, "Failures, and why they could not be avoided", |run| {
            let count =
                |reason: &Unavoidable| run.verdict.unavoidable.get(reason).copied().unwrap_or_default();
            let reasons = Unavoidable::ALL.iter().map(|it| (it.name().to_owned(), count(it).to_string()));
            reasons.chain([("**faults**".to_owned(), run.verdict.faults.len().to_string())]).collect()
        });
        self.table(&mut text, "Bounds: the most that was seen, of what may be", |run| {
            let counters =
                [("retries that the budget refused", run.over_budget), ("ejections", run.ejections)];
            let counters = counters.map(|(name, count)| (name.to_owned(), count.to_string()));
            let peaks = run.peaks.iter().flat_map(|peaks| {
                [
                    ("retries in 10 s", format!("{} of {}", peaks.retries.0, peaks.retries.1)),
                    ("endpoints ejected at once", format!("{} of {}", peaks.ejected.0, peaks.ejected.1)),
                    ("requests in flight", format!("{} of {}", peaks.requests.0, peaks.requests.1)),
                    ("connections", format!("{} of {}", peaks.connections.0, peaks.connections.1)),
                    (
                        "requests at an instance that fails all",
                        format!("{} of {}", peaks.failing.0, peaks.failing.1),
                    ),
                ]
                .map(|(name, found)| (format!("{}: {name}", peaks.service), found))
            });
            counters.into_iter().chain(peaks).collect()
        });
        self.table(&mut text, "Counted by clients, and alike by metrics, log and control plane", |run| {
            let rows = run.counts.iter().map(|row| (row.what.clone(), row.describe()));
            rows.chain([(
                "of which client and sidecar saw different ends, as they crossed".to_owned(),
                run.crossed.to_string(),
            )])
            .collect()
        });
        for run in self.runs.iter().filter(|run| !run.verdict.faults.is_empty()) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "Faults with seed {}:\n", run.seed);
            for fault in &run.verdict.faults {
                let _ = writeln!(text, "- {fault}");
            }
            text.push('\n');
        }
        text
    }

    /// What was done, on what, and what is asked of it.
    fn introduction(&self) -> String {
        format!(
            "# Chaos under load\n\n{}; Linux {}, {} x {}.\n\nTo repeat it:\n\n```sh\n{}\n```\n\n\
             {} instances of an application, each behind its own sidecar, and one sidecar in front of the clients, all of them\n\
             processes. For {} s with each seed, clients send {} requests a second to a service of HTTP/1.1, one of HTTP/2 and\n\
             one of gRPC: what the routes let be repeated, what they don't, large answers that are read late, and what they\n\
             cancel before the head, after it and in the middle of the body; every three seconds 60 more come at once. At most\n\
             half of the instances are in trouble at a time, but for twice {} s in which three of four have been killed at\n\
             once; and none in the last {} s. In the last {} s nothing may fail.\n\n\
             Each failure that a client sees has to be one that nobody could have avoided, by what applications, schedule, access\n\
             log and metrics say. Every answer has to be the one to its request, and nothing that must not be repeated may be\n\
             processed twice. What clients have counted has to be what the metrics of their sidecar say, its access log, and the\n\
             control plane's telemetry.\n\n",
            self.host.date,
            self.host.kernel,
            self.host.cores,
            self.host.processor,
            self.command,
            self.instances,
            self.seconds,
            self.rate,
            schedule::GONE.as_secs(),
            CALM.as_secs(),
            SETTLED.as_secs(),
        )
    }

    /// A table with a column for each run; rows are named by whatever runs have.
    fn table(&self, text: &mut String, title: &str, rows: impl Fn(&Run) -> Vec<(String, String)>) {
        let columns: Vec<_> = self.runs.iter().map(&rows).collect();
        let mut names: Vec<&String> = Vec::new();
        for (name, _) in columns.iter().flatten() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let heads: Vec<_> = self.runs.iter().map(|run| format!("seed {}", run.seed)).collect();
        let rule = "---:|".repeat(self.runs.len());
        let _ = writeln!(text, "| {title} | {} |\n|---|{rule}", heads.join(" | "));
        for name in names {
            let cells = columns.iter().map(|column| {
                column.iter().find(|(known, _)| known == name).map_or("0", |(_, value)| value.as_str())
            });
            let _ = writeln!(text, "| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
        }
        text.push('\n');
    }
}
