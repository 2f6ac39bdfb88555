//! Limits of what may be under way to one service at once, shared by all workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Counts what is under way, and refuses more than the limit.
///
/// A relaxed atomic: workers count together without a lock, and the limit holds exactly.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU32);

impl Gauge {
    /// Takes one place, unless `limit` (0: none) are taken. The place is given back when the guard is dropped.
    pub fn enter(self: &Arc<Self>, limit: u32) -> Option<Place> {
        let taken = self.0.fetch_add(1, Ordering::Relaxed);
        if limit != 0 && taken >= limit {
            self.0.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Place(Arc::clone(self)))
    }

    /// How many places are taken.
    pub fn taken(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One place taken.
#[derive(Debug)]
pub struct Place(Arc<Gauge>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is under way to one service.
#[derive(Debug, Default)]
pub struct Usage {
    /// Connections that are open.
    pub connections: Arc<Gauge>,
    /// Requests that wait for a connection.
    pub pending: Arc<Gauge>,
    /// Requests in flight.
    pub requests: Arc<Gauge>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_limit_get_in_and_each_that_leaves_makes_room() {
        let gauge = Arc::new(Gauge::default());
        let first = gauge.enter(2).unwrap();
        let _second = gauge.enter(2).unwrap();
        assert!(gauge.enter(2).is_none());
        assert_eq!(gauge.taken(), 2);
        drop(first);
        assert!(gauge.enter(2).is_some());
    }

    #[test]
    fn without_a_limit_everybody_gets_in() {
        let gauge = Arc::new(Gauge::default());
        let places: Vec<_> = (0..1000).map(|_| gauge.enter(0).unwrap()).collect();
        assert_eq!(gauge.taken(), 1000);
        drop(places);
        assert_eq!(gauge.taken(), 0);
    }

    #[test]
    fn the_limit_holds_across_threads() {
        let gauge = Arc::new(Gauge::default());
        let entered: Vec<Place> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let gauge = Arc::clone(&gauge);
                    scope.spawn(move || (0..100).filter_map(|_| gauge.enter(50)).collect::<Vec<_>>())
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(entered.len(), 50);
    }
}
