//! Whether the proxy can take requests, and if not, why not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::watch;
use weft_xds::client::Connection;

use super::wall_clock;
use tokio::sync::{mpsc, oneshot};

use crate::runtime::shared::Shared;

/// Demands for a new certificate before the current one needs replacing; each is told how it ended.
pub(crate) type Rotations = mpsc::Sender<oneshot::Sender<Result<String, String>>>;

/// What there is to prove the workload's identity with.
#[derive(Clone, Debug, PartialEq)]
enum Identity {
    /// No certificate yet.
    None,
    /// One that peers accept until then.
    Held(SystemTime),
    /// One that peers refuse since then.
    Expired(SystemTime),
}

#[derive(Debug)]
struct Known {
    identity: Identity,
    /// Why the last attempt to get a certificate failed.
    refused: Option<String>,
    /// Why it will never succeed.
    failure: Option<String>,
    /// Why the workload is not registered, and whether it never will be.
    unregistered: Option<(String, bool)>,
    /// Parts of the proxy that do not work any more.
    broken: Vec<String>,
    /// Why connections do not arrive here that the kernel should redirect.
    unredirected: Option<String>,
    /// Why destinations are not asked for.
    full: Option<String>,
    inbound: bool,
    unanswered: BTreeSet<Arc<str>>,
    discovery: Option<watch::Receiver<Connection>>,
}

/// Gathers what readiness depends on; says so wherever someone asks.
#[derive(Debug)]
pub(crate) struct Status {
    shared: Arc<Shared>,
    workload: String,
    control_plane: String,
    known: Mutex<Known>,
    ready: watch::Sender<bool>,
}

impl Status {
    pub(crate) fn new(shared: Arc<Shared>, workload: &str, control_plane: &str) -> Self {
        let known = Known {
            identity: Identity::None,
            refused: None,
            failure: None,
            unregistered: None,
            broken: Vec::new(),
            unredirected: None,
            full: None,
            inbound: false,
            unanswered: BTreeSet::new(),
            discovery: None,
        };
        Self {
            shared,
            workload: workload.to_owned(),
            control_plane: control_plane.to_owned(),
            known: Mutex::new(known),
            ready: watch::Sender::new(false),
        }
    }

    /// A certificate is in use; says whether peers accept it.
    pub(crate) fn certificate(&self, not_after: SystemTime, expired: bool) {
        self.change(|known| {
            known.identity = if expired { Identity::Expired(not_after) } else { Identity::Held(not_after) };
        });
    }

    /// Asking for a certificate succeeded, or failed for a reason; `is_final` says that it will not succeed later.
    pub(crate) fn asked(&self, problem: Option<String>, is_final: bool) {
        self.change(|known| {
            known.failure = problem.clone().filter(|_| is_final && known.identity == Identity::None);
            known.refused = problem;
        });
    }

    /// The workload is registered, or is not for a reason; `is_final` says that it never will be.
    pub(crate) fn registered(&self, problem: Option<String>, is_final: bool) {
        self.change(|known| known.unregistered = problem.map(|problem| (problem, is_final)));
    }

    /// Connections are redirected here, or are not for a reason.
    pub(crate) fn redirected(&self, problem: Option<String>) {
        self.change(|known| known.unredirected = problem);
    }

    /// A part of the proxy failed that should never end.
    pub(crate) fn broken(&self, problem: String) {
        self.change(|known| known.broken.push(problem));
    }

    /// Destinations are not asked for, for a reason, or all are.
    pub(crate) fn full(&self, problem: Option<String>) {
        let before = std::mem::replace(&mut self.known.lock().full, problem.clone());
        if let (None, Some(problem)) = (before, problem) {
            tracing::warn!("{problem}");
        }
    }

    /// Waits until the proxy takes requests.
    pub(crate) async fn until_ready(&self) {
        // The sender is here: it can't be gone.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// A snapshot came into force.
    pub(crate) fn published(&self, inbound: bool, unanswered: BTreeSet<Arc<str>>) {
        self.change(|known| {
            known.inbound = inbound;
            known.unanswered = unanswered;
        });
    }

    /// Whether discovery is connected, now and later.
    pub(crate) fn discovery(&self, connection: watch::Receiver<Connection>) {
        self.change(|known| known.discovery = Some(connection));
    }

    /// Why the proxy can never become ready.
    pub(crate) fn failure(&self) -> Option<String> {
        let known = self.known.lock();
        let unregistered =
            known.unregistered.iter().filter(|(_, is_final)| *is_final).map(|(problem, _)| problem);
        known.failure.iter().chain(unregistered).chain(&known.broken).next().cloned()
    }

    /// Whether discovery is connected.
    pub(crate) fn is_connected(&self) -> bool {
        let known = self.known.lock();
        known.discovery.as_ref().is_some_and(|it| matches!(*it.borrow(), Connection::Connected { .. }))
    }

    /// What the proxy still waits for before it takes requests.
    pub(crate) fn waiting_for(&self) -> Vec<String> {
        let known = self.known.lock();
        let mut reasons = known.missing(self);
        if self.shared.drain.is_cancelled() {
            reasons.insert(0, "the proxy is about to end and takes nothing new".to_owned());
        }
        if !reasons.is_empty() {
            reasons.extend(known.troubles(self));
        }
        reasons
    }

    /// What is wrong although the proxy takes requests.
    pub(crate) fn troubles(&self) -> Vec<String> {
        self.known.lock().troubles(self)
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        let ready = {
            let mut known = self.known.lock();
            change(&mut known);
            known.missing(self).is_empty()
        };
        self.shared.set_ready(ready);
        let changed = self.ready.send_replace(ready) != ready;
        if changed && ready {
            tracing::info!(workload = %self.workload, "ready");
        } else if changed {
            tracing::warn!(workload = %self.workload, reasons = ?self.waiting_for(), "not ready any more");
        }
    }
}

impl Known {
    fn missing(&self, status: &Status) -> Vec<String> {
        let mut missing = Vec::new();
        let because = self
            .refused
            .as_ref()
            .map_or_else(|| format!("asking the control plane at {}", status.control_plane), Clone::clone);
        match self.identity {
            Identity::Held(_) => {}
            Identity::None => missing.push(format!("no certificate yet: {because}")),
            Identity::Expired(end) => {
                missing.push(format!("the certificate expired at {}: {because}", wall_clock::text(end)));
            }
        }
        missing.extend(self.unredirected.clone());
        if !self.inbound && self.identity != Identity::None {
            missing.push(format!("the control plane has not said what workload {} lets in", status.workload));
        }
        if self.identity != Identity::None {
            let untold = |name| format!("the control plane has not told of the upstream {name}");
            missing.extend(self.unanswered.iter().map(untold));
        }
        missing
    }

    fn troubles(&self, status: &Status) -> Vec<String> {
        let mut troubles = self.broken.clone();
        troubles.extend(self.full.clone());
        if let (Identity::Held(end), Some(problem)) = (&self.identity, &self.refused) {
            troubles.push(format!(
                "the certificate, good until {}, can't be renewed: {problem}",
                wall_clock::text(*end)
            ));
        }
        if let Some(Connection::Disconnected { since, error: Some(error), .. }) =
            self.discovery.as_ref().map(|discovery| discovery.borrow().clone())
        {
            let seconds = since.elapsed().as_secs();
            troubles.push(format!(
                "the control plane at {} has not been reached for {seconds} s: {error}",
                status.control_plane
            ));
        }
        if let Some((problem, _)) = &self.unregistered {
            troubles.push(format!("workload {} is not registered: {problem}", status.workload));
        }
        troubles
    }
}
