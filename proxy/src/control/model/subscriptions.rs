//! What is subscribed to, and for how long: as little as serves what is in use, and never more than the control plane allows.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use foldhash::fast::RandomState;
use weft_mesh::name::ServicePort;

use super::endpoints::Service;
use super::names::Name;
use super::{Model, SERVICE_IDLE, Wish};

/// The part of all subscriptions that a model leaves to spare, as one of so many.
const SPARE: usize = 8;

impl Model {
    /// How many names and service ports may be subscribed to from now on. If there are more, those go that were not used for
    /// longest: a control plane ends the stream of who has too many.
    pub(in crate::control) fn limit_subscriptions(&mut self, max: usize) {
        // Endpoints are followed before it is known which names go for them.
        self.subscriptions_max = max - max / SPARE;
        self.shed();
    }

    /// Why names are not asked for, if some are not.
    pub(in crate::control) fn fullness(&self) -> Option<String> {
        if !self.full {
            return None;
        }
        let (names, subscriptions) = (self.names.len(), self.subscriptions());
        let limit = if names >= self.names_max {
            format!("of at most {}; raise --max-destinations", self.names_max)
        } else {
            let max = self.subscriptions_max;
            format!(
                "with their endpoints {subscriptions} subscriptions of at most {max}; raise --max-subscriptions of the \
                 control plane"
            )
        };
        Some(format!("{names} destinations are in use, {limit}; others are not asked for"))
    }

    /// Ends what nobody has used for long. To be called about once a minute.
    pub(in crate::control) fn sweep(&mut self, now: Instant) {
        self.full = false;
        for (name, known) in &mut self.names {
            known.waiting.retain(|waiting| !waiting.is_closed());
            if known.is_idle(now) && !known.leaving {
                known.leaving = true;
                self.wishes.push(Wish::Destination(Arc::clone(name), false));
            }
        }
        self.note_unreferenced(now);
        for (name, service) in &mut self.services {
            let idle = |since| now.saturating_duration_since(since) >= SERVICE_IDLE;
            if service.unreferenced.is_some_and(idle) && !service.leaving {
                service.leaving = true;
                self.wishes.push(Wish::Endpoints(name.clone(), false));
            }
        }
    }

    /// What is subscribed to and is to stay so. A name of which nothing is known yet is likely to have endpoints, too.
    pub(super) fn subscriptions(&self) -> usize {
        let known = |name: &Name| name.current.is_some() || name.next.is_some();
        let names = self.names.values().filter(|name| !name.leaving);
        let names: usize = names.map(|name| if known(name) { 1 } else { 2 }).sum();
        names + self.services.values().filter(|service| !service.leaving).count()
    }

    /// Ends what is too much: endpoints that nothing leads to, then names that were not used for longest.
    pub(super) fn shed(&mut self) {
        let mut excess = self.subscriptions().saturating_sub(self.subscriptions_max);
        for (name, service) in &mut self.services {
            if excess > 0 && service.unreferenced.is_some() && !service.leaving {
                service.leaving = true;
                self.wishes.push(Wish::Endpoints(name.clone(), false));
                excess -= 1;
            }
        }
        // Endpoints of what goes now go once it is gone.
        let stays = |name: &Name| !name.pinned && !name.leaving;
        let mut idle: Vec<(Instant, Arc<str>)> = self
            .names
            .iter()
            .filter(|(_, name)| excess > 0 && stays(name))
            .map(|(name, known)| (known.used_at, Arc::clone(name)))
            .collect();
        idle.sort();
        for (_, name) in idle.into_iter().take(excess.div_ceil(2)) {
            if let Some(known) = self.names.get_mut(&name) {
                known.leaving = true;
                self.wishes.push(Wish::Destination(name, false));
            }
        }
    }

    /// Follows the endpoints of a service port.
    pub(super) fn follow(&mut self, name: ServicePort) {
        let mut begin = false;
        let service = self.services.entry(name.clone()).or_insert_with(|| {
            begin = true;
            Service::default()
        });
        service.unreferenced = None;
        if std::mem::take(&mut service.leaving) || begin {
            self.wishes.push(Wish::Endpoints(name, true));
        }
    }

    /// Notes since when no name leads to a service port; [`Self::follow`] undoes it.
    pub(super) fn note_unreferenced(&mut self, now: Instant) {
        let referenced: HashSet<&ServicePort, RandomState> =
            self.names.values().flat_map(Name::services).chain(self.asked.services()).collect();
        for (name, service) in &mut self.services {
            if !referenced.contains(name) {
                service.unreferenced.get_or_insert(now);
            }
        }
    }

    /// Makes room for one name in place of the one that has been absent for longest: dialling names that do not exist
    /// must not keep those out that do.
    pub(super) fn make_room(&mut self) -> bool {
        let absent = self.names.iter().filter(|(_, known)| known.is_absent() && !known.leaving);
        let Some(oldest) = absent.min_by_key(|(_, known)| known.used_at).map(|(name, _)| Arc::clone(name))
        else {
            return false;
        };
        // It goes when its subscription has ended: until then it is clear what a question for it needs.
        if let Some(known) = self.names.get_mut(&oldest) {
            known.leaving = true;
        }
        self.wishes.push(Wish::Destination(oldest, false));
        true
    }
}
