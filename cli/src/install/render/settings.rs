//! What the injector is told of the sidecars.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use serde_json::{Value, json};

use super::{Values, labelled, metadata};

const NAME: &str = "weft-settings";

/// The ConfigMap.
pub(super) fn document(values: &Values) -> Value {
    labelled(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(NAME),
        "data": { "settings.yaml": text(values) },
    }))
}

/// The settings' digest, in hexadecimal: pods that carry it are made anew when the settings change.
pub(super) fn digest(values: &Values) -> String {
    let digest = digest::digest(&digest::SHA256, text(values).as_bytes());
    digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// YAML with a line of JSON for each key: the chart writes the same bytes.
fn text(values: &Values) -> String {
    let proxy = &values.proxy;
    let lines = [
        ("proxyImage", json!(values.image("weft-proxy"))),
        ("proxyImagePullPolicy", json!(values.image.pull_policy)),
        ("trustDomain", json!(values.trust_domain)),
        ("redirect", json!(proxy.redirect)),
        ("nativeSidecars", json!(proxy.native_sidecars)),
        ("preStopSeconds", json!(proxy.pre_stop_seconds)),
        ("logLevel", json!(proxy.log_level)),
        ("accessLog", json!(proxy.access_log)),
        ("resources", json!(proxy.resources)),
        ("skipOutboundAddresses", json!(proxy.skip_outbound_addresses)),
        ("skipInboundPorts", json!(proxy.skip_inbound_ports)),
        ("skipOutboundPorts", json!(proxy.skip_outbound_ports)),
        ("failurePolicy", json!(values.injector.failure_policy)),
        ("scrapeAnnotations", json!(values.monitoring.scrape_annotations)),
    ];
    lines.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{name}: {value}");
        text
    })
}
