//! Who may use the webhook at the same time. The API server shows no certificate that it could be known by, so whoever reaches
//! the port is let in; what one source takes must leave enough for the API server.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use crate::shares::{Share, Shares, source};

/// Connections at once: the API server needs few.
const CONNECTIONS: usize = 256;
/// Of them, those of one source.
const OF_SOURCE: usize = 64;
/// Bodies that are read or answered at once; the others wait.
const READING: usize = 64;
/// Of them, those of one source.
const READING_OF_SOURCE: usize = 16;

/// The connections that are open.
pub(super) struct Places {
    open: Vec<Open>,
    sources: Arc<Shares<IpAddr>>,
    reading: Arc<Reading>,
    asked: Arc<AtomicU64>,
}

struct Open {
    /// As of all requests and connections, its last one's number.
    last: Arc<AtomicU64>,
    task: AbortHandle,
}

/// The place of a connection, as long as it is held.
pub(super) struct Place {
    address: IpAddr,
    last: Arc<AtomicU64>,
    asked: Arc<AtomicU64>,
    reading: Arc<Reading>,
    _share: Share<IpAddr>,
}

/// The bodies that are read.
struct Reading {
    all: Arc<Semaphore>,
    of_source: Mutex<HashMap<IpAddr, Weak<Semaphore>>>,
}

/// Permission to read a body.
pub(super) struct Permit {
    _all: OwnedSemaphorePermit,
    _of_source: OwnedSemaphorePermit,
    _source: Arc<Semaphore>,
}

impl Places {
    pub(super) fn new() -> Self {
        let reading = Reading { all: Arc::new(Semaphore::new(READING)), of_source: Mutex::default() };
        Self {
            open: Vec::new(),
            sources: Shares::new(OF_SOURCE),
            reading: Arc::new(reading),
            asked: Arc::default(),
        }
    }

    /// A place for a connection from this address, unless its source has all that it may. Where there is none left, the
    /// connection ends that has asked nothing for longest, so that a new one can always ask.
    pub(super) fn take(&mut self, address: IpAddr) -> Option<Place> {
        let address = source(address);
        let share = self.sources.take(address)?;
        self.open.retain(|open| !open.task.is_finished());
        if self.open.len() >= CONNECTIONS {
            let last = |open: &Open| open.last.load(Ordering::Relaxed);
            if let Some(at) = (0..self.open.len()).min_by_key(|at| last(&self.open[*at])) {
                self.open.swap_remove(at).task.abort();
            }
        }
        let place = Place {
            address,
            last: Arc::default(),
            asked: Arc::clone(&self.asked),
            reading: Arc::clone(&self.reading),
            _share: share,
        };
        place.used();
        Some(place)
    }

    /// The connection of a place is served by this task.
    pub(super) fn opened(&mut self, last: Arc<AtomicU64>, task: AbortHandle) {
        self.open.push(Open { last, task });
    }
}

impl Place {
    /// When its connection was used last.
    pub(super) fn last(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.last)
    }

    /// Its connection is used now.
    fn used(&self) {
        self.last.store(self.asked.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Waits until a body may be read.
    pub(super) async fn read(&self) -> Option<Permit> {
        self.used();
        let source = self.reading.of(self.address);
        let of_source = Arc::clone(&source).acquire_owned().await.ok()?;
        let all = Arc::clone(&self.reading.all).acquire_owned().await.ok()?;
        Some(Permit { _all: all, _of_source: of_source, _source: source })
    }
}

impl Reading {
    fn of(&self, address: IpAddr) -> Arc<Semaphore> {
        let mut of_source = self.of_source.lock();
        if let Some(known) = of_source.get(&address).and_then(Weak::upgrade) {
            return known;
        }
        of_source.retain(|_, known| known.strong_count() > 0);
        let made = Arc::new(Semaphore::new(READING_OF_SOURCE));
        of_source.insert(address, Arc::downgrade(&made));
        made
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn address(number: usize) -> IpAddr {
        IpAddr::from([10, 0, 0, u8::try_from(number).unwrap()])
    }

    /// A connection that does nothing until it is ended.
    fn open(places: &mut Places, from: usize) -> Option<(AbortHandle, Arc<Place>)> {
        let place = Arc::new(places.take(address(from))?);
        let held = Arc::clone(&place);
        let task = tokio::spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        places.opened(place.last(), task.abort_handle());
        Some((task.abort_handle(), place))
    }

    #[tokio::test]
    async fn one_source_has_a_part_of_the_connections() {
        let mut places = Places::new();
        let held: Vec<_> = (0..OF_SOURCE).map(|_| open(&mut places, 1).unwrap()).collect();
        assert!(open(&mut places, 1).is_none());
        assert!(open(&mut places, 2).is_some());
        drop(held);
    }

    #[tokio::test]
    async fn where_none_is_left_the_connection_goes_that_has_asked_nothing_for_longest() {
        let mut places = Places::new();
        let mut held: Vec<_> =
            (0..CONNECTIONS).map(|number| open(&mut places, number / OF_SOURCE).unwrap()).collect();
        // The first one asks, the second does not.
        assert!(held[0].1.read().await.is_some());
        let (task, _place) = open(&mut places, 200).unwrap();
        while !held[1].0.is_finished() {
            tokio::task::yield_now().await;
        }
        assert!(!held[0].0.is_finished() && !held[2].0.is_finished() && !task.is_finished());
        held.clear();
    }

    #[tokio::test]
    async fn bodies_of_one_source_leave_room_for_those_of_others() {
        let mut places = Places::new();
        let (one, other) = (places.take(address(1)).unwrap(), places.take(address(2)).unwrap());
        let read = |place: &Place| place.read().now_or_never().flatten();
        let mut held: Vec<_> = (0..READING_OF_SOURCE).map(|_| read(&one).unwrap()).collect();
        assert!(read(&one).is_none());
        assert!(read(&other).is_some());
        held.pop();
        assert!(read(&one).is_some());
    }

    #[tokio::test]
    async fn nothing_is_kept_of_a_source_that_is_gone() {
        let mut places = Places::new();
        for number in 0..10 {
            drop(places.take(address(number)).unwrap().read().await);
        }
        assert_eq!(places.reading.of_source.lock().len(), 1);
    }
}
