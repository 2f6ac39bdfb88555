//! HTTP/1.1 client connections, with as little work per request as checking the answer allows.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Failure;
use crate::server::BODY_LENGTH;

/// Larger than any answer, whatever headers sidecars add.
const BUFFER: usize = 16 << 10;

/// One keep-alive connection.
pub struct Connection<S = TcpStream> {
    stream: S,
    buffer: Box<[u8]>,
}

/// The bytes of a request.
pub fn request(authority: &str) -> Vec<u8> {
    format!("GET /1k HTTP/1.1\r\nhost: {authority}\r\nuser-agent: weft-bench\r\naccept: */*\r\n\r\n")
        .into_bytes()
}

impl Connection {
    /// Connects to `address`.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// On a stream that is open.
    pub fn over(stream: S) -> Self {
        Self { stream, buffer: vec![0; BUFFER].into() }
    }

    /// The stream, without the buffer for answers.
    pub fn into_inner(self) -> S {
        self.stream
    }

    /// Sends `request` and reads exactly one answer.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(request).await.map_err(|_| Failure::Closed)?;
        let mut filled = 0;
        let mut total = None;
        loop {
            let space =
                self.buffer.get_mut(filled..).filter(|space| !space.is_empty()).ok_or(Failure::Length)?;
            match self.stream.read(space).await {
                Ok(0) | Err(_) => return Err(Failure::Closed),
                Ok(count) => filled += count,
            }
            if total.is_none() {
                total = answer_length(&self.buffer[..filled])?;
            }
            match total {
                Some(total) if filled == total => return Ok(()),
                Some(total) if filled > total => return Err(Failure::Malformed),
                _ => {}
            }
        }
    }
}

/// Length of the whole answer that `bytes` begin, or `None` while its head is incomplete.
fn answer_length(bytes: &[u8]) -> Result<Option<usize>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut headers);
    let head = match answer.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Failure::Malformed),
    };
    if answer.code != Some(200) {
        return Err(Failure::Status);
    }
    let length = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse().ok());
    if length == Some(BODY_LENGTH) { Ok(Some(head + BODY_LENGTH)) } else { Err(Failure::Length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_as_long_as_head_and_body() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n";
        assert_eq!(answer_length(head), Ok(Some(head.len() + 1024)));
        assert_eq!(answer_length(&head[..head.len() - 1]), Ok(None));
    }

    #[test]
    fn anything_but_a_full_200_is_a_failure() {
        let cases = [
            ("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 1024\r\n\r\n", Failure::Status),
            ("HTTP/1.1 200 OK\r\ncontent-length: 1023\r\n\r\n", Failure::Length),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Failure::Length),
            ("\0\0\x12\x04\0\0\0\0\0", Failure::Malformed),
        ];
        for (bytes, failure) in cases {
            assert_eq!(answer_length(bytes.as_bytes()), Err(failure), "{bytes:?}");
        }
    }
}
