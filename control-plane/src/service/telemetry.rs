//! What proxies report, summed up.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::Stream;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use weft_mesh::name::Identity;
use weft_mesh::statistics::{BUCKETS, Histogram};
use weft_proto::v1::telemetry_server;
use weft_proto::v1::{self, EdgeReport, MeshSummary, ReportResponse, TelemetryReport, WatchRequest};

use crate::caller::Authenticator;
use crate::follow::ConfigStatus;
use crate::metrics::Metrics;
use crate::registry::{Registered, Registry};

/// Edges that are remembered. Beyond, those that were silent for the longest are forgotten: each start of a workload
/// makes new ones.
const EDGES_MAX: usize = 50_000;
/// Of these, one in so many is forgotten at once, so that looking for them is seldom.
const FORGET_PART: usize = 10;
/// Longest name in a report.
const NAME_MAX: usize = 512;
/// Summaries unless told otherwise, and the most often.
const INTERVAL: Duration = Duration::from_secs(1);
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// The sums of what all proxies reported since the start.
pub(crate) struct Traffic {
    state: Mutex<State>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    edges: HashMap<Key, Sums>,
    /// By identity and name of a workload.
    certificates: HashMap<(Identity, String), (Option<prost_types::Timestamp>, String)>,
    /// Reports so far: the time by which edges are old.
    reports: u64,
}

impl State {
    /// Forgets the edges that were silent for the longest; says how many.
    fn forget(&mut self, count: usize) -> usize {
        let mut ages: Vec<u64> = self.edges.values().map(|sums| sums.last_report).collect();
        if ages.is_empty() {
            return 0;
        }
        let (_, oldest, _) = ages.select_nth_unstable(count.min(self.edges.len() - 1));
        let (oldest, before) = (*oldest, self.edges.len());
        self.edges.retain(|_, sums| sums.last_report > oldest);
        before - self.edges.len()
    }
}

/// What an edge is known by.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    workload: String,
    identity: Identity,
    destination: Port,
    backend: Port,
    upstream_workload: String,
    upstream_identity: String,
    route: String,
    upstream_version: String,
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Port(String, String, u32);

#[derive(Clone, Default)]
struct Sums {
    requests: u64,
    failures: u64,
    retries: u64,
    tcp_connections: u64,
    bytes_sent: u64,
    bytes_received: u64,
    latency: Histogram,
    /// The number of the report that it was in last.
    last_report: u64,
}

impl Traffic {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { state: Mutex::default(), metrics }
    }

    /// How many edges there are.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().edges.len()
    }

    fn add(&self, identity: &Identity, report: TelemetryReport) {
        self.metrics.telemetry_reports.inc();
        let mut state = self.state.lock();
        state.reports += 1;
        let certificate = (report.certificate_not_after, report.certificate_serial);
        if state.certificates.len() >= EDGES_MAX {
            // Those who are there come back with their next report.
            state.certificates.clear();
        }
        state.certificates.insert((identity.clone(), report.workload_id.clone()), certificate);
        for edge in report.edges {
            let key = Key::of(&report.workload_id, identity, &edge);
            if state.edges.len() >= EDGES_MAX && !state.edges.contains_key(&key) {
                let forgotten = state.forget(EDGES_MAX / FORGET_PART);
                self.metrics.telemetry_dropped.inc_by(forgotten as u64);
            }
            let reports = state.reports;
            let sums = state.edges.entry(key).or_default();
            sums.last_report = reports;
            sums.add(&edge);
        }
    }

    fn summary(&self, registered: &[Registered], config: &ConfigStatus) -> MeshSummary {
        let state = self.state.lock();
        let mut edges: Vec<_> = state.edges.iter().collect();
        edges.sort_by_key(|(key, _)| *key);
        let edges = edges.into_iter().map(|(key, sums)| v1::Edge {
            workload_id: key.workload.clone(),
            identity: key.identity.as_str().to_owned(),
            traffic: Some(sums.report(key)),
        });
        let workloads = registered.iter().map(|Registered { workload, connected }| {
            let known = (workload.identity.clone(), workload.name.to_string());
            let (not_after, serial) = state.certificates.get(&known).cloned().unwrap_or_default();
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
        });
        MeshSummary {
            time: Some(SystemTime::now().into()),
            edges: edges.collect(),
            workloads: workloads.collect(),
            config_version: config.version.clone(),
            config_errors: config.errors.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Key {
    fn of(workload: &str, identity: &Identity, edge: &EdgeReport) -> Self {
        let bounded = |text: &str| text.chars().take(NAME_MAX).collect::<String>();
        let port = |port: &Option<v1::ServicePort>| {
            let port = port.clone().unwrap_or_default();
            Port(bounded(&port.namespace), bounded(&port.name), port.port)
        };
        Self {
            workload: workload.to_owned(),
            identity: identity.clone(),
            destination: port(&edge.destination),
            backend: port(&edge.backend),
            upstream_workload: bounded(&edge.upstream_workload),
            upstream_identity: bounded(&edge.upstream_identity),
            route: bounded(&edge.route),
            upstream_version: bounded(&edge.upstream_version),
        }
    }
}

impl Sums {
    fn add(&mut self, edge: &EdgeReport) {
        let add = |sum: &mut u64, value: u64| *sum = sum.saturating_add(value);
        add(&mut self.requests, edge.requests);
        add(&mut self.failures, edge.failures);
        add(&mut self.retries, edge.retries);
        add(&mut self.tcp_connections, edge.tcp_connections);
        add(&mut self.bytes_sent, edge.bytes_sent);
        add(&mut self.bytes_received, edge.bytes_received);
        let Some(latency) = &edge.latency else { return };
        for (bucket, count) in latency.buckets.iter().zip(&latency.counts) {
            if (*bucket as usize) < BUCKETS {
                self.latency.add(*bucket as usize, *count);
            }
        }
        self.latency.add_sum(latency.sum);
    }

    fn report(&self, key: &Key) -> EdgeReport {
        let port = |Port(namespace, name, port): &Port| {
            Some(v1::ServicePort { namespace: namespace.clone(), name: name.clone(), port: *port })
        };
        let (buckets, counts) = self.latency.buckets().map(|(bucket, count)| (bucket as u32, count)).unzip();
        EdgeReport {
            destination: port(&key.destination),
            backend: port(&key.backend),
            upstream_workload: key.upstream_workload.clone(),
            upstream_identity: key.upstream_identity.clone(),
            route: key.route.clone(),
            upstream_version: key.upstream_version.clone(),
            requests: self.requests,
            failures: self.failures,
            retries: self.retries,
            latency: Some(v1::Histogram { buckets, counts, sum: self.latency.sum() }),
            tcp_connections: self.tcp_connections,
            bytes_sent: self.bytes_sent,
            bytes_received: self.bytes_received,
        }
    }
}

/// The gRPC side of it.
pub(crate) struct TrafficService {
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) config: Arc<Mutex<ConfigStatus>>,
    pub(crate) authenticator: Authenticator,
    pub(crate) stop: CancellationToken,
}

type Summaries = Pin<Box<dyn Stream<Item = Result<MeshSummary, Status>> + Send>>;

#[tonic::async_trait]
impl telemetry_server::Telemetry for TrafficService {
    type WatchStream = Summaries;

    async fn report(
        &self,
        request: Request<Streaming<TelemetryReport>>,
    ) -> Result<Response<ReportResponse>, Status> {
        let identity = self.authenticator.identity(request.extensions())?;
        let mut reports = request.into_inner();
        loop {
            let report = tokio::select! {
                report = reports.message() => report?,
                () = self.stop.cancelled() => return Err(Status::unavailable("the control plane ends")),
            };
            let Some(report) = report else { return Ok(Response::new(ReportResponse {})) };
            // It may come before the registration, or after its end: it would be of no workload.
            if !self.registry.is_registered(&identity, &report.workload_id) {
                let problem = format!("{identity} has registered no workload {}", report.workload_id);
                return Err(Status::failed_precondition(problem));
            }
            self.traffic.add(&identity, report);
        }
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Summaries>, Status> {
        self.authenticator.operator(request.extensions())?;
        let interval = match request.into_inner().interval_ms {
            0 => INTERVAL,
            millis => Duration::from_millis(millis.into()).max(INTERVAL_MIN),
        };
        let (summaries, queue) = mpsc::channel(1);
        let (traffic, registry) = (Arc::clone(&self.traffic), Arc::clone(&self.registry));
        let (config, stop) = (Arc::clone(&self.config), self.stop.clone());
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = summaries.closed() => return,
                    () = stop.cancelled() => return,
                }
                let status = config.lock().clone();
                let summary = traffic.summary(&registry.workloads(), &status);
                if summaries.send(Ok(summary)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn report(workload: &str, requests: u64) -> TelemetryReport {
        let edge = EdgeReport {
            requests,
            latency: Some(v1::Histogram { buckets: vec![3, u32::MAX], counts: vec![requests, 9], sum: 12 }),
            ..EdgeReport::default()
        };
        TelemetryReport { workload_id: workload.to_owned(), edges: vec![edge], ..TelemetryReport::default() }
    }

    #[test]
    fn edges_that_were_silent_for_the_longest_are_forgotten_first() {
        let traffic = Traffic::new(Arc::default());
        let identity: Identity = "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap();
        for number in 0..EDGES_MAX {
            traffic.add(&identity, report(&format!("w{number}"), 1));
        }
        traffic.add(&identity, report("w0", 1));
        traffic.add(&identity, report("new", 1));
        let state = traffic.state.lock();
        let is_there = |workload: &str| state.edges.keys().any(|key| key.workload == workload);
        assert!(is_there("new") && is_there("w0") && is_there(&format!("w{}", EDGES_MAX - 1)));
        assert!(!is_there("w1"));
        assert!(state.edges.len() > EDGES_MAX / 2 && state.edges.len() <= EDGES_MAX);
    }

    #[test]
    fn reports_of_an_edge_are_summed_and_those_of_others_kept_apart() {
        let traffic = Traffic::new(Arc::default());
        let identity: Identity = "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap();
        traffic.add(&identity, report("a", 2));
        traffic.add(&identity, report("a", 3));
        traffic.add(&identity, report("b", 7));
        let summary = traffic.summary(&[], &ConfigStatus::default());
        let sums: BTreeMap<_, _> = summary
            .edges
            .iter()
            .map(|edge| (edge.workload_id.as_str(), edge.traffic.as_ref().unwrap().requests))
            .collect();
        assert_eq!(sums, BTreeMap::from([("a", 5), ("b", 7)]));
        let latency = summary.edges[0].traffic.as_ref().unwrap().latency.as_ref().unwrap();
        assert_eq!((&latency.buckets[..], &latency.counts[..], latency.sum), (&[3][..], &[5][..], 24));
    }
}
