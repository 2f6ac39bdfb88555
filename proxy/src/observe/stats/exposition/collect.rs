//! Reads the counters of the proxy as a whole at each scrape.

use std::fmt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use weft_identity::Reason as RefusalReason;
use weft_mesh::violation::Violation;

use super::labels::Labels;
use crate::observe::stats::cause::Cause;
use crate::observe::stats::counters::{
    AccessLogOutcome, AuthorizationOutcome, Counter, Direction, GlobalLimitOutcome, HedgeOutcome, Labelled,
    LookupOutcome, Retirement, RetryOutcome, ShedCause,
};
use crate::observe::stats::process::Process;
use crate::runtime::shared::Shared;

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
