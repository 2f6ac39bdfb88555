//! What the guard of a connection, the timer for heads and the server tell each other.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use parking_lot::Mutex;
use smallvec::SmallVec;
use weft_mesh::http_validation::HeadRead;

use crate::transport::stream::ResetFlag;

/// Time between requests: that of opaque connections, and longer than clients keep connections for later.
const BETWEEN: Duration = Duration::from_hours(1);
/// Time without a request after which a connection rests: the next request of a busy client comes before it, and most of
/// the connections that are kept for later are past it.
const UNTIL_REST: Duration = Duration::from_secs(1);
/// Time that a connection may rest.
pub(in crate::http) const REST: Duration = BETWEEN.saturating_sub(UNTIL_REST);

const OPEN: u8 = 0;
const TUNNEL: u8 = 1;
const HTTP: u8 = 2;

/// Shared by the parts of one connection. One thread alone uses it; hyper asks for more.
#[derive(Debug, Default)]
pub(in crate::http) struct Signals {
    /// Whether anything of a head has come since hyper began to wait for one.
    begun: AtomicBool,
    /// Whether hyper waits for a head: it has written all answers to those before.
    waiting: AtomicBool,
    /// Whether it has waited for a while, and nothing has come.
    quiet: AtomicBool,
    /// Whether something was written that may not have left yet.
    unflushed: AtomicBool,
    /// The time for a head is over.
    late: AtomicBool,
    /// Whether an octet has moved, either way, since the last look.
    moved: AtomicBool,
    looks: AtomicU32,
    /// Whether what follows waits for what becomes of a request that may change the protocol, and what became of it.
    undecided: AtomicBool,
    decision: AtomicU8,
    waker: Mutex<Option<Waker>>,
    /// Whether the body is still to come, in part, of the last request whose head has come.
    in_body: AtomicBool,
    /// Whether the client has said that the request under way is its last one.
    last: AtomicBool,
    /// Whether the end of the connection is what ends the answer under way, whose length nothing else may say.
    ended_by_close: AtomicBool,
    /// Whether the connection is to end by a reset; few have anybody who may say so.
    reset: OnceLock<ResetFlag>,
    /// Whether a head waits for which hyper has to have more room.
    room: AtomicBool,
    /// What is known of each head that hyper has been given and made no request of yet.
    heads: Mutex<SmallVec<[HeadRead; 1]>>,
}

impl Signals {
    pub(super) fn begins(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    pub(super) fn moved(&self) {
        self.moved.store(true, Ordering::Relaxed);
    }

    pub(super) fn waits_for_head(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn wrote(&self) {
        self.unflushed.store(true, Ordering::Relaxed);
    }

    /// All that was written has left; says whether anything was.
    pub(super) fn flushed(&self) -> bool {
        self.unflushed.swap(false, Ordering::Relaxed)
    }

    pub(super) fn is_unflushed(&self) -> bool {
        self.unflushed.load(Ordering::Relaxed)
    }

    /// Whether hyper has nothing to do, and has had nothing for a while: no octet of a head has come, and all answers have
    /// left.
    pub(in crate::http) fn may_rest(&self) -> bool {
        self.quiet.load(Ordering::Relaxed) && !self.begun.load(Ordering::Relaxed) && !self.is_unflushed()
    }

    /// A head waits for which hyper has to have more room.
    pub(super) fn want_room(&self) {
        self.room.store(true, Ordering::Relaxed);
    }

    /// Whether hyper is to make way for one that has more room, and is done with all that came before.
    pub(in crate::http) fn wants_room(&self) -> bool {
        self.room.load(Ordering::Relaxed) && self.waits_for_head() && !self.is_unflushed()
    }

    /// Whether there was to be more room; there is, from now on.
    pub(in crate::http) fn take_room(&self) -> bool {
        self.room.swap(false, Ordering::Relaxed)
    }

    pub(super) fn take_late(&self) -> bool {
        self.late.load(Ordering::Relaxed) && self.late.swap(false, Ordering::Relaxed)
    }

    pub(super) fn wake_later(&self, waker: &Waker) {
        *self.waker.lock() = Some(waker.clone());
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.lock().take() {
            waker.wake();
        }
    }

    pub(super) fn undecided(&self, undecided: bool) {
        self.undecided.store(undecided, Ordering::Relaxed);
    }

    pub(super) fn take_decision(&self) -> Option<bool> {
        match self.decision.swap(OPEN, Ordering::Relaxed) {
            OPEN => None,
            decision => Some(decision == TUNNEL),
        }
    }

    /// A request begins, which its client may have said to be the last one, and whose answer may be as long as the connection
    /// lasts. If it asks for another protocol,
    /// [`Signals::decide`] has to follow.
    pub(in crate::http) fn request(&self, last: bool, ended_by_close: bool) {
        self.waiting.store(false, Ordering::Relaxed);
        self.last.store(last, Ordering::Relaxed);
        self.ended_by_close.store(ended_by_close, Ordering::Relaxed);
    }

    /// By what the connection is made to end by a reset, once it changes to another protocol.
    pub(in crate::http) fn reset_flag(&self) -> ResetFlag {
        self.reset.get_or_init(ResetFlag::default).clone()
    }

    /// An answer breaks off. Where nothing but the end of the connection says how long it is, its client would take what it
    /// has for the whole (RFC 9112 section 8).
    pub(in crate::http) fn breaks_off(&self) {
        if self.ended_by_close.load(Ordering::Relaxed) {
            self.reset_flag().set();
        }
    }

    pub(super) fn is_to_reset(&self) -> bool {
        self.reset.get().is_some_and(ResetFlag::is_set)
    }

    /// Whether a client that has closed its side may still wait for its answer: it has said that it sends no more, or what it
    /// sends next may be of another protocol. Any other client has gone, and nobody is left to answer.
    pub(super) fn may_listen(&self) -> bool {
        let open = self.undecided.load(Ordering::Relaxed) || self.last.load(Ordering::Relaxed);
        open && !self.waits_for_head()
    }

    /// Takes in what is known of heads that go on to hyper.
    pub(super) fn heads(&self, heads: impl Iterator<Item = HeadRead>) {
        self.heads.lock().extend(heads);
    }

    pub(super) fn in_body(&self, in_body: bool) {
        self.in_body.store(in_body, Ordering::Relaxed);
    }

    /// Whether a part of the body is still to come of the request that hyper has made last.
    pub(in crate::http) fn is_in_body(&self) -> bool {
        // That of a request behind it, which is in the same octets, is none of its business.
        self.in_body.load(Ordering::Relaxed) && self.heads.lock().is_empty()
    }

    /// What is known of the head of the request that begins.
    pub(in crate::http) fn take_head(&self) -> HeadRead {
        let mut heads = self.heads.lock();
        if heads.is_empty() { HeadRead::default() } else { heads.remove(0) }
    }

    /// Whether what follows the request is another protocol.
    pub(in crate::http) fn decide(&self, tunnel: bool) {
        if tunnel {
            // Its end is the end of what goes through it.
            self.last.store(false, Ordering::Relaxed);
        }
        self.decision.store(if tunnel { TUNNEL } else { HTTP }, Ordering::Relaxed);
        self.wake();
    }

    /// Looks at a connection of HTTP/1: whether it has a request, and no octet has moved since the last look.
    pub(in crate::http) fn stands_still(&self) -> bool {
        !self.moved.swap(false, Ordering::Relaxed) && !self.waits_for_head()
    }

    /// Has the guard of a connection of HTTP/2 look at its streams.
    pub(in crate::http) fn look(&self) {
        self.looks.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn take_look(&self) -> bool {
        self.looks.load(Ordering::Relaxed) > 0 && self.looks.swap(0, Ordering::Relaxed) > 0
    }
}

/// A timer for heads: seldom long for a head that has begun, and long for one that has not.
///
/// hyper has one time for both. Whoever keeps a connection for later has to find it open, or its next request may be
/// lost on the way to a connection that is just being closed; whoever sends a head octet by octet is to be cut off.
#[derive(Debug)]
pub(in crate::http) struct HeadTimer {
    signals: Arc<Signals>,
    time: Duration,
}

impl HeadTimer {
    /// Allows `time` for each head, from its first octet on.
    pub(in crate::http) fn new(signals: &Arc<Signals>, time: Duration) -> Self {
        Self { signals: Arc::clone(signals), time }
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Sleep>> {
        // Whoever waits from now on has heard nothing yet.
        self.signals.begun.store(false, Ordering::Relaxed);
        self.signals.waiting.store(true, Ordering::Relaxed);
        let signals = Arc::clone(&self.signals);
        Box::pin(Waiting { signals, time: self.time, sleep: None, phase: Phase::New })
    }

    fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(self.time)
    }

    fn now(&self) -> Instant {
        crate::runtime::clock::now()
    }
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A head that may come at once.
    New,
    /// One that has not come for a while.
    Quiet,
    /// The rest of one.
    InHead,
}

/// Waits for a head, first for it to begin.
struct Waiting {
    signals: Arc<Signals>,
    time: Duration,
    /// Made at the first look: most heads are there already.
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
    phase: Phase,
}

impl Sleep for Waiting {}

impl Waiting {
    fn enter(&mut self, phase: Phase, time: Duration) {
        self.phase = phase;
        self.signals.quiet.store(phase == Phase::Quiet, Ordering::Relaxed);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(tokio::time::Instant::now() + time),
            None => self.sleep = Some(Box::pin(tokio::time::sleep(time))),
        }
    }
}

impl Future for Waiting {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.phase != Phase::InHead && this.signals.begun.load(Ordering::Relaxed) {
            this.enter(Phase::InHead, this.time);
        }
        loop {
            let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(UNTIL_REST)));
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match this.phase {
                Phase::New => this.enter(Phase::Quiet, REST),
                Phase::Quiet => return Poll::Ready(()),
                Phase::InHead => {
                    // The guard tells the client, at its next read.
                    this.signals.late.store(true, Ordering::Relaxed);
                    this.sleep = Some(Box::pin(tokio::time::sleep(this.time)));
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.signals.quiet.store(false, Ordering::Relaxed);
    }
}
