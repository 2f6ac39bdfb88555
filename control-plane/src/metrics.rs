//! The control plane's own metrics.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use weft_proto::{Resource as _, v1};

/// The types of resources that discovery has.
const TYPES: [&str; 4] =
    [v1::Destination::TYPE_URL, v1::Endpoint::TYPE_URL, v1::Inbound::TYPE_URL, v1::TrustBundle::TYPE_URL];

/// Why a peer or a call of it was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Refused {
    /// The handshake took too long.
    HandshakeTimeout,
    /// The handshake failed.
    Handshake,
    /// There are too many connections.
    TooManyConnections,
    /// A call without a certificate that needs one, or with a bad token.
    Unauthenticated,
    /// A call that the caller may not make.
    Forbidden,
}

impl Refused {
    const ALL: [Self; 5] = [
        Self::HandshakeTimeout,
        Self::Handshake,
        Self::TooManyConnections,
        Self::Unauthenticated,
        Self::Forbidden,
    ];
}

/// What became of a pod that the webhook was asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Admitted {
    Injected,
    Left,
    Refused,
    Malformed,
}

impl Admitted {
    const ALL: [Self; 4] = [Self::Injected, Self::Left, Self::Refused, Self::Malformed];
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct AdmittedLabels {
    outcome: Admitted,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RefusedLabels {
    pub(crate) reason: Refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TypeLabels {
    pub(crate) r#type: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct KindLabels {
    pub(crate) kind: String,
}

/// Everything that is counted.
#[derive(Default)]
pub(crate) struct Metrics {
    pub(crate) refused: Family<RefusedLabels, Counter>,
    /// Pods that the webhook was asked about.
    pub(crate) admitted: Family<AdmittedLabels, Counter>,
    pub(crate) connections: Gauge,
    pub(crate) certificates: Counter,
    pub(crate) config_loads: Counter,
    pub(crate) config_errors: Gauge,
    /// 1 while the API server of the cluster does not answer.
    pub(crate) api_server_unreachable: Gauge,
    /// 1 for each kind whose watch has failed for long while the API server answers.
    pub(crate) watches_failing: Family<KindLabels, Gauge>,
    pub(crate) telemetry_reports: Counter,
    pub(crate) telemetry_dropped: Counter,
    pub(crate) clients: Gauge,
    pub(crate) resources_sent: Family<TypeLabels, Counter>,
    pub(crate) removals_sent: Family<TypeLabels, Counter>,
    pub(crate) bytes_sent: Family<TypeLabels, Counter>,
    pub(crate) refusals: Family<TypeLabels, Counter>,
    pub(crate) ack_seconds: AckSeconds,
}

/// From queueing a response to its ACK: 1 ms to some 30 s.
pub(crate) struct AckSeconds(pub(crate) Histogram);

impl Default for AckSeconds {
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(0.001, 2.0, 16)))
    }
}

/// How much there is, read when metrics are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Levels {
    pub(crate) resources: usize,
    pub(crate) services: usize,
    pub(crate) endpoints: usize,
    pub(crate) withheld: usize,
    pub(crate) workloads: usize,
    pub(crate) compiled: usize,
    pub(crate) edges: usize,
    /// 1 while the certificate authority's material can't be used.
    pub(crate) authority_unusable: usize,
    /// The end of its certificate, in seconds since 1970.
    pub(crate) authority_expiry: usize,
}

impl Levels {
    fn register(self, registry: &mut Registry) {
        let levels = [
            ("resources", "Resources in force", self.resources),
            ("services", "Services", self.services),
            ("endpoints", "Endpoints", self.endpoints),
            (
                "endpoints_withheld",
                "Endpoints that proxies are not told of, because it is not known who is there or may be",
                self.withheld,
            ),
            ("workloads", "Registered workloads", self.workloads),
            ("compiled", "Compiled resources in memory", self.compiled),
            ("telemetry_edges", "Edges with traffic", self.edges),
            (
                "authority_unusable",
                "1 while the certificate authority's material can't be used",
                self.authority_unusable,
            ),
            (
                "authority_expiry_seconds",
                "When the certificate authority's certificate ends, in seconds since 1970",
                self.authority_expiry,
            ),
        ];
        for (name, help, level) in levels {
            let gauge = Gauge::<i64, std::sync::atomic::AtomicI64>::default();
            gauge.set(i64::try_from(level).unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        }
    }
}

impl Metrics {
    /// Everything in the text format of Prometheus.
    pub(crate) fn encode(&self, levels: Levels) -> Result<String, fmt::Error> {
        self.begin_at_zero();
        let mut registry = Registry::with_prefix("weft_control_plane");
        self.register(&mut registry);
        levels.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("refused", "Connections and calls that were refused", self.refused.clone());
        registry.register("admissions", "Pods that the webhook was asked about", self.admitted.clone());
        registry.register("connections", "Open connections", self.connections.clone());
        registry.register("certificates_issued", "Certificates issued", self.certificates.clone());
        registry.register("config_loads", "Times that the configuration changed", self.config_loads.clone());
        registry.register(
            "config_errors",
            "Errors in the configuration as it is written now",
            self.config_errors.clone(),
        );
        registry.register(
            "api_server_unreachable",
            "1 while the API server of the cluster does not answer",
            self.api_server_unreachable.clone(),
        );
        registry.register(
            "watch_failing",
            "1 for a kind whose watch has failed for more than a minute while the API server answers",
            self.watches_failing.clone(),
        );
        registry.register("telemetry_reports", "Reports taken from proxies", self.telemetry_reports.clone());
        registry.register(
            "telemetry_dropped",
            "Edges forgotten because there are too many",
            self.telemetry_dropped.clone(),
        );
        registry.register("discovery_clients", "Discovery streams", self.clients.clone());
        registry.register("discovery_resources_sent", "Resources sent", self.resources_sent.clone());
        registry.register("discovery_removals_sent", "Removals sent", self.removals_sent.clone());
        registry.register("discovery_sent_bytes", "Bytes of resources sent", self.bytes_sent.clone());
        registry.register("discovery_refusals", "Responses refused by clients", self.refusals.clone());
        registry.register(
            "discovery_ack_seconds",
            "Time until a response is accepted",
            self.ack_seconds.0.clone(),
        );
    }

    /// Every counter is there before what it counts: the first one of it would be no increase to Prometheus.
    fn begin_at_zero(&self) {
        for outcome in Admitted::ALL {
            drop(self.admitted.get_or_create(&AdmittedLabels { outcome }));
        }
        for reason in Refused::ALL {
            drop(self.refused.get_or_create(&RefusedLabels { reason }));
        }
        for labels in TYPES.map(of_type) {
            for family in [&self.resources_sent, &self.removals_sent, &self.bytes_sent, &self.refusals] {
                drop(family.get_or_create(&labels));
            }
        }
    }

    pub(crate) fn admitted(&self, outcome: Admitted) {
        self.admitted.get_or_create(&AdmittedLabels { outcome }).inc();
    }

    pub(crate) fn count_refused(&self, reason: Refused) {
        self.refused.get_or_create(&RefusedLabels { reason }).inc();
    }
}

/// A counter of something by type of resource.
pub(crate) fn of_type(type_url: &str) -> TypeLabels {
    let name = type_url.rsplit('.').next().unwrap_or(type_url);
    TypeLabels { r#type: name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_written_as_text() {
        let metrics = Metrics::default();
        metrics.count_refused(Refused::Handshake);
        metrics.resources_sent.get_or_create(&of_type("type.googleapis.com/weft.v1.Endpoint")).inc_by(3);
        let text = metrics.encode(Levels { services: 2, ..Levels::default() }).unwrap();
        assert!(text.contains("weft_control_plane_refused_total{reason=\"Handshake\"} 1"), "{text}");
        assert!(
            text.contains("weft_control_plane_discovery_resources_sent_total{type=\"Endpoint\"} 3"),
            "{text}"
        );
        assert!(text.contains("weft_control_plane_services 2"), "{text}");
        // What has not happened yet is nothing, rather than not there.
        assert!(text.contains("weft_control_plane_refused_total{reason=\"Forbidden\"} 0"), "{text}");
        assert!(text.contains("weft_control_plane_admissions_total{outcome=\"Malformed\"} 0"), "{text}");
        assert!(text.contains("weft_control_plane_discovery_refusals_total{type=\"Inbound\"} 0"), "{text}");
    }

    const REFERENCE: &str = "\
# Metrics of the control plane

Each family that `GET /metrics` of a control plane's admin server has. This page follows from the code.
";

    #[test]
    fn the_reference_of_the_control_planes_metrics_names_each_of_them() {
        let metrics = Metrics::default();
        drop(metrics.watches_failing.get_or_create(&KindLabels { kind: "Service".to_owned() }));
        let text = metrics.encode(Levels::default()).unwrap();
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
        let page = weft_testkit::generated::metrics_page(REFERENCE, &text);
        let file = folder.join("metrics-control-plane.md");
        weft_testkit::generated::assert_follows(&file, &page, "-p weft-control-plane --lib reference");
    }
}
