//! What one side allows the other, and the counting of frames that carry nothing.

use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};

use crate::connection::Role;
use crate::error::ConnectionError;
use crate::flow::INITIAL_WINDOW;
use crate::frame::{FrameKind, put_header};

/// Octets of one SETTINGS entry: an identifier of two and a value of four.
const SETTING_LEN: usize = 6;

const MAX_STREAMS: u16 = 1;
const MAX_HEAD: u16 = 2;
const MAX_FIELDS: u16 = 3;
const FIRST_CREDIT: u16 = 4;
const CONTENT_BEFORE_TUNNEL: u16 = 5;

/// `http::HeaderMap` holds 32,768 names at most and panics when asked for more room than that.
pub(crate) const FIELDS_CEILING: usize = 10_000;

/// The limits of one side of a connection.
#[derive(Debug, Clone)]
pub struct Config {
    /// How many streams may be open at once; fewer when `max_receive` has no room for their first
    /// windows. Default 1,000.
    pub max_streams: u32,
    /// How long the block of a head may be, in octets. Default 64 KiB.
    pub max_head: usize,
    /// How many fields a head may have; values above 10,000 count as 10,000. Default 200.
    pub max_fields: usize,
    /// How far the receive window of a stream may grow, in octets. Default 1 MiB.
    pub max_window: u32,
    /// How much the peer may be allowed to send before it is consumed, over all streams, in octets.
    /// Windows grow only as far as each further stream keeps its first one. Default 80 MiB: the first
    /// windows of 1,000 streams, and 17 MiB to grow.
    pub max_receive: usize,
    /// How much of one stream's DATA is queued for writing, in octets. Default 64 KiB.
    pub max_queue: usize,
    /// Above how much queued DATA over all streams a stream may queue just one frame more. Default 4 MiB.
    pub max_queue_total: usize,
    /// Above how many octets of unwritten heads no stream is opened. Default 1 MiB.
    pub max_queued_heads: usize,
    /// How long a head may take from its first octet to its last, and the peer's SETTINGS from the
    /// beginning of the connection. Default 15 s.
    pub head_timeout: Duration,
    /// How many frames that carry nothing are allowed.
    pub rates: RateLimits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_streams: 1_000,
            max_head: 64 * 1024,
            max_fields: 200,
            max_window: 1024 * 1024,
            max_receive: 80 * 1024 * 1024,
            max_queue: 64 * 1024,
            max_queue_total: 4 * 1024 * 1024,
            max_queued_heads: 1024 * 1024,
            head_timeout: Duration::from_secs(15),
            rates: RateLimits::default(),
        }
    }
}

impl Config {
    /// The same limits, with those that can't work raised or lowered to the nearest that can.
    pub(crate) fn sane(mut self) -> Self {
        self.max_receive = self.max_receive.max(INITIAL_WINDOW as usize);
        let first_windows = u32::try_from(self.max_receive / INITIAL_WINDOW as usize).unwrap_or(u32::MAX);
        self.max_streams = self.max_streams.min(first_windows);
        self.max_fields = self.max_fields.min(FIELDS_CEILING);
        self.max_window = self.max_window.clamp(INITIAL_WINDOW, i32::MAX as u32);
        self.max_queue = self.max_queue.max(crate::frame::MAX_PAYLOAD);
        self
    }
}

/// How many frames of each kind that carries nothing the peer may send within a second.
///
/// Each default is several times what a healthy peer sends at its worst, and far below what costs us
/// noticeable work.
#[derive(Debug, Clone)]
pub struct RateLimits {
    /// PING. Default 20: a peer measures the round trip a few times a second at most.
    pub ping: u32,
    /// SETTINGS and DRAIN. Default 10: each is sent a few times in the life of a connection.
    pub settings: u32,
    /// DATA without payload that doesn't end a direction. Default 100: no correct peer sends any.
    pub empty_data: u32,
    /// CREDIT beyond one for each DATA frame that we sent. Default 100.
    pub credit: u32,
    /// RESET, heads that were refused, and streams that were ended for what they carried. Default 10,000. They are of all the
    /// peer's clients together, so that more of them don't end the connection: nothing more is read until the second is over.
    pub reset: u32,
    /// INFORMATIONAL. Default 2,000: two for each of all streams. They are of many applications' answers; those beyond are
    /// dropped, which whoever sends one has to expect.
    pub informational: u32,
    /// Frames of unknown types. Default 1,000: a newer peer may use them sparingly.
    pub unknown: u32,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            ping: 20,
            settings: 10,
            empty_data: 100,
            credit: 100,
            reset: 10_000,
            informational: 2_000,
            unknown: 1_000,
        }
    }
}

/// Time that is counted at once.
const SECOND: Duration = Duration::from_secs(1);

/// The kinds that are counted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rated {
    Ping,
    Settings,
    EmptyData,
    Credit,
    Unknown,
}

/// Counts frames within windows of one second.
#[derive(Debug)]
pub(crate) struct Rates {
    limits: RateLimits,
    began: Instant,
    counts: [u32; 7],
    /// CREDIT frames that the DATA frames we sent account for.
    expected_credits: u32,
    /// Until when nothing more is to be read.
    paused: Option<Instant>,
}

impl Rates {
    /// More would let a peer save up an hour's worth and then send it at once.
    const MAX_EXPECTED: u32 = 10_000;

    pub(crate) fn new(limits: RateLimits, now: Instant) -> Self {
        Self { limits, began: now, counts: [0; 7], expected_credits: 0, paused: None }
    }

    /// Notes that a DATA frame was sent, which the peer will answer with at most one CREDIT.
    pub(crate) fn data_sent(&mut self) {
        self.expected_credits = (self.expected_credits + 1).min(Self::MAX_EXPECTED);
    }

    /// Begins another second where one is over.
    fn turn(&mut self, now: Instant) {
        if now.saturating_duration_since(self.began) >= SECOND {
            self.began = now;
            self.counts = [0; 7];
        }
    }

    /// Counts one stream that the peer had for nothing. Says whether reading pauses from now on.
    pub(crate) fn stream_wasted(&mut self, now: Instant) -> bool {
        self.turn(now);
        let [.., resets, _] = &mut self.counts;
        *resets += 1;
        let pauses = *resets > self.limits.reset && self.paused.is_none();
        if pauses {
            self.paused = Some(self.began + SECOND);
        }
        pauses
    }

    /// Counts one interim answer. Says whether it is one too many.
    pub(crate) fn informational(&mut self, now: Instant) -> bool {
        self.turn(now);
        let [.., count] = &mut self.counts;
        *count += 1;
        *count > self.limits.informational
    }

    /// Whether nothing more is to be read for now.
    pub(crate) fn is_paused(&mut self, now: Instant) -> bool {
        self.paused.take_if(|until| now >= *until);
        self.paused.is_some()
    }

    /// Counts one frame; an error when it is one too many.
    pub(crate) fn count(&mut self, kind: Rated, now: Instant) -> Result<(), ConnectionError> {
        if matches!(kind, Rated::Credit) && self.expected_credits > 0 {
            self.expected_credits -= 1;
            return Ok(());
        }
        self.turn(now);
        let (what, limit) = match kind {
            Rated::Ping => ("PING frames", self.limits.ping),
            Rated::Settings => ("SETTINGS and DRAIN frames", self.limits.settings),
            Rated::EmptyData => ("empty DATA frames", self.limits.empty_data),
            Rated::Credit => ("CREDIT frames", self.limits.credit),
            Rated::Unknown => ("frames of unknown types", self.limits.unknown),
        };
        let Some(count) = self.counts.get_mut(kind as usize) else { return Ok(()) };
        *count += 1;
        if *count > limit { Err(ConnectionError::Flood { what, limit }) } else { Ok(()) }
    }
}

/// What the peer announced in SETTINGS, or what the protocol assumes until it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerSettings {
    /// How many streams the peer lets us have open.
    pub max_streams: u32,
    /// How long a block the peer takes, in octets.
    pub max_head: usize,
    /// How many fields the peer takes.
    pub max_fields: usize,
    /// The credit that the bodies of further requests to the peer begin with, in octets. A peer that says it takes a first
    /// credit [of answers](crate::RequestMetadata::answer_credit), too; `None`: it does not know of either.
    pub first_credit: Option<u32>,
    /// Whether a request that asks for another protocol may have content. Peers of earlier versions don't say so, and end the
    /// stream of one that has.
    pub content_before_tunnel: bool,
}

impl Default for PeerSettings {
    /// What is assumed before SETTINGS arrive, so that a client needs no round trip before its first
    /// request.
    fn default() -> Self {
        Self {
            max_streams: 100,
            max_head: 64 * 1024,
            max_fields: 200,
            first_credit: None,
            content_before_tunnel: false,
        }
    }
}

impl PeerSettings {
    /// Takes over what a SETTINGS frame says; unknown settings are skipped.
    pub(crate) fn apply(&mut self, payload: &[u8]) -> Result<(), ConnectionError> {
        let (entries, rest) = payload.as_chunks::<SETTING_LEN>();
        if !rest.is_empty() {
            return Err(ConnectionError::FrameTooShort { kind: FrameKind::Settings, length: payload.len() });
        }
        for &[id_high, id_low, a, b, c, d] in entries {
            let value = u32::from_be_bytes([a, b, c, d]);
            match u16::from_be_bytes([id_high, id_low]) {
                MAX_STREAMS => self.max_streams = value,
                MAX_HEAD => self.max_head = value as usize,
                MAX_FIELDS => self.max_fields = value as usize,
                FIRST_CREDIT => self.first_credit = Some(value),
                CONTENT_BEFORE_TUNNEL => self.content_before_tunnel = value == 1,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Writes the SETTINGS frame that announces `config`.
pub(crate) fn put_settings(out: &mut BytesMut, config: &Config, role: Role) {
    let values = [
        (MAX_STREAMS, config.max_streams),
        (MAX_HEAD, u32::try_from(config.max_head).unwrap_or(u32::MAX)),
        (MAX_FIELDS, config.max_fields as u32),
        (FIRST_CREDIT, INITIAL_WINDOW),
        (CONTENT_BEFORE_TUNNEL, 1),
    ];
    // The last one is of requests.
    put_values(out, if role == Role::Client { values.get(..4).unwrap_or_default() } else { &values });
}

/// Writes the SETTINGS frame that announces another credit for the bodies of further requests.
pub(crate) fn put_first_credit(out: &mut BytesMut, credit: u32) {
    put_values(out, &[(FIRST_CREDIT, credit)]);
}

fn put_values(out: &mut BytesMut, values: &[(u16, u32)]) {
    put_header(out, values.len() * SETTING_LEN, FrameKind::Settings, 0, 0);
    for (id, value) in values {
        out.put_u16(*id);
        out.put_u32(*value);
    }
}
