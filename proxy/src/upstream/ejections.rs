//! Endpoints that workers have ejected, for whoever asks: each worker balances by itself and tells nobody else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use weft_mesh::name::ServicePort;

/// Until when endpoints are ejected, by service and id of the endpoint. It is written when one is ejected, which is rare,
/// and then forgets those that are over.
#[derive(Debug, Default)]
pub struct Ejections(Mutex<HashMap<(ServicePort, Arc<str>), Instant>>);

impl Ejections {
    /// A worker has ejected an endpoint until then.
    pub fn note(&self, service: &ServicePort, endpoint: &Arc<str>, until: Instant, now: Instant) {
        let mut ejected = self.0.lock();
        ejected.retain(|_, until| *until > now);
        let known = ejected.entry((service.clone(), Arc::clone(endpoint))).or_insert(until);
        *known = until.max(*known);
    }

    /// How long it still is; none when no worker has ejected it.
    pub fn left(&self, service: &ServicePort, endpoint: &Arc<str>, now: Instant) -> Option<Duration> {
        let until = self.0.lock().get(&(service.clone(), Arc::clone(endpoint))).copied()?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_worker_to_take_an_endpoint_back_counts_and_what_is_over_is_forgotten() {
        let (ejections, now) = (Ejections::default(), Instant::now());
        let service: ServicePort = "shop/reviews:80".parse().unwrap();
        let (one, other): (Arc<str>, Arc<str>) = ("one".into(), "other".into());
        let second = Duration::from_secs(1);
        ejections.note(&service, &one, now + 2 * second, now);
        ejections.note(&service, &one, now + second, now);
        assert_eq!(ejections.left(&service, &one, now), Some(2 * second));
        assert_eq!(ejections.left(&service, &other, now), None);
        assert_eq!(ejections.left(&service, &one, now + 2 * second), None);
        ejections.note(&service, &other, now + 9 * second, now + 3 * second);
        assert_eq!(ejections.0.lock().len(), 1);
    }
}
