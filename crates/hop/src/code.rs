//! Why a stream or a connection ended.

use std::fmt;

/// Why a stream was reset or a connection drained, as it stands on the wire.
///
/// An unknown number is kept as [`Code::Other`], so that a newer peer's reason can still be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// Nothing failed. On RESET: the sender has all it wanted, what it sent is complete.
    NoError,
    /// The peer broke a rule of the protocol.
    Protocol,
    /// The peer sent more than it had credit for.
    FlowControl,
    /// A frame was longer than allowed, or too short for its type.
    FrameSize,
    /// Too many frames that carry nothing.
    Flood,
    /// A head or the peer's SETTINGS did not arrive in time.
    HeadTimeout,
    /// The stream was refused for lack of room: too many streams or too much promised memory.
    Refused,
    /// The connection takes no more streams.
    Draining,
    /// The sender is no longer interested in the stream.
    Cancelled,
    /// A head or trailers were over the receiver's limits.
    HeadTooLarge,
    /// A head or trailers could not be understood.
    Malformed,
    /// What the sender had the other half of the exchange with failed.
    Upstream,
    /// A deadline passed.
    Timeout,
    /// The sender failed for a reason of its own.
    Internal,
    /// The sender sheds load.
    Overloaded,
    /// The connection ended before the stream did. Seldom on the wire: it is what the side that is left
    /// tells its own applications.
    Lost,
    /// A code that this version does not know.
    Other(u16),
}

/// Every code that has a number of its own, at the place that is its number.
const KNOWN: [Code; 16] = [
    Code::NoError,
    Code::Protocol,
    Code::FlowControl,
    Code::FrameSize,
    Code::Flood,
    Code::HeadTimeout,
    Code::Refused,
    Code::Draining,
    Code::Cancelled,
    Code::HeadTooLarge,
    Code::Malformed,
    Code::Upstream,
    Code::Timeout,
    Code::Internal,
    Code::Overloaded,
    Code::Lost,
];

impl Code {
    /// The code with this number.
    pub fn from_u16(number: u16) -> Self {
        KNOWN.get(usize::from(number)).copied().unwrap_or(Self::Other(number))
    }

    /// The number that stands on the wire.
    pub fn to_u16(self) -> u16 {
        match self {
            Self::NoError => 0,
            Self::Protocol => 1,
            Self::FlowControl => 2,
            Self::FrameSize => 3,
            Self::Flood => 4,
            Self::HeadTimeout => 5,
            Self::Refused => 6,
            Self::Draining => 7,
            Self::Cancelled => 8,
            Self::HeadTooLarge => 9,
            Self::Malformed => 10,
            Self::Upstream => 11,
            Self::Timeout => 12,
            Self::Internal => 13,
            Self::Overloaded => 14,
            Self::Lost => 15,
            Self::Other(number) => number,
        }
    }

    /// A short name, for log fields and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoError => "no_error",
            Self::Protocol => "protocol",
            Self::FlowControl => "flow_control",
            Self::FrameSize => "frame_size",
            Self::Flood => "flood",
            Self::HeadTimeout => "head_timeout",
            Self::Refused => "refused",
            Self::Draining => "draining",
            Self::Cancelled => "cancelled",
            Self::HeadTooLarge => "head_too_large",
            Self::Malformed => "malformed",
            Self::Upstream => "upstream",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
            Self::Overloaded => "overloaded",
            Self::Lost => "lost",
            Self::Other(_) => "other",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(number) => write!(formatter, "code {number}"),
            known => formatter.write_str(known.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_itself_through_a_code() {
        for number in 0..=u16::MAX {
            assert_eq!(Code::from_u16(number).to_u16(), number);
        }
    }
}
