//! A body that leaves on a stream.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body as HttpBody;
use weft_hop::Code;

use super::link::StreamRef;
use crate::http::body::Body;
use crate::runtime::unread::Part;

/// Sends all of `body`, as fast as the peer reads. A body that breaks off resets the stream, so that the peer does not
/// take what it has for the whole.
pub(super) async fn send_body(stream: StreamRef, mut body: Body) {
    let mut is_first = true;
    let ahead = body.ahead();
    loop {
        // What its reader does not take yet stays where it comes from.
        if !std::mem::take(&mut is_first) {
            stopping(ahead, |cx| stream.poll_room(cx)).await;
        }
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
                    if !send_data(&stream, data, end, ahead).await || end {
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

/// Waits for a reader; while it does, what may have come `ahead` of it counts as held.
async fn stopping<R>(ahead: usize, mut poll: impl FnMut(&mut Context<'_>) -> Poll<R>) -> R {
    let mut stopped = None;
    poll_fn(|cx| {
        let ready = poll(cx);
        if ready.is_pending() {
            stopped.get_or_insert_with(|| Part::held(ahead));
        }
        ready
    })
    .await
}

/// Sends one piece, of a body of which so much may have come ahead; `false` when the stream is over.
async fn send_data(stream: &StreamRef, mut data: Bytes, end: bool, ahead: usize) -> bool {
    loop {
        if data.is_empty() {
            if end {
                finish(stream, data);
            }
            return true;
        }
        let Ok(capacity) = stopping(ahead, |cx| stream.poll_capacity(cx)).await else { return false };
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
