//! Reads the counters of edges at each scrape.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use weft_mesh::name::ServicePort;

use super::labels::Labels;
use crate::observe::stats::cause::Cause;
use crate::observe::stats::counters::Labelled as _;
use crate::observe::stats::edge::{EdgeKey, Security, Totals};
use crate::runtime::shared::Shared;

/// Bounds of the buckets of latencies, in microseconds: a request within one machine takes some hundred.
const BOUNDS: [u64; 17] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000,
];
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
/// The destination of what is for no service of the mesh. No service is called that: its name has a namespace in front.
const OUTSIDE: &str = "none";

/// The labels of an edge, as text.
struct EdgeLabels<'a> {
    key: &'a EdgeKey,
    destination: String,
    backend: String,
}

impl<'a> EdgeLabels<'a> {
    fn new(key: &'a EdgeKey) -> Self {
        let text = |port: &ServicePort| port.to_string();
        Self {
            key,
            destination: key.destination.as_ref().map_or_else(|| OUTSIDE.to_owned(), text),
            backend: key.backend.as_ref().map(text).unwrap_or_default(),
        }
    }

    fn pairs(&self) -> [(&str, &str); 8] {
        let key = self.key;
        [
            ("direction", key.direction.label()),
            ("destination", &self.destination),
            ("backend", &self.backend),
            ("route", &key.route),
            ("workload", &key.workload),
            ("version", &key.version),
            ("tls", tls(&key.security)),
            ("peer", key.security.peer().map_or("", |peer| peer.as_str())),
        ]
    }
}

fn tls(security: &Security) -> &'static str {
    match security {
        Security::Unknown => "",
        Security::Plain => "none",
        Security::Mutual(_) => "mutual",
    }
}

/// The label of a cause; empty, which says the same as none, of what has none.
fn reason(cause: Option<Cause>) -> &'static str {
    cause.map_or("", Cause::label)
}

/// The counters of edges.
#[derive(Debug)]
pub(super) struct EdgeCollector(pub(super) Arc<Shared>);

/// A counter of edges.
struct EdgeCounter {
    name: &'static str,
    help: &'static str,
    get: fn(&Totals) -> u64,
}

const FAILURES: EdgeCounter = EdgeCounter {
    name: "weft_failures",
    help: "Requests that failed: status 5xx, a failing gRPC status, or an answer that broke off; and connections",
    get: |totals| totals.failures,
};
const EDGE_COUNTERS: [EdgeCounter; 5] = [
    FAILURES,
    EdgeCounter { name: "weft_retries", help: "Attempts beyond the first", get: |totals| totals.retries },
    EdgeCounter {
        name: "weft_sent_bytes",
        help: "Bytes from clients: of requests' bodies and of connections",
        get: |totals| totals.bytes_sent,
    },
    EdgeCounter {
        name: "weft_received_bytes",
        help: "Bytes to clients: of answers' bodies and of connections",
        get: |totals| totals.bytes_received,
    },
    EdgeCounter {
        name: "weft_tcp_connections_opened",
        help: "Opaque connections that began",
        get: |totals| totals.connections_opened,
    },
];
/// Copies of requests are no requests: nobody waits for their answers.
const MIRRORED_FAILURES: EdgeCounter =
    EdgeCounter { name: "weft_mirrored_failures", help: "Copies of requests that failed", ..FAILURES };

type Read<'a> = [(EdgeLabels<'a>, &'a Totals)];

impl Collector for EdgeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let edges = self.0.stats.edges();
        let (copies, edges): (Vec<_>, Vec<_>) = edges
            .iter()
            .map(|(key, totals)| (EdgeLabels::new(key), totals))
            .partition(|(labels, _)| labels.key.mirrored);
        let help = "Requests that ended, by class of their status, and why where it was not the destination's answer";
        encode_requests(&mut encoder, ("weft_requests", help), &edges)?;
        for counter in &EDGE_COUNTERS {
            encode_counter(&mut encoder, counter, &edges)?;
        }
        encode_connections(&mut encoder, &edges)?;
        let help = "Time from a request's head to the end of its answer";
        encode_durations(&mut encoder, ("weft_request_duration_seconds", help), &edges)?;
        let help = "Copies of requests that ended, as weft_requests";
        encode_requests(&mut encoder, ("weft_mirrored_requests", help), &copies)?;
        encode_counter(&mut encoder, &MIRRORED_FAILURES, &copies)?;
        let help = "Time from a copy's head to the end of its answer";
        encode_durations(&mut encoder, ("weft_mirrored_request_duration_seconds", help), &copies)
    }
}

fn encode_requests(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    edges: &Read<'_>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, totals) in edges {
        let pairs = labels.pairs();
        for (class, cause, count) in totals.by_cause() {
            let Some(class) = CLASSES.get(class) else { continue };
            let how = [("class", *class), ("reason", reason(cause))];
            family
                .encode_family(&Labels(&pairs, &how))?
                .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
    }
    Ok(())
}

fn encode_counter(
    encoder: &mut DescriptorEncoder<'_>,
    counter: &EdgeCounter,
    edges: &Read<'_>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(counter.name, counter.help, None, MetricType::Counter)?;
    for (labels, totals) in edges.iter().filter(|(_, totals)| (counter.get)(totals) > 0) {
        family
            .encode_family(&Labels(&labels.pairs(), &[]))?
            .encode_counter::<NoLabelSet, _, u64>(&(counter.get)(totals), None)?;
    }
    Ok(())
}

fn encode_connections(encoder: &mut DescriptorEncoder<'_>, edges: &Read<'_>) -> fmt::Result {
    let help = "Opaque connections that ended, and why where they were carried nowhere";
    let mut family =
        encoder.encode_descriptor("weft_tcp_connections_closed", help, None, MetricType::Counter)?;
    for (labels, totals) in edges {
        let pairs = labels.pairs();
        for (cause, count) in totals.connections_by_cause() {
            family
                .encode_family(&Labels(&pairs, &[("reason", reason(cause))]))?
                .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
    }
    let help = "Seconds that opaque connections lived";
    let mut family =
        encoder.encode_descriptor("weft_tcp_connection_seconds", help, None, MetricType::Counter)?;
    for (labels, totals) in edges.iter().filter(|(_, totals)| totals.connections_closed() > 0) {
        let seconds = totals.connection_millis as f64 / 1e3;
        family
            .encode_family(&Labels(&labels.pairs(), &[]))?
            .encode_counter::<NoLabelSet, _, u64>(&seconds, None)?;
    }
    Ok(())
}

fn encode_durations(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    edges: &Read<'_>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (labels, totals) in edges.iter().filter(|(_, totals)| totals.requests() > 0) {
        let cumulative = totals.latency.cumulative(&BOUNDS);
        let mut buckets = Vec::with_capacity(BOUNDS.len() + 1);
        let mut below = 0;
        for (bound, count) in BOUNDS.iter().zip(cumulative) {
            buckets.push((*bound as f64 / 1e6, count - below));
            below = count;
        }
        let count = totals.latency.count();
        buckets.push((f64::INFINITY, count.saturating_sub(below)));
        family.encode_family(&Labels(&labels.pairs(), &[]))?.encode_histogram::<NoLabelSet>(
            totals.latency.sum() as f64 / 1e6,
            count,
            &buckets,
            None,
        )?;
    }
    Ok(())
}
