//! What is told: every second, at each event, and at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use weft_examples::load::Latency;

use super::split::Split;
use super::tally::{Loss, Phase, Tally};
use crate::traffic::{EdgeReport, rounded};

/// Something that was done, or that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Event {
    #[serde(rename = "type")]
    kind: Kind,
    /// Seconds from the start of the load.
    pub(super) at_s: f64,
    /// What it is about: `split`, `kill`, `restart`, `rotate`, `loss`, `yaml`, `over`.
    #[serde(rename = "event")]
    pub(super) about: &'static str,
    /// For people.
    pub(super) text: String,
}

impl Event {
    pub(super) fn new(at: Duration, about: &'static str, text: String) -> Self {
        Self { kind: Kind::Event, at_s: rounded(at.as_secs_f64()), about, text }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Ready,
    Event,
    Second,
    Summary,
}

/// Where things are, when everything runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Ready {
    #[serde(rename = "type")]
    kind: Kind,
    /// The HTTP proxy into the mesh.
    pub(super) proxy: String,
    /// web, through the mesh, for a browser.
    pub(super) page: String,
    /// A command that sends a request through the mesh.
    pub(super) curl: String,
    /// The file of the split.
    pub(super) routes: String,
    /// The folder of the logs.
    pub(super) logs: String,
}

impl Ready {
    pub(super) fn new(proxy: String, page: String, routes: String, logs: String) -> Self {
        let curl = format!("curl -x {proxy} http://web:8080/product/1");
        Self { kind: Kind::Ready, proxy, page, curl, routes, logs }
    }
}

/// The split as it is asked for now, and the answers since then.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct SplitNow {
    /// Weights by version.
    pub(super) asked: Split,
    /// Answers by version.
    pub(super) seen: BTreeMap<String, u64>,
}

impl SplitNow {
    /// Each version with the share of 100 that is asked for, the share seen, and the answers.
    pub(super) fn rows(&self) -> Vec<(String, f64, f64, u64)> {
        let asked: u32 = self.asked.values().sum();
        let seen: u64 = self.seen.values().sum();
        let share = |part: f64, whole: f64| if whole > 0.0 { 100.0 * part / whole } else { 0.0 };
        let versions: std::collections::BTreeSet<_> = self.asked.keys().chain(self.seen.keys()).collect();
        let row = |version: &String| {
            let weight = self.asked.get(version).copied().unwrap_or_default();
            let count = self.seen.get(version).copied().unwrap_or_default();
            let shares = (share(f64::from(weight), f64::from(asked)), share(count as f64, seen as f64));
            (version.clone(), shares.0, shares.1, count)
        };
        versions.into_iter().map(row).collect()
    }

    /// `v1 50 % (49 %), v2 ...`: asked for, and seen.
    pub(super) fn short(&self) -> String {
        let row = |(version, asked, seen, _): (String, f64, f64, u64)| {
            format!("{version} {asked:.0}% ({seen:.0}%)")
        };
        self.rows().into_iter().map(row).collect::<Vec<_>>().join(", ")
    }
}

/// How it is going.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Second {
    #[serde(rename = "type")]
    kind: Kind,
    /// Seconds from the start of the load.
    pub(super) at_s: f64,
    /// Requests of the load a second, over the last one.
    pub(super) rate: f64,
    /// Its requests with a good answer so far.
    pub(super) ok: u64,
    /// Its requests without.
    pub(super) lost: u64,
    /// Over the last second, in milliseconds: the median (the mean of those of shorter intervals).
    pub(super) p50_ms: Option<f64>,
    /// Over the last second, in milliseconds: the 99th percentile (the highest of those of shorter intervals).
    pub(super) p99_ms: Option<f64>,
    pub(super) split: SplitNow,
    pub(super) edges: Vec<EdgeReport>,
}

impl Second {
    pub(super) fn new(at: Duration, tally: &Tally, edges: Vec<EdgeReport>) -> Self {
        let late = tally.late();
        let phase = tally.phases.last();
        Self {
            kind: Kind::Second,
            at_s: rounded(at.as_secs_f64()),
            rate: late.rate,
            ok: tally.ok,
            lost: tally.lost,
            p50_ms: late.p50_ms,
            p99_ms: late.p99_ms,
            split: phase
                .map(|it| SplitNow { asked: it.asked.clone(), seen: it.seen.clone() })
                .unwrap_or_default(),
            edges,
        }
    }
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    #[serde(rename = "type")]
    kind: Kind,
    /// Seconds from the start of the load to its end.
    pub(super) length_s: f64,
    /// Requests of the load that ended.
    pub(super) requests: u64,
    /// Those with a good answer.
    pub(super) ok: u64,
    /// Those without.
    pub(super) lost: u64,
    /// Lost requests by reason.
    pub(super) reasons: BTreeMap<String, u64>,
    /// When requests were lost.
    pub(super) losses: Vec<Loss>,
    /// Of the requests with a good answer, from when each was due.
    pub(super) latency_ms: Option<Latency>,
    /// Each split that was asked for, with the answers that it got.
    pub(super) splits: Vec<Phase>,
    /// Traffic between services.
    pub(super) edges: Vec<EdgeReport>,
    /// All that was done.
    pub(super) events: Vec<Event>,
}

impl Summary {
    pub(super) fn new(length: Duration, tally: &Tally, edges: Vec<EdgeReport>, events: Vec<Event>) -> Self {
        Self {
            kind: Kind::Summary,
            length_s: rounded(length.as_secs_f64()),
            requests: tally.ok + tally.lost,
            ok: tally.ok,
            lost: tally.lost,
            reasons: tally.reasons(),
            losses: tally.losses.clone(),
            latency_ms: tally.summary.as_ref().and_then(|summary| summary.latency_ms),
            splits: tally.phases.clone(),
            edges,
            events,
        }
    }

    /// Which requests were lost, in one line; `None` when none were.
    pub(super) fn complaint(&self) -> Option<String> {
        let reasons = self.reasons.iter().map(|(reason, count)| format!("{count} with {reason}"));
        let when = match (self.losses.first(), self.losses.last()) {
            (Some(first), Some(last)) if first.at_s < last.at_s => {
                format!(", from {:.1} s to {:.1} s", first.at_s, last.at_s)
            }
            (Some(only), _) => format!(", at {:.1} s", only.at_s),
            _ => String::new(),
        };
        (self.lost > 0).then(|| {
            let reasons = reasons.collect::<Vec<_>>().join(", ");
            format!("{} of {} requests were lost: {reasons}{when}", self.lost, self.requests)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split() -> SplitNow {
        SplitNow {
            asked: Split::from([("v1".to_owned(), 3), ("v2".to_owned(), 1)]),
            seen: BTreeMap::from([("v1".to_owned(), 70), ("v3".to_owned(), 30)]),
        }
    }

    #[test]
    fn asked_and_seen_stand_beside_each_other_for_every_version() {
        let rows = split().rows();
        assert_eq!(rows[0], ("v1".to_owned(), 75.0, 70.0, 70));
        assert_eq!(rows[1], ("v2".to_owned(), 25.0, 0.0, 0));
        assert_eq!(rows[2], ("v3".to_owned(), 0.0, 30.0, 30));
        assert_eq!(split().short(), "v1 75% (70%), v2 25% (0%), v3 0% (30%)");
        assert!(SplitNow::default().rows().is_empty());
    }

    #[test]
    fn a_complaint_names_count_reason_and_time() {
        let mut tally = Tally::default();
        tally.ok = 7;
        let summary = |tally: &Tally| Summary::new(Duration::from_secs(3), tally, Vec::new(), Vec::new());
        assert_eq!(summary(&tally).complaint(), None);
        tally.lost = 2;
        tally.losses = vec![Loss { at_s: 1.25, reasons: BTreeMap::from([("timeout".to_owned(), 2)]) }];
        let complaint = summary(&tally).complaint().unwrap();
        assert_eq!(complaint, "2 of 9 requests were lost: 2 with timeout, at 1.2 s");
        tally.losses.push(Loss { at_s: 2.0, reasons: BTreeMap::new() });
        assert!(summary(&tally).complaint().unwrap().ends_with(", from 1.2 s to 2.0 s"));
    }

    #[test]
    fn lines_for_programs_name_their_type() {
        let second = Second::new(Duration::from_millis(1500), &Tally::default(), Vec::new());
        let json = serde_json::to_value(&second).unwrap();
        assert_eq!((json["type"].as_str(), json["at_s"].as_f64()), (Some("second"), Some(1.5)));
        let event = serde_json::to_value(Event::new(Duration::ZERO, "kill", "x".to_owned())).unwrap();
        assert_eq!((event["type"].as_str(), event["event"].as_str()), (Some("event"), Some("kill")));
    }
}
