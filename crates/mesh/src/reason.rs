//! Why the proxy answered a request itself.

use std::fmt;

use http::StatusCode;

/// Why the proxy answered a request itself instead of passing on an upstream's answer.
///
/// The maps below are exhaustive: a new reason does not compile until it has a status for HTTP, one for gRPC and a
/// label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// No route matches the request.
    NoRoute,
    /// The chosen backend does not exist or the route may not refer to it.
    InvalidBackend,
    /// The matched rule refers to a filter that does not exist; Gateway API forbids skipping it.
    InvalidFilter,
    /// The chosen backend has no endpoint that takes requests.
    NoEndpoints,
    /// No connection to any tried endpoint could be made.
    ConnectFailed,
    /// The backend's limit on connections or requests is reached.
    BreakerOpen,
    /// Too many requests wait for a connection to the backend.
    Overloaded,
    /// The upstream ended the exchange before its answer was complete.
    UpstreamReset,
    /// The upstream broke its protocol.
    UpstreamProtocol,
    /// The whole request took longer than it may.
    RequestTimeout,
    /// The last attempt took longer than it may.
    AttemptTimeout,
    /// Nothing moved on the request, either way, for longer than it may stand still.
    IdleTimeout,
    /// Authorization policy denies the request.
    Denied,
    /// A rate limit is exhausted.
    RateLimited,
    /// The service that keeps a rate limit did not answer, and nothing is let through without it.
    LimitUnavailable,
    /// The request is malformed.
    BadRequest,
    /// The request's head is longer, or has more fields, than allowed.
    HeaderTooLarge,
    /// The request could be framed in more than one way (RFC 9112, section 11.2).
    SmugglingAttempt,
    /// The request's target is longer than a head may be (RFC 9110, section 15.5.15).
    TargetTooLong,
    /// The client took too long to send its request, or stopped in the middle of it (RFC 9110, section 15.5.9).
    ClientTimeout,
    /// The request's content is in a transfer coding that is not implemented (RFC 9112, section 6.1).
    UnknownCoding,
    /// The request has been here before, or leads back to the proxy itself (RFC 5842, section 7.2).
    LoopDetected,
}

/// gRPC status codes that the proxy sends.
mod grpc {
    pub(super) const DEADLINE_EXCEEDED: u8 = 4;
    pub(super) const PERMISSION_DENIED: u8 = 7;
    pub(super) const RESOURCE_EXHAUSTED: u8 = 8;
    pub(super) const FAILED_PRECONDITION: u8 = 9;
    pub(super) const UNIMPLEMENTED: u8 = 12;
    pub(super) const INTERNAL: u8 = 13;
    pub(super) const UNAVAILABLE: u8 = 14;
}

impl Reason {
    /// Every reason, in the order in which they are declared.
    pub const ALL: [Self; 22] = [
        Self::NoRoute,
        Self::InvalidBackend,
        Self::InvalidFilter,
        Self::NoEndpoints,
        Self::ConnectFailed,
        Self::BreakerOpen,
        Self::Overloaded,
        Self::UpstreamReset,
        Self::UpstreamProtocol,
        Self::RequestTimeout,
        Self::AttemptTimeout,
        Self::IdleTimeout,
        Self::Denied,
        Self::RateLimited,
        Self::LimitUnavailable,
        Self::BadRequest,
        Self::HeaderTooLarge,
        Self::SmugglingAttempt,
        Self::TargetTooLong,
        Self::ClientTimeout,
        Self::UnknownCoding,
        Self::LoopDetected,
    ];

    /// The status of the HTTP answer.
    pub const fn http_status(self) -> StatusCode {
        match self {
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::InvalidBackend | Self::InvalidFilter => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoEndpoints
            | Self::ConnectFailed
            | Self::BreakerOpen
            | Self::Overloaded
            | Self::LimitUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamReset | Self::UpstreamProtocol => StatusCode::BAD_GATEWAY,
            Self::RequestTimeout | Self::AttemptTimeout | Self::IdleTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Denied => StatusCode::FORBIDDEN,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::BadRequest | Self::SmugglingAttempt => StatusCode::BAD_REQUEST,
            Self::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::ClientTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            Self::LoopDetected => StatusCode::LOOP_DETECTED,
        }
    }

    /// The gRPC status code of the trailers-only answer.
    pub const fn grpc_status(self) -> u8 {
        match self {
            Self::NoRoute | Self::UnknownCoding => grpc::UNIMPLEMENTED,
            Self::InvalidBackend
            | Self::InvalidFilter
            | Self::NoEndpoints
            | Self::ConnectFailed
            | Self::BreakerOpen
            | Self::Overloaded
            | Self::LimitUnavailable
            | Self::UpstreamReset
            | Self::UpstreamProtocol => grpc::UNAVAILABLE,
            Self::RequestTimeout | Self::AttemptTimeout | Self::IdleTimeout | Self::ClientTimeout => {
                grpc::DEADLINE_EXCEEDED
            }
            Self::Denied => grpc::PERMISSION_DENIED,
            Self::RateLimited => grpc::RESOURCE_EXHAUSTED,
            // What says that the same call again meets the same.
            Self::LoopDetected => grpc::FAILED_PRECONDITION,
            Self::BadRequest | Self::HeaderTooLarge | Self::SmugglingAttempt | Self::TargetTooLong => {
                grpc::INTERNAL
            }
        }
    }

    /// The value of `x-weft-error`, of the metric label and of the log field.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoRoute => "no_route",
            Self::InvalidBackend => "invalid_backend",
            Self::InvalidFilter => "invalid_filter",
            Self::NoEndpoints => "no_endpoints",
            Self::ConnectFailed => "connect_failed",
            Self::BreakerOpen => "breaker_open",
            Self::Overloaded => "overloaded",
            Self::UpstreamReset => "upstream_reset",
            Self::UpstreamProtocol => "upstream_protocol",
            Self::RequestTimeout => "request_timeout",
            Self::AttemptTimeout => "attempt_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::Denied => "denied",
            Self::RateLimited => "rate_limited",
            Self::LimitUnavailable => "limit_unavailable",
            Self::BadRequest => "bad_request",
            Self::HeaderTooLarge => "header_too_large",
            Self::SmugglingAttempt => "smuggling_attempt",
            Self::TargetTooLong => "target_too_long",
            Self::ClientTimeout => "client_timeout",
            Self::UnknownCoding => "unknown_coding",
            Self::LoopDetected => "loop_detected",
        }
    }

    /// The reason of a label, as `x-weft-error` carries it.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.label() == label)
    }

    /// Whether it says of a request that was not processed that another endpoint may well serve it: nothing is wrong with
    /// the request, and what is missing or used up is the endpoint's.
    pub fn leaves_unserved(self) -> bool {
        matches!(self.http_status(), StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE)
    }

    /// The position in [`Reason::ALL`], for tables of counters.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_explains_every_reason() {
        let guide = include_str!("../../../docs/guide/debugging-503.md");
        for reason in Reason::ALL {
            let row =
                guide.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{reason}`")));
            let row = row.unwrap_or_else(|| panic!("docs/guide/debugging-503.md has no row for {reason}"));
            assert!(row.contains(reason.http_status().as_str()), "{reason}: {row}");
        }
    }

    #[test]
    fn every_reason_has_its_own_label_and_place() {
        for (position, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), position);
            assert_eq!(Reason::from_label(reason.label()), Some(reason));
            assert!(reason.http_status().is_client_error() || reason.http_status().is_server_error());
            assert_eq!(Reason::ALL.iter().filter(|other| other.label() == reason.label()).count(), 1);
        }
    }

    #[test]
    fn statuses_are_those_of_the_semantics() {
        assert_eq!((Reason::NoRoute.http_status().as_u16(), Reason::NoRoute.grpc_status()), (404, 12));
        assert_eq!((Reason::Denied.http_status().as_u16(), Reason::Denied.grpc_status()), (403, 7));
        assert_eq!((Reason::RateLimited.http_status().as_u16(), Reason::RateLimited.grpc_status()), (429, 8));
        assert_eq!(
            (Reason::AttemptTimeout.http_status().as_u16(), Reason::AttemptTimeout.grpc_status()),
            (504, 4)
        );
        assert_eq!(
            (Reason::UpstreamReset.http_status().as_u16(), Reason::UpstreamReset.grpc_status()),
            (502, 14)
        );
        assert_eq!(
            (Reason::HeaderTooLarge.http_status().as_u16(), Reason::HeaderTooLarge.grpc_status()),
            (431, 13)
        );
        assert_eq!(
            (Reason::InvalidBackend.http_status().as_u16(), Reason::InvalidBackend.grpc_status()),
            (500, 14)
        );
        assert_eq!((Reason::Overloaded.http_status().as_u16(), Reason::Overloaded.grpc_status()), (503, 14));
    }
}
