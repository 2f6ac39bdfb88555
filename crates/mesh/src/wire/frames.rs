//! Frames of HTTP/2 on a connection: that a client does not only cost time, and which streams stand still.
//!
//! What the frames mean is for the library that speaks HTTP/2; this sees their heads go by, in both directions.

use std::collections::HashMap;
use std::time::Instant;

use super::requests::MAX_HEAD;
use crate::violation::Violation;

mod allowance;
mod cursor;
#[cfg(test)]
mod tests;

use allowance::Allowance;
use cursor::{Cursor, Frame, Part};

/// What a client says first (RFC 9113 section 3.4).
const PREFACE: usize = 24;
/// Frames of one head: at the smallest size of a frame, sixteen are more than a head may have octets.
const MAX_CONTINUATIONS: u32 = 32;
/// Streams that are looked after; the library refuses those beyond its own limit, which is less.
const MAX_STREAMS: usize = 4096;
/// Resets of streams for which nothing was had yet, in a second, after which nothing is read for a while from a proxy that sends
/// for many: as many as on a connection of weft/1.
pub const MAX_RESETS_OF_PROXY: u32 = 10_000;

mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const CONTINUATION: u8 = 9;
}

mod code {
    pub(super) const NO_ERROR: u32 = 0;
    pub(super) const REFUSED_STREAM: u32 = 7;
    pub(super) const CANCEL: u32 = 8;
}

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// Watches the frames on one connection, from the side of a server.
#[derive(Debug)]
pub struct Frames {
    preface: usize,
    from_client: Cursor,
    to_client: Cursor,
    streams: HashMap<u32, Stream, foldhash::fast::RandomState>,
    last: u32,
    /// Frames and octets of the head that is being sent.
    block: (u32, usize),
    pings: Allowance,
    settings: Allowance,
    empty: Allowance,
    others: Allowance,
    resets: Allowance,
    /// Streams that the client has made the library reset.
    errors: Allowance,
    /// There were too many of them: the client's next octets end the connection.
    flooded: bool,
    /// Whether it is a proxy that sends for many clients, who are not to lose what the others do: then what each of them can
    /// do too much of has reading paused, and does not end the connection.
    of_proxy: bool,
    pause: Option<Violation>,
}

#[derive(Debug, Default)]
struct Stream {
    client_ended: bool,
    /// Whether anything of an answer has been sent.
    answered: bool,
    server_ended: bool,
    /// Looks at it since something moved.
    quiet: u32,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            preface: 0,
            from_client: Cursor::default(),
            to_client: Cursor::default(),
            streams: HashMap::default(),
            last: 0,
            block: (0, 0),
            // Clients of gRPC ask as often as once for each round trip in which they get data; see `useful`.
            pings: Allowance::new(1000, 10),
            settings: Allowance::new(100, 1),
            empty: Allowance::new(100, 1),
            // Windows are opened for the stream and for the connection, at most for each frame of data.
            others: Allowance::new(10_000, 100),
            // Whoever resets no more than it lets end may go on for ever.
            resets: Allowance::new(200, 20),
            // DATA that comes for a stream that was answered early is answered by one for each frame.
            errors: Allowance::new(1000, 100),
            flooded: false,
            of_proxy: false,
            pause: None,
        }
    }
}

impl Frames {
    /// Watches a connection from a proxy that sends for many clients.
    pub fn of_proxy() -> Self {
        Self {
            resets: Allowance::new(MAX_RESETS_OF_PROXY, MAX_RESETS_OF_PROXY),
            errors: Allowance::new(MAX_RESETS_OF_PROXY, MAX_RESETS_OF_PROXY),
            empty: Allowance::new(MAX_RESETS_OF_PROXY, MAX_RESETS_OF_PROXY),
            of_proxy: true,
            ..Self::default()
        }
    }

    /// Why nothing is to be read for a while, once for each time that there is a reason.
    pub fn take_pause(&mut self) -> Option<Violation> {
        self.pause.take()
    }

    /// There was too much of what each of a proxy's clients can do.
    fn too_many(&mut self, violation: Violation) -> Result<(), Violation> {
        if !self.of_proxy {
            return Err(violation);
        }
        self.pause = Some(violation);
        Ok(())
    }

    /// What the client sends. Nothing of it must go on after a violation.
    pub fn read(&mut self, mut bytes: &[u8], now: impl Fn() -> Instant) -> Result<(), Violation> {
        if self.flooded {
            return Err(Violation::RapidReset);
        }
        let preface = bytes.len().min(PREFACE - self.preface);
        self.preface += preface;
        bytes = bytes.get(preface..).unwrap_or_default();
        while let Some(part) = self.from_client.next(&mut bytes) {
            match part {
                Part::Begin(frame) => self.client_begins(frame, &now)?,
                Part::Moved(frame) if frame.kind == kind::DATA => self.moved(frame.stream),
                Part::End(frame) => self.client_ends(frame, &now)?,
                Part::Moved(_) => {}
            }
        }
        Ok(())
    }

    /// What is sent to the client; `tell` hears of what the library found wrong with the client.
    pub fn wrote(&mut self, mut bytes: &[u8], now: impl Fn() -> Instant, mut tell: impl FnMut(Violation)) {
        while let Some(part) = self.to_client.next(&mut bytes) {
            match part {
                Part::Begin(frame) => self.server_begins(frame),
                Part::Moved(frame) if frame.kind == kind::DATA => self.moved(frame.stream),
                Part::End(frame) => self.server_ends(frame, &now, &mut tell),
                Part::Moved(_) => {}
            }
        }
    }

    /// Whether the client is between two frames, so that another one may be put there.
    pub fn is_between_reads(&self) -> bool {
        self.preface == PREFACE && self.from_client.is_between()
    }

    /// Whether the server is.
    pub fn is_between_writes(&self) -> bool {
        self.to_client.is_between()
    }

    /// Streams that are open.
    pub fn open(&self) -> usize {
        self.streams.len()
    }

    /// The highest stream that the client has opened.
    pub fn last(&self) -> u32 {
        self.last
    }

    /// Looks at all streams: gives those on which nothing has moved for `looks` looks, and forgets them.
    pub fn look(&mut self, looks: u32) -> Vec<u32> {
        let mut still = Vec::new();
        self.streams.retain(|id, stream| {
            stream.quiet += 1;
            let keep = stream.quiet <= looks;
            if !keep {
                still.push(*id);
            }
            keep
        });
        still
    }

    fn moved(&mut self, stream: u32) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.quiet = 0;
        }
    }

    /// A frame that is what a connection is for pays for some that are not.
    fn useful(&mut self) {
        self.pings.earn(1);
        self.others.earn(4);
    }

    fn client_begins(&mut self, frame: Frame, now: &impl Fn() -> Instant) -> Result<(), Violation> {
        let flood = |violation| move |()| violation;
        match frame.kind {
            kind::DATA => self.data_begins(frame, now)?,
            kind::HEADERS | kind::CONTINUATION => self.head_begins(frame)?,
            kind::RST_STREAM => {
                // Whoever has an answer, or the beginning of one, has had it at the pace of its server.
                if self.streams.remove(&frame.stream).is_some_and(|stream| !stream.answered)
                    && self.resets.take(now).is_err()
                {
                    self.too_many(Violation::RapidReset)?;
                }
            }
            kind::PING if frame.flags & ACK == 0 => {
                self.pings.take(now).map_err(flood(Violation::PingFlood))?;
            }
            kind::SETTINGS if frame.flags & ACK == 0 => {
                self.settings.take(now).map_err(flood(Violation::SettingsFlood))?;
            }
            _ => self.others.take(now).map_err(flood(Violation::FrameFlood))?,
        }
        Ok(())
    }

    fn data_begins(&mut self, frame: Frame, now: &impl Fn() -> Instant) -> Result<(), Violation> {
        let ends = frame.flags & END_STREAM != 0;
        if let Some(stream) = self.streams.get_mut(&frame.stream) {
            stream.quiet = 0;
            stream.client_ended |= ends;
            if stream.client_ended && stream.server_ended {
                self.streams.remove(&frame.stream);
            }
        }
        if frame.length > 0 {
            self.useful();
        } else if !ends && self.empty.take(now).is_err() {
            self.too_many(Violation::EmptyFrameFlood)?;
        }
        Ok(())
    }

    fn head_begins(&mut self, frame: Frame) -> Result<(), Violation> {
        if frame.kind == kind::HEADERS {
            self.block = (0, 0);
            self.opens(frame);
        }
        self.block.0 += 1;
        self.block.1 += frame.length;
        // A head that is merely too large gets a status; one in many frames, or far too large, is nothing but an attack.
        if self.block.0 > MAX_CONTINUATIONS || self.block.1 > 4 * MAX_HEAD {
            return Err(Violation::ContinuationFlood);
        }
        if frame.flags & END_HEADERS != 0 {
            self.block = (0, 0);
        }
        Ok(())
    }

    fn opens(&mut self, frame: Frame) {
        self.useful();
        let ends = frame.flags & END_STREAM != 0;
        if frame.stream > self.last {
            self.last = frame.stream;
            if self.streams.len() < MAX_STREAMS {
                self.streams.insert(frame.stream, Stream { client_ended: ends, ..Stream::default() });
            }
        } else if let Some(stream) = self.streams.get_mut(&frame.stream) {
            stream.quiet = 0;
            stream.client_ended |= ends;
            if stream.client_ended && stream.server_ended {
                self.streams.remove(&frame.stream);
            }
        }
    }

    fn client_ends(&mut self, frame: Frame, now: &impl Fn() -> Instant) -> Result<(), Violation> {
        if frame.kind != kind::DATA {
            return Ok(());
        }
        self.moved(frame.stream);
        let padded = frame.flags & (PADDED | END_STREAM) == PADDED;
        if padded
            && self.from_client.payload().first().is_some_and(|pad| usize::from(*pad) + 1 >= frame.length)
            && self.empty.take(now).is_err()
        {
            self.too_many(Violation::EmptyFrameFlood)?;
        }
        Ok(())
    }

    fn server_begins(&mut self, frame: Frame) {
        match frame.kind {
            kind::DATA | kind::HEADERS => {
                self.useful();
                let Some(stream) = self.streams.get_mut(&frame.stream) else { return };
                stream.quiet = 0;
                if !std::mem::replace(&mut stream.answered, true) {
                    self.resets.earn(1);
                }
                if frame.flags & END_STREAM != 0 {
                    stream.server_ended = true;
                    if stream.client_ended {
                        self.streams.remove(&frame.stream);
                    }
                }
            }
            kind::RST_STREAM => {
                self.streams.remove(&frame.stream);
            }
            _ => {}
        }
    }

    fn server_ends(&mut self, frame: Frame, now: &impl Fn() -> Instant, tell: &mut impl FnMut(Violation)) {
        let sent = &self.to_client;
        match frame.kind {
            kind::DATA => self.moved(frame.stream),
            kind::RST_STREAM => match sent.number(0) {
                code::NO_ERROR | code::CANCEL => {}
                code::REFUSED_STREAM => tell(Violation::Http2Refused),
                _ => {
                    // The library has a limit for the whole life of a connection, which an honest client comes to in time.
                    if self.errors.take(now).is_err() {
                        self.flooded |= self.too_many(Violation::RapidReset).is_err();
                    }
                    tell(Violation::Http2Stream);
                }
            },
            kind::GOAWAY if sent.number(4) != code::NO_ERROR => {
                tell(match sent.payload().get(8..).unwrap_or_default() {
                    b"too_many_resets" | b"too_many_internal_resets" => Violation::RapidReset,
                    b"too_many_continuations" => Violation::ContinuationFlood,
                    b"too_many_data_frames" => Violation::EmptyFrameFlood,
                    b"header_list_way_too_large" => Violation::HeadTooLarge,
                    _ => Violation::Http2Connection,
                });
            }
            _ => {}
        }
    }
}
