//! What happens on discovery streams, counted and logged.

use std::sync::Arc;
use std::time::Duration;

use weft_xds::server::{ClientContext, Observer};

use crate::metrics::{Metrics, of_type};

/// Counts what happens on discovery streams.
pub(super) struct Watched(pub(super) Arc<Metrics>);

impl Observer for Watched {
    fn connected(&self, client: &ClientContext) {
        self.0.clients.inc();
        tracing::debug!(client = %client.node_id, identity = %client.identity, "discovery stream opened");
    }

    fn disconnected(&self, client: &ClientContext, reason: &str) {
        self.0.clients.dec();
        tracing::debug!(client = %client.node_id, reason, "discovery stream ended");
    }

    fn sent(&self, _: &ClientContext, type_url: &str, resources: usize, removed: usize, bytes: usize) {
        let labels = of_type(type_url);
        self.0.resources_sent.get_or_create(&labels).inc_by(resources as u64);
        self.0.removals_sent.get_or_create(&labels).inc_by(removed as u64);
        self.0.bytes_sent.get_or_create(&labels).inc_by(bytes as u64);
    }

    fn accepted(&self, _: &ClientContext, _: &str, after: Duration) {
        self.0.ack_seconds.0.observe(after.as_secs_f64());
    }

    fn refused(&self, client: &ClientContext, type_url: &str, message: &str, _: &[weft_xds::Rejection]) {
        self.0.refusals.get_or_create(&of_type(type_url)).inc();
        tracing::warn!(client = %client.node_id, type_url, message, "a proxy refused resources; it keeps what it had");
    }
}
