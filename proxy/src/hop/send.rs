//! A body that leaves on a stream.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use http_body::Body as HttpBody;
use weft_hop::Code;

use super::link::StreamRef;
use crate::http::body::Body;

/// Sends all of `body`, as fast as the peer reads. A body that breaks off resets the stream, so that the peer does not
/// take what it has for the whole.
pub(super) async fn send_body(stream: StreamRef, mut body: Body) {
    loop {
        let frame = poll_fn(|cx| {
            // A peer that does not want the rest is not made to wait for the sender's next piece.
            if stream.poll_reset(cx).is_ready() {
                return Poll::Ready(None);
            }
            Pin::new(&mut body).poll_frame(cx).map(Some)
        });
        let Some(frame) = frame.await else { return };
        match frame {
            None => {
                finish(&stream, Bytes::new());
                return;
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    let end = body.is_end_stream();
                    if !send_data(&stream, data, end).await || end {
                        return;
                    }
                }
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    let id = stream.id();
                    if stream
                        .link()
                        .with(|connection| connection.send_trailers(id, &trailers.into()))
                        .is_err()
                    {
                        reset(&stream, Code::Internal);
                    }
                    return;
                }
            },
            Some(Err(failure)) => {
                reset(&stream, Code::Internal);
                // Whoever waits for the answer learns why there will be none.
                stream.fail(failure);
                return;
            }
        }
    }
}

/// Sends one piece; `false` when the stream is over.
async fn send_data(stream: &StreamRef, mut data: Bytes, end: bool) -> bool {
    loop {
        if data.is_empty() {
            if end {
                finish(stream, data);
            }
            return true;
        }
        let Ok(capacity) = poll_fn(|cx| stream.poll_capacity(cx)).await else { return false };
        let piece = data.split_to(capacity.min(data.len()));
        let last = end && data.is_empty();
        let id = stream.id();
        if stream.link().with(|connection| connection.send_data(id, piece, last)).is_err() {
            return false;
        }
        if last {
            return true;
        }
    }
}

fn finish(stream: &StreamRef, data: Bytes) {
    let id = stream.id();
    // It fails only when the stream is over, and then there is nothing to finish.
    let _ = stream.link().with(|connection| connection.send_data(id, data, true));
}

fn reset(stream: &StreamRef, code: Code) {
    let id = stream.id();
    stream.link().with(|connection| connection.reset(id, code, true));
}
