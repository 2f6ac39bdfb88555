//! What two sidecars tell each other about a request, typed and apart from its header fields.
//!
//! On the wire each item is a tag, a length and a value (`PROTOCOL.md`, Metadata); unknown tags are
//! skipped, and a known tag's value may grow at its end. The receiver trusts metadata as far as it
//! trusts the authenticated peer, and no further.

mod codec;
mod text;

pub(crate) use codec::skip;
pub use text::Text;

/// The service that the caller dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The service's name, such as `shop/cart`.
    pub service: Text,
    /// The service's port, not the workload's.
    pub port: u16,
}

/// The route that the caller's proxy chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The route's name, such as `shop/cart-canary`.
    pub name: Text,
    /// The index of the route's rule, from 0.
    pub rule: u16,
}

/// The trace that a request belongs to (W3C Trace Context, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The identifier of the trace.
    pub trace: [u8; 16],
    /// The identifier of the caller's span, the parent of the receiver's.
    pub span: [u8; 8],
    /// The trace flags as they were in `traceparent`.
    pub flags: u8,
}

macro_rules! bits {
    ($(#[$about:meta])* $name:ident { $($(#[$bit_about:meta])* $bit:ident = $value:expr;)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $name(u8);

        impl $name {
            $($(#[$bit_about])* pub const $bit: Self = Self($value);)*

            /// The bits as they stand on the wire; unknown ones are kept.
            pub const fn from_bits(bits: u8) -> Self {
                Self(bits)
            }

            /// The bits as they stand on the wire.
            pub const fn bits(self) -> u8 {
                self.0
            }

            /// Whether every bit of `other` is set.
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether no bit is set.
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// With the bits of `other` set as well.
            #[must_use]
            pub const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }
    };
}

bits! {
    /// Which injected faults the request has met, so that nobody takes them for real ones.
    FaultMarks {
        /// The request was delayed on purpose.
        DELAYED = 1;
        /// The request was chosen to be aborted, by a proxy that only reports.
        ABORTED = 2;
    }
}

bits! {
    /// What the caller's proxy can still do if this attempt fails.
    RetryState {
        /// The whole body is kept, or there is none: the request can be sent again.
        REPLAYABLE = 1;
        /// Attempts or the retry budget are used up: this is the last attempt.
        LAST_ATTEMPT = 2;
    }
}

bits! {
    /// What the answering proxy says about an answer.
    ResponseMarks {
        /// The workload processed the request, or may have; without it the proxy answered in its place.
        PROCESSED = 1;
        /// A proxy further on has given up after retrying; retrying again repeats the same failure.
        GAVE_UP = 2;
        /// A local reply: the proxy answered, whether or not the workload may have processed the request.
        LOCAL_REPLY = 4;
    }
}

/// What travels with the head of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestMetadata {
    /// The service that the caller dialled.
    pub destination: Option<Destination>,
    /// The route that the caller's proxy chose.
    pub route: Option<Route>,
    /// The number of this attempt, from 1. `None` says nothing, which is read as 1.
    pub attempt: Option<u32>,
    /// What is left of the deadline, in microseconds, at the time of sending.
    pub deadline_micros: Option<u64>,
    /// The trace that the request belongs to.
    pub trace: Option<TraceContext>,
    /// Whether the mesh records this request, apart from what the application's trace flags say.
    pub sampled: bool,
    /// The injected faults that the request has met.
    pub faults: FaultMarks,
    /// What the caller's proxy can still do if this attempt fails.
    pub retry: RetryState,
    /// Whether the request is a copy, whose answer nobody gets.
    pub mirrored: bool,
    /// The credit that DATA of the answer begins with, where that is less than [`INITIAL_WINDOW`](crate::INITIAL_WINDOW). It
    /// counts only where the peer [announced](crate::PeerSettings::first_credit) that it takes it.
    pub answer_credit: Option<u32>,
    /// The credit that the sender takes the DATA of the request to begin with, where that is less than
    /// [`INITIAL_WINDOW`](crate::INITIAL_WINDOW): what the peer [announced](crate::PeerSettings::first_credit).
    pub body_credit: Option<u32>,
}

/// How loaded an endpoint is, as the proxy in front of it sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndpointLoad {
    /// Requests in flight to the workload.
    pub in_flight: u32,
    /// The moving average of the workload's latency, in microseconds.
    pub latency_micros: u32,
}

/// What travels with the head of a final answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResponseMetadata {
    /// How loaded the endpoint is.
    pub load: Option<EndpointLoad>,
    /// What the answering proxy says about the answer.
    pub marks: ResponseMarks,
    /// How many attempts further on it took, from 1.
    pub attempts: Option<u32>,
}
