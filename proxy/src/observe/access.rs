//! The access log: what became of each request and each opaque connection, one line of JSON each.
//!
//! What is to be said is collected on the request's path, which waits for nobody: a bounded queue takes it, and a thread
//! of its own writes. Where that thread is not fast enough, lines are dropped and counted. While the log is off, a
//! request costs one load of a number.

mod entry;
mod writer;

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use http::Request;

pub use self::entry::{Entry, Open};
pub use self::writer::{Output, start};
use crate::observe::stats::{AccessLogOutcome, Direction, Stats};

/// Entries that may wait for the writer.
pub const QUEUE: usize = 4096;
/// Time for the writer to finish when the proxy ends; an output that takes nothing any more must not keep it.
const FINISH: Duration = Duration::from_secs(1);

/// What is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    #[default]
    Off,
    /// What failed: answers of 500 and above, what the proxy answered itself, bodies that broke off, and statuses of
    /// gRPC that say that the server failed.
    Errors,
    /// All requests and connections.
    All,
}

impl Mode {
    const ALL: [(Self, &'static str); 3] = [(Self::Off, "off"), (Self::Errors, "errors"), (Self::All, "all")];
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|(_, name)| *name == text);
        known.map(|(mode, _)| mode).ok_or_else(|| format!("{text:?} is none of off, errors and all"))
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.into_iter().find(|(mode, _)| mode == self).map_or("", |(_, name)| name))
    }
}

/// The share of what succeeded that is logged, from 0 to 1; what failed is logged whatever it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(f64);

impl Default for Share {
    fn default() -> Self {
        Self(1.0)
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(share) if (0.0..=1.0).contains(&share) => Ok(Self(share)),
            _ => Err(format!("{text:?} is not a share from 0 to 1, such as 0.01")),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Share {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to u32::MAX")]
    fn to_bits(self) -> u32 {
        (self.0 * f64::from(u32::MAX)).round() as u32
    }

    fn from_bits(bits: u32) -> Self {
        // To a millionth, so that what was set is what is read.
        Self((f64::from(bits) / f64::from(u32::MAX) * 1e6).round() / 1e6)
    }
}

/// What goes to the writer.
#[derive(Debug)]
pub(crate) enum Message {
    Line(Box<Entry>),
    /// Nothing follows; told when all is written.
    End(SyncSender<()>),
}

/// The access log of a proxy.
#[derive(Debug)]
pub struct AccessLog {
    /// The mode in the upper half, the share in the lower one.
    setting: AtomicU64,
    queue: OnceLock<SyncSender<Message>>,
}

impl Default for AccessLog {
    fn default() -> Self {
        let log = Self { setting: AtomicU64::new(0), queue: OnceLock::new() };
        log.set(Mode::Off, Share::default());
        log
    }
}

impl AccessLog {
    /// Changes what is logged from now on.
    pub fn set(&self, mode: Mode, share: Share) {
        self.setting.store((mode as u64) << 32 | u64::from(share.to_bits()), Ordering::Relaxed);
    }

    /// What is logged.
    pub fn setting(&self) -> (Mode, Share) {
        let setting = self.setting.load(Ordering::Relaxed);
        let mode = match setting >> 32 {
            0 => Mode::Off,
            1 => Mode::Errors,
            _ => Mode::All,
        };
        #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
        let share = Share::from_bits(setting as u32);
        (mode, share)
    }

    /// The end of the queue that the writer reads; there is one.
    pub(crate) fn open(&self) -> Option<Receiver<Message>> {
        let (sender, receiver) = sync_channel(QUEUE);
        self.queue.set(sender).is_ok().then_some(receiver)
    }

    /// Begins the entry of a request, if the log is on.
    pub fn request<B>(
        &self,
        direction: Direction,
        source: SocketAddr,
        request: &Request<B>,
    ) -> Option<Box<Open>> {
        (self.setting().0 != Mode::Off).then(|| Open::request(direction, source, request))
    }

    /// Begins the entry of a request that could not be read as one, of a client of HTTP/1, if the log is on.
    pub fn unread(&self, direction: Direction, source: SocketAddr) -> Option<Box<Open>> {
        (self.setting().0 != Mode::Off).then(|| Open::unread(direction, source))
    }

    /// Begins the entry of an opaque connection, if the log is on.
    pub fn connection(&self, direction: Direction, source: SocketAddr) -> Option<Box<Open>> {
        (self.setting().0 != Mode::Off).then(|| Open::connection(direction, source))
    }

    /// Takes an entry that is complete.
    fn submit(&self, entry: Entry, stats: &Stats) {
        let (mode, share) = self.setting();
        let bits = share.to_bits();
        let wanted = match mode {
            Mode::Off => false,
            Mode::Errors => entry.failed,
            Mode::All => entry.failed || bits == u32::MAX || fastrand::u32(..) < bits,
        };
        if !wanted {
            return;
        }
        let sent =
            self.queue.get().is_some_and(|queue| queue.try_send(Message::Line(Box::new(entry))).is_ok());
        stats.access_logged(if sent { AccessLogOutcome::Taken } else { AccessLogOutcome::Dropped });
    }

    /// Waits until all that was taken is written, for a second at most.
    pub fn finish(&self) {
        let (done, finished) = sync_channel(1);
        if let Some(queue) = self.queue.get()
            && queue.try_send(Message::End(done)).is_ok()
        {
            // Either it is done, or there is no more time.
            let _ = finished.recv_timeout(FINISH);
        }
    }
}

#[cfg(test)]
mod tests;
