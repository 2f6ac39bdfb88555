//! A connection of weft/1 as the requests on it see it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;

use tokio::sync::Notify;
use weft_hop::{Code, Config, Connection, Event, HeadError, INITIAL_WINDOW, Role, StreamId};
use weft_mesh::reason::Reason;
use weft_mesh::violation::Violation;

use crate::error::Failure;
use crate::runtime::clock::now;
use crate::runtime::unread::{self, Part};

mod receive;
mod stream;

/// Ticks without a byte from the peer, while streams are open, after which it is asked whether it is still there...
const PING_AFTER: u32 = 10;
/// ...and after which it is taken to be gone. Ticks are counted instead of time, so that a worker that was held up
/// does not blame its peers.
const GIVE_UP_AFTER: u32 = 20;
/// Ticks between looks at the streams: as often as at other streams of HTTP.
const LOOK_EVERY: u32 = 60;
pub(super) use receive::LITTLE_CREDIT;
pub(super) use stream::{Stream, StreamRef};

/// One connection of weft/1. Shared by the task that drives it and the requests on it, all on one worker.
#[derive(Debug)]
pub struct Link {
    inner: RefCell<Inner>,
    open: Cell<usize>,
    used: Cell<Instant>,
    /// Whether a stream was opened since the last look at the clock: looking at it for each would cost more than all
    /// else here.
    touched: Cell<bool>,
    /// Ticks since the peer was heard.
    silence: Cell<u32>,
    /// Whether the peer has said how many streams it takes, and a bell for whoever waits for that.
    announced: Cell<bool>,
    announcement: Notify,
    /// Whether the peer broke the protocol.
    broken: Cell<bool>,
    ticks: Cell<u32>,
    /// Whether reading pauses, until a [`Link::tick`] finds that it need not any more.
    paused: Cell<bool>,
}

#[derive(Debug)]
struct Inner {
    connection: Connection,
    streams: HashMap<StreamId, Rc<Stream>, foldhash::fast::RandomState>,
    driver: Option<Waker>,
    /// Set when the connection can carry nothing any more.
    closed: bool,
    /// What it has received, and may.
    unread: Part,
}

/// What the driver has to do for an event, beyond waking a stream.
#[derive(Debug)]
pub(super) enum Arrival {
    /// A request, with its stream, on the side that serves.
    Request(Box<weft_hop::RequestHead>, StreamRef, bool),
    /// Something on a stream that can't be read, or in two ways.
    Refused(HeadError),
    /// More streams that were given up than a peer should have.
    Flooded,
    /// Nothing.
    None,
}

impl Link {
    /// A connection on which nothing has been said yet.
    pub fn new(role: Role, now: Instant) -> Rc<Self> {
        Rc::new(Self {
            inner: RefCell::new(Inner {
                connection: Connection::new(role, Config::default(), now),
                streams: HashMap::default(),
                driver: None,
                closed: false,
                unread: Part::default(),
            }),
            open: Cell::new(0),
            used: Cell::new(now),
            touched: Cell::new(false),
            silence: Cell::new(0),
            announced: Cell::new(false),
            announcement: Notify::new(),
            broken: Cell::new(false),
            ticks: Cell::new(0),
            paused: Cell::new(false),
        })
    }

    /// Streams that are open.
    pub fn open_streams(&self) -> usize {
        self.open.get()
    }

    /// Since when no stream has been open, as far as [`Link::tick`] has seen.
    pub fn unused_since(&self) -> Instant {
        self.used.get()
    }

    /// Whether new streams can be opened.
    pub fn is_usable(&self) -> bool {
        let inner = self.inner.borrow();
        !inner.closed && !inner.connection.is_draining() && inner.connection.available_streams() > 0
    }

    /// Whether it is known how many streams the peer takes, or nobody will ever know.
    pub fn is_settled(&self) -> bool {
        self.announced.get() || self.is_closed()
    }

    /// Waits until it is known how many streams the peer takes. It says so at once, or is given up by [`Link::tick`].
    pub async fn settled(&self) {
        while !self.is_settled() {
            self.announcement.notified().await;
        }
    }

    /// Whether the peer takes requests that ask for another protocol and have content; known once it is [settled](Self::settled).
    pub fn takes_content_before_tunnel(&self) -> bool {
        self.look(|connection| connection.peer_settings().content_before_tunnel)
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.inner.borrow().closed
    }

    /// Whether either side has said that it takes no new streams.
    pub fn is_draining(&self) -> bool {
        self.inner.borrow().connection.is_draining()
    }

    /// Takes no new streams and ends the connection when those that are open have ended.
    pub fn drain(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.connection.drain();
        inner.wake();
    }

    /// The same at once, by a side that is about to end: what has not arrived yet is for others to answer.
    pub fn drain_at_once(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.connection.drain_at_once();
        inner.wake();
    }

    /// Lets time pass, about a second for each call: ends a connection whose peer breaks off in the middle of a head, or
    /// does not answer any more.
    pub fn tick(&self, now: Instant) {
        if self.touched.replace(false) || self.open.get() > 0 {
            self.used.set(now);
        }
        let mut inner = self.inner.borrow_mut();
        if inner.connection.check_deadlines(now).is_err() || self.paused.get() {
            inner.wake();
        }
        if inner.connection.first_credit() != INITIAL_WINDOW && !unread::is_short() {
            inner.connection.announce_first_credit(INITIAL_WINDOW);
            inner.wake();
        }
        if inner.connection.open_streams() == 0 || inner.closed {
            self.silence.set(0);
            return;
        }
        self.silence.set(self.silence.get() + 1);
        if self.silence.get() == PING_AFTER {
            inner.connection.ping();
            inner.wake();
        }
        if self.is_deserted() {
            inner.wake();
        }
    }

    /// Ends the streams on which no octet has moved for more than so many looks, one a minute; says how many. To be called with each
    /// [`Link::tick`].
    pub(super) fn end_still(&self, looks: u32) -> usize {
        self.ticks.set(self.ticks.get() + 1);
        if !self.ticks.get().is_multiple_of(LOOK_EVERY) {
            return 0;
        }
        let inner = self.inner.borrow();
        let still = inner.streams.iter().filter(|(_, stream)| stream.stands_still(looks));
        let still: Vec<_> = still.map(|(id, stream)| (*id, Rc::clone(stream))).collect();
        drop(inner);
        for (id, stream) in &still {
            self.with(|connection| connection.reset(*id, Code::Timeout, true));
            stream.put_failure(Failure::downstream(Reason::ClientTimeout, Violation::Idle.detail()));
        }
        still.len()
    }

    /// Whether nothing is to be read for now; then the driver is woken by [`Link::tick`].
    pub(super) fn is_paused(&self) -> bool {
        self.paused.get() && {
            self.paused.set(self.look(|connection| connection.is_paused(now())));
            self.paused.get()
        }
    }

    pub(super) fn set_broken(&self) {
        self.broken.set(true);
    }

    /// Whether the peer broke the protocol.
    pub(super) fn was_broken(&self) -> bool {
        self.broken.get()
    }

    /// Whether the peer has been silent for so long, though asked, that it has to be gone.
    pub fn is_deserted(&self) -> bool {
        self.silence.get() >= GIVE_UP_AFTER
    }

    pub(super) fn with<R>(&self, act: impl FnOnce(&mut Connection) -> R) -> R {
        let mut inner = self.inner.borrow_mut();
        let result = act(&mut inner.connection);
        inner.account();
        inner.wake();
        result
    }

    /// As [`Link::with`], for what leaves nothing to be written.
    pub(super) fn look<R>(&self, see: impl FnOnce(&mut Connection) -> R) -> R {
        see(&mut self.inner.borrow_mut().connection)
    }

    pub(super) fn add(self: &Rc<Self>, id: StreamId) -> StreamRef {
        let stream = Rc::new(Stream::default());
        self.inner.borrow_mut().streams.insert(id, Rc::clone(&stream));
        self.open.set(self.open.get() + 1);
        self.touched.set(true);
        StreamRef::new(Rc::clone(self), id, stream)
    }

    pub(super) fn remove(&self, id: StreamId) {
        if self.inner.borrow_mut().streams.remove(&id).is_some() {
            self.open.set(self.open.get() - 1);
        }
    }

    pub(super) fn set_driver(&self, waker: &Waker) {
        let mut inner = self.inner.borrow_mut();
        if !inner.driver.as_ref().is_some_and(|driver| driver.will_wake(waker)) {
            inner.driver = Some(waker.clone());
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.look(|connection| connection.is_drained())
    }

    /// The connection is gone: every stream that is open is told, and whether its request can have reached the peer.
    pub(super) fn close(&self) {
        let mut unwritten = Vec::new();
        let streams = {
            let mut inner = self.inner.borrow_mut();
            inner.closed = true;
            inner.connection.lost();
            inner.account();
            while let Some(event) = inner.connection.poll_event() {
                if let Event::Reset { stream, processed: false, .. } = event {
                    unwritten.extend(inner.streams.remove(&stream));
                }
            }
            std::mem::take(&mut inner.streams)
        };
        self.open.set(0);
        self.announcement.notify_waiters();
        let why = if self.is_deserted() {
            "the peer does not answer any more"
        } else {
            "the connection to the peer was lost"
        };
        for stream in unwritten {
            stream.put_failure(Failure::unprocessed(Reason::UpstreamReset, why));
        }
        for stream in streams.into_values() {
            stream.put_failure(Failure::upstream(Reason::UpstreamReset, why));
        }
    }
}

impl Inner {
    /// Has what the connection holds count for the worker.
    fn account(&self) {
        let (held, promised) = self.connection.received();
        self.unread.set(held, promised);
    }

    fn wake(&mut self) {
        if let Some(driver) = &self.driver {
            driver.wake_by_ref();
        }
    }
}
