//! Delays and errors made on purpose.

use std::time::Duration;

use http::StatusCode;

use crate::Error;
use crate::fraction::Fraction;
use crate::hash::Draws;

/// Delays a part of the requests, and answers a part of them with an error. The two parts are chosen independently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// How long to wait, and in which part of the requests.
    pub delay: Option<(Fraction, Duration)>,
    /// What to answer, and in which part of the requests.
    pub abort: Option<(Fraction, Abort)>,
}

/// The answer of an aborted request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// An HTTP status from 200 to 599.
    Http(StatusCode),
    /// A gRPC status code in a trailers-only answer.
    Grpc(u8),
}

impl Abort {
    /// Checks an HTTP status.
    pub fn http(status: u16) -> Result<Self, Error> {
        StatusCode::from_u16(status)
            .ok()
            .filter(|_| (200..600).contains(&status))
            .map(Self::Http)
            .ok_or_else(|| Error::invalid("abort status", status.to_string(), "use 200 to 599"))
    }

    /// Checks a gRPC status code.
    pub fn grpc(code: u8) -> Result<Self, Error> {
        if code > 16 {
            return Err(Error::invalid("abort gRPC status", code.to_string(), "use 0 to 16"));
        }
        Ok(Self::Grpc(code))
    }
}

/// What to do to one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// Wait this long first.
    pub delay: Option<Duration>,
    /// Then answer this instead of forwarding.
    pub abort: Option<Abort>,
}

impl Fault {
    /// What to do to this request.
    pub fn decide(&self, random: u64) -> Injected {
        let mut draws = Draws::new(random);
        let mut draw = |fraction: Fraction| fraction.hits(draws.next());
        Injected {
            delay: self.delay.and_then(|(fraction, delay)| draw(fraction).then_some(delay)),
            abort: self.abort.and_then(|(fraction, abort)| draw(fraction).then_some(abort)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_and_abort_hit_their_own_parts() {
        let half = Fraction::new(1, 2).unwrap();
        let delay = Duration::from_millis(5);
        let abort = Abort::http(503).unwrap();
        let fault = Fault { delay: Some((half, delay)), abort: Some((half, abort)) };
        let both = (0..40_000)
            .filter(|random| fault.decide(*random) == Injected { delay: Some(delay), abort: Some(abort) });
        let count = both.count();
        assert!((9_600..10_400).contains(&count), "{count}");
    }

    #[test]
    fn impossible_answers_are_refused() {
        assert!(Abort::http(199).is_err() && Abort::http(600).is_err() && Abort::grpc(17).is_err());
    }
}
