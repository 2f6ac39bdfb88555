//! What Prometheus gets.

use std::time::Duration;

use http::StatusCode;

use super::*;
use crate::stats::{Direction, EdgeKey, LookupOutcome};

fn shared() -> Arc<Shared> {
    let (shared, _questions) = Shared::new(1, weft_mesh::balance::Locality::default());
    let edge = shared.stats.edge(EdgeKey {
        direction: Direction::Outbound,
        destination: "shop/cart:80".parse().unwrap(),
        backend: "shop/cart-v2:80".parse().unwrap(),
        route: Arc::from("shop/canary"),
        workload: Arc::from("a\"b\\c\nd"),
        version: Arc::from("v2"),
        peer: Some("spiffe://mesh/ns/shop/sa/cart".parse().unwrap()),
    });
    edge.request(Some(StatusCode::OK), false, Duration::from_micros(900));
    edge.request(Some(StatusCode::OK), false, Duration::from_mins(2));
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
        format!("weft_requests_total{{{EDGE},class=\"2xx\"}} 2"),
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

#[test]
fn the_older_format_names_families_as_their_samples() {
    let text = Exposition::new(&shared(), || false).write(Format::Text).unwrap();
    for line in [
        "# TYPE weft_requests_total counter",
        "# HELP weft_requests_total Requests that ended, by class of their status",
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
