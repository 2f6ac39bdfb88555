//! The side that sends requests.

use std::future::poll_fn;
use std::rc::Rc;

use http::{Response, header};
use http_body::Body as HttpBody;
use tokio::io::{AsyncRead, AsyncWrite};
use weft_hop::{INITIAL_WINDOW, OpenError, RequestMetadata, ResponseMetadata, Role};
use weft_mesh::reason::Reason;

use super::body::HopBody;
use super::driver;
use super::link::{LITTLE_CREDIT, Link, StreamRef};
use super::send::send_body;
use crate::error::{BoxFailure, Failure};
use crate::http::body::Body;
use crate::http::header_case;
use crate::http::informational::Informational;
use crate::http::upgrade;
use crate::runtime::clock::now;
use crate::runtime::unread;

/// Speaks weft/1 on a connection, as the side that sends requests.
pub fn connect<S>(stream: S) -> Rc<Link>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let link = Link::new(Role::Client, now());
    tokio::task::spawn_local(driver::drive(Rc::clone(&link), stream, |_| {}));
    link
}

/// A request that could not be put on a connection: its body is given back whole.
#[derive(Debug)]
pub struct NotSent {
    /// The body of the request.
    pub body: Body,
    /// Why.
    pub error: OpenError,
}

impl Link {
    /// Opens a stream. Where too much is held already, its answer begins with less than others', and so does its body, of
    /// which it is not known yet whether anybody reads it: the peer may hear of too many only when all of them are open.
    fn open(
        self: &Rc<Self>,
        parts: &http::request::Parts,
        metadata: &RequestMetadata,
        end: bool,
    ) -> Result<StreamRef, OpenError> {
        let first = self.look(|connection| connection.peer_settings().first_credit);
        let is_short = unread::is_short();
        let answer_credit = first.and_then(|_| is_short.then_some(LITTLE_CREDIT));
        let body_credit = first.map(|credit| if is_short { credit.min(LITTLE_CREDIT) } else { credit });
        let body_credit = body_credit.filter(|credit| !end && *credit < INITIAL_WINDOW);
        if answer_credit.is_none() && body_credit.is_none() {
            return self
                .with(|connection| connection.open_stream(parts, metadata, end))
                .map(|id| self.add(id));
        }
        let metadata = RequestMetadata { answer_credit, body_credit, ..metadata.clone() };
        let id = self.with(|connection| connection.open_stream(parts, &metadata, end))?;
        let stream = self.add(id);
        stream.begins_with_little(answer_credit.is_some());
        Ok(stream)
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// The outer error gives the body back: nothing was sent. The inner one is a failure after that.
    pub async fn request(
        self: &Rc<Self>,
        parts: &http::request::Parts,
        body: Body,
        metadata: &RequestMetadata,
    ) -> Result<Result<(Response<Body>, ResponseMetadata), BoxFailure>, Box<NotSent>> {
        let end = body.is_end_stream();
        let stream = match self.open(parts, metadata, end) {
            Ok(stream) => stream,
            Err(error) => return Err(Box::new(NotSent { body, error })),
        };
        if let Some(interim) = parts.extensions.get::<Informational>() {
            stream.listen(interim.clone());
        }
        if !end {
            tokio::task::spawn_local(send_body(stream.clone(), body));
        }
        let mut awaited = Awaited { stream: &stream, is_over: false };
        let head = poll_fn(|cx| stream.poll_head(cx)).await;
        awaited.is_over = true;
        drop(awaited);
        let head = match head {
            Ok(head) => head,
            Err(failure) => return Ok(Err(failure)),
        };
        let length = content_length(&head.parts.headers);
        let body = HopBody::new(stream, length);
        let body = if body.is_end_stream() { Body::Empty } else { Body::Hop(body) };
        let (mut response, metadata) = head.into_response(body);
        header_case::restore(response.extensions_mut());
        Ok(Ok((response, metadata)))
    }
}

/// An answer that is awaited. Who does so no longer wants nothing of the rest either: what is still to be sent is not.
struct Awaited<'a> {
    stream: &'a StreamRef,
    is_over: bool,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.stream.abandon();
        }
    }
}

/// The length that a head announces.
pub(super) fn content_length(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// What a refusal to open a stream means for the request.
pub fn open_failure(error: &OpenError) -> BoxFailure {
    match error {
        OpenError::Head(error) => Failure::downstream(Reason::HeaderTooLarge, error.to_string()),
        error => Failure::unprocessed(Reason::Overloaded, error.to_string()),
    }
}

/// The head of a request for a peer that does not take it as it is; `None`: this one does, or has said so in time.
pub(crate) async fn as_older_peers_take_it(
    link: &Rc<Link>,
    parts: &http::request::Parts,
) -> Option<Box<http::request::Parts>> {
    if !upgrade::has_content(parts) {
        return None;
    }
    Box::pin(async {
        // It says what it takes before anything else.
        link.settled().await;
        (!link.takes_content_before_tunnel()).then(|| Box::new(upgrade::without_asking(parts)))
    })
    .await
}
