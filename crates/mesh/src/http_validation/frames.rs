//! Frames of HTTP/2 on a connection: that a client does not only cost time, and which streams stand still.
//!
//! What the frames mean is for the library that speaks HTTP/2; this sees their heads go by, in both directions.

use std::collections::HashMap;
use std::time::Instant;

use super::requests::MAX_HEAD;
use crate::violation::Violation;

mod allowance;
mod cursor;
mod kinds;
#[cfg(test)]
mod tests;
mod trailers;
mod windows;

use allowance::Allowance;
use cursor::{Cursor, Frame, HEAD, Part};
use kinds::{ACK, END_HEADERS, END_STREAM, PADDED, code, kind};
use trailers::{MAX_TRAILERS, marked};
use windows::{Window, Windows};

/// What a client says first (RFC 9113 section 3.4).
const PREFACE: usize = 24;
/// Frames of one head: at the smallest size of a frame, sixteen are more than a head may have octets.
const MAX_CONTINUATIONS: u32 = 32;
/// Streams that are looked after; the library refuses those beyond its own limit, which is less.
const MAX_STREAMS: usize = 4096;
/// Resets of streams for which nothing was had yet, in a second, after which nothing is read for a while from a proxy that sends
/// for many: as many as on a connection of weft/1.
pub const MAX_RESETS_OF_PROXY: u32 = 10_000;

/// How far octets of a client may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Octets that may go on as they are; those behind them are to be given again, with more.
    pub good: usize,
    /// Octets behind these that go on otherwise: a frame of trailers, by [`Frames::trailers`]. Zero: there is none.
    pub trailers: usize,
    /// The client has asked whether somebody is there, and so is there itself.
    pub pinged: bool,
}

/// Watches the frames on one connection, from the side of a server.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the connection")]
pub struct Frames {
    preface: usize,
    /// The client has said its SETTINGS, before which nothing else may come.
    begun: bool,
    from_client: Cursor,
    to_client: Cursor,
    streams: HashMap<u32, Stream, foldhash::fast::RandomState>,
    last: u32,
    /// There were more than are looked after, so that any stream may be one of these.
    untold: bool,
    windows: Windows,
    /// The client has sent a PING since the last look, and since octets were taken last.
    pinged: [bool; 2],
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
    /// How much more the client takes on it.
    window: Window,
    /// Looks at it since something moved.
    quiet: u32,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            preface: 0,
            begun: false,
            from_client: Cursor::default(),
            to_client: Cursor::default(),
            streams: HashMap::default(),
            last: 0,
            untold: false,
            windows: Windows::default(),
            pinged: [false; 2],
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
    pub fn read(&mut self, bytes: &[u8], now: impl Fn() -> Instant) -> Result<Taken, Violation> {
        if self.flooded {
            return Err(Violation::RapidReset);
        }
        let preface = bytes.len().min(PREFACE - self.preface);
        self.preface += preface;
        let mut rest = bytes.get(preface..).unwrap_or_default();
        loop {
            let good = bytes.len() - rest.len();
            if self.from_client.is_between() {
                // What a frame is decides what becomes of its first octet.
                let Some(frame) = Frame::at(rest) else { return Ok(self.taken(good, 0)) };
                if self.are_trailers(frame) {
                    let trailers = self.whole_trailers(frame, rest, &now)?;
                    return Ok(self.taken(good, trailers));
                }
            }
            if !self.part(&mut rest, &now)? {
                return Ok(self.taken(bytes.len() - rest.len(), 0));
            }
        }
    }

    fn taken(&mut self, good: usize, trailers: usize) -> Taken {
        let [_, pinged] = &mut self.pinged;
        Taken { good, trailers, pinged: std::mem::take(pinged) }
    }

    /// A frame of trailers, as it goes on.
    pub fn trailers(frame: &[u8]) -> Result<Vec<u8>, Violation> {
        let head = Frame::at(frame).ok_or(Violation::Trailers)?;
        let mut out = Vec::with_capacity(frame.len() + 1);
        marked(head, frame, &mut out)?;
        Ok(out)
    }

    /// Whether a frame begins the trailers of a request: a stream has no other second head.
    fn are_trailers(&self, frame: Frame) -> bool {
        frame.kind == kind::HEADERS
            && (self.streams.contains_key(&frame.stream) || self.untold && frame.stream <= self.last)
    }

    /// Takes in a frame of trailers, once all of it is there: how many octets it has.
    fn whole_trailers(
        &mut self,
        frame: Frame,
        rest: &[u8],
        now: &impl Fn() -> Instant,
    ) -> Result<usize, Violation> {
        if frame.length > MAX_TRAILERS {
            return Err(Violation::Trailers);
        }
        let length = HEAD + frame.length;
        let Some(mut octets) = rest.get(..length) else { return Ok(0) };
        while self.part(&mut octets, now)? {}
        Ok(length)
    }

    /// Takes in the next part of a frame; whether there was one.
    fn part(&mut self, bytes: &mut &[u8], now: &impl Fn() -> Instant) -> Result<bool, Violation> {
        let Some(part) = self.from_client.next(bytes) else { return Ok(false) };
        match part {
            Part::Begin(frame) => self.client_begins(frame, now)?,
            Part::Moved(frame) if frame.kind == kind::DATA => self.moved(frame.stream),
            Part::End(frame) => self.client_ends(frame, now)?,
            Part::Moved(_) => {}
        }
        Ok(true)
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

    /// Looks at all streams: gives those on which nothing has moved for `looks` looks, and forgets them. A client that has sent
    /// a PING is there, which keeps all streams but those for which it opens no window.
    pub fn look(&mut self, looks: u32) -> Vec<u32> {
        let mut still = Vec::new();
        let [pinged, _] = &mut self.pinged;
        let keeps = std::mem::take(pinged);
        let windows = &self.windows;
        self.streams.retain(|id, stream| {
            let kept = keeps && windows.are_open(stream.window);
            stream.quiet = if kept { 0 } else { stream.quiet + 1 };
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
        if !self.begun {
            // RFC 9113 section 3.4.
            self.begun = frame.kind == kind::SETTINGS && frame.flags & ACK == 0;
            return if self.begun { Ok(()) } else { Err(Violation::Http2Connection) };
        }
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
                self.pinged = [true; 2];
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
            self.untold |= self.streams.len() >= MAX_STREAMS;
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
        match frame.kind {
            kind::DATA => self.moved(frame.stream),
            kind::WINDOW_UPDATE => {
                let by = self.from_client.number(0);
                let stream = self.streams.get_mut(&frame.stream).map(|stream| &mut stream.window);
                self.windows.opened(frame.stream, stream, by);
                return Ok(());
            }
            kind::SETTINGS if frame.flags & ACK == 0 => {
                self.windows.settings(self.from_client.payload());
                return Ok(());
            }
            _ => return Ok(()),
        }
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
                if frame.kind == kind::DATA {
                    self.windows.used(frame.length);
                }
                let Some(stream) = self.streams.get_mut(&frame.stream) else { return };
                stream.quiet = 0;
                if frame.kind == kind::DATA {
                    stream.window.used(frame.length);
                }
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
