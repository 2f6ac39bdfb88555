//! Counting what became of requests.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::report::{Kind, Latency, Report};

/// Versions, statuses and reasons come from whoever answers; beyond so many different ones they are counted together.
const MOST_LABELS: usize = 64;

/// Latencies from a microsecond to a week, with an error of at most a thousandth.
const LONGEST_MICROSECONDS: u64 = 7 * 24 * 3600 * 1_000_000;
const DIGITS: u8 = 3;

/// How one request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Status of the answer, if there was a whole one.
    pub(super) status: Option<u16>,
    /// The version that the answer names.
    pub(super) version: Option<String>,
    /// Why it failed, if it did.
    pub(super) failure: Option<String>,
}

impl Outcome {
    pub(super) fn failed(reason: impl Into<String>) -> Self {
        Self { status: None, version: None, failure: Some(reason.into()) }
    }
}

/// Counts of an interval and of everything.
pub(super) struct Tally {
    interval: Counts,
    /// Without what `interval` holds.
    before: Counts,
    /// When the interval began, from the start.
    interval_from: Duration,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self { interval: Counts::new(), before: Counts::new(), interval_from: Duration::ZERO }
    }

    pub(super) fn sent(&mut self) {
        self.interval.sent += 1;
    }

    pub(super) fn ended(&mut self, outcome: Outcome, latency: Duration) {
        self.interval.ended(outcome, latency);
    }

    /// Ends the interval; `at` is counted from the start.
    pub(super) fn interval(&mut self, at: Duration, in_flight: usize) -> Report {
        let length = at.saturating_sub(self.interval_from);
        let report = self.interval.report(Kind::Interval, at, length, in_flight);
        self.before.add(&self.interval);
        self.interval.clear();
        self.interval_from = at;
        report
    }

    /// Everything, after the last interval.
    pub(super) fn summary(&mut self, at: Duration) -> Report {
        self.before.add(&self.interval);
        self.interval.clear();
        self.before.report(Kind::Summary, at, at, 0)
    }
}

struct Counts {
    sent: u64,
    ok: u64,
    failed: u64,
    statuses: BTreeMap<String, u64>,
    failures: BTreeMap<String, u64>,
    versions: BTreeMap<String, u64>,
    latencies: Histogram<u64>,
}

impl Counts {
    fn new() -> Self {
        let latencies =
            Histogram::new_with_bounds(1, LONGEST_MICROSECONDS, DIGITS).expect("the bounds are in order");
        Self {
            sent: 0,
            ok: 0,
            failed: 0,
            statuses: BTreeMap::new(),
            failures: BTreeMap::new(),
            versions: BTreeMap::new(),
            latencies,
        }
    }

    fn ended(&mut self, outcome: Outcome, latency: Duration) {
        if let Some(status) = outcome.status {
            count(&mut self.statuses, status.to_string(), 1);
        }
        if let Some(version) = outcome.version {
            count(&mut self.versions, version, 1);
        }
        if let Some(reason) = outcome.failure {
            self.failed += 1;
            count(&mut self.failures, reason, 1);
        } else {
            self.ok += 1;
            let microseconds = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
            self.latencies.saturating_record(microseconds);
        }
    }

    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.ok += other.ok;
        self.failed += other.failed;
        for (mine, others) in [
            (&mut self.statuses, &other.statuses),
            (&mut self.failures, &other.failures),
            (&mut self.versions, &other.versions),
        ] {
            for (label, number) in others {
                count(mine, label.clone(), *number);
            }
        }
        self.latencies.add(&other.latencies).expect("both have the same bounds");
    }

    fn clear(&mut self) {
        self.latencies.reset();
        let latencies =
            std::mem::replace(&mut self.latencies, Histogram::new(0).expect("no digits are allowed"));
        *self = Self { latencies, ..Self::new() };
    }

    fn report(&self, kind: Kind, at: Duration, length: Duration, in_flight: usize) -> Report {
        let seconds = length.as_secs_f64();
        let ended = (self.ok + self.failed) as f64;
        Report {
            kind,
            at_s: rounded(at.as_secs_f64()),
            rate: if seconds > 0.0 { rounded(ended / seconds) } else { 0.0 },
            sent: self.sent,
            ok: self.ok,
            failed: self.failed,
            in_flight: in_flight as u64,
            statuses: self.statuses.clone(),
            failures: self.failures.clone(),
            versions: self.versions.clone(),
            latency_ms: self.latency(),
        }
    }

    fn latency(&self) -> Option<Latency> {
        let latencies = &self.latencies;
        let milliseconds = |microseconds: f64| rounded(microseconds / 1000.0);
        let quantile = |share| milliseconds(latencies.value_at_quantile(share) as f64);
        (!latencies.is_empty()).then(|| Latency {
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: milliseconds(latencies.max() as f64),
            mean: milliseconds(latencies.mean()),
        })
    }
}

/// To a thousandth, so that lines stay short.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

fn count(labels: &mut BTreeMap<String, u64>, label: String, number: u64) {
    let known = labels.len() < MOST_LABELS || labels.contains_key(&label);
    *labels.entry(if known { label } else { "other".to_owned() }).or_default() += number;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(version: &str) -> Outcome {
        Outcome { status: Some(200), version: Some(version.to_owned()), failure: None }
    }

    #[test]
    fn intervals_add_up_to_the_summary() {
        let mut tally = Tally::new();
        let mut intervals = Vec::new();
        for second in 1..=3 {
            tally.sent();
            tally.sent();
            tally.ended(answered("v1"), Duration::from_millis(second));
            tally.ended(Outcome::failed("timeout"), Duration::from_secs(9));
            intervals.push(tally.interval(Duration::from_secs(second), 0));
        }
        tally.sent();
        tally.ended(answered("v2"), Duration::from_millis(9));
        let summary = tally.summary(Duration::from_secs(4));
        assert_eq!(intervals.iter().map(|each| each.sent).sum::<u64>() + 1, summary.sent);
        assert_eq!((summary.ok, summary.failed), (4, 3));
        assert_eq!(summary.versions, BTreeMap::from([("v1".to_owned(), 3), ("v2".to_owned(), 1)]));
        assert_eq!(summary.failures, BTreeMap::from([("timeout".to_owned(), 3)]));
        assert!((intervals.last().unwrap().rate - 2.0).abs() < 0.001);
        let latency = summary.latency_ms.unwrap();
        assert!((latency.max - 9.0).abs() < 0.02 && (latency.p50 - 2.0).abs() < 0.02, "{latency:?}");
    }

    #[test]
    fn labels_from_foreign_answers_are_bounded() {
        let mut tally = Tally::new();
        for number in 0..1000 {
            tally.ended(answered(&number.to_string()), Duration::ZERO);
        }
        let summary = tally.summary(Duration::from_secs(1));
        assert!(summary.versions.len() <= MOST_LABELS + 1);
        assert_eq!(summary.versions.values().sum::<u64>(), 1000);
    }

    #[test]
    fn without_a_success_there_is_no_latency() {
        let mut tally = Tally::new();
        tally.ended(Outcome::failed("timeout"), Duration::from_secs(1));
        assert_eq!(tally.summary(Duration::ZERO).latency_ms, None);
    }

    #[test]
    fn a_report_reads_back_from_its_line() {
        let mut tally = Tally::new();
        tally.ended(answered("v1"), Duration::from_millis(1));
        let report = tally.summary(Duration::from_secs(1));
        assert_eq!(serde_json::from_str::<Report>(&report.to_json()).unwrap(), report);
        assert!(report.to_json().starts_with("{\"type\":\"summary\","));
    }
}
