use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What became of the requests of an interval, or of all of them. One line of `load`'s output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What it covers.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Seconds from the start to the end of what it covers.
    pub at_s: f64,
    /// Requests per second that ended, over what it covers.
    pub rate: f64,
    /// Requests sent.
    pub sent: u64,
    /// Requests that got a whole answer with a status under 400.
    pub ok: u64,
    /// Requests that didn't, also those that found no free slot in time.
    pub failed: u64,
    /// Sent and not ended yet, at its end.
    pub in_flight: u64,
    /// Answers by status.
    pub statuses: BTreeMap<String, u64>,
    /// Failed requests by reason.
    pub failures: BTreeMap<String, u64>,
    /// Answers by the version that their `x-version` header names.
    pub versions: BTreeMap<String, u64>,
    /// Of the requests that succeeded, from due to whole answer; none when none did.
    pub latency_ms: Option<Latency>,
}

impl Report {
    /// One line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("it has text keys and finite numbers only")
    }
}

/// What a report covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// What ended since the report before.
    Interval,
    /// Everything.
    Summary,
}

/// Latencies in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half took no longer.
    pub p50: f64,
    /// 90 of 100 took no longer.
    pub p90: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
    /// 999 of 1000 took no longer.
    pub p999: f64,
    /// The longest.
    pub max: f64,
    /// The average.
    pub mean: f64,
}
