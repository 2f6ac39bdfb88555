//! One side of a connection.

mod blocks;
mod drain;
mod receive;
mod send;
mod write;

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use bytes::BytesMut;
use foldhash::fast::FixedState;

use self::blocks::Assembly;
use self::drain::DrainState;
use crate::counters::Counters;
use crate::error::{ConnectionError, HeadError};
use crate::event::{Event, Origin};
use crate::flow::INITIAL_WINDOW;
use crate::frame::{StreamId, put_drain, put_reset};
use crate::head::BlockLimits;
use crate::limits::{Config, PeerSettings, Rates, put_first_credit, put_settings};
use crate::stream::{ReceivePhase, SendPhase, Stream};

/// Which side of a connection one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Opens streams: the proxy of the caller.
    Client,
    /// Answers them: the proxy of the one who is called.
    Server,
}

/// One side of a weft/1 connection. See the crate's root for how to drive it.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    config: Config,
    peer: PeerSettings,
    peer_announced: bool,
    began: Instant,
    /// Identifiers are consecutive, so that nobody can choose ones that collide in the map.
    streams: HashMap<u32, Stream, FixedState>,
    /// Streams that count as open.
    open: usize,
    /// The last stream that was opened, by whichever side opens them here.
    last_stream: u32,
    /// Client: the last stream whose head has left `control`.
    last_written: u32,
    /// Streams with DATA or an end to write, in turn.
    ready: VecDeque<u32>,
    /// Streams with credit to announce.
    credits: Vec<u32>,
    /// Heads and control frames, complete frames in the order they are to be written.
    control: BytesMut,
    /// Answers to the peer's frames among `control`.
    answers: u32,
    events: VecDeque<Event>,
    assembly: Option<Assembly>,
    /// The stream whose head has begun to arrive, and when.
    head_began: Option<(u32, Instant)>,
    rates: Rates,
    drain: DrainState,
    pings_sent: u64,
    pings_open: u32,
    failure: Option<ConnectionError>,
    /// Whether windows grow no more than they have to.
    held_back: bool,
    /// What was announced for the bodies of further requests.
    first_credit: u32,
    /// Kept up to date as things change; what depends on other fields is filled in when asked for.
    counters: Counters,
}

impl Connection {
    /// A new connection, whose SETTINGS are queued for writing.
    pub fn new(role: Role, config: Config, now: Instant) -> Self {
        let config = config.sane();
        let mut control = BytesMut::new();
        put_settings(&mut control, &config, role);
        Self {
            role,
            peer: PeerSettings::default(),
            peer_announced: false,
            began: now,
            streams: HashMap::default(),
            open: 0,
            last_stream: 0,
            last_written: 0,
            ready: VecDeque::new(),
            credits: Vec::new(),
            control,
            answers: 0,
            events: VecDeque::new(),
            assembly: None,
            head_began: None,
            rates: Rates::new(config.rates.clone(), now),
            drain: DrainState::default(),
            pings_sent: 0,
            pings_open: 0,
            failure: None,
            held_back: false,
            first_credit: INITIAL_WINDOW,
            counters: Counters::default(),
            config,
        }
    }

    /// Which side this is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// What the peer announced, or what is assumed until it does.
    pub fn peer_settings(&self) -> PeerSettings {
        self.peer
    }

    /// The next thing that happened, if any is left.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// How many streams are open.
    pub fn open_streams(&self) -> usize {
        self.open
    }

    /// How many more streams a client could open now; 0 for a server, and as long as the heads of others wait.
    pub fn available_streams(&self) -> usize {
        let congested = self.control.len() > self.config.max_queued_heads;
        if self.role == Role::Server || self.failure.is_some() || self.drain.is_begun() || congested {
            return 0;
        }
        let by_count = (self.stream_limit() as usize).saturating_sub(self.open);
        let by_room = self.config.max_receive.saturating_sub(self.counters.receive_promised);
        by_count.min(by_room / INITIAL_WINDOW as usize)
    }

    /// What the connection holds and has seen.
    pub fn counters(&self) -> Counters {
        Counters {
            streams: self.open,
            control_queued: self.control.len(),
            head_partial: self.assembly.as_ref().map_or(0, Assembly::len),
            ..self.counters
        }
    }

    /// How much is [held](Counters::receive_held) of what has arrived, and how much the peer is
    /// [allowed](Counters::receive_promised) to make it.
    pub fn received(&self) -> (usize, usize) {
        (self.counters.receive_held, self.counters.receive_promised)
    }

    /// Whether windows are not to grow beyond what they began with, as too much is held already. Those that began with less
    /// than others still do, to [`HELD_BACK_WINDOW`](crate::HELD_BACK_WINDOW).
    pub fn hold_back(&mut self, held_back: bool) {
        self.held_back = held_back;
    }

    /// Server: has the bodies of further requests begin with this credit, as far as the peer knows of it.
    pub fn announce_first_credit(&mut self, credit: u32) {
        if self.first_credit != credit && self.failure.is_none() {
            self.first_credit = credit;
            put_first_credit(&mut self.control, credit);
        }
    }

    /// The credit that the bodies of further requests begin with, as announced.
    pub fn first_credit(&self) -> u32 {
        self.first_credit
    }

    /// Why the connection failed, once it has.
    pub fn failure(&self) -> Option<&ConnectionError> {
        self.failure.as_ref()
    }

    /// Whether nothing more is to be read from the peer for now, and for a second at most: it has had too many streams for
    /// nothing. They may be of many clients, who are not to lose what the others have under way.
    pub fn is_paused(&mut self, now: Instant) -> bool {
        self.rates.is_paused(now)
    }

    /// Counts a stream that the peer had for nothing.
    fn stream_wasted(&mut self, now: Instant) {
        if self.rates.stream_wasted(now) {
            self.events.push_back(Event::Flooded);
        }
    }

    /// When [`check_deadlines`](Self::check_deadlines) should be called next, if it should.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.failure.is_some() {
            return None;
        }
        let settings = (!self.peer_announced).then_some(self.began);
        let head = self.head_began.map(|(_, began)| began);
        let earliest = settings.into_iter().chain(head).min()?;
        earliest.checked_add(self.config.head_timeout)
    }

    /// Fails the connection when SETTINGS or a head took too long.
    pub fn check_deadlines(&mut self, now: Instant) -> Result<(), ConnectionError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let limit = self.config.head_timeout;
        let is_late = |began: Instant| now.saturating_duration_since(began) >= limit;
        if !self.peer_announced && is_late(self.began) {
            return Err(self.fail(ConnectionError::SettingsTimeout { limit }));
        }
        if let Some((stream, began)) = self.head_began
            && is_late(began)
        {
            return Err(self.fail(ConnectionError::HeadTimeout { stream, limit }));
        }
        Ok(())
    }

    /// Reports that the transport ended or failed. Each open stream gets an [`Event::Reset`], which says of
    /// those whose head was never written that they were not processed.
    pub fn lost(&mut self) {
        if self.failure.is_none() {
            self.fail(ConnectionError::Lost);
        }
    }

    /// Ends the connection for `error`: every stream is reset, and the only thing left to write is what
    /// tells the peer why.
    fn fail(&mut self, error: ConnectionError) -> ConnectionError {
        let mut streams: Vec<(u32, bool)> =
            self.streams.drain().map(|(id, stream)| (id, stream.counted)).collect();
        streams.sort_unstable();
        for (id, _) in streams.into_iter().filter(|(_, counted)| *counted) {
            let processed = self.role == Role::Server || id <= self.last_written;
            let (stream, code) = (StreamId(id), error.code());
            self.events.push_back(Event::Reset { stream, code, processed, by: Origin::Local });
        }
        self.open = 0;
        self.ready.clear();
        self.credits.clear();
        self.control.clear();
        self.assembly = None;
        self.head_began = None;
        self.counters.receive_held = 0;
        self.counters.receive_promised = 0;
        self.counters.send_queued = 0;
        if error != ConnectionError::Lost {
            let last = if self.role == Role::Server { self.last_stream } else { 0 };
            put_drain(&mut self.control, last, error.code());
        }
        self.failure = Some(error.clone());
        error
    }

    /// How many streams a client may have open, by both sides' limits.
    fn stream_limit(&self) -> u32 {
        self.peer.max_streams.min(self.config.max_streams)
    }

    /// What this side takes.
    fn own_limits(&self) -> BlockLimits {
        (&self.config).into()
    }

    /// What the peer takes.
    fn peer_limits(&self) -> BlockLimits {
        BlockLimits { octets: self.peer.max_head, fields: self.peer.max_fields }
    }

    /// Takes a stream into the table, with the phase and the first credit of both directions.
    fn insert(&mut self, id: u32, receive: (ReceivePhase, u32), send: (SendPhase, u32)) -> &mut Stream {
        let mut stream = Stream::new(receive, send);
        if receive.0 == ReceivePhase::Ended {
            stream.receive.finish();
        }
        self.counters.receive_promised += stream.receive.window() as usize;
        self.open += 1;
        self.streams.entry(id).insert_entry(stream).into_mut()
    }

    /// Forgets a stream and everything it holds. Returns whether it was open.
    fn remove(&mut self, id: u32) -> bool {
        let Some(mut stream) = self.streams.remove(&id) else { return false };
        self.counters.receive_promised -= stream.receive.window() as usize;
        self.counters.receive_held -= stream.receive.held() as usize;
        self.counters.send_queued -= stream.queue.clear();
        self.open -= usize::from(stream.counted);
        stream.counted
    }

    /// Stops counting a stream that is over in both directions, and forgets it once all that it
    /// received was consumed.
    fn settle(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if !stream.is_over() {
            return;
        }
        if std::mem::take(&mut stream.counted) {
            self.open -= 1;
        }
        if stream.receive.held() == 0 {
            self.remove(id);
        }
    }

    /// Ends an open stream because a block of it can't be read. It was possibly processed: on either side,
    /// something of it was already used.
    fn abort(&mut self, id: u32, error: HeadError, now: Instant) -> Result<(), ConnectionError> {
        self.counters.blocks_refused += 1;
        self.remove(id);
        let (stream, code, processed) = (StreamId(id), error.code(), true);
        put_reset(&mut self.control, id, code, processed);
        self.events.push_back(Event::Refused { stream, error });
        self.events.push_back(Event::Reset { stream, code, processed, by: Origin::Local });
        if self.role == Role::Server {
            // Making us end a stream costs what ending it costs.
            self.stream_wasted(now);
        }
        self.answered()
    }
}
