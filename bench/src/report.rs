//! Results: JSON with every sample, Markdown with medians and ratios.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::check::HopFacts;
use crate::idle::IdleResult;
use crate::sample::Sample;
use crate::workload::Workload;
use spread::Spread;
use weft_harness::host::Host;
use weft_harness::protocol::Protocol;

mod markdown;
mod spread;

/// Everything that `compare` found.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) command: String,
    pub(crate) host: Host,
    pub(crate) generator: &'static str,
    pub(crate) rounds: u32,
    pub(crate) seconds: u32,
    pub(crate) warmup: u32,
    pub(crate) baseline: String,
    pub(crate) subjects: Vec<SubjectFacts>,
    pub(crate) results: Vec<WorkloadResults>,
}

/// A subject, as checked.
#[derive(Debug, Serialize)]
pub(crate) struct SubjectFacts {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) hops: BTreeMap<Protocol, HopFacts>,
}

/// All samples of one workload.
#[derive(Debug, Serialize)]
pub(crate) struct WorkloadResults {
    pub(crate) workload: Workload,
    pub(crate) entries: Vec<Entry>,
}

/// The samples of one subject, one per round.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    pub(crate) subject: String,
    pub(crate) samples: Vec<Sample>,
}

/// Everything that `idle` found.
#[derive(Debug, Serialize)]
pub(crate) struct IdleReport {
    pub(crate) command: String,
    pub(crate) host: Host,
    pub(crate) connections: u32,
    pub(crate) parallel: u32,
    pub(crate) results: Vec<IdleResult>,
}

/// A figure of a sample, if it has it.
type Figure = fn(&Sample) -> Option<f64>;

impl Entry {
    fn spread(&self, figure: Figure) -> Option<Spread> {
        Spread::of(self.samples.iter().filter_map(figure).collect())
    }

    /// The figure in relation to the baseline's in the same round.
    fn ratio(&self, baseline: &Self, figure: Figure) -> Option<Spread> {
        let rounds = self.samples.iter().zip(&baseline.samples);
        let ratios = rounds.filter_map(|(own, other)| Some(figure(own)? / figure(other)?));
        Spread::of(ratios.filter(|ratio| ratio.is_finite()).collect())
    }
}

impl Comparison {
    /// Every kind of failed request, which makes the results void.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for result in &self.results {
            for entry in &result.entries {
                for (failure, count) in entry.samples.iter().flat_map(|sample| &sample.outcome.failures) {
                    failures.push(format!("{} {}: {count} {failure:?}", entry.subject, result.workload.name));
                }
            }
        }
        failures
    }
}
