//! What became of the requests of the load, and how the answers were split.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;
use weft_examples::load::{Kind, Report};

use super::split::Split;
use crate::traffic::rounded;

/// After an edit, answers count for the new split from here on: the edit has to reach the sidecars, and requests under
/// way to end.
const SETTLE: Duration = Duration::from_millis(400);
/// The time, in seconds, that the rate and the latencies of the moment are taken over, at least.
const RECENT: f64 = 0.9;

/// Answers while one split was asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Phase {
    /// Seconds from the start to the edit.
    pub(super) at_s: f64,
    /// Weights by version.
    pub(super) asked: Split,
    /// Answers by version.
    pub(super) seen: BTreeMap<String, u64>,
}

/// Requests that were lost, in one interval of the load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Loss {
    /// Seconds from the start to the end of the interval.
    pub(super) at_s: f64,
    /// How many, by reason.
    pub(super) reasons: BTreeMap<String, u64>,
}

/// The requests of late.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Late {
    /// Requests a second that ended.
    pub(super) rate: f64,
    /// The mean of the medians of the intervals, in milliseconds.
    pub(super) p50_ms: Option<f64>,
    /// The highest 99th percentile of the intervals, in milliseconds.
    pub(super) p99_ms: Option<f64>,
}

/// Counts what the load reports.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Requests sent.
    pub(super) sent: u64,
    /// Requests with a good answer.
    pub(super) ok: u64,
    /// Requests without.
    pub(super) lost: u64,
    /// When requests were lost, and why.
    pub(super) losses: Vec<Loss>,
    /// One for each split.
    pub(super) phases: Vec<Phase>,
    /// What the load says of everything, at its end.
    pub(super) summary: Option<Report>,
    /// Intervals of late, with the length of each in seconds.
    recent: VecDeque<(f64, Report)>,
    /// When the last interval ended, as the load counts.
    interval_end_s: f64,
}

impl Tally {
    /// From `at` on, another split is asked for.
    pub(super) fn asked(&mut self, at: Duration, split: Split) {
        self.phases.push(Phase { at_s: rounded(at.as_secs_f64()), asked: split, seen: BTreeMap::new() });
    }

    /// Takes a report of the load that came `at` this time from the start.
    pub(super) fn take(&mut self, at: Duration, report: Report) {
        if report.kind == Kind::Summary {
            // Requests that ended after the last interval are in here alone.
            (self.sent, self.ok, self.lost) = (report.sent, report.ok, report.failed);
            self.summary = Some(report);
            return;
        }
        self.sent += report.sent;
        self.ok += report.ok;
        self.lost += report.failed;
        if report.failed > 0 {
            let loss = Loss { at_s: rounded(at.as_secs_f64()), reasons: report.failures.clone() };
            self.losses.push(loss);
        }
        let length = (report.at_s - self.interval_end_s).max(0.0);
        self.interval_end_s = report.at_s;
        let began = at.as_secs_f64() - length;
        let first = self.phases.len() == 1;
        if let Some(phase) = self.phases.last_mut()
            && (first || began >= phase.at_s + SETTLE.as_secs_f64())
        {
            for (version, count) in &report.versions {
                *phase.seen.entry(version.clone()).or_default() += count;
            }
        }
        self.recent.push_back((length, report));
        while self.recent.iter().skip(1).map(|(length, _)| length).sum::<f64>() >= RECENT {
            self.recent.pop_front();
        }
    }

    /// The requests of late.
    pub(super) fn late(&self) -> Late {
        let mut late = Late::default();
        let (mut weighted, mut weight, mut seconds) = (0.0, 0.0, 0.0);
        for (length, report) in &self.recent {
            late.rate += (report.ok + report.failed) as f64;
            seconds += length;
            if let Some(latency) = report.latency_ms {
                weighted += latency.p50 * report.ok as f64;
                weight += report.ok as f64;
                late.p99_ms = Some(late.p99_ms.unwrap_or_default().max(latency.p99));
            }
        }
        late.rate = if seconds > 0.0 { rounded(late.rate / seconds) } else { 0.0 };
        late.p50_ms = (weight > 0.0).then(|| rounded(weighted / weight));
        late.p99_ms = late.p99_ms.map(rounded);
        late
    }

    /// All reasons for which requests were lost.
    pub(super) fn reasons(&self) -> BTreeMap<String, u64> {
        let mut reasons = BTreeMap::new();
        match &self.summary {
            Some(summary) => reasons.clone_from(&summary.failures),
            None => {
                for (reason, count) in self.losses.iter().flat_map(|loss| &loss.reasons) {
                    *reasons.entry(reason.clone()).or_default() += count;
                }
            }
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_examples::load::Latency;

    fn report(at_s: f64, ok: u64, failed: u64) -> Report {
        let latency = Latency { p50: 1.0, p90: 2.0, p99: at_s, p999: 9.0, max: 9.0, mean: 1.0 };
        Report {
            kind: Kind::Interval,
            at_s,
            rate: 4.0 * (ok + failed) as f64,
            sent: ok + failed,
            ok,
            failed,
            in_flight: 0,
            statuses: BTreeMap::new(),
            failures: (failed > 0).then(|| ("timeout".to_owned(), failed)).into_iter().collect(),
            versions: BTreeMap::from([("v1".to_owned(), ok)]),
            latency_ms: (ok > 0).then_some(latency),
        }
    }

    fn split(weight: u32) -> Split {
        Split::from([("v1".to_owned(), weight)])
    }

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn answers_around_an_edit_count_for_neither_split() {
        let mut tally = Tally::default();
        tally.asked(Duration::ZERO, split(1));
        for quarter in 1..=4 {
            tally.take(seconds(f64::from(quarter) * 0.25), report(f64::from(quarter) * 0.25, 10, 0));
        }
        tally.asked(seconds(1.0), split(2));
        for quarter in 5..=8 {
            tally.take(seconds(f64::from(quarter) * 0.25), report(f64::from(quarter) * 0.25, 10, 0));
        }
        let seen: Vec<_> = tally.phases.iter().map(|phase| phase.seen.values().sum::<u64>()).collect();
        // Two intervals began before the edit had settled.
        assert_eq!(seen, [40, 20]);
    }

    #[test]
    fn losses_are_kept_with_time_and_reason() {
        let mut tally = Tally::default();
        tally.take(seconds(0.25), report(0.25, 10, 0));
        tally.take(seconds(0.5), report(0.5, 9, 1));
        assert_eq!((tally.ok, tally.lost, tally.sent), (19, 1, 20));
        assert_eq!((tally.losses.len(), tally.losses[0].at_s), (1, 0.5));
        assert_eq!(tally.reasons(), BTreeMap::from([("timeout".to_owned(), 1)]));
    }

    #[test]
    fn the_summary_has_the_last_word() {
        let mut tally = Tally::default();
        tally.take(seconds(0.25), report(0.25, 10, 0));
        tally.take(seconds(0.5), Report { kind: Kind::Summary, ..report(0.5, 12, 3) });
        assert_eq!((tally.sent, tally.ok, tally.lost), (15, 12, 3));
        assert_eq!(tally.reasons(), BTreeMap::from([("timeout".to_owned(), 3)]));
    }

    #[test]
    fn rate_and_latency_are_those_of_the_last_second() {
        let mut tally = Tally::default();
        for quarter in 1..=20 {
            let at = f64::from(quarter) * 0.25;
            tally.take(seconds(at), report(at, 10, 0));
        }
        let late = tally.late();
        assert_eq!((late.rate, late.p50_ms, late.p99_ms), (40.0, Some(1.0), Some(5.0)));
        assert_eq!(Tally::default().late(), Late::default());
    }
}
