//! The endpoints of one service port.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use weft_mesh::balance::{Endpoint, EndpointSet};

/// A service port that is followed.
#[derive(Debug, Default)]
pub(super) struct Service {
    /// By id; in order, so that equal endpoints make equal sets.
    endpoints: BTreeMap<Arc<str>, Arc<Endpoint>>,
    /// Made of `endpoints`; `None`: they have changed since.
    set: Option<Arc<EndpointSet>>,
    /// Whether all endpoints have been told.
    pub(super) complete: bool,
    /// Since when nothing leads to it.
    pub(super) unreferenced: Option<Instant>,
    /// The subscription is being ended.
    pub(super) leaving: bool,
}

impl Service {
    pub(super) fn insert(&mut self, endpoint: Endpoint) {
        self.endpoints.insert(Arc::clone(&endpoint.id), Arc::new(endpoint));
        self.set = None;
    }

    pub(super) fn remove(&mut self, id: &str) {
        if self.endpoints.remove(id).is_some() {
            self.set = None;
        }
    }

    pub(super) fn clear(&mut self) {
        self.endpoints.clear();
        self.set = None;
    }

    /// The set, the same one as long as nothing changes.
    pub(super) fn set(&mut self) -> Arc<EndpointSet> {
        let endpoints = &self.endpoints;
        let made = || Arc::new(EndpointSet::new(endpoints.values().map(Arc::clone)));
        Arc::clone(self.set.get_or_insert_with(made))
    }
}
