//! Connections of HTTP/1 that are kept for later requests, and which request may have which of them.
//!
//! A server closes an idle connection when it likes, also while a request is on its way to it; then nobody knows whether that
//! was processed (RFC 9112 sections 9.3.1 and 9.5). A request that can not be sent again goes only where that will not happen:
//! on a connection that was in use a moment ago, or on a new one.

use std::cell::RefCell;
use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderName;
use tokio::time::Instant;

use super::Sender;

/// Idle time within which no server closes a connection for being idle: the shortest limits in use are of one or two seconds.
/// It is short because little is saved by more. What sends less than ten requests a second is hardly dearer with a connection
/// for each.
const FRESH: Duration = Duration::from_millis(100);
/// Idle time after which it is looked whether the server has closed a connection: of what has come since this worker has last
/// asked the kernel, it knows nothing. Connections that are used all the time are spared that.
const UNSEEN: Duration = Duration::from_millis(10);
/// How much earlier than announced a connection is given up (RFC 9112 section 9.5 leaves it to the server when it is closed):
/// what clients in wide use take, and half of the time where that is shorter.
const MARGIN: Duration = Duration::from_secs(1);

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// What is to be done with a kept connection before a request goes on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    /// Whether it is to be looked at first, whether the server has closed it.
    pub(super) unseen: bool,
    /// Whether the server may be closing it.
    pub(super) old: bool,
}

/// The connections, the one that was used last at the end.
#[derive(Debug, Default)]
pub(super) struct IdleConnections(RefCell<Vec<Idle>>);

#[derive(Debug)]
struct Idle {
    sender: Sender,
    since: Instant,
}

impl IdleConnections {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Keeps a connection that is idle from now on, unless its server has said that it does not.
    pub(super) fn put(&self, sender: Sender, now: Instant) {
        if sender.kept_for != Some(Duration::ZERO) {
            self.0.borrow_mut().push(Idle { sender, since: now });
        }
    }

    /// The one that was used last: the others may idle out. A request that can not be sent again gets none that is old; one
    /// of those makes way for the new one that it takes instead, so that there are not more and more of them.
    pub(super) fn take(&self, repeatable: bool) -> Option<(Sender, State)> {
        let mut kept = self.0.borrow_mut();
        if kept.is_empty() {
            return None;
        }
        let now = Instant::now();
        let mut at = kept.len();
        while at > 0 {
            at -= 1;
            let Idle { sender, since } = kept.get(at)?;
            let idle = now.saturating_duration_since(*since);
            if sender.inner.is_closed() || sender.is_given_up(idle) {
                kept.remove(at);
            } else if idle >= FRESH && !repeatable {
                kept.remove(0);
                return None;
            } else if sender.inner.is_ready() {
                let state = State { unseen: idle >= UNSEEN, old: idle >= FRESH };
                return Some((kept.remove(at).sender, state));
            }
        }
        None
    }

    /// Drops those that are closed, or are not to be kept after this idle time.
    pub(super) fn sweep(&self, now: Instant, is_kept: impl Fn(&Sender, Duration) -> bool) {
        self.0.borrow_mut().retain(|Idle { sender, since }| {
            !sender.inner.is_closed() && is_kept(sender, now.saturating_duration_since(*since))
        });
    }
}

impl Sender {
    /// Takes note of what an answer says of the connection.
    pub(super) fn answered(&mut self, headers: &HeaderMap) {
        if let Some(said) = headers.get(KEEP_ALIVE) {
            self.kept_for = kept_for(said.as_bytes());
        }
    }

    /// Whether its server closes it after this idle time, or soon.
    pub(super) fn is_given_up(&self, idle: Duration) -> bool {
        self.kept_for.is_some_and(|kept| idle >= kept)
    }
}

/// How long a connection may be used of which its server says this (`timeout=5, max=100`). The field has no standard; this
/// parameter, in seconds, is what all servers that have it mean.
fn kept_for(keep_alive: &[u8]) -> Option<Duration> {
    let seconds = keep_alive.split(|byte| matches!(byte, b',' | b';')).find_map(|parameter| {
        let equals = parameter.iter().position(|byte| *byte == b'=')?;
        let (name, value) = parameter.split_at(equals);
        let is_timeout = name.trim_ascii().eq_ignore_ascii_case(b"timeout");
        let value = is_timeout.then(|| value.get(1..))??;
        std::str::from_utf8(value).ok()?.trim().trim_matches('"').parse::<u32>().ok()
    })?;
    let announced = Duration::from_secs(seconds.into());
    Some(announced.saturating_sub(MARGIN).max(announced / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_given_up_before_its_server_closes_it() {
        for (said, kept) in [
            ("timeout=5", Some(4000)),
            ("timeout=5, max=100", Some(4000)),
            ("max=100,Timeout = \"30\"", Some(29_000)),
            ("timeout=2", Some(1000)),
            ("timeout=1", Some(500)),
            ("timeout=0", Some(0)),
            ("max=100", None),
            ("timeout", None),
            ("timeout=-1", None),
            ("timeout=5s", None),
            ("", None),
        ] {
            assert_eq!(kept_for(said.as_bytes()), kept.map(Duration::from_millis), "{said}");
        }
    }
}
