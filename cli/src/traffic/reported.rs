//! What a control plane says of all traffic, at `/traffic` of its admin server.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Deserialize;

use super::edge::{Edges, Key, Totals};

#[derive(Debug, Deserialize)]
struct Traffic {
    edges: Vec<Edge>,
}

/// One edge of one instance of a sidecar.
#[derive(Debug, Deserialize)]
struct Edge {
    from: String,
    instance: String,
    /// The service that the calling workload offers.
    service: Option<String>,
    destination: Option<String>,
    backend: Option<String>,
    upstream_version: String,
    peer: String,
    tls: String,
    mirrored: bool,
    requests: u64,
    failures: u64,
    retries: u64,
    tcp_opened: u64,
    tcp_closed: u64,
    bytes_sent: u64,
    bytes_received: u64,
    /// Upper bounds in microseconds, and counts.
    latency_micros: Vec<(u64, u64)>,
}

/// `web` of `default/web:80`, and `shop/web` of `shop/web:80`: most meshes on one machine have one namespace.
fn short(service: &str) -> String {
    let name = service.rsplit_once(':').map_or(service, |(name, _)| name);
    name.strip_prefix("default/").unwrap_or(name).to_owned()
}

impl Edge {
    fn key(&self, outside: &str) -> Key {
        let from = self.service.as_deref().map_or_else(|| self.from.clone(), short);
        let to = self.backend.as_deref().or(self.destination.as_deref());
        (from, to.map_or_else(|| outside.to_owned(), short), self.upstream_version.clone())
    }

    fn totals(&self) -> Totals {
        Totals {
            requests: self.requests,
            failures: self.failures,
            retries: self.retries,
            plain: if self.tls == "none" { self.requests + self.tcp_opened } else { 0 },
            opened: self.tcp_opened,
            closed: self.tcp_closed,
            sent: self.bytes_sent,
            received: self.bytes_received,
            durations: self.latency_micros.iter().copied().collect(),
        }
    }
}

/// Takes what a control plane has been told. An edge whose endpoint is gone is told among those of its service: what an
/// instance says is put together by service and version first, so that it only grows. `outside` stands for what is not in
/// the mesh.
pub(crate) fn take_reported(edges: &mut Edges, text: &str, outside: &str) -> anyhow::Result<()> {
    let traffic: Traffic =
        serde_json::from_str(text).context("this is not the traffic of a control plane")?;
    let mut sums: BTreeMap<(String, Key), (Totals, String)> = BTreeMap::new();
    for edge in traffic.edges.iter().filter(|edge| !edge.mirrored) {
        let instance = format!("{}/{}", edge.from, edge.instance);
        let (sum, peer) = sums.entry((instance, edge.key(outside))).or_default();
        sum.add(&edge.totals());
        if !edge.peer.is_empty() {
            peer.clone_from(&edge.peer);
        }
    }
    for ((instance, key), (totals, peer)) in sums {
        edges.told(&instance, key, &totals, &peer);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    fn edge(instance: &str, peer: &str, requests: u64) -> Value {
        json!({
            "from": "web-0a", "instance": instance, "service": "default/web:80", "destination": "default/reviews:9080",
            "backend": "default/reviews:9080", "route": "", "upstream": "r-1", "upstream_version": "v2", "peer": peer,
            "tls": if peer.is_empty() { "" } else { "mutual" }, "mirrored": false, "requests": requests,
            "failures": 0, "retries": 0, "tcp_opened": 0, "tcp_closed": 0, "bytes_sent": 0, "bytes_received": 0,
            "causes": {}, "latency_micros": [[1000, requests]],
        })
    }

    fn requests(edges: &Edges) -> Vec<(String, String, String, u64)> {
        let reports = edges.in_all(Duration::from_secs(1)).into_iter();
        reports.map(|edge| (edge.from, edge.to, edge.version, edge.requests)).collect()
    }

    #[test]
    fn instances_add_up_and_an_endpoint_that_has_gone_is_counted_once() {
        let mut edges = Edges::default();
        let mut take = |told: Value| {
            take_reported(&mut edges, &json!({ "edges": told }).to_string(), "outside").unwrap();
            requests(&edges)
        };
        let expected = |count| vec![("web".to_owned(), "reviews".to_owned(), "v2".to_owned(), count)];
        assert_eq!(take(json!([edge("7", "spiffe://m/x", 5)])), expected(5));
        assert_eq!(take(json!([edge("7", "", 5)])), expected(5), "the endpoint has gone");
        assert_eq!(take(json!([edge("7", "", 5), edge("8", "spiffe://m/x", 2)])), expected(7));
    }

    #[test]
    fn what_is_something_else_is_refused() {
        assert!(take_reported(&mut Edges::default(), "{}", "outside").is_err());
    }
}
