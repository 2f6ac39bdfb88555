//! What a client does that it must not, or not as often: what is counted, and what it is answered.

use crate::reason::Reason;

/// What a client did. Each has a counter of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Violation {
    /// A request line that is none: method, target or version (RFC 9112, section 3).
    RequestLine,
    /// A field without a name, with one that is no token, or with an octet in its value that may not stand there
    /// (RFC 9112, section 5; RFC 9110, section 5.5).
    Field,
    /// A field that goes on in the next line (RFC 9112, section 5.2).
    Folding,
    /// A carriage return or a line feed without the other (RFC 9112, section 2.2).
    LineEnding,
    /// No Host, several, one that names no host, or another one than the target (RFC 9112, section 3.2;
    /// RFC 9113, section 8.3.1).
    Host,
    /// A length that can be read in more than one way (RFC 9112, section 6.3).
    Framing,
    /// A transfer coding beside `chunked` (RFC 9112, section 6.1).
    TransferCoding,
    /// A path that servers may read in several ways, where that is refused ([`crate::path`]).
    Path,
    /// A target that is longer than a head may be.
    TargetTooLong,
    /// A head with more octets or fields than it may have.
    HeadTooLarge,
    /// A chunk whose size, extensions or end are wrong (RFC 9112, section 7.1).
    Chunk,
    /// Trailers with more octets or fields than they may have, or with one that frames or routes a message
    /// (RFC 9110, section 6.5.1).
    Trailers,
    /// A head that takes too long.
    SlowHead,
    /// A request under way on which no octet moves.
    Idle,
    /// A body that its sender breaks off.
    BodyCutOff,
    /// Frames of HTTP/2 that end the connection (RFC 9113, section 5.4.1).
    Http2Connection,
    /// Frames of HTTP/2, or a request in them, that end the stream (RFC 9113, sections 5.4.2 and 8.1.1).
    Http2Stream,
    /// More streams of HTTP/2 than may be open, or a head larger than it may be, so that the stream is refused.
    Http2Refused,
    /// Streams that are reset as soon as they are opened (CVE-2023-44487).
    RapidReset,
    /// A head in more frames than anyone needs (CVE-2024-27316).
    ContinuationFlood,
    /// PING without measure (CVE-2019-9512).
    PingFlood,
    /// SETTINGS without measure (CVE-2019-9515).
    SettingsFlood,
    /// DATA, HEADERS or CONTINUATION that carry nothing, without measure (CVE-2019-9518).
    EmptyFrameFlood,
    /// `WINDOW_UPDATE`, PRIORITY or frames of unknown types, without measure (CVE-2019-9511, CVE-2019-9513).
    FrameFlood,
    /// Frames of weft/1 that end the connection (`PROTOCOL.md`).
    Weft,
}

impl Violation {
    /// Every violation, in the order in which they are declared.
    pub const ALL: [Self; 25] = [
        Self::RequestLine,
        Self::Field,
        Self::Folding,
        Self::LineEnding,
        Self::Host,
        Self::Framing,
        Self::TransferCoding,
        Self::Path,
        Self::TargetTooLong,
        Self::HeadTooLarge,
        Self::Chunk,
        Self::Trailers,
        Self::SlowHead,
        Self::Idle,
        Self::BodyCutOff,
        Self::Http2Connection,
        Self::Http2Stream,
        Self::Http2Refused,
        Self::RapidReset,
        Self::ContinuationFlood,
        Self::PingFlood,
        Self::SettingsFlood,
        Self::EmptyFrameFlood,
        Self::FrameFlood,
        Self::Weft,
    ];

    /// The value of the metric's label `kind`, and of the log's field.
    pub const fn label(self) -> &'static str {
        match self {
            Self::RequestLine => "request_line",
            Self::Field => "field",
            Self::Folding => "folding",
            Self::LineEnding => "line_ending",
            Self::Host => "host",
            Self::Framing => "framing",
            Self::TransferCoding => "transfer_coding",
            Self::Path => "path",
            Self::TargetTooLong => "target_too_long",
            Self::HeadTooLarge => "head_too_large",
            Self::Chunk => "chunk",
            Self::Trailers => "trailers",
            Self::SlowHead => "slow_head",
            Self::Idle => "idle",
            Self::BodyCutOff => "body_cut_off",
            Self::Http2Connection => "http2_connection",
            Self::Http2Stream => "http2_stream",
            Self::Http2Refused => "http2_refused",
            Self::RapidReset => "rapid_reset",
            Self::ContinuationFlood => "continuation_flood",
            Self::PingFlood => "ping_flood",
            Self::SettingsFlood => "settings_flood",
            Self::EmptyFrameFlood => "empty_frame_flood",
            Self::FrameFlood => "frame_flood",
            Self::Weft => "weft",
        }
    }

    /// What a client is told, where it can be told.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Framing => Reason::SmugglingAttempt,
            Self::TransferCoding => Reason::UnknownCoding,
            Self::TargetTooLong => Reason::TargetTooLong,
            Self::HeadTooLarge => Reason::HeaderTooLarge,
            Self::SlowHead | Self::Idle => Reason::ClientTimeout,
            _ => Reason::BadRequest,
        }
    }

    /// What is wrong and what to do, for people.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::RequestLine => "the request line is not METHOD TARGET HTTP/1.1",
            Self::Field => "a field is not NAME: VALUE, or has an octet in it that may not stand there",
            Self::Folding => "a field goes on in the next line; write it in one",
            Self::LineEnding => "a line does not end with CR LF, or has one of them in it",
            Self::Host => "a request needs one Host that names a host, the same as its target",
            Self::Framing => {
                "the length can be read in more than one way: send one Content-Length, or Transfer-Encoding: chunked"
            }
            Self::TransferCoding => "no transfer coding but chunked is taken; use Content-Encoding",
            Self::Path => "servers may read the path in several ways",
            Self::TargetTooLong => "the target is too long",
            Self::HeadTooLarge => "the head is larger, or has more fields, than is taken",
            Self::Chunk => "a chunk's size, extension or end is wrong",
            Self::Trailers => "the trailers are too large, or have a field that belongs into the head",
            Self::SlowHead => "the head took too long",
            Self::Idle => "nothing moved for too long",
            Self::BodyCutOff => "the request's body broke off",
            Self::Http2Connection => "frames that HTTP/2 does not allow",
            Self::Http2Stream => "a request, or a frame on its stream, that HTTP/2 does not allow",
            Self::Http2Refused => "more streams, or a larger head, than are taken",
            Self::RapidReset => "too many streams were reset at once",
            Self::ContinuationFlood => "a head in too many frames",
            Self::PingFlood => "too many PING frames",
            Self::SettingsFlood => "too many SETTINGS frames",
            Self::EmptyFrameFlood => "too many frames that carry nothing",
            Self::FrameFlood => "too many frames beside requests",
            Self::Weft => "frames that weft/1 does not allow",
        }
    }

    /// The position in [`Violation::ALL`], for tables of counters.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for Violation {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_violation_has_its_own_label_and_place_and_is_the_clients_doing() {
        for (position, violation) in Violation::ALL.into_iter().enumerate() {
            assert_eq!(violation.index(), position);
            assert_eq!(Violation::ALL.iter().filter(|other| other.label() == violation.label()).count(), 1);
            let status = violation.reason().http_status();
            assert!(status.is_client_error() || status == http::StatusCode::NOT_IMPLEMENTED);
        }
    }
}
