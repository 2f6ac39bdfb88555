//! Requests on which nothing moves either way, found by looking once a minute: a timer for each request would cost every one
//! for what hardly one needs.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::upload::Upload;

/// A tunnel may stand still for an hour, as opaque connections may.
pub(crate) const TUNNEL_LOOKS: u32 = 60;
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// For how long the requests of one client's connection may stand still, and whether the client shows that it is there.
#[derive(Debug, Default)]
pub struct Patience {
    looks: AtomicU32,
    pings: AtomicU32,
}

impl Patience {
    /// Lets a request of the connection stand still for so many looks.
    pub fn allow(&self, looks: u32) {
        self.looks.fetch_max(looks, Ordering::Relaxed);
    }

    /// The most that was allowed.
    pub fn allowed(&self) -> u32 {
        self.looks.load(Ordering::Relaxed)
    }

    /// The client has sent a PING.
    pub fn pinged(&self) {
        self.pings.fetch_add(1, Ordering::Relaxed);
    }

    fn pings(&self) -> u32 {
        self.pings.load(Ordering::Relaxed)
    }
}

/// The requests of a worker that somebody waits for.
#[derive(Debug, Default)]
pub struct Waiting {
    slots: RefCell<Slots>,
    next: Cell<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Slots {
    all: Vec<Slot>,
    free: Vec<usize>,
}

#[derive(Debug, Default)]
struct Slot {
    used: bool,
    /// Looks since something has moved.
    quiet: u32,
    /// How many there may be.
    limit: u32,
    /// Whether more of the answer is waited for: what its client does not take is nobody's silence.
    waits: bool,
    over: bool,
    patience: Option<Arc<Patience>>,
    pings: u32,
    upload: Option<Rc<Upload>>,
    uploaded: u64,
    waker: Option<Waker>,
}

impl Waiting {
    /// Takes in a request that may stand still for so many looks, of a client's connection.
    pub fn enter(&self, limit: u32, patience: &Arc<Patience>) -> usize {
        let slots = &mut *self.slots.borrow_mut();
        let key = slots.free.pop().unwrap_or_else(|| {
            slots.all.push(Slot::default());
            slots.all.len() - 1
        });
        if let Some(slot) = slots.all.get_mut(key) {
            let (pings, patience) = (patience.pings(), Some(Arc::clone(patience)));
            *slot = Slot { used: true, limit, pings, patience, ..Slot::default() };
        }
        key
    }

    /// Forgets it.
    pub fn leave(&self, key: usize) {
        let slots = &mut *self.slots.borrow_mut();
        if let Some(slot) = slots.all.get_mut(key) {
            *slot = Slot::default();
            slots.free.push(key);
        }
    }

    /// Lets it stand still for so many looks.
    pub fn allow(&self, key: usize, limit: u32) {
        self.with(key, |slot| {
            slot.limit = limit;
            if let Some(patience) = &slot.patience {
                patience.allow(limit);
            }
        });
    }

    /// Its content is counted here as it comes.
    pub fn uploads(&self, key: usize, upload: &Rc<Upload>) {
        self.with(key, |slot| slot.upload = Some(Rc::clone(upload)));
    }

    /// Something of its answer has come.
    pub fn moved(&self, key: usize) {
        self.with(key, |slot| (slot.quiet, slot.waits) = (0, false));
    }

    /// Ready once it has stood still for too long; whoever asks waits for more of its answer.
    pub fn poll_over(&self, key: usize, cx: &Context<'_>) -> Poll<()> {
        let mut over = false;
        self.with(key, |slot| {
            over = slot.over;
            slot.waits = true;
            if !slot.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                slot.waker = Some(cx.waker().clone());
            }
        });
        if over { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether what it waits for is its client's content.
    pub fn is_for_client(&self, key: usize) -> bool {
        let mut waits = false;
        self.with(key, |slot| waits = slot.upload.as_ref().is_some_and(|upload| upload.waits()));
        waits
    }

    fn with(&self, key: usize, change: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.slots.borrow_mut().all.get_mut(key) {
            change(slot);
        }
    }

    /// Looks at all of them, where a minute has passed.
    pub fn sweep(&self, now: Instant) {
        match self.next.get() {
            Some(next) if now < next => return,
            None => return self.next.set(Some(now + LOOK_EVERY)),
            Some(_) => self.next.set(Some(now + LOOK_EVERY)),
        }
        for slot in self.slots.borrow_mut().all.iter_mut().filter(|slot| slot.used && slot.waits) {
            slot.look();
        }
    }
}

#[cfg(test)]
impl Waiting {
    /// As many requests as there were at once.
    pub(crate) fn places(&self) -> usize {
        self.slots.borrow().all.len()
    }
}

impl Slot {
    fn look(&mut self) {
        let uploaded = self.upload.as_ref().map_or(0, |upload| upload.bytes());
        let pings = self.patience.as_ref().map_or(0, |patience| patience.pings());
        // A client that shows that it is there waits on purpose.
        let moved = uploaded != self.uploaded || pings != self.pings;
        (self.uploaded, self.pings) = (uploaded, pings);
        self.quiet = if moved { 1 } else { self.quiet + 1 };
        if self.quiet > self.limit {
            self.over = true;
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn swept(waiting: &Waiting, minutes: std::ops::RangeInclusive<u64>, began: Instant) {
        for minute in minutes {
            waiting.sweep(began + Duration::from_mins(minute));
        }
    }

    fn is_over(waiting: &Waiting, key: usize) -> bool {
        waiting.poll_over(key, &Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn what_stands_still_is_over_and_what_moves_is_not() {
        let (waiting, patience, began) = (Waiting::default(), Arc::<Patience>::default(), Instant::now());
        let [still, moving, untaken, allowed] = [(); 4].map(|()| waiting.enter(5, &patience));
        waiting.allow(allowed, u32::MAX);
        for key in [still, moving, untaken, allowed] {
            assert!(!is_over(&waiting, key));
        }
        // Its client has what came last and asks for nothing more.
        waiting.moved(untaken);
        swept(&waiting, 0..=5, began);
        waiting.moved(moving);
        assert!(!is_over(&waiting, moving) && !is_over(&waiting, still));
        swept(&waiting, 6..=6, began);
        assert!(is_over(&waiting, still) && !is_over(&waiting, moving) && !is_over(&waiting, allowed));
        assert!(!is_over(&waiting, untaken));
        assert_eq!(patience.allowed(), u32::MAX);
    }

    #[test]
    fn a_client_that_pings_and_content_that_comes_keep_a_request() {
        let (waiting, began) = (Waiting::default(), Instant::now());
        let [pinging, silent] = [(); 2].map(|()| Arc::<Patience>::default());
        let upload = Rc::<Upload>::default();
        let (pinged, uploading) = (waiting.enter(1, &pinging), waiting.enter(1, &silent));
        waiting.uploads(uploading, &upload);
        for minute in 0..10 {
            assert!(!is_over(&waiting, pinged) && !is_over(&waiting, uploading));
            swept(&waiting, minute..=minute, began);
            pinging.pinged();
            upload.add(1);
        }
        waiting.leave(pinged);
        swept(&waiting, 10..=12, began);
        assert!(is_over(&waiting, uploading));
        // Its place is another's, of which nothing is known yet.
        assert_eq!(waiting.enter(1, &pinging), pinged);
        assert!(!is_over(&waiting, pinged));
    }
}
