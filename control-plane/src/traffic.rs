//! What proxies report, kept by the instance that reports it: the newest of each replaces the one before.

mod json;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use weft_mesh::name::Identity;
use weft_mesh::statistics::{BUCKETS, Histogram};
use weft_proto::v1::{self, CauseCount, EdgeReport, MeshSummary, TelemetryReport};

use crate::config_watcher::ConfigStatus;
use crate::metrics::Metrics;
use crate::registry::Registered;

/// Edges that are remembered. Beyond, what is told by proxies that have gone is forgotten, those first that were silent for
/// the longest, and then what comes is not taken.
const EDGES_MAX: usize = 50_000;
/// Edges of one workload, over all of its instances: its proxy keeps half as many, and nobody can fill the memory alone.
const WORKLOAD_EDGES_MAX: usize = 20_000;
/// Instances of one workload that are remembered: more are those of a proxy that starts again and again.
const INSTANCES_MAX: usize = 8;
/// Longest name in a report.
const NAME_MAX: usize = 512;
/// Most reasons in an edge of a report, above all that there are.
const CAUSES_MAX: usize = 64;

/// The traffic that all proxies have reported.
pub(crate) struct Traffic {
    state: Mutex<State>,
    metrics: Arc<Metrics>,
}

/// Who reports.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Reporter {
    pub(crate) identity: Identity,
    pub(crate) workload: String,
    /// Of a proxy's process; 0: one that tells only what is new.
    pub(crate) instance: u64,
}

#[derive(Default)]
struct State {
    instances: BTreeMap<Reporter, Instance>,
    /// Edges of all instances.
    edges: usize,
    /// Reports so far: the time by which instances are old.
    reports: u64,
}

#[derive(Default)]
struct Instance {
    edges: BTreeMap<Key, EdgeReport>,
    certificate: (Option<prost_types::Timestamp>, String),
    /// The number of its last report.
    last_report: u64,
    /// Streams that are open.
    streams: usize,
}

/// What an edge is known by.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    destination: Option<Port>,
    backend: Option<Port>,
    route: String,
    version: String,
    workload: String,
    identity: String,
    tls: i32,
    mirrored: bool,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Port(String, String, u32);

/// A stream of reports that is open.
pub(crate) struct Reporting {
    traffic: Arc<Traffic>,
    reporter: Reporter,
}

impl Drop for Reporting {
    fn drop(&mut self) {
        if let Some(instance) = self.traffic.state.lock().instances.get_mut(&self.reporter) {
            instance.streams = instance.streams.saturating_sub(1);
        }
    }
}

impl Reporting {
    /// Who reports on it.
    pub(crate) fn reporter(&self) -> &Reporter {
        &self.reporter
    }

    /// Takes a report.
    pub(crate) fn take(&self, report: TelemetryReport) {
        self.traffic.take(&self.reporter, report);
    }
}

impl Traffic {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { state: Mutex::default(), metrics }
    }

    /// How many edges there are.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().edges
    }

    /// A stream of reports has begun.
    pub(crate) fn begin(self: &Arc<Self>, reporter: Reporter) -> Reporting {
        let mut state = self.state.lock();
        state.instances.entry(reporter.clone()).or_default().streams += 1;
        let forgotten = state.bound_instances(&reporter);
        drop(state);
        self.metrics.telemetry_dropped.inc_by(forgotten as u64);
        Reporting { traffic: Arc::clone(self), reporter }
    }

    fn take(&self, reporter: &Reporter, report: TelemetryReport) {
        self.metrics.telemetry_reports.inc();
        let mut state = self.state.lock();
        state.reports += 1;
        let reports = state.reports;
        let instance = state.instances.entry(reporter.clone()).or_default();
        instance.last_report = reports;
        instance.certificate = (report.certificate_not_after, report.certificate_serial);
        if report.whole {
            let before = std::mem::take(&mut instance.edges).len();
            state.edges -= before;
        }
        let mut dropped = 0;
        if reporter.instance == 0 {
            dropped += state.put(reporter, report.edges, add);
        } else {
            dropped += state.put(reporter, report.totals, |known, told| *known = told);
        }
        drop(state);
        self.metrics.telemetry_dropped.inc_by(dropped as u64);
    }

    /// All that is known, with the workloads that are registered and those that report without being so.
    pub(crate) fn summary(&self, registered: &[Registered], config: &ConfigStatus) -> MeshSummary {
        let state = self.state.lock();
        MeshSummary {
            time: Some(SystemTime::now().into()),
            edges: state.edges(),
            workloads: state.workloads(registered),
            config_version: config.version.clone(),
            config_errors: config.errors.iter().map(ToString::to_string).collect(),
        }
    }
}

impl State {
    /// Puts what was told of edges into those of an instance; says how many edges were not taken, or forgotten for them.
    fn put(
        &mut self,
        reporter: &Reporter,
        reports: Vec<EdgeReport>,
        put: impl Fn(&mut EdgeReport, EdgeReport),
    ) -> usize {
        let mut dropped = 0;
        let own = self.of_workload(reporter).map(|(_, instance)| instance.edges.len());
        let mut of_workload: usize = own.sum();
        for mut told in reports {
            bound(&mut told);
            let key = Key::of(&told);
            let Some(instance) = self.instances.get_mut(reporter) else { return dropped };
            if has_ended(&told) {
                let ended = usize::from(instance.edges.remove(&key).is_some());
                self.edges -= ended;
                of_workload -= ended;
                continue;
            }
            if let Some(known) = instance.edges.get_mut(&key) {
                put(known, told);
                continue;
            }
            if self.edges >= EDGES_MAX {
                dropped += self.forget_gone(reporter);
            }
            let Some(instance) = self.instances.get_mut(reporter) else { return dropped };
            if self.edges >= EDGES_MAX || of_workload >= WORKLOAD_EDGES_MAX {
                dropped += 1;
                continue;
            }
            instance.edges.insert(key, told);
            self.edges += 1;
            of_workload += 1;
        }
        dropped
    }

    /// The instances of a workload.
    fn of_workload(&self, reporter: &Reporter) -> impl Iterator<Item = (&Reporter, &Instance)> {
        let first = Reporter { instance: 0, ..reporter.clone() };
        let last = Reporter { instance: u64::MAX, ..reporter.clone() };
        self.instances.range(first..=last)
    }

    /// Forgets the instance without a stream that was silent for the longest, but for `but`; says how many edges it had.
    fn forget_gone(&mut self, but: &Reporter) -> usize {
        let gone = self.instances.iter().filter(|(reporter, it)| it.streams == 0 && *reporter != but);
        let oldest =
            gone.min_by_key(|(_, instance)| instance.last_report).map(|(reporter, _)| reporter.clone());
        oldest.map_or(0, |oldest| self.forget(&oldest))
    }

    /// Forgets the oldest instances of a workload that has too many; says how many edges they had.
    fn bound_instances(&mut self, reporter: &Reporter) -> usize {
        let mut forgotten = 0;
        while self.of_workload(reporter).count() > INSTANCES_MAX {
            let others = self.of_workload(reporter).filter(|(of, _)| *of != reporter);
            let oldest =
                others.min_by_key(|(_, it)| (it.streams > 0, it.last_report)).map(|(of, _)| of.clone());
            let Some(oldest) = oldest else { return forgotten };
            forgotten += self.forget(&oldest);
        }
        forgotten
    }

    fn forget(&mut self, reporter: &Reporter) -> usize {
        let edges = self.instances.remove(reporter).map_or(0, |instance| instance.edges.len());
        self.edges -= edges;
        edges
    }

    fn edges(&self) -> Vec<v1::Edge> {
        let edges = self.instances.iter().flat_map(|(reporter, instance)| {
            instance.edges.values().map(|traffic| v1::Edge {
                workload_id: reporter.workload.clone(),
                identity: reporter.identity.as_str().to_owned(),
                traffic: Some(traffic.clone()),
                instance: reporter.instance,
            })
        });
        edges.collect()
    }

    fn workloads(&self, registered: &[Registered]) -> Vec<v1::WorkloadSummary> {
        // The instances of a workload follow each other; the one that told something last speaks for it.
        let mut reporting: BTreeMap<(&str, &str), (&Instance, bool)> = BTreeMap::new();
        for (reporter, instance) in &self.instances {
            let of = reporting
                .entry((&reporter.workload, reporter.identity.as_str()))
                .or_insert((instance, false));
            if instance.last_report > of.0.last_report {
                of.0 = instance;
            }
            of.1 |= instance.streams > 0;
        }
        let mut workloads: Vec<_> = registered
            .iter()
            .map(|Registered { workload, connected }| {
                let known = reporting.remove(&(&*workload.name, workload.identity.as_str()));
                let (not_after, serial) = known.map(|(it, _)| it.certificate.clone()).unwrap_or_default();
                let services = workload
                    .offers
                    .iter()
                    .filter_map(|offer| Some(format!("{}:{}", workload.service(offer)?, offer.port)));
                v1::WorkloadSummary {
                    workload_id: workload.name.to_string(),
                    identity: workload.identity.as_str().to_owned(),
                    services: services.collect(),
                    certificate_not_after: not_after,
                    certificate_serial: serial,
                    connected: *connected,
                }
            })
            .collect();
        workloads.extend(reporting.into_iter().map(|((id, identity), (instance, connected))| {
            let (certificate_not_after, certificate_serial) = instance.certificate.clone();
            v1::WorkloadSummary {
                workload_id: id.to_owned(),
                identity: identity.to_owned(),
                services: Vec::new(),
                certificate_not_after,
                certificate_serial,
                connected,
            }
        }));
        workloads
    }
}

impl Key {
    fn of(edge: &EdgeReport) -> Self {
        let port = |port: &v1::ServicePort| Port(port.namespace.clone(), port.name.clone(), port.port);
        Self {
            destination: edge.destination.as_ref().map(port),
            backend: edge.backend.as_ref().map(port),
            route: edge.route.clone(),
            version: edge.upstream_version.clone(),
            workload: edge.upstream_workload.clone(),
            identity: edge.upstream_identity.clone(),
            tls: edge.tls,
            mirrored: edge.mirrored,
        }
    }
}

/// Whether an edge is told of without any count.
fn has_ended(edge: &EdgeReport) -> bool {
    let counts = [edge.requests, edge.failures, edge.retries, edge.tcp_connections, edge.tcp_opened];
    counts.into_iter().chain([edge.bytes_sent, edge.bytes_received]).all(|count| count == 0)
}

/// Cuts what a report may hold to what is kept.
fn bound(edge: &mut EdgeReport) {
    let cut = |text: &mut String| {
        if let Some((end, _)) = text.char_indices().nth(NAME_MAX) {
            text.truncate(end);
        }
    };
    for text in [&mut edge.upstream_workload, &mut edge.upstream_identity, &mut edge.route] {
        cut(text);
    }
    cut(&mut edge.upstream_version);
    for port in [&mut edge.destination, &mut edge.backend].into_iter().flatten() {
        cut(&mut port.namespace);
        cut(&mut port.name);
    }
    edge.causes.truncate(CAUSES_MAX);
    edge.causes.retain(|cause| cause.count > 0);
    edge.causes.iter_mut().for_each(|cause| cut(&mut cause.reason));
    // Each bucket once and in order, so that histograms can be put together.
    let histogram = edge.latency.as_ref().map(histogram).unwrap_or_default();
    edge.latency = latency(&histogram);
}

fn histogram(told: &v1::Histogram) -> Histogram {
    let mut histogram = Histogram::default();
    for (bucket, count) in told.buckets.iter().zip(&told.counts) {
        if (*bucket as usize) < BUCKETS {
            histogram.add(*bucket as usize, *count);
        }
    }
    histogram.add_sum(told.sum);
    histogram
}

/// `None`: there is nothing in it.
fn latency(histogram: &Histogram) -> Option<v1::Histogram> {
    let (buckets, counts): (Vec<_>, Vec<_>) =
        histogram.buckets().map(|(bucket, count)| (bucket as u32, count)).unzip();
    (!buckets.is_empty()).then(|| v1::Histogram { buckets, counts, sum: histogram.sum() })
}

/// Adds what is new of an edge to what is known of it.
fn add(known: &mut EdgeReport, new: EdgeReport) {
    let add = |sum: &mut u64, value: u64| *sum = sum.saturating_add(value);
    add(&mut known.requests, new.requests);
    add(&mut known.failures, new.failures);
    add(&mut known.retries, new.retries);
    add(&mut known.tcp_connections, new.tcp_connections);
    add(&mut known.tcp_opened, new.tcp_opened);
    add(&mut known.bytes_sent, new.bytes_sent);
    add(&mut known.bytes_received, new.bytes_received);
    for CauseCount { reason, count } in new.causes {
        match known.causes.iter_mut().find(|known| known.reason == reason) {
            Some(known) => add(&mut known.count, count),
            None => known.causes.push(CauseCount { reason, count }),
        }
    }
    let mut sum = known.latency.as_ref().map(histogram).unwrap_or_default();
    sum.merge(&new.latency.as_ref().map(histogram).unwrap_or_default());
    known.latency = latency(&sum);
}

#[cfg(test)]
mod tests;
