//! The content of a request that asks for another protocol: the upgrade takes effect behind it (RFC 9110 section 7.8).
//!
//! On its way such a request is one body: first as many octets as its head says, then what the client sends in the other
//! protocol. Where it is written to a server the two are taken apart by that length alone, so that what is behind it is never
//! read as a part of a request, and none of it as the next one.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use weft_mesh::reason::Reason;

use super::TunnelBody;
use crate::error::{BoxFailure, Failure};
use crate::http::body::Body;

/// The length of the content that stands in a request's head.
pub fn announced(headers: &HeaderMap) -> u64 {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    length.unwrap_or(0)
}

/// What a client sends that asks for another protocol: the content of its request, then its side of the tunnel.
#[derive(Debug)]
pub struct Upgrading {
    content: Option<Body>,
    tunnel: TunnelBody,
}

impl Upgrading {
    /// The content, then the tunnel.
    pub fn body(content: Body, tunnel: TunnelBody) -> Body {
        if content.is_end_stream() {
            return Body::Tunnel(tunnel);
        }
        Body::Upgrading(Box::new(Self { content: Some(content), tunnel }))
    }

    pub(in crate::http) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxFailure>>> {
        while let Some(content) = &mut self.content {
            match ready!(Pin::new(content).poll_frame(cx)) {
                Some(Ok(frame)) if frame.is_data() => return Poll::Ready(Some(Ok(frame))),
                // Content of a known length has no trailers in HTTP/1.
                Some(Ok(_)) => {}
                Some(Err(failure)) => return Poll::Ready(Some(Err(failure))),
                None => self.content = None,
            }
        }
        self.tunnel.poll_frame(cx)
    }

    pub(in crate::http) fn is_end_stream(&self) -> bool {
        self.content.is_none() && self.tunnel.is_end_stream()
    }
}

/// Takes what a client sends apart: the content of its request, so many octets, and what is behind it.
pub fn split(body: Body, length: u64) -> (Body, Body) {
    if length == 0 {
        return (Body::Empty, body);
    }
    let source = Rc::new(RefCell::new(Source { body, left: length, ahead: None }));
    let behind = Half { source: Rc::clone(&source), is_content: false };
    (Body::Half(Half { source, is_content: true }), Body::Half(behind))
}

#[derive(Debug)]
struct Source {
    body: Body,
    /// Octets of the content that have not been given yet.
    left: u64,
    /// What came together with the content's end.
    ahead: Option<Bytes>,
}

/// The content, or what is behind it.
#[derive(Debug)]
pub struct Half {
    source: Rc<RefCell<Source>>,
    is_content: bool,
}

impl Half {
    pub(in crate::http) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxFailure>>> {
        let mut source = self.source.borrow_mut();
        if self.is_content { source.poll_content(cx) } else { source.poll_behind(cx) }
    }

    pub(in crate::http) fn is_end_stream(&self) -> bool {
        self.is_content && self.source.borrow().left == 0
    }

    pub(in crate::http) fn size_hint(&self) -> SizeHint {
        if self.is_content { SizeHint::with_exact(self.source.borrow().left) } else { SizeHint::default() }
    }
}

impl Source {
    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxFailure>>> {
        while self.left > 0 {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(failure)) => return Poll::Ready(Some(Err(failure))),
                None => return Poll::Ready(Some(Err(broken_off()))),
            };
            let Ok(mut data) = frame.into_data() else { continue };
            let content = data.split_to(data.len().min(usize::try_from(self.left).unwrap_or(usize::MAX)));
            self.left -= content.len() as u64;
            self.ahead = Some(data).filter(|data| !data.is_empty());
            return Poll::Ready(Some(Ok(Frame::data(content))));
        }
        Poll::Ready(None)
    }

    fn poll_behind(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxFailure>>> {
        if self.left > 0 {
            // The server has changed to the other protocol without the content, which it would take for that.
            return Poll::Ready(Some(Err(broken_off())));
        }
        if let Some(ahead) = self.ahead.take() {
            return Poll::Ready(Some(Ok(Frame::data(ahead))));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }
}

fn broken_off() -> BoxFailure {
    let detail = "the content of a request for another protocol was not sent whole";
    Box::new(Failure { processed: true, ..*Failure::downstream(Reason::BadRequest, detail) })
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;

    use super::*;
    use crate::hop::tests::Frames;

    fn pieces(sizes: &[usize]) -> (Body, Vec<u8>) {
        let mut next = 0..=u8::MAX;
        let pieces: Vec<Bytes> = sizes.iter().map(|size| next.by_ref().take(*size).collect()).collect();
        let all = pieces.concat();
        (Body::Test(Frames::new(pieces.into_iter().map(Frame::data))), all)
    }

    async fn read(body: Body) -> Result<Vec<u8>, BoxFailure> {
        Ok(body.collect().await?.to_bytes().to_vec())
    }

    proptest! {
        #[test]
        fn content_ends_where_the_head_says_however_it_comes(
            sizes in prop::collection::vec(0..40_usize, 0..6),
            length in 1..100_u64,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (body, all) = pieces(&sizes);
                let (content, behind) = split(body, length);
                prop_assert_eq!(content.size_hint().exact(), Some(length));
                let end = usize::try_from(length).unwrap();
                if let Ok(content) = read(content).await {
                    prop_assert_eq!(&content, &all[..end]);
                    prop_assert_eq!(&read(behind).await.unwrap(), &all[end..]);
                } else {
                    prop_assert!(all.len() < end);
                    prop_assert!(read(behind).await.is_err());
                }
                Ok(())
            })?;
        }
    }

    #[tokio::test]
    async fn what_is_behind_content_that_was_not_sent_goes_nowhere() {
        let (body, _) = pieces(&[10, 10]);
        let (content, behind) = split(body, 15);
        drop(content);
        assert!(read(behind).await.is_err());
    }
}
