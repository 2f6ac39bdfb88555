//! Deadlines: Gateway API durations, `grpc-timeout`, and how the limits on one request combine.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::Error;

/// `rules[].timeouts` of a route (GEP-1742). `None` is no limit, as is the zero duration of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// From the request's arrival to the end of its answer, all attempts and pauses included.
    pub request: Option<Duration>,
    /// From the start of one attempt to the end of its answer.
    pub backend_request: Option<Duration>,
    /// Time in which nothing moves either way; zero: without end, `None`: what the service says.
    pub idle: Option<Duration>,
}

/// Which limit ends an attempt first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// The whole request's: nothing is tried afterwards.
    Request,
    /// The attempt's: another attempt may follow.
    Attempt,
}

/// The limits on one request: fixed when it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    request: Option<Instant>,
    attempt: Option<Duration>,
}

impl Deadline {
    /// Combines the route's limits with the time that the caller is still going to wait, as `grpc-timeout` or the
    /// previous proxy told. The shorter one wins.
    pub fn new(arrived: Instant, timeouts: Timeouts, caller: Option<Duration>) -> Self {
        let request = match (timeouts.request, caller) {
            (Some(route), Some(caller)) => Some(route.min(caller)),
            (route, caller) => route.or(caller),
        };
        // An instant too far away to be written down is no limit.
        let request = request.and_then(|limit| arrived.checked_add(limit));
        Self { request, attempt: timeouts.backend_request }
    }

    /// What is left of the whole request; the value to hand on to the next hop.
    pub fn remaining(&self, now: Instant) -> Option<Duration> {
        self.request.map(|ends| ends.saturating_duration_since(now))
    }

    /// Whether the whole request's time is over.
    pub fn is_over(&self, now: Instant) -> bool {
        self.request.is_some_and(|ends| ends <= now)
    }

    /// When an attempt that starts now ends, and by which limit.
    pub fn attempt_ends(&self, now: Instant) -> Option<(Instant, Limit)> {
        let attempt = self.attempt.and_then(|limit| now.checked_add(limit));
        match (self.request, attempt) {
            (Some(request), Some(attempt)) if attempt < request => Some((attempt, Limit::Attempt)),
            (Some(request), _) => Some((request, Limit::Request)),
            (None, attempt) => attempt.map(|ends| (ends, Limit::Attempt)),
        }
    }
}

/// The longest Gateway API duration, in milliseconds (GEP-2257): what its four parts of five digits can say with each
/// unit once.
const LONGEST: u64 = 99_999 * 3_600_000 + 3_599_999;

/// Reads a Gateway API duration (GEP-2257), such as `1h`, `30s`, `250ms` or `1m30s`: one to four of
/// `<1 to 5 digits><h|m|s|ms>`, up to 99999h59m59s999ms together.
pub fn parse_duration(value: &str) -> Result<Duration, Error> {
    let refuse = || {
        Error::invalid(
            "duration",
            value,
            "write 1 to 4 of <1-5 digits><h, m, s or ms>, such as 1m30s or 250ms",
        )
    };
    let mut rest = value;
    let mut millis = 0_u64;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits).ok_or_else(refuse)?;
        let unit_length = after.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, after) = after.split_at_checked(unit_length).ok_or_else(refuse)?;
        let scale = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return Err(refuse()),
        };
        if digits > 5 {
            return Err(refuse());
        }
        millis += number.parse::<u64>().map_err(|_| refuse())? * scale;
        rest = after;
        if rest.is_empty() && millis > LONGEST {
            return Err(Error::invalid("duration", value, "write 99999h59m59s999ms at most"));
        }
        if rest.is_empty() {
            return Ok(Duration::from_millis(millis));
        }
    }
    Err(refuse())
}

/// Writes a Gateway API duration; what is below a millisecond is cut off, and what is too long for its four parts of
/// five digits is written as the longest there is.
pub fn format_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(LONGEST).min(LONGEST);
    let parts = [
        (millis / 3_600_000, "h"),
        (millis / 60_000 % 60, "m"),
        (millis / 1000 % 60, "s"),
        (millis % 1000, "ms"),
    ];
    let mut text = String::new();
    for (number, unit) in parts.into_iter().filter(|(number, _)| *number > 0) {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{number}{unit}");
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Reads `grpc-timeout`: 1 to 8 digits and a unit (gRPC over HTTP/2, "Requests"). `None` for anything else, which a
/// proxy leaves to the server to refuse.
pub fn parse_grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount = digits.iter().fold(0_u64, |amount, digit| amount * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(amount * 3600)),
        b'M' => Some(Duration::from_secs(amount * 60)),
        b'S' => Some(Duration::from_secs(amount)),
        b'm' => Some(Duration::from_millis(amount)),
        b'u' => Some(Duration::from_micros(amount)),
        b'n' => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

/// Writes `grpc-timeout` in the finest unit whose number has at most 8 digits, rounded up, so that a server never
/// gives up before its caller does.
pub fn format_grpc_timeout(duration: Duration) -> String {
    const MOST: u128 = 99_999_999;
    const UNITS: [(u128, char); 5] =
        [(1, 'n'), (1_000, 'u'), (1_000_000, 'm'), (1_000_000_000, 'S'), (60_000_000_000, 'M')];
    let nanos = duration.as_nanos();
    for (size, unit) in UNITS {
        let amount = nanos.div_ceil(size);
        if amount <= MOST {
            return format!("{amount}{unit}");
        }
    }
    format!("{}H", nanos.div_ceil(3_600_000_000_000).min(MOST))
}

/// Reads `x-weft-deadline-ms`: how long the caller is still going to wait, in milliseconds, 1 to 10 digits. `None` for
/// anything else.
pub fn parse_deadline_millis(value: &[u8]) -> Option<Duration> {
    if value.is_empty() || value.len() > 10 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let millis = value.iter().fold(0_u64, |millis, digit| millis * 10 + u64::from(digit - b'0'));
    Some(Duration::from_millis(millis))
}

/// The number in `x-weft-deadline-ms`, rounded up, so that a server never gives up before its caller does.
pub fn deadline_millis(left: Duration) -> u64 {
    u64::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).min(9_999_999_999)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn gateway_durations_are_read_as_gep_2257_says() {
        for (text, millis) in [
            ("0s", 0),
            ("1h", 3_600_000),
            ("1m30s", 90_000),
            ("250ms", 250),
            ("1h1m1s1ms", 3_661_001),
            ("99999s", 99_999_000),
            ("99999h59m59s999ms", 359_999_999_999),
        ] {
            assert_eq!(parse_duration(text), Ok(ms(millis)), "{text}");
        }
        for text in [
            "",
            "1",
            "s",
            "1.5s",
            "-1s",
            "+1s",
            "1d",
            "100000s",
            "1s ",
            " 1s",
            "1S",
            "1us",
            "1h1m1s1ms1h",
            "99999h60h",
            "99999h59m59s1000ms",
            "1sé",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn malformed_grpc_timeouts_are_ignored() {
        for value in ["", "S", "123456789S", "1", "1s", "-1S", "1 S", "1.0S"] {
            assert_eq!(parse_grpc_timeout(value.as_bytes()), None, "{value}");
        }
        assert_eq!(parse_grpc_timeout(b"100m"), Some(ms(100)));
        assert_eq!(parse_grpc_timeout(b"99999999H"), Some(Duration::from_hours(99_999_999)));
    }

    #[test]
    fn the_shortest_limit_ends_an_attempt() {
        let now = Instant::now();
        let timeouts = Timeouts { request: Some(ms(1000)), backend_request: Some(ms(300)), idle: None };
        let deadline = Deadline::new(now, timeouts, Some(ms(700)));
        assert_eq!(deadline.attempt_ends(now), Some((now + ms(300), Limit::Attempt)));
        assert_eq!(deadline.attempt_ends(now + ms(500)), Some((now + ms(700), Limit::Request)));
        assert_eq!(deadline.remaining(now + ms(650)), Some(ms(50)));
        assert_eq!(deadline.remaining(now + ms(800)), Some(ms(0)));
        assert!(deadline.is_over(now + ms(700)) && !deadline.is_over(now + ms(699)));
    }

    #[test]
    fn no_limit_is_no_deadline() {
        let now = Instant::now();
        let deadline = Deadline::new(now, Timeouts::default(), None);
        assert_eq!((deadline.attempt_ends(now), deadline.remaining(now)), (None, None));
        let endless = Deadline::new(now, Timeouts::default(), Some(Duration::MAX));
        assert_eq!(endless.attempt_ends(now), None);
    }

    #[test]
    fn malformed_deadlines_are_ignored() {
        for value in ["", "-1", "1.5", "1 ", "1s", "12345678901"] {
            assert_eq!(parse_deadline_millis(value.as_bytes()), None, "{value}");
        }
        assert_eq!(parse_deadline_millis(b"0"), Some(ms(0)));
        assert_eq!(parse_deadline_millis(b"9999999999"), Some(ms(9_999_999_999)));
        assert_eq!(deadline_millis(Duration::from_micros(1)), 1);
    }

    proptest! {
        #[test]
        fn deadlines_in_milliseconds_read_back_rounded_up(micros in 0_u64..9_999_999_999_000) {
            let left = Duration::from_micros(micros);
            let read = parse_deadline_millis(deadline_millis(left).to_string().as_bytes()).unwrap();
            prop_assert!(read >= left && read < left + ms(1));
        }

        #[test]
        fn durations_read_back(millis in 0_u64..359_999_999_999) {
            prop_assert_eq!(parse_duration(&format_duration(ms(millis))), Ok(ms(millis)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9hms]{0,12}") {
            if let Ok(duration) = parse_duration(&text) {
                prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
            }
        }

        #[test]
        fn grpc_timeouts_are_never_shortened_nor_by_much_lengthened(nanos in 0_u64..u64::MAX) {
            let duration = Duration::from_nanos(nanos);
            let text = format_grpc_timeout(duration);
            let read = parse_grpc_timeout(text.as_bytes()).unwrap();
            prop_assert!(text.len() <= 9);
            prop_assert!(read >= duration && read <= duration + duration / 99_999 + Duration::from_nanos(1));
        }
    }
}
