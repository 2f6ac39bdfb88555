//! The one type of body on the request path.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::client::PooledBody;
use super::exchange::Exchange;
use super::replay::ReplayBody;
use super::tee::{Copied, Tee};
use super::upgrade::{Half, TunnelBody, Upgrading};
use super::upload::Uploading;
use crate::error::{BoxFailure, Failure, Origin};
use crate::hop::body::HopBody;
use weft_hop::INITIAL_WINDOW;
use weft_mesh::forwarded::remove_client_certificate;
use weft_mesh::reason::Reason;
use weft_mesh::violation::Violation;

/// A body, wherever it comes from. An enum rather than a box: no allocation and no virtual call for each frame.
#[derive(Debug, Default)]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// Bytes of the proxy's own; `None` once given.
    Full(Option<Bytes>),
    /// A request's, from a connection of HTTP/1 or HTTP/2.
    Hyper(Incoming),
    /// From a stream of weft/1.
    Hop(HopBody),
    /// From a connection that this proxy opened, which it holds until its end.
    PooledBody(Box<PooledBody>),
    /// What the other side of a tunnel sends.
    Tunnel(TunnelBody),
    /// The content of a request that asks for a tunnel, then what its client sends through that.
    Upgrading(Box<Upgrading>),
    /// One of these two.
    Half(Half),
    /// A request's body that can be sent again.
    Replay(ReplayBody),
    /// A request's body of which copies go elsewhere.
    Tee(Box<Tee>),
    /// Such a copy.
    Copy(Box<Copied>),
    /// A request's body whose bytes are counted.
    Uploading(Box<Uploading>),
    /// What a test makes up.
    #[cfg(test)]
    Test(crate::hop::tests::Frames),
    /// A response's body whose end is recorded.
    Recorded(Box<Exchange>),
}

impl Body {
    /// A body of these bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self::Full(Some(bytes.into()))
    }

    /// How many octets whoever sends it may have sent ahead while it is not read.
    pub(crate) fn ahead(&self) -> usize {
        match self {
            Self::PooledBody(body) => body.ahead(),
            Self::Recorded(body) => body.ahead(),
            _ => INITIAL_WINDOW as usize,
        }
    }
}

impl From<Incoming> for Body {
    fn from(body: Incoming) -> Self {
        if body.is_end_stream() { Self::Empty } else { Self::Hyper(body) }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxFailure;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxFailure>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Hyper(body) => {
                Pin::new(body).poll_frame(cx).map_err(|error| client_failure(&error)).map_ok(without_claims)
            }
            Self::Hop(body) => body.poll_frame(cx),
            Self::PooledBody(body) => body.poll_frame(cx),
            Self::Tunnel(body) => body.poll_frame(cx),
            Self::Upgrading(body) => body.poll_frame(cx),
            Self::Half(body) => body.poll_frame(cx),
            Self::Replay(body) => body.poll_frame(cx),
            Self::Tee(body) => body.poll_frame(cx),
            Self::Copy(body) => body.poll_frame(cx),
            Self::Uploading(body) => body.poll_frame(cx),
            #[cfg(test)]
            Self::Test(frames) if frames.stalls() => Poll::Pending,
            #[cfg(test)]
            Self::Test(frames) => Poll::Ready(frames.next().map(Ok)),
            Self::Recorded(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Hyper(body) => body.is_end_stream(),
            Self::Hop(body) => body.is_end_stream(),
            Self::PooledBody(body) => body.is_end_stream(),
            Self::Tunnel(body) => body.is_end_stream(),
            Self::Upgrading(body) => body.is_end_stream(),
            Self::Half(body) => body.is_end_stream(),
            Self::Replay(body) => body.is_end_stream(),
            Self::Tee(body) => body.is_end_stream(),
            Self::Copy(_) => false,
            Self::Uploading(body) => body.is_end_stream(),
            #[cfg(test)]
            Self::Test(_) => false,
            Self::Recorded(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Hyper(body) => body.size_hint(),
            Self::Hop(body) => body.size_hint(),
            Self::PooledBody(body) => body.size_hint(),
            Self::Tunnel(_) | Self::Upgrading(_) => SizeHint::default(),
            Self::Half(body) => body.size_hint(),
            Self::Replay(body) => body.size_hint(),
            Self::Tee(body) => body.size_hint(),
            Self::Copy(body) => body.size_hint(),
            Self::Uploading(body) => body.size_hint(),
            #[cfg(test)]
            Self::Test(_) => SizeHint::default(),
            Self::Recorded(body) => body.size_hint(),
        }
    }
}

/// A frame of a request's body. Nothing behind it says who sent it, or whom it is for: of trailers of HTTP/2 that is the field
/// which [`weft_mesh::http_validation::Frames::trailers`] puts in front.
pub(crate) fn without_claims(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        remove_client_certificate(trailers);
        trailers.remove(http::header::HOST);
    }
    frame
}

/// What a client did wrong to the body of its request: whoever was sent the beginning of it has no part in that.
fn client_failure(error: &hyper::Error) -> BoxFailure {
    let violation = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .and_then(|error| error.get_ref()?.downcast_ref::<Violation>());
    let mut failure = match violation {
        Some(violation) => Failure::downstream(violation.reason(), violation.detail()),
        None => Failure::downstream(Reason::BadRequest, format!("the request's body broke off: {error}")),
    };
    if violation.is_none() {
        // It has reset its stream, or its connection has ended.
        failure.origin = Origin::Departed;
    }
    failure.processed = true;
    failure
}

/// What went wrong on a connection of HTTP/1 or HTTP/2 while a response's body was read from it.
pub(crate) fn hyper_failure(error: &hyper::Error) -> BoxFailure {
    let reason = if error.is_parse() { Reason::UpstreamProtocol } else { Reason::UpstreamReset };
    Failure::upstream(reason, format!("the body broke off: {error}"))
}
