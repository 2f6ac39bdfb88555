//! Why a request or a connection failed: what it was, whose doing, and whether trying again is safe.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use http::HeaderMap;
use weft_mesh::outcome::{Blame, Failed, Verdict};
use weft_mesh::reason::Reason;

/// The side that a failure comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The client of this proxy.
    Downstream,
    /// The client of this proxy, which has gone away: it gets no answer any more.
    Departed,
    /// What this proxy sends to: a peer's proxy, or the application behind it.
    Upstream,
    /// This proxy itself: a limit, a policy.
    Internal,
    /// What the control plane said, or did not say.
    Control,
}

/// A failure of one attempt, or of a whole request.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What the caller is told, and what metrics count.
    pub reason: Reason,
    /// Whose doing it is.
    pub origin: Origin,
    /// Whether the request may have had an effect. `false` only when it provably had none, so that it may be sent again.
    pub processed: bool,
    /// What was tried, for the body of the answer and the log; holds nothing that the caller may not know.
    pub detail: Cow<'static, str>,
    /// After how long the same request has a chance: of what a limit refused.
    pub retry_after: Option<Duration>,
    /// Header fields that go with the answer.
    pub fields: Option<Box<HeaderMap>>,
}

/// A failure, boxed: results carry it on every request, though it is rare.
pub type BoxFailure = Box<Failure>;

impl Failure {
    /// What it says of the endpoint that was asked, and of another attempt.
    pub fn verdict(&self) -> Verdict {
        let by = match self.origin {
            Origin::Downstream | Origin::Departed => Blame::Client,
            Origin::Upstream => Blame::Endpoint,
            Origin::Internal | Origin::Control => Blame::Proxy,
        };
        Verdict::of_failure(Failed { reason: self.reason, by, processed: self.processed })
    }

    /// A failure of the upstream side that may have been processed.
    pub fn upstream(reason: Reason, detail: impl Into<Cow<'static, str>>) -> BoxFailure {
        Box::new(Self {
            reason,
            origin: Origin::Upstream,
            processed: true,
            detail: detail.into(),
            retry_after: None,
            fields: None,
        })
    }

    /// A failure of the upstream side before the request had any effect.
    pub fn unprocessed(reason: Reason, detail: impl Into<Cow<'static, str>>) -> BoxFailure {
        Box::new(Self {
            reason,
            origin: Origin::Upstream,
            processed: false,
            detail: detail.into(),
            retry_after: None,
            fields: None,
        })
    }

    /// A failure that this proxy decided on, before the request went anywhere.
    pub fn internal(reason: Reason, detail: impl Into<Cow<'static, str>>) -> BoxFailure {
        Box::new(Self {
            reason,
            origin: Origin::Internal,
            processed: false,
            detail: detail.into(),
            retry_after: None,
            fields: None,
        })
    }

    /// A limit on requests is used up for this long.
    pub fn limited(wait: Duration, detail: impl Into<Cow<'static, str>>) -> BoxFailure {
        let mut failure = Self::internal(Reason::RateLimited, detail);
        failure.retry_after = Some(wait);
        failure
    }

    /// A failure of the client.
    pub fn downstream(reason: Reason, detail: impl Into<Cow<'static, str>>) -> BoxFailure {
        Box::new(Self {
            reason,
            origin: Origin::Downstream,
            processed: false,
            detail: detail.into(),
            retry_after: None,
            fields: None,
        })
    }

    /// A failure of what the control plane configured.
    pub fn control(reason: Reason, detail: impl Into<Cow<'static, str>>) -> BoxFailure {
        Box::new(Self {
            reason,
            origin: Origin::Control,
            processed: false,
            detail: detail.into(),
            retry_after: None,
            fields: None,
        })
    }
}

impl Failure {
    /// Whether it is the client's own doing.
    pub fn is_of_client(&self) -> bool {
        matches!(self.origin, Origin::Downstream | Origin::Departed)
    }

    /// Whether it counts as a failure of a connection: what is the client's doing does not, nor whom a policy refuses.
    pub fn counts(&self) -> bool {
        !self.is_of_client() && self.reason.http_status().is_server_error()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.label(), self.detail)
    }
}

/// What a stream of HTTP/2 ends with whose answer has begun and stands still for too long.
static CANCEL: LazyLock<h2::Error> = LazyLock::new(|| h2::Reason::CANCEL.into());

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The library takes the code of RST_STREAM from there, and `INTERNAL_ERROR` otherwise.
        matches!(self.reason, Reason::IdleTimeout | Reason::ClientTimeout).then_some(&*CANCEL as _)
    }
}

/// Whether an error of a socket only says that the peer went away.
pub fn is_disconnect(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
            | ErrorKind::UnexpectedEof
    )
}
