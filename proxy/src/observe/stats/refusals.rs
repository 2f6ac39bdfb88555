//! Tells people of refused handshakes without letting whoever causes them fill the log.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use weft_identity::Reason;

/// Time between two lines about the same peer and reason.
const PAUSE: Duration = Duration::from_mins(1);
/// Peers and reasons that are remembered: an attacker has any number of addresses, the log has not.
const REMEMBERED: usize = 1024;

#[derive(Debug)]
struct Noted {
    logged: Instant,
    since: u64,
}

/// Which refusals were logged lately.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<(IpAddr, Reason), Noted>>);

impl Refusals {
    pub(super) fn note(&self, peer: IpAddr, reason: Reason, detail: &dyn Display, now: Instant) {
        match self.count(peer, reason, now) {
            None => {}
            Some(1) => tracing::warn!(%peer, %reason, %detail, "refused a TLS handshake"),
            Some(times) => tracing::warn!(%peer, %reason, %detail, times, "refused TLS handshakes"),
        }
    }

    /// How many refusals a line has to tell of now; `None`: no line.
    fn count(&self, peer: IpAddr, reason: Reason, now: Instant) -> Option<u64> {
        let mut noted = self.0.lock();
        if let Some(known) = noted.get_mut(&(peer, reason)) {
            known.since += 1;
            if now.saturating_duration_since(known.logged) < PAUSE {
                return None;
            }
            known.logged = now;
            return Some(std::mem::take(&mut known.since));
        }
        if noted.len() >= REMEMBERED {
            noted.retain(|_, known| now.saturating_duration_since(known.logged) < PAUSE);
            if noted.len() >= REMEMBERED {
                return None;
            }
        }
        noted.insert((peer, reason), Noted { logged: now, since: 0 });
        Some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_told_of_at_once_and_then_once_a_minute_with_the_count() {
        let refusals = Refusals::default();
        let (peer, start) = (IpAddr::from([10, 0, 0, 1]), Instant::now());
        let count = |after: u64, reason| refusals.count(peer, reason, start + Duration::from_secs(after));
        assert_eq!(count(0, Reason::Expired), Some(1));
        assert_eq!(count(1, Reason::Expired), None);
        assert_eq!(count(2, Reason::Expired), None);
        assert_eq!(count(2, Reason::UnknownIssuer), Some(1));
        assert_eq!(count(60, Reason::Expired), Some(3));
        assert_eq!(count(61, Reason::Expired), None);
        assert_eq!(count(120, Reason::Expired), Some(2));
    }

    #[test]
    fn memory_and_lines_are_bounded_whoever_knocks() {
        let refusals = Refusals::default();
        let start = Instant::now();
        let lines = (0..100_000_u32)
            .filter_map(|peer| refusals.count(IpAddr::from(peer.to_be_bytes()), Reason::Other, start))
            .count();
        assert_eq!((lines, refusals.0.lock().len()), (REMEMBERED, REMEMBERED));
        let later = start + PAUSE;
        assert_eq!(refusals.count(IpAddr::from([255, 0, 0, 1]), Reason::Other, later), Some(1));
    }
}
