//! What is known of a name.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::oneshot;
use weft_mesh::name::ServicePort;

use super::NAME_IDLE;
use crate::snapshot::{Backend, Destination};

/// What the control plane said of a name.
#[derive(Debug)]
pub(super) enum Told {
    /// There is none.
    Absent,
    /// There is this one, and it leads to these.
    Found(Arc<Destination>, LeadsTo),
}

/// Where something leads, as it was told.
#[derive(Debug, Default)]
pub(super) struct LeadsTo {
    pub(super) backends: Box<[Arc<Backend>]>,
    /// The higher the later it was told.
    pub(super) told: u64,
}

impl LeadsTo {
    pub(super) fn services(&self) -> impl Iterator<Item = &ServicePort> {
        self.backends.iter().map(|backend| &backend.service)
    }
}

impl Told {
    pub(super) fn destination(&self) -> Option<&Arc<Destination>> {
        match self {
            Self::Absent => None,
            Self::Found(destination, _) => Some(destination),
        }
    }

    pub(super) fn leads_to(&self) -> Option<&LeadsTo> {
        match self {
            Self::Absent => None,
            Self::Found(_, leads_to) => Some(leads_to),
        }
    }

    fn services(&self) -> impl Iterator<Item = &ServicePort> {
        self.leads_to().into_iter().flat_map(LeadsTo::services)
    }
}

/// A name that is followed.
#[derive(Debug)]
pub(super) struct Name {
    /// In force.
    pub(super) current: Option<Told>,
    /// Comes into force once the endpoints are there.
    pub(super) next: Option<Told>,
    /// Who waits for the name to be known.
    pub(super) waiting: Vec<oneshot::Sender<()>>,
    /// Followed for good.
    pub(super) pinned: bool,
    /// The subscription is being ended.
    pub(super) leaving: bool,
    /// What workers noted when this was last looked at, and when it was another value before.
    used: u64,
    pub(super) used_at: Instant,
}

impl Name {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            current: None,
            next: None,
            waiting: Vec::new(),
            pinned: false,
            leaving: false,
            used: 0,
            used_at: now,
        }
    }

    /// Puts into force what can be: `complete` says whether the endpoints of a service port are all there.
    pub(super) fn advance(&mut self, complete: impl Fn(&ServicePort) -> bool) {
        let Some(next) = self.next.take_if(|next| next.services().all(&complete)) else { return };
        if let (Some(new), Some(old)) =
            (next.destination(), self.current.as_ref().and_then(Told::destination))
        {
            new.used.store(old.used.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.current = Some(next);
    }

    /// What the name leads to, now and soon.
    pub(super) fn services(&self) -> impl Iterator<Item = &ServicePort> {
        self.current.iter().chain(&self.next).flat_map(Told::services)
    }

    pub(super) fn is_absent(&self) -> bool {
        !self.pinned && self.next.is_none() && matches!(self.current, Some(Told::Absent))
    }

    /// Whether nobody has used it for long. Workers' clocks begin when they start, so only changes of what they noted
    /// mean anything here.
    pub(super) fn is_idle(&mut self, now: Instant) -> bool {
        if let Some(destination) = self.current.as_ref().and_then(Told::destination) {
            let used = destination.used.load(Ordering::Relaxed);
            if std::mem::replace(&mut self.used, used) != used {
                self.used_at = now;
            }
        }
        !self.pinned && self.waiting.is_empty() && now.saturating_duration_since(self.used_at) >= NAME_IDLE
    }
}
