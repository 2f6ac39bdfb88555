//! Speaking well-formed HTTP/2, by the `h2` crate.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::{Response, Uri};
use tokio::net::TcpStream;

use crate::differential::case::{Coding, Request};
use crate::differential::message::{Body, End, Framing, Got, Reply, Version};
use crate::differential::recorder::http2::{fields, headers};

/// Sends `request` and says how it stands with the stream afterwards.
pub(super) async fn exchange(stream: TcpStream, request: &Request, got: &RefCell<Got>) -> End {
    match try_exchange(stream, request, got).await {
        Ok(()) => End::Open,
        Err(error) if error.is_reset() => End::Reset,
        Err(error) if error.is_go_away() => End::GoAway,
        Err(_) => End::Closed,
    }
}

async fn try_exchange(stream: TcpStream, request: &Request, got: &RefCell<Got>) -> Result<(), h2::Error> {
    let _delays_at_most = stream.set_nodelay(true);
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1 << 20).initial_connection_window_size(4 << 20).enable_push(false);
    let (sender, connection) = builder.handshake::<_, Bytes>(stream).await?;
    let driving = tokio::task::spawn_local(connection);
    let done = on_stream(sender, request, got).await;
    driving.abort();
    done
}

async fn on_stream(
    sender: h2::client::SendRequest<Bytes>,
    request: &Request,
    got: &RefCell<Got>,
) -> Result<(), h2::Error> {
    let mut sender = sender.ready().await?;
    let mut head = http::Request::new(());
    *head.method_mut() = http::Method::from_bytes(request.method.as_bytes()).unwrap_or_default();
    let uri = Uri::builder().scheme("http").authority(request.authority.as_str());
    *head.uri_mut() = uri.path_and_query(request.target.as_str()).build().unwrap_or_default();
    *head.version_mut() = http::Version::HTTP_2;
    *head.headers_mut() = headers(&request.fields);
    if request.coding == Coding::Length {
        head.headers_mut().insert(http::header::CONTENT_LENGTH, request.body.len().into());
    }
    let has_body = !request.body.is_empty() || !request.trailers.0.is_empty();
    let (mut answer, body) = sender.send_request(head, !has_body)?;
    if has_body {
        send_body(body, request)?;
    }
    let mut interim = Vec::new();
    let response = answered(&mut answer, &mut interim).await;
    let (head, body) = response?.into_parts();
    got.borrow_mut().replies.push(Reply {
        interim,
        version: Version::Http2,
        status: head.status.as_u16(),
        fields: fields(&head.headers),
        body: Body { framing: Framing::Stream, ..Body::default() },
        faults: Vec::new(),
    });
    read_body(body, got).await
}

/// Queues the whole body; flow control lets it leave.
fn send_body(mut stream: SendStream<Bytes>, request: &Request) -> Result<(), h2::Error> {
    let pieces = request.cut();
    let last = pieces.len().saturating_sub(1);
    let trailers = headers(&request.trailers);
    for (index, piece) in pieces.into_iter().enumerate() {
        stream.send_data(Bytes::copy_from_slice(piece), index == last && trailers.is_empty())?;
    }
    if trailers.is_empty() { Ok(()) } else { stream.send_trailers(trailers) }
}

async fn answered(
    answer: &mut ResponseFuture,
    interim: &mut Vec<u16>,
) -> Result<Response<RecvStream>, h2::Error> {
    let mut answer = pin!(answer);
    poll_fn(|context| {
        while let Poll::Ready(Some(Ok(informational))) = answer.poll_informational(context) {
            interim.push(informational.status().as_u16());
        }
        answer.as_mut().poll(context)
    })
    .await
}

async fn read_body(mut body: RecvStream, got: &RefCell<Got>) -> Result<(), h2::Error> {
    let with = |act: &mut dyn FnMut(&mut Body)| {
        if let Some(reply) = got.borrow_mut().replies.last_mut() {
            act(&mut reply.body);
        }
    };
    while let Some(data) = body.data().await {
        let data = data?;
        with(&mut |recorded| recorded.bytes.extend(&data));
        let _closed = body.flow_control().release_capacity(data.len());
    }
    let trailers = body.trailers().await?;
    with(&mut |recorded| {
        recorded.trailers = trailers.as_ref().map(fields).unwrap_or_default();
        recorded.complete = true;
    });
    Ok(())
}
