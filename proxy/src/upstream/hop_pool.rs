//! The connections of weft/1 from one worker to one endpoint.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::circuit_breaker::Age;
use crate::hop::link::Link;
use crate::observe::stats::{Retirement, Stats};
use crate::runtime::clock::now;

/// Connections of weft/1, the newest first.
#[derive(Debug, Default)]
pub(super) struct HopPool(RefCell<Vec<Kept>>);

#[derive(Debug)]
struct Kept {
    link: Rc<Link>,
    /// The certificate generation that it was made under.
    generation: u64,
    age: Age,
}

/// When connections take no new streams any more.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time without any stream after which a connection is closed.
    pub idle: Duration,
    /// The certificate generation in force; `None`: there is none.
    pub generation: Option<u64>,
}

impl Limits {
    /// Whether a certificate generation is in force, or there is no other.
    pub(super) fn is_current(&self, generation: u64) -> bool {
        self.generation.is_none_or(|current| current == generation)
    }
}

impl Drop for HopPool {
    fn drop(&mut self) {
        // Nobody looks after them any more: they end with their last stream.
        for kept in self.0.get_mut() {
            kept.link.drain();
        }
    }
}

impl HopPool {
    /// Takes in a connection that was made under a certificate generation.
    pub(super) fn add(&self, link: &Rc<Link>, generation: u64) {
        self.0
            .borrow_mut()
            .insert(0, Kept { link: Rc::clone(link), generation, age: Age::new(now(), fastrand::f32()) });
    }

    /// A connection of this generation that takes one more stream.
    pub(super) fn usable(&self, generation: u64) -> Option<Rc<Link>> {
        let links = self.0.borrow();
        let mut of_generation = links.iter().filter(|kept| kept.generation == generation);
        of_generation.find(|kept| kept.link.is_usable()).map(|kept| Rc::clone(&kept.link))
    }

    /// A connection of this generation of which it is not known yet how many streams its peer takes.
    pub(super) fn unsettled(&self, generation: u64) -> Option<Rc<Link>> {
        let links = self.0.borrow();
        let mut of_generation = links.iter().filter(|kept| kept.generation == generation);
        of_generation.find(|kept| !kept.link.is_settled()).map(|kept| Rc::clone(&kept.link))
    }

    /// Lets about a second pass. Connections of another certificate generation, and those that are too old or have not
    /// been used for too long, take no new streams and end when theirs have ended.
    pub(super) fn sweep(&self, now: Instant, limits: Limits, max_age: Option<Duration>, stats: &Stats) {
        let mut links = self.0.borrow_mut();
        links.retain(|kept| !kept.link.is_closed());
        for Kept { link, generation, age } in &*links {
            let lived = !link.is_deserted();
            link.tick(now);
            if lived && link.is_deserted() {
                stats.retired(Retirement::Silence);
            }
            let unused = || now.saturating_duration_since(link.unused_since()) >= limits.idle;
            let cause = if link.is_draining() {
                None
            } else if !limits.is_current(*generation) {
                Some(Retirement::Certificate)
            } else if age.is_over(now, max_age) {
                Some(Retirement::Age)
            } else {
                (link.open_streams() == 0 && unused()).then_some(Retirement::Idle)
            };
            if let Some(cause) = cause {
                stats.retired(cause);
                link.drain();
            }
        }
    }

    /// Takes no new streams on any connection; those that are open finish.
    pub(super) fn drain(&self, stats: &Stats) {
        for kept in self.0.borrow().iter().filter(|kept| !kept.link.is_draining()) {
            stats.retired(Retirement::Endpoint);
            kept.link.drain();
        }
    }

    /// Whether there is none, not even one that drains.
    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}
