//! Limits of what may be under way to one service at once, shared by all workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Counts what is under way, and refuses more than the limit.
///
/// A relaxed atomic: workers count together without a lock, and the limit holds exactly.
#[derive(Debug, Default)]
pub struct Limiter(AtomicU32);

impl Limiter {
    /// Takes one place, unless `limit` (0: none) are taken. The place is given back when the guard is dropped.
    pub fn enter(self: &Arc<Self>, limit: u32) -> Option<Permit> {
        let taken = self.0.fetch_add(1, Ordering::Relaxed);
        if limit != 0 && taken >= limit {
            self.0.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Permit(Arc::clone(self)))
    }

    /// How many places are taken.
    pub fn taken(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One place taken.
#[derive(Debug)]
pub struct Permit(Arc<Limiter>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is under way to one service.
#[derive(Debug, Default)]
pub struct Usage {
    /// Connections that are open.
    pub connections: Arc<Limiter>,
    /// Requests that wait for a connection.
    pub pending: Arc<Limiter>,
    /// Requests in flight.
    pub requests: Arc<Limiter>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_limit_get_in_and_each_that_leaves_makes_room() {
        let gauge = Arc::new(Limiter::default());
        let first = gauge.enter(2).unwrap();
        let _second = gauge.enter(2).unwrap();
        assert!(gauge.enter(2).is_none());
        assert_eq!(gauge.taken(), 2);
        drop(first);
        assert!(gauge.enter(2).is_some());
    }

    #[test]
    fn without_a_limit_everybody_gets_in() {
        let gauge = Arc::new(Limiter::default());
        let places: Vec<_> = (0..1000).map(|_| gauge.enter(0).unwrap()).collect();
        assert_eq!(gauge.taken(), 1000);
        drop(places);
        assert_eq!(gauge.taken(), 0);
    }

    #[test]
    fn the_limit_holds_across_threads() {
        let gauge = Arc::new(Limiter::default());
        let entered: Vec<Permit> = std::thread::scope(|scope| {
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
