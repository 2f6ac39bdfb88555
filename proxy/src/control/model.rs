//! What the control plane has told, and the snapshot that follows from it. No I/O: time is an argument, and what is to
//! be subscribed to is collected for whoever can.
//!
//! A destination comes into force together with the endpoints of everything it leads to, so that no request ever finds
//! a service that merely seems to have none. As long as those of a changed destination are missing, the one before it
//! stays in force.

mod endpoints;
mod names;
mod subscriptions;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use tokio::sync::oneshot;
use weft_mesh::balance::Endpoint;
use weft_mesh::name::ServicePort;

use self::endpoints::Service;
use self::names::{LeadsTo, Name, Told};
use crate::snapshot::convert::Kept;
use crate::snapshot::{Backend, Destination, Inbound, NameMap, Snapshot, Tls};

/// Longest name: a DNS name, and a port.
pub(super) const NAME_LENGTH_MAX: usize = 253 + 6;
/// Time after which a name that nobody used is no longer followed.
pub(super) const NAME_IDLE: Duration = Duration::from_mins(10);
/// Time for which endpoints are followed that nothing leads to any more: a route that is taken back and put there again
/// should not cost a new transfer.
pub(super) const SERVICE_IDLE: Duration = Duration::from_mins(1);

/// A subscription to begin (true) or to end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wish {
    /// To a destination.
    Destination(Arc<str>, bool),
    /// To the endpoints of a service port.
    Endpoints(ServicePort, bool),
}

/// Whether a name can be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It is answered as soon as it is known.
    Waiting,
    /// There are too many names; this one is not asked for.
    Full,
}

/// What comes into force.
#[derive(Debug)]
pub(super) struct Publication {
    /// `None`: the one before it stays.
    pub(super) snapshot: Option<Snapshot>,
    /// To be told once the snapshot is in force.
    pub(super) answered: Vec<oneshot::Sender<()>>,
}

/// All that the control plane has told.
#[derive(Debug)]
pub(super) struct Model {
    names_max: usize,
    /// Names and service ports that may be subscribed to together; the control plane's to say.
    subscriptions_max: usize,
    /// Whether a name was not asked for because there are too many, since the last sweep.
    full: bool,
    names: NameMap<Arc<str>, Name>,
    services: NameMap<ServicePort, Service>,
    inbound: Option<Arc<Inbound>>,
    /// What the inbound side asks.
    asked: LeadsTo,
    kept: Kept,
    /// How often something was told that leads somewhere.
    told: u64,
    tls: Option<Arc<Tls>>,
    number: u64,
    /// Whether a snapshot may differ from the one in force.
    changed: bool,
    /// Who asked for what is in force already.
    answered: Vec<oneshot::Sender<()>>,
    wishes: Vec<Wish>,
}

impl Model {
    /// Knows nothing yet, and of at most so many names ever.
    pub(super) fn new(names_max: usize) -> Self {
        Self {
            names_max,
            subscriptions_max: usize::MAX,
            full: false,
            names: NameMap::default(),
            services: NameMap::default(),
            inbound: None,
            asked: LeadsTo::default(),
            kept: Kept::default(),
            told: 0,
            tls: None,
            number: 0,
            changed: false,
            answered: Vec::new(),
            wishes: Vec::new(),
        }
    }

    /// Follows a name for good.
    pub(super) fn pin(&mut self, name: &str, now: Instant) {
        let name: Arc<str> = name.into();
        self.names.entry(Arc::clone(&name)).or_insert_with(|| Name::new(now)).pinned = true;
        self.wishes.push(Wish::Destination(name, true));
    }

    /// Answers once the name is known.
    pub(super) fn look_up(&mut self, name: &str, answer: oneshot::Sender<()>, now: Instant) -> Asked {
        if let Some(known) = self.names.get_mut(name) {
            known.used_at = now;
            match known.current {
                Some(_) => self.answered.push(answer),
                None => known.waiting.push(answer),
            }
            if std::mem::take(&mut known.leaving) {
                self.wishes.push(Wish::Destination(name.into(), true));
            }
            return Asked::Waiting;
        }
        if name.len() > NAME_LENGTH_MAX {
            return Asked::Full;
        }
        // A name has endpoints, too.
        let full = self.names.len() >= self.names_max || self.subscriptions() + 2 > self.subscriptions_max;
        if full && !self.make_room() {
            self.full = true;
            return Asked::Full;
        }
        let name: Arc<str> = name.into();
        let mut asked = Name::new(now);
        asked.waiting.push(answer);
        self.names.insert(Arc::clone(&name), asked);
        self.wishes.push(Wish::Destination(name, true));
        Asked::Waiting
    }

    /// A destination is new or has changed.
    pub(super) fn destination(&mut self, name: &str, destination: Destination) {
        let leads_to = self.lead_to(destination.backends());
        let Some(known) = self.names.get_mut(name) else { return };
        self.changed = true;
        let services: Vec<_> = leads_to.services().cloned().collect();
        known.next = Some(Told::Found(Arc::new(destination), leads_to));
        for service in services {
            self.follow(service);
        }
    }

    fn lead_to(&mut self, backends: Vec<Arc<Backend>>) -> LeadsTo {
        self.told += 1;
        LeadsTo { backends: backends.into(), told: self.told }
    }

    /// What outlives changes of what is told.
    pub(super) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// There is no destination of that name.
    pub(super) fn no_destination(&mut self, name: &str) {
        if let Some(known) = self.names.get_mut(name) {
            known.next = Some(Told::Absent);
            self.changed = true;
        }
    }

    /// A name is no longer subscribed to.
    pub(super) fn forget_destination(&mut self, name: &str) {
        if self.names.get(name).is_some_and(|known| known.leaving) {
            self.names.remove(name);
            self.changed = true;
        }
    }

    /// An endpoint is new or has changed.
    pub(super) fn endpoint(&mut self, service: &ServicePort, endpoint: Endpoint) {
        if let Some(service) = self.services.get_mut(service) {
            service.insert(endpoint);
            self.changed = true;
        }
    }

    /// There is no such endpoint any more.
    pub(super) fn no_endpoint(&mut self, service: &ServicePort, id: &str) {
        if let Some(service) = self.services.get_mut(service) {
            service.remove(id);
            self.changed = true;
        }
    }

    /// All endpoints of a service port have been told.
    pub(super) fn endpoints_complete(&mut self, service: &ServicePort) {
        if let Some(service) = self.services.get_mut(service) {
            service.complete = true;
            self.changed = true;
        }
    }

    /// There is no such service port, and so no endpoint of it.
    pub(super) fn no_endpoints(&mut self, service: &ServicePort) {
        if let Some(service) = self.services.get_mut(service) {
            service.clear();
            service.complete = true;
            self.changed = true;
        }
    }

    /// The endpoints of a service port are no longer subscribed to.
    pub(super) fn forget_endpoints(&mut self, service: &ServicePort) {
        if self.services.get(service).is_some_and(|service| service.leaving) {
            self.services.remove(service);
            self.changed = true;
        }
    }

    /// What the workload lets in has changed.
    pub(super) fn set_inbound(&mut self, inbound: Inbound) {
        self.asked = self.lead_to(inbound.backends());
        let services: Vec<_> = self.asked.services().cloned().collect();
        for service in services {
            self.follow(service);
        }
        self.inbound = Some(Arc::new(inbound));
        self.changed = true;
    }

    /// What the workload lets in, once it is known.
    pub(super) fn inbound(&self) -> Option<&Arc<Inbound>> {
        self.inbound.as_ref()
    }

    /// The certificate or the roots have changed.
    pub(super) fn set_tls(&mut self, tls: Arc<Tls>) {
        self.tls = Some(tls);
        self.changed = true;
    }

    /// Names that are followed for good and of which nothing is known yet.
    pub(super) fn unanswered(&self) -> BTreeSet<Arc<str>> {
        let unanswered = self.names.iter().filter(|(_, known)| known.pinned && known.current.is_none());
        unanswered.map(|(name, _)| Arc::clone(name)).collect()
    }

    /// A client begins that is subscribed to nothing yet: wishes for all that is followed.
    pub(super) fn begin(&mut self) {
        // Nobody will say that these are forgotten.
        self.names.retain(|_, name| !name.leaving);
        self.services.retain(|_, service| !service.leaving);
        self.wishes.clear();
        self.wishes.extend(self.names.keys().map(|name| Wish::Destination(Arc::clone(name), true)));
        self.wishes.extend(self.services.keys().map(|service| Wish::Endpoints(service.clone(), true)));
    }

    /// What is to be subscribed to since this was asked last, in order.
    pub(super) fn take_wishes(&mut self) -> Vec<Wish> {
        std::mem::take(&mut self.wishes)
    }

    /// What comes into force now.
    pub(super) fn publish(&mut self, now: Instant) -> Publication {
        let mut answered = std::mem::take(&mut self.answered);
        if !std::mem::take(&mut self.changed) {
            return Publication { snapshot: None, answered };
        }
        let mut destinations = NameMap::with_capacity_and_hasher(self.names.len(), RandomState::default());
        for (name, known) in &mut self.names {
            let services = &self.services;
            known.advance(|service| services.get(service).is_some_and(|service| service.complete));
            let Some(current) = &known.current else { continue };
            destinations.insert(Arc::clone(name), current.destination().cloned());
            answered.append(&mut known.waiting);
        }
        self.note_unreferenced(now);
        self.shed();
        let complete = self.services.iter_mut().filter(|(_, service)| service.complete);
        let endpoints = complete.map(|(name, service)| (name.clone(), service.set())).collect();
        self.number += 1;
        let backends = self.backends_in_force();
        let snapshot = Snapshot {
            number: self.number,
            destinations,
            backends,
            endpoints,
            inbound: self.inbound.clone().unwrap_or_default(),
            tls: self.tls.clone(),
        };
        Publication { snapshot: Some(snapshot), answered }
    }

    /// Each service port that something in force leads to, as it was told last.
    fn backends_in_force(&self) -> NameMap<ServicePort, Arc<Backend>> {
        let current = self.names.values().filter_map(|name| name.current.as_ref()?.leads_to());
        let mut latest: NameMap<ServicePort, (u64, &Arc<Backend>)> = NameMap::default();
        for leads_to in current.chain([&self.asked]) {
            for backend in &leads_to.backends {
                let known = latest.entry(backend.service.clone()).or_insert((leads_to.told, backend));
                if known.0 < leads_to.told {
                    *known = (leads_to.told, backend);
                }
            }
        }
        latest.into_iter().map(|(service, (_, backend))| (service, Arc::clone(backend))).collect()
    }
}

#[cfg(test)]
mod tests;
