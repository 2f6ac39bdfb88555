//! What Prometheus gets.

use std::time::Duration;

use http::StatusCode;

use super::*;
use weft_mesh::reason::Reason;
use weft_testkit::generated::{assert_follows, metrics_page};

use crate::observe::stats::{Cause, Direction, EdgeKey, LookupOutcome, Outcome, Security};

fn key() -> EdgeKey {
    EdgeKey {
        destination: Some("shop/cart:80".parse().unwrap()),
        backend: Some("shop/cart-v2:80".parse().unwrap()),
        route: Arc::from("shop/canary"),
        workload: Arc::from("a\"b\\c\nd"),
        version: Arc::from("v2"),
        security: Security::Mutual(Some("spiffe://mesh/ns/shop/sa/cart".parse().unwrap())),
        ..EdgeKey::outside(Direction::Outbound)
    }
}

fn ok(elapsed: Duration) -> Outcome {
    Outcome { status: Some(StatusCode::OK), cause: None, failed: false, elapsed }
}

fn shared() -> Arc<Shared> {
    let (shared, _questions) = Shared::new(1, weft_mesh::balance::Locality::default());
    let edge = shared.stats.edge(key());
    edge.request(&ok(Duration::from_micros(900)));
    edge.request(&ok(Duration::from_mins(2)));
    edge.sent(7);
    shared.stats.looked_up(LookupOutcome::Hit);
    shared
}

const EDGE: &str = concat!(
    r#"direction="outbound",destination="shop/cart:80",backend="shop/cart-v2:80",route="shop/canary","#,
    r#"workload="a\"b\\c\nd",version="v2",tls="mutual",peer="spiffe://mesh/ns/shop/sa/cart""#,
);

#[test]
fn an_edge_has_its_labels_counts_and_buckets() {
    let text = Exposition::new(&shared(), || true).write(Format::OpenMetrics).unwrap();
    for line in [
        format!("weft_requests_total{{{EDGE},class=\"2xx\",reason=\"\"}} 2"),
        format!("weft_sent_bytes_total{{{EDGE}}} 7"),
        format!("weft_request_duration_seconds_bucket{{le=\"0.0005\",{EDGE}}} 0"),
        format!("weft_request_duration_seconds_bucket{{le=\"0.001\",{EDGE}}} 1"),
        format!("weft_request_duration_seconds_bucket{{le=\"+Inf\",{EDGE}}} 2"),
        format!("weft_request_duration_seconds_count{{{EDGE}}} 2"),
        "weft_lookups_total{outcome=\"hit\"} 1".to_owned(),
        "weft_control_plane_connected 1".to_owned(),
        "# TYPE weft_requests counter".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

/// The endpoint of [`key`], where there was none.
fn nowhere() -> EdgeKey {
    EdgeKey { workload: "".into(), version: "".into(), security: Security::Unknown, ..key() }
}

/// With a request, a connection and a copy that the proxy answered itself, and a request that left the mesh.
fn refusing() -> Arc<Shared> {
    let shared = shared();
    let refused = Cause::Failed(Reason::NoEndpoints);
    let unavailable = Outcome {
        status: Some(StatusCode::SERVICE_UNAVAILABLE),
        cause: Some(refused),
        failed: true,
        elapsed: Duration::ZERO,
    };
    shared.stats.edge(nowhere()).request(&unavailable);
    let edge = shared.stats.edge(nowhere());
    edge.connection_refused(refused, true);
    edge.retried();
    edge.received(1);
    shared.stats.edge(EdgeKey { mirrored: true, ..nowhere() }).request(&unavailable);
    shared.stats.edge(EdgeKey::outside(Direction::Outbound)).request(&ok(Duration::ZERO));
    shared
}

#[test]
fn what_a_proxy_answered_is_told_with_its_reason_and_copies_are_apart() {
    let shared = refusing();
    let text = Exposition::new(&shared, || true).write(Format::OpenMetrics).unwrap();
    let nowhere = concat!(
        r#"direction="outbound",destination="shop/cart:80",backend="shop/cart-v2:80",route="shop/canary","#,
        r#"workload="",version="",tls="",peer="""#,
    );
    let outside = concat!(
        r#"direction="outbound",destination="none",backend="",route="",workload="",version="",tls="",peer="","#,
        r#"class="2xx",reason="""#,
    );
    for line in [
        format!("weft_requests_total{{{nowhere},class=\"5xx\",reason=\"no_endpoints\"}} 1"),
        format!("weft_failures_total{{{nowhere}}} 2"),
        format!("weft_tcp_connections_opened_total{{{nowhere}}} 1"),
        format!("weft_tcp_connections_closed_total{{{nowhere},reason=\"no_endpoints\"}} 1"),
        format!("weft_mirrored_requests_total{{{nowhere},class=\"5xx\",reason=\"no_endpoints\"}} 1"),
        format!("weft_mirrored_failures_total{{{nowhere}}} 1"),
        format!("weft_requests_total{{{outside}}} 1"),
    ] {
        assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
    }
}

#[test]
fn the_older_format_names_families_as_their_samples() {
    let text = Exposition::new(&shared(), || false).write(Format::Text).unwrap();
    for line in [
        "# TYPE weft_requests_total counter",
        "# HELP weft_requests_total Requests that ended, by class of their status, and why where it was not the destination's answer",
        "# TYPE weft_build_info gauge",
        "# TYPE weft_request_duration_seconds histogram",
        "weft_control_plane_connected 0",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
    }
    assert!(!text.contains("# EOF") && !text.contains("# UNIT"));
}

#[test]
fn open_metrics_goes_only_to_who_asks_for_it() {
    for (accept, expected) in [
        (None, Format::Text),
        (Some("*/*"), Format::Text),
        (Some("text/plain;version=0.0.4"), Format::Text),
        (Some("application/openmetrics-text;q=0, text/plain"), Format::Text),
        (Some("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1"), Format::OpenMetrics),
    ] {
        assert_eq!(Format::accepted(accept), expected, "{accept:?}");
    }
}

const REFERENCE: &str = "\
# Metrics of the proxy

Each family that `GET /metrics` of a proxy has. This page follows from the code; [metrics.md](../metrics.md) says what the labels
mean and what is counted when. Histograms have `_bucket`, `_sum` and `_count`.
";

#[test]
fn the_reference_of_the_proxys_metrics_names_each_of_them() {
    let text = Exposition::new(&refusing(), || true).write(Format::OpenMetrics).unwrap();
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/metrics-proxy.md");
    assert_follows(&file, &metrics_page(REFERENCE, &text), "-p weft-proxy --lib reference");
}
