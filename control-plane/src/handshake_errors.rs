//! Telling of refused peers: each counted, each logged once.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::metrics::{Metrics, Refused};

/// Beyond this many addresses what was logged is forgotten: a bound on memory, and a reminder.
const LOGGED_MAX: usize = 1_024;

/// Counts refusals, and logs the first of each address and reason.
pub(crate) struct HandshakeErrors {
    metrics: Arc<Metrics>,
    logged: Mutex<HashSet<(IpAddr, Refused, String)>>,
}

impl HandshakeErrors {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, logged: Mutex::default() }
    }

    pub(crate) fn refuse(&self, address: IpAddr, reason: Refused, detail: &str) {
        self.metrics.count_refused(reason);
        let mut logged = self.logged.lock();
        if logged.len() >= LOGGED_MAX {
            logged.clear();
        }
        if logged.insert((address, reason, detail.to_owned())) {
            tracing::warn!(peer = %address, ?reason, detail, "refused; more of the same are only counted");
        }
    }
}
