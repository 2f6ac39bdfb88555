//! One connection of HTTP/2 for all requests to a service. Whoever leaves resets its own stream.

use std::cell::RefCell;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response};

use super::{Came, head, leave, leaves, request};
use crate::chaos::answer::Answer;
use crate::chaos::request::{Kind, When};
use weft_harness::load::http2;

/// The connection, opened anew when it has ended.
#[derive(Default)]
pub(super) struct Connection(RefCell<Option<SendRequest<Bytes>>>);

impl Connection {
    /// Sends a request and reads its answer, or leaves: what is dropped is reset.
    pub(super) async fn ask(&self, address: SocketAddr, number: u64, kind: Kind) -> Result<Came, String> {
        let (parts, body) = request(number, kind).into_parts();
        let (answer, mut sending) = self
            .sender(address)
            .await?
            .send_request(Request::from_parts(parts, ()), body.is_empty())
            .map_err(|error| error.to_string())?;
        if !body.is_empty() {
            // An answer that comes before the request's end resets the rest of that (RFC 9113 section 8.1).
            let _ = sending.send_data(body, true);
        }
        let Some(answer) = head(kind, answer).await else {
            return Ok(Came::Left(When::BeforeHead, None));
        };
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(error) if error.is_reset() && error.is_remote() => return Ok(Came::Reset),
            Err(error) => return Err(format!("before an answer: {error}")),
        };
        let status = answer.status();
        let leaving = leaves(kind, status, answer.headers());
        let more = async { matches!(answer.body_mut().data().await, Some(Ok(_))) };
        if let Some(when) = leave(kind, leaving, more).await {
            return Ok(Came::Left(when, Some(status)));
        }
        Ok(Came::Answer(Box::new(read(answer).await)))
    }

    async fn sender(&self, address: SocketAddr) -> Result<SendRequest<Bytes>, String> {
        let open = self.0.borrow().clone();
        if let Some(sender) = open
            && let Ok(ready) = sender.ready().await
        {
            return Ok(ready);
        }
        let sender = http2::open(address).await.ok_or("connecting")?;
        *self.0.borrow_mut() = Some(sender.clone());
        sender.ready().await.map_err(|error| error.to_string())
    }
}

/// Reads an answer to its end.
async fn read(answer: Response<RecvStream>) -> Answer {
    let (head, mut incoming) = answer.into_parts();
    let read = whole(&mut incoming).await.map_err(|error| error.to_string());
    let (body, trailers) = match read {
        Ok((body, trailers)) => (Ok(body), trailers),
        Err(error) => (Err(error), None),
    };
    Answer { status: head.status, headers: head.headers, body, trailers }
}

async fn whole(incoming: &mut RecvStream) -> Result<(Bytes, Option<HeaderMap>), h2::Error> {
    let mut body = BytesMut::new();
    while let Some(data) = incoming.data().await {
        let data = data?;
        body.extend_from_slice(&data);
        incoming.flow_control().release_capacity(data.len())?;
    }
    Ok((body.freeze(), incoming.trailers().await?))
}
