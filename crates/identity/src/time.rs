//! Moments as certificates, tokens and people write them.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::UnixTime;

/// A moment as RFC 3339 text, for errors.
pub(crate) struct Stamp(pub(crate) SystemTime);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::try_from(from_unix(unix(self.0))) {
            Ok(timestamp) => timestamp.fmt(f),
            Err(_) => f.write_str("a time out of range"),
        }
    }
}

/// Whole seconds since 1970; a moment before that is zero.
pub(crate) fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The moment some seconds after 1970; one that the platform can't represent is the start of 1970, and so long past.
pub(crate) fn from_unix(seconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}

/// The moment as rustls and webpki want it.
pub(crate) fn pki(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(unix(time)))
}
