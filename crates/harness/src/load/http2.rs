//! HTTP/2 client connections in plaintext with prior knowledge.

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderValue, Request, Uri, header};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::Failure;
use crate::server::BODY_LENGTH;

/// Opens a connection and lets it run on its own.
pub async fn open(address: std::net::SocketAddr) -> Option<SendRequest<Bytes>> {
    let stream = TcpStream::connect(address).await.ok()?;
    stream.set_nodelay(true).ok()?;
    over(stream).await
}

/// Speaks HTTP/2 on a stream that is open, and lets it run on its own.
pub async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + 'static) -> Option<SendRequest<Bytes>> {
    // Windows that never run out, so that the client sends few updates of them.
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1 << 20).initial_connection_window_size(16 << 20).enable_push(false);
    let (sender, connection) = builder.handshake(stream).await.ok()?;
    tokio::task::spawn_local(connection);
    Some(sender)
}

/// A request for `authority`.
pub fn request(authority: &str) -> Option<Request<()>> {
    let uri = Uri::builder().scheme("http").authority(authority).path_and_query("/1k").build().ok()?;
    let mut request = Request::new(());
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static("weft-bench"));
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    Some(request)
}

/// Sends `request` and reads its whole answer.
pub async fn exchange(sender: &mut SendRequest<Bytes>, request: Request<()>) -> Result<(), Failure> {
    let (answer, _) = sender.send_request(request, true).map_err(|error| kind(&error))?;
    let answer = answer.await.map_err(|error| kind(&error))?;
    if answer.status() != http::StatusCode::OK {
        return Err(Failure::Status);
    }
    let mut body = answer.into_body();
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data.map_err(|error| kind(&error))?;
        length += data.len();
        let _closed = body.flow_control().release_capacity(data.len());
    }
    if length == BODY_LENGTH { Ok(()) } else { Err(Failure::Length) }
}

fn kind(error: &h2::Error) -> Failure {
    if error.is_reset() { Failure::Reset } else { Failure::Closed }
}
