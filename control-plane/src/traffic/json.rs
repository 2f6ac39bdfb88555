//! What is known of the traffic, as the admin interface shows it.

use serde_json::{Value, json};
use weft_mesh::statistics::bounds_of;
use weft_proto::v1::{self, EdgeReport, TlsState};

use super::{Reporter, Traffic};
use crate::registry::Registered;

impl Traffic {
    /// Every edge of every instance, with the service that its workload offers first.
    pub(crate) fn json(&self, registered: &[Registered]) -> Value {
        let state = self.state.lock();
        let service = |reporter: &Reporter| {
            let is = |it: &&Registered| {
                *it.workload.name == *reporter.workload && it.workload.identity == reporter.identity
            };
            let workload = &registered.iter().find(is)?.workload;
            let offer = workload.offers.first()?;
            Some(format!("{}:{}", workload.service(offer)?, offer.port))
        };
        let mut edges = Vec::with_capacity(state.edges);
        for (reporter, instance) in &state.instances {
            let service = service(reporter);
            edges.extend(instance.edges.values().map(|traffic| {
                let mut edge = edge(traffic);
                edge["from"] = reporter.workload.as_str().into();
                edge["identity"] = reporter.identity.as_str().into();
                // A number of 64 bits is more than most readers of JSON take.
                edge["instance"] = format!("{:016x}", reporter.instance).into();
                edge["service"] = service.clone().into();
                edge
            }));
        }
        json!({ "edges": edges })
    }
}

fn edge(traffic: &EdgeReport) -> Value {
    let port = |port: &v1::ServicePort| format!("{}/{}:{}", port.namespace, port.name, port.port);
    let tls = match traffic.tls() {
        TlsState::Mutual => "mutual",
        TlsState::None => "none",
        // A proxy that does not say what protects the connection says who was there.
        TlsState::Unspecified if !traffic.upstream_identity.is_empty() => "mutual",
        TlsState::Unspecified => "",
    };
    let latency = traffic.latency.iter().flat_map(|latency| latency.buckets.iter().zip(&latency.counts));
    json!({
        "destination": traffic.destination.as_ref().map(port),
        "backend": traffic.backend.as_ref().map(port),
        "route": traffic.route,
        "upstream": traffic.upstream_workload,
        "upstream_version": traffic.upstream_version,
        "peer": traffic.upstream_identity,
        "tls": tls,
        "mirrored": traffic.mirrored,
        "requests": traffic.requests,
        "failures": traffic.failures,
        "retries": traffic.retries,
        "causes": traffic.causes.iter().map(|it| (it.reason.clone(), it.count.into())).collect::<serde_json::Map<_, _>>(),
        "tcp_opened": traffic.tcp_opened,
        "tcp_closed": traffic.tcp_connections,
        "bytes_sent": traffic.bytes_sent,
        "bytes_received": traffic.bytes_received,
        "latency_micros": latency
            .map(|(bucket, count)| json!([bounds_of(*bucket as usize).1, count]))
            .collect::<Vec<_>>(),
    })
}
