//! Services whose last workload has left.
//!
//! They stay known, without endpoints: callers are told that nobody serves them now, instead of being sent past the mesh, and
//! a route to one of them is no mistake.

use std::collections::{BTreeMap, HashMap};

use weft_mesh::name::ServiceName;

use super::Service;

/// Most services that are remembered: a bound on memory, far above what one control plane is for.
const DEPARTED_MAX: usize = 10_000;

/// What services were when they were offered last.
#[derive(Debug, Default)]
pub(super) struct Departed {
    services: HashMap<ServiceName, (u64, Service)>,
    /// By when they left.
    order: BTreeMap<u64, ServiceName>,
    last: u64,
}

impl Departed {
    pub(super) fn get(&self, name: &ServiceName) -> Option<&Service> {
        self.services.get(name).map(|(_, service)| service)
    }

    /// Remembers a service that nobody offers any more. Gives the one that is forgotten for it, if there are too many.
    pub(super) fn insert(&mut self, name: &ServiceName, service: Service) -> Option<ServiceName> {
        self.last += 1;
        if let Some((before, _)) = self.services.insert(name.clone(), (self.last, service)) {
            self.order.remove(&before);
        }
        self.order.insert(self.last, name.clone());
        if self.services.len() <= DEPARTED_MAX {
            return None;
        }
        let (_, oldest) = self.order.pop_first()?;
        self.services.remove(&oldest);
        Some(oldest)
    }
}
