//! Results as tables.

use std::fmt::Write;

use super::{Comparison, Entry, Figure, IdleReport, WorkloadResults};
use crate::options::Side;
use weft_harness::report::preamble;

/// A column: title, figure, digits after the point.
type Column = (&'static str, Figure, usize);

const RATIOS: [Column; 6] = [
    ("CPU per request", |sample| Some(sample.pair?.cpu_us_per_request), 3),
    ("throughput", |sample| Some(sample.throughput), 2),
    ("mean", |sample| Some(sample.outcome.latency.mean), 2),
    ("p50", |sample| Some(sample.outcome.latency.p50? as f64), 2),
    ("p99", |sample| Some(sample.outcome.latency.p99? as f64), 2),
    ("PSS", |sample| Some(sample.pair?.memory.pss_kib as f64), 2),
];

const FIGURES: [Column; 11] = [
    ("CPU us/request", |sample| Some(sample.pair?.cpu_us_per_request), 1),
    ("of it client sidecar", |sample| Some(sample.pair?.client_sidecar_cpu_us_per_request), 1),
    ("requests/s", |sample| Some(sample.throughput), 0),
    ("mean us", |sample| Some(sample.outcome.latency.mean), 0),
    ("p50 us", |sample| Some(sample.outcome.latency.p50? as f64), 0),
    ("p99 us", |sample| Some(sample.outcome.latency.p99? as f64), 0),
    ("RSS MiB", |sample| Some(sample.pair?.memory.rss_kib as f64 / 1024.0), 1),
    ("PSS MiB", |sample| Some(sample.pair?.memory.pss_kib as f64 / 1024.0), 1),
    ("pair busy %", |sample| Some(sample.pair?.busy_percent), 0),
    ("client core busy %", |sample| Some(sample.client_core_busy_percent), 0),
    ("disturbance %", |sample| Some(sample.pair?.disturbance_percent), 1),
];

const READING: &str = "\
CPU per request is user and system time of both sidecars, all threads. Ratios are formed within each round; then the
median over the rounds is given, with the least and the greatest. Absolute figures depend on the machine and on what
else it does. Where the pair isn't close to 100 % busy in a closed loop, the client's core limited the throughput, and
only CPU per request compares the pairs. Disturbance is time of the proxies' core that went to others.
";

impl Comparison {
    /// The report for people.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("# Pairs of sidecars side by side\n\n");
        preamble(&mut text, &self.host, &self.command);
        let _infallible = writeln!(
            text,
            "{} of {} s, interleaved, after {} s of warm-up; load generator: {}; answers of 1 KiB.\n\
             Client and application share one core, both sidecars another; between the sidecars mutual TLS 1.3 with\n\
             ECDSA P-256 certificates, towards client and application plaintext.\n\n{READING}",
            if self.rounds == 1 { "1 round".to_owned() } else { format!("{} rounds", self.rounds) },
            self.seconds,
            self.warmup,
            self.generator
        );
        self.subjects_table(&mut text);
        for result in &self.results {
            self.workload_tables(&mut text, result);
        }
        let failures = self.failures();
        if failures.is_empty() {
            text.push_str("Every request was answered with status 200 and a body of exactly 1,024 bytes.\n");
        } else {
            let _infallible = writeln!(text, "**Void: requests failed: {}.**", failures.join("; "));
        }
        text
    }

    fn subjects_table(&self, text: &mut String) {
        text.push_str(
            "| subject | version | protocol | cipher suite of the hop | bytes on the hop per request |\n",
        );
        text.push_str("|---|---|---|---|---|\n");
        for subject in &self.subjects {
            for (protocol, hop) in &subject.hops {
                let suite = hop.cipher_suite.unwrap_or("not looked at");
                let bytes =
                    hop.bytes_per_request.map_or_else(|| "-".to_owned(), |bytes| format!("{bytes:.0}"));
                let (name, version, protocol) = (&subject.name, &subject.version, protocol.name());
                let _infallible = writeln!(text, "| {name} | {version} | {protocol} | {suite} | {bytes} |");
            }
        }
        text.push('\n');
    }

    fn workload_tables(&self, text: &mut String, result: &WorkloadResults) {
        let _infallible = writeln!(text, "## {}: {}\n", result.workload.name, result.workload.describe());
        let baseline = result.entries.iter().find(|entry| entry.subject == self.baseline);
        if let Some(baseline) = baseline {
            let title = format!("in relation to {}", self.baseline);
            table(text, &title, &RATIOS, &result.entries, |entry, figure| entry.ratio(baseline, figure));
        }
        table(text, "subject", &FIGURES, &result.entries, Entry::spread);
    }
}

/// Columns that no entry has a figure for are left out.
fn table(
    text: &mut String,
    title: &str,
    columns: &[Column],
    entries: &[Entry],
    spread: impl Fn(&Entry, Figure) -> Option<super::Spread>,
) {
    let shown = |column: &&Column| entries.iter().any(|entry| spread(entry, column.1).is_some());
    let columns: Vec<_> = columns.iter().filter(shown).collect();
    let titles: Vec<_> = columns.iter().map(|column| column.0).collect();
    let _infallible = writeln!(text, "| {title} | {} |", titles.join(" | "));
    let _infallible = writeln!(text, "|---|{}", "---:|".repeat(columns.len()));
    for entry in entries {
        let cell = |column: &&Column| {
            let spread = spread(entry, column.1);
            spread.map_or_else(|| "-".to_owned(), |spread| spread.text(column.2))
        };
        let cells: Vec<_> = columns.iter().map(cell).collect();
        let _infallible = writeln!(text, "| {} | {} |", entry.subject, cells.join(" | "));
    }
    text.push('\n');
}

impl IdleReport {
    /// The report for people.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("# Memory of idle connections\n\n");
        preamble(&mut text, &self.host, &self.command);
        let _infallible = writeln!(
            text,
            "{} client connections, each idle after one request, {} of them sent at the same time. Proportional set\n\
             size (PSS), before and with the connections; the kernel's socket buffers aren't in it.\n",
            self.connections, self.parallel
        );
        text.push_str(
            "| subject | version | clients of the | protocol | pair without, MiB | pair with, MiB | client sidecar, bytes/connection | \
             server sidecar, bytes/connection | pair, bytes/connection |\n|---|---|---|---|---:|---:|---:|---:|---:|\n",
        );
        for result in &self.results {
            let (client, server) = (&result.client_sidecar, &result.server_sidecar);
            let mib = |one: u64, other: u64| (one + other) as f64 / 1024.0;
            let (of_client, of_server) =
                (client.per_connection(self.connections), server.per_connection(self.connections));
            let _infallible = writeln!(
                text,
                "| {} | {} | {} | {} | {:.1} | {:.1} | {of_client:.0} | {of_server:.0} | {:.0} |",
                result.subject,
                result.version,
                match result.side {
                    Side::Outbound => "client's, plain",
                    Side::Inbound => "server's, mTLS",
                },
                result.protocol.name(),
                mib(client.before.pss_kib, server.before.pss_kib),
                mib(client.with.pss_kib, server.with.pss_kib),
                of_client + of_server
            );
        }
        text
    }
}
