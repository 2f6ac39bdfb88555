//! Whether metrics, access log and telemetry count what the clients have counted themselves.
//!
//! Each request is compared with its line of the log first: one line, with the status that the client has got, and with the
//! reason that it has been told. So the clients' count has reasons also for answers that broke off, of which a client knows
//! none; and it has to be equal to all else.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::log::{Lines, Logged};
use super::request::{Outcome, Sent, Service, When};
use weft_harness::mesh::exposition::Exposition;

/// What is on its way between client and sidecar takes less than this; the clock of the log may differ as well.
const CROSSING: Duration = Duration::from_millis(100);
const CANCELLED: &str = "cancelled";

/// How requests end that are counted as the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Class {
    pub(super) service: &'static str,
    /// The first digit of the status; `None`: there was no head.
    pub(super) digit: Option<u16>,
    /// Empty: it was a whole answer of the destination.
    pub(super) reason: String,
}

/// Requests by how they ended.
pub(super) type Counts = BTreeMap<Class, u64>;

/// The same for those who don't tell statuses: by service and reason.
pub(super) type Told = BTreeMap<(&'static str, String), u64>;

/// What all have counted.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) clients: Counts,
    pub(super) log: Counts,
    pub(super) metrics: Counts,
    pub(super) telemetry: Told,
    /// Requests of which client and sidecar have seen different ends, since what one had sent passed what the other one did.
    pub(super) crossed: u64,
    pub(super) faults: Vec<String>,
}

/// A line of the comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    pub(super) what: String,
    pub(super) clients: u64,
    pub(super) others: Vec<u64>,
}

impl Books {
    /// Compares each request with its line, and counts both.
    pub(super) fn open(sent: &[Sent], lines: &Lines) -> Self {
        let mut books = Self::default();
        for request in sent {
            let of_request = lines.get(&request.number).map(Vec::as_slice).unwrap_or_default();
            for line in of_request {
                *books.log.entry(class_of_line(request, line)).or_default() += 1;
            }
            let class = if let [line] = of_request {
                books.compare(request, line)
            } else {
                books.fault(request, &format!("{} lines in the log", of_request.len()));
                class(request, told(&request.outcome).unwrap_or("unknown"))
            };
            *books.clients.entry(class).or_default() += 1;
        }
        books
    }

    /// How a request ended for its client.
    fn compare(&mut self, request: &Sent, line: &Logged) -> Class {
        let logged = class_of_line(request, line);
        let own = match told(&request.outcome) {
            Some(reason) => class(request, reason),
            // What broke off has a reason, which the proxy alone knows; but it was not the client's doing.
            None if !["", CANCELLED].contains(&line.reason()) => class(request, line.reason()),
            None => class(request, "unknown"),
        };
        if own == logged {
            return own;
        }
        if has_crossed(request, line) {
            self.crossed += 1;
            return logged;
        }
        self.fault(request, &format!("{} for the client, {} in the log", own.describe(), logged.describe()));
        own
    }

    fn fault(&mut self, request: &Sent, problem: &str) {
        self.faults.push(format!("request {}, {}: {problem}", request.number, request.kind.describe()));
    }

    /// Compares the sums.
    pub(super) fn close(&mut self) -> Vec<Row> {
        let classes = [&self.clients, &self.log, &self.metrics].map(|counts| counts.keys());
        let mut classes: Vec<_> = classes.into_iter().flatten().cloned().collect();
        classes.sort();
        classes.dedup();
        let of = |counts: &Counts, class: &Class| counts.get(class).copied().unwrap_or_default();
        let mut rows: Vec<_> = classes
            .iter()
            .map(|class| Row {
                what: format!("{}: {}", class.service, class.describe()),
                clients: of(&self.clients, class),
                others: vec![of(&self.metrics, class), of(&self.log, class)],
            })
            .collect();
        let told = without_statuses(&self.clients);
        let mut reasons: Vec<_> = told.keys().chain(self.telemetry.keys()).collect();
        reasons.sort();
        reasons.dedup();
        rows.extend(reasons.into_iter().map(|known| Row {
            what: format!("{}, as the control plane was told: {}", known.0, described(&known.1)),
            clients: told.get(known).copied().unwrap_or_default(),
            others: vec![self.telemetry.get(known).copied().unwrap_or_default()],
        }));
        let differing = rows.iter().filter(|row| !row.is_equal());
        self.faults.extend(differing.map(|row| format!("counts differ: {}: {}", row.what, row.describe())));
        rows
    }
}

/// Whether what the sidecar had sent passed what its client did on the way, so that each has seen an end of its own.
fn has_crossed(request: &Sent, line: &Logged) -> bool {
    let until = request.ended + CROSSING;
    match request.outcome {
        // It had ended, or its head was on the way, when the client left.
        Outcome::Left(_) if line.reason() != CANCELLED => line.ended <= until,
        Outcome::Left(When::BeforeHead) => line.headed.is_some_and(|headed| headed <= until),
        // The end of the answer came while its head had not left yet, which was thrown away.
        Outcome::Reset => line.headed.is_some_and(|headed| line.ended <= headed + CROSSING),
        _ => false,
    }
}

impl Row {
    fn is_equal(&self) -> bool {
        self.others.iter().all(|count| *count == self.clients)
    }

    /// For reports.
    pub(super) fn describe(&self) -> String {
        if self.is_equal() {
            return self.clients.to_string();
        }
        let names: &[&str] = if self.others.len() == 1 { &["telemetry"] } else { &["metrics", "log"] };
        let others = names.iter().zip(&self.others).map(|(name, count)| format!("{name} {count}"));
        format!("clients {}, {}", self.clients, others.collect::<Vec<_>>().join(", "))
    }
}

impl Class {
    fn describe(&self) -> String {
        let status = self.digit.map_or_else(|| "no head".to_owned(), |digit| format!("{digit}xx"));
        format!("{status}, {}", described(&self.reason))
    }
}

fn described(reason: &str) -> &str {
    if reason.is_empty() { "a whole answer" } else { reason }
}

/// The reason that a client knows. `None`: it knows that there was one.
fn told(outcome: &Outcome) -> Option<&str> {
    match outcome {
        // A body that is another one was whole all the same.
        Outcome::Answered(_) | Outcome::Failed(_) | Outcome::Mixed(_) => Some(""),
        Outcome::Refused(reason) => Some(reason),
        Outcome::Left(_) => Some(CANCELLED),
        Outcome::Torn(_) | Outcome::Reset | Outcome::Lost(_) => None,
    }
}

fn class(request: &Sent, reason: &str) -> Class {
    let digit = request.status.map(|status| status / 100);
    Class { service: request.kind.service.name(), digit, reason: reason.to_owned() }
}

fn class_of_line(request: &Sent, line: &Logged) -> Class {
    let digit = line.status.map(|status| status / 100);
    Class { service: request.kind.service.name(), digit, reason: line.reason().to_owned() }
}

fn without_statuses(counts: &Counts) -> Told {
    let mut told = Told::new();
    for (class, count) in counts {
        *told.entry((class.service, class.reason.clone())).or_default() += count;
    }
    told
}

/// What a proxy's metrics say.
pub(super) fn of_metrics(metrics: &Exposition) -> Counts {
    let mut counts = Counts::new();
    for service in Service::ALL {
        let label = service.label();
        for sample in metrics.samples("weft_requests_total") {
            if (sample.label("direction"), sample.label("destination")) == ("outbound", &label) {
                let digit = sample.label("class").strip_suffix("xx").and_then(|digit| digit.parse().ok());
                let reason = sample.label("reason").to_owned();
                *counts.entry(Class { service: service.name(), digit, reason }).or_default() += sample.value;
            }
        }
    }
    counts
}

#[derive(Deserialize)]
struct Traffic {
    edges: Vec<Edge>,
}

/// What matters of an edge.
#[derive(Deserialize)]
struct Edge {
    destination: Option<String>,
    mirrored: bool,
    requests: u64,
    causes: BTreeMap<String, u64>,
}

/// What the control plane was told, by what its admin server says.
pub(super) fn of_telemetry(traffic: &str) -> anyhow::Result<Told> {
    let traffic: Traffic = serde_json::from_str(traffic).context("telemetry isn't as expected")?;
    let mut told = Told::new();
    for edge in traffic.edges.iter().filter(|edge| !edge.mirrored) {
        let is = |service: &Service| edge.destination.as_deref() == Some(&service.label());
        let Some(service) = Service::ALL.into_iter().find(is) else { continue };
        let caused: u64 = edge.causes.values().sum();
        let whole = edge.requests.checked_sub(caused).context("an edge with more reasons than requests")?;
        let all = edge.causes.iter().map(|(reason, count)| (reason.as_str(), *count)).chain([("", whole)]);
        for (reason, count) in all {
            *told.entry((service.name(), reason.to_owned())).or_default() += count;
        }
    }
    Ok(told)
}

/// What came since `before`.
pub(super) fn since<K: Ord + Clone>(now: &BTreeMap<K, u64>, before: &BTreeMap<K, u64>) -> BTreeMap<K, u64> {
    let new = now.iter().map(|(key, count)| {
        let before = before.get(key).copied().unwrap_or_default();
        (key.clone(), count.saturating_sub(before))
    });
    new.filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests;
