//! Which endpoints are ejected, for people: workers say it when it changes, and never on a request's path otherwise.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use weft_mesh::name::ServicePort;

/// Ids of the endpoints of a service that one worker has ejected.
type OfWorker = (ServicePort, Box<[Arc<str>]>);

/// What all workers have ejected.
#[derive(Debug, Default)]
pub struct Ejected {
    next: AtomicU64,
    told: Mutex<HashMap<u64, OfWorker>>,
}

impl Ejected {
    /// A number for a worker's view of a service.
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes note of all that one worker has ejected of a service.
    pub fn tell(&self, number: u64, service: &ServicePort, endpoints: Box<[Arc<str>]>) {
        let mut told = self.told.lock();
        if endpoints.is_empty() {
            told.remove(&number);
        } else {
            told.insert(number, (service.clone(), endpoints));
        }
    }

    /// How many workers have ejected an endpoint.
    pub fn by(&self, service: &ServicePort, endpoint: &str) -> usize {
        let told = self.told.lock();
        let of_service = told.values().filter(|(of, _)| of == service);
        of_service.filter(|(_, endpoints)| endpoints.iter().any(|id| **id == *endpoint)).count()
    }
}
