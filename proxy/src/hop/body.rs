//! A body that arrives on a stream.

use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use weft_mesh::reason::Reason;

use super::link::StreamRef;
use crate::error::{BoxFailure, Failure};
use crate::http::body::without_claims;

/// A body that arrives on a stream of weft/1. Reading it is what gives the peer credit to send more.
#[derive(Debug)]
pub struct HopBody {
    stream: StreamRef,
    /// What the head said of the length.
    length: Option<u64>,
    /// Whether it is that of a request: then what breaks it off is the client's doing, or its proxy's.
    of_request: bool,
}

impl HopBody {
    pub(super) fn new(stream: StreamRef, length: Option<u64>) -> Self {
        Self { stream, length, of_request: false }
    }

    pub(super) fn of_request(stream: StreamRef, length: Option<u64>) -> Self {
        Self { of_request: true, ..Self::new(stream, length) }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxFailure>>> {
        let of_request = self.of_request;
        let frame = self.stream.poll_frame(cx).map_err(|failure| {
            if !of_request {
                return failure;
            }
            Box::new(Failure { processed: true, ..*Failure::downstream(Reason::BadRequest, failure.detail) })
        });
        if let (Poll::Ready(Some(Ok(frame))), Some(length)) = (&frame, &mut self.length) {
            *length = length.saturating_sub(frame.data_ref().map_or(0, Bytes::len) as u64);
        }
        if of_request { frame.map_ok(without_claims) } else { frame }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match (self.length, self.stream.arrived()) {
            (Some(length), _) => SizeHint::with_exact(length),
            (None, (arrived, true)) => SizeHint::with_exact(arrived as u64),
            (None, (arrived, false)) => {
                let mut hint = SizeHint::new();
                hint.set_lower(arrived as u64);
                hint
            }
        }
    }
}
