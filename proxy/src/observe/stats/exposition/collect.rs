//! Reads the counters at each scrape.

use std::fmt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, LabelSetEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use weft_identity::Reason as RefusalReason;
use weft_mesh::name::ServicePort;
use weft_mesh::violation::Violation;

use crate::observe::stats::cause::Cause;
use crate::observe::stats::counters::{
    AccessLogOutcome, AuthorizationOutcome, Counter, Direction, GlobalLimitOutcome, HedgeOutcome, Labelled,
    LookupOutcome, Retirement, RetryOutcome, ShedCause,
};
use crate::observe::stats::edge::{EdgeKey, Security, Totals};
use crate::observe::stats::process::Process;
use crate::runtime::shared::Shared;

/// Bounds of the buckets of latencies, in microseconds: a request within one machine takes some hundred.
const BOUNDS: [u64; 17] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000,
];
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
/// The destination of what is for no service of the mesh. No service is called that: its name has a namespace in front.
const OUTSIDE: &str = "none";

type Pairs<'a> = [(&'a str, &'a str)];

/// Labels whose names and values are at hand.
struct Labels<'a>(&'a Pairs<'a>, &'a Pairs<'a>);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        use prometheus_client::encoding::EncodeLabel as _;
        self.0.iter().chain(self.1).try_for_each(|label| label.encode(encoder.encode_label()))
    }
}

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

/// What concerns the proxy as a whole.
pub(super) struct ProxyCollector {
    shared: Arc<Shared>,
    connected: Box<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for ProxyCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyCollector").finish_non_exhaustive()
    }
}

impl ProxyCollector {
    pub(super) fn new(shared: &Arc<Shared>, connected: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { shared: Arc::clone(shared), connected: Box::new(connected) }
    }

    /// A counter with one label of which every value is known.
    fn labelled<T: Copy>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help, label): (&str, &str, &str),
        values: &[T],
        counted: impl Fn(T) -> (&'static str, Counter),
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (value, counter) in values.iter().copied().map(counted) {
            let labels = [(label, value)];
            let count = self.shared.stats.counters.get(counter);
            family
                .encode_family(&Labels(&labels, &[]))?
                .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        Ok(())
    }

    /// As [`Self::labelled`], for each direction.
    fn directed<T: Copy>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help, label): (&str, &str, &str),
        values: &[T],
        counted: impl Fn(Direction, T) -> (&'static str, Counter),
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for direction in Direction::ALL.iter().copied() {
            for (value, counter) in values.iter().map(|value| counted(direction, *value)) {
                let labels = [("direction", direction.label()), (label, value)];
                let count = self.shared.stats.counters.get(counter);
                family
                    .encode_family(&Labels(&labels, &[]))?
                    .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        Ok(())
    }

    fn encode_counters(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let about = ("weft_answers", "Requests that the proxy answered itself", "reason");
        let answers: Vec<_> = Cause::all().filter(|cause| *cause != Cause::Cancelled).collect();
        self.directed(encoder, about, &answers, |direction, it| {
            (it.label(), Counter::Answer(direction, it))
        })?;
        let about = ("weft_violations", "What clients did that they must not, or not as often", "kind");
        self.directed(encoder, about, &Violation::ALL, |direction, it| {
            (it.label(), Counter::Violation(direction, it))
        })?;
        let about = ("weft_handshakes_refused", "TLS handshakes of peers that were refused", "reason");
        self.labelled(encoder, about, &RefusalReason::ALL, |it| (it.label(), Counter::Refusal(it)))?;
        let about = ("weft_lookups", "Destinations that were looked up, by what came of it", "outcome");
        self.labelled(encoder, about, LookupOutcome::ALL, |it| (it.label(), Counter::Lookup(it)))?;
        let about = (
            "weft_retry_decisions",
            "Retries that were made, that cost no budget as the request had reached nobody, or that the budget did not allow",
            "outcome",
        );
        self.labelled(encoder, about, RetryOutcome::ALL, |it| (it.label(), Counter::Retry(it)))?;
        let about = ("weft_hedges", "Attempts beside others, by what became of them", "outcome");
        self.labelled(encoder, about, HedgeOutcome::ALL, |it| (it.label(), Counter::Hedge(it)))?;
        let about = ("weft_global_rate_limits", "Questions to services that keep limits", "outcome");
        self.labelled(encoder, about, GlobalLimitOutcome::ALL, |it| (it.label(), Counter::GlobalLimit(it)))?;
        let about = ("weft_shed", "Requests and connections that were shed under overload", "cause");
        self.labelled(encoder, about, ShedCause::ALL, |it| (it.label(), Counter::Shed(it)))?;
        let about = ("weft_bodies_unkept", "Bodies that were not kept for sending them again", "cause");
        self.labelled(encoder, about, &["memory"], |cause| (cause, Counter::Unkept))?;
        let about = ("weft_mirrored_unsent", "Copies of requests that were not sent", "cause");
        self.labelled(encoder, about, &["limit"], |cause| (cause, Counter::Unmirrored))?;
        let about = ("weft_authorizations", "Decisions of authorization", "outcome");
        self.labelled(encoder, about, AuthorizationOutcome::ALL, |it| {
            (it.label(), Counter::Authorization(it))
        })?;
        let about = ("weft_connections_accepted", "Connections that were accepted", "direction");
        self.labelled(encoder, about, Direction::ALL, |it| (it.label(), Counter::Opened(it)))?;
        let about = (
            "weft_connections_refused",
            "Connections of clients that were closed at once, because there were as many as may be",
            "direction",
        );
        self.labelled(encoder, about, Direction::ALL, |it| (it.label(), Counter::RefusedConnection(it)))?;
        let about = ("weft_connections_retired", "Connections that were taken out of use", "cause");
        self.labelled(encoder, about, Retirement::ALL, |it| (it.label(), Counter::Retirement(it)))?;
        let about = ("weft_access_log_lines", "Lines of the access log, by what became of them", "outcome");
        self.labelled(encoder, about, AccessLogOutcome::ALL, |it| (it.label(), Counter::AccessLog(it)))?;
        let about = ("weft_ejections", "Endpoints that were ejected", "cause");
        self.labelled(encoder, about, &["outlier"], |cause| (cause, Counter::Ejection))
    }

    fn encode_gauges(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Connections that are open";
        let mut family = encoder.encode_descriptor("weft_connections_open", help, None, MetricType::Gauge)?;
        for direction in Direction::ALL.iter().copied() {
            let counters = &self.shared.stats.counters;
            // Closed first: a connection that opens in between must not make the difference negative.
            let closed = counters.get(Counter::Closed(direction));
            let open = counters.get(Counter::Opened(direction)).saturating_sub(closed);
            let labels = [("direction", direction.label())];
            family.encode_family(&Labels(&labels, &[]))?.encode_gauge(&open)?;
        }
        let help = "Part of what is new that is shed, by the worker that sheds most";
        let mut family = encoder.encode_descriptor("weft_shed_part", help, None, MetricType::Gauge)?;
        for (cause, part) in self.shared.overload.parts() {
            family.encode_family(&Labels(&[("cause", cause.label())], &[]))?.encode_gauge(&part)?;
        }
        let help = "How long work waits for its turn, on the worker where it waits longest";
        encoder
            .encode_descriptor("weft_loop_delay_seconds", help, None, MetricType::Gauge)?
            .encode_gauge(&self.shared.overload.delay().as_secs_f64())?;
        let process = Process::read();
        let not_after = self.shared.snapshot.load().tls.as_ref().map(|tls| tls.not_after());
        let expiry = not_after.map(|end| end.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()));
        let gauges = [
            (
                "weft_certificate_expiry_seconds",
                "End of the certificate in use, in seconds since 1970",
                expiry,
            ),
            (
                "weft_control_plane_connected",
                "Whether discovery is connected",
                Some(u64::from((self.connected)())),
            ),
            ("weft_ready", "Whether the proxy takes requests", Some(u64::from(self.shared.is_ready()))),
            (
                "weft_replay_bytes",
                "Bytes of requests' bodies that are kept for sending them again",
                Some(self.shared.replays.taken() as u64),
            ),
            (
                "weft_connections_limit",
                "Connections of clients that there may be",
                Some(self.shared.connections.most().into()),
            ),
            ("process_resident_memory_bytes", "Resident memory", process.resident),
            ("process_open_fds", "Open file descriptors", process.descriptors),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}

impl Collector for ProxyCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_counters(&mut encoder)?;
        self.encode_gauges(&mut encoder)?;
        let labels = [("version", env!("CARGO_PKG_VERSION"))];
        encoder
            .encode_descriptor("weft_build", "The build that runs", None, MetricType::Info)?
            .encode_info(&Labels(&labels, &[]))
    }
}
