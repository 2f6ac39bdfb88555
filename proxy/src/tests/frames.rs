//! A client of HTTP/2 that sends whatever frames it likes.

use std::time::Duration;

use crate::transport::within::Within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
pub(super) use weft_testkit::http2::*;

pub(super) const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "reviews:9080")];
pub(super) const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "reviews:9080")];

/// A head with these fields beside those of a POST.
pub(super) fn post(stream: u32, flags: u8, more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &fields(&[&POST[..], more].concat()))
}

/// A whole request.
pub(super) fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &fields(&GET))
}

/// The connection of such a client.
pub(super) struct Client {
    stream: Within,
    bytes: Vec<u8>,
    /// Everything that has come.
    pub(super) received: Vec<Received>,
    pub(super) closed: bool,
}

impl Client {
    /// One that has said its preface and SETTINGS.
    pub(super) async fn new(mut stream: Within, values: &[(u16, u32)]) -> Self {
        stream.write_all(&[PREFACE, &settings(values)].concat()).await.unwrap();
        Self { stream, bytes: Vec::new(), received: Vec::new(), closed: false }
    }

    /// One that has said nothing yet.
    pub(super) fn silent(stream: Within) -> Self {
        Self { stream, bytes: Vec::new(), received: Vec::new(), closed: false }
    }

    /// Sends these frames while it reads what comes, then reads until the other side closes or nothing comes for a second.
    pub(super) async fn say(&mut self, bytes: &[u8]) {
        let (mut read, mut write) = tokio::io::split(&mut self.stream);
        let reading = async {
            loop {
                let some = tokio::time::timeout(Duration::from_secs(1), read.read_buf(&mut self.bytes)).await;
                match some {
                    Ok(Ok(1..)) => {}
                    Ok(_) => return true,
                    Err(_) => return false,
                }
            }
        };
        let (closed, _) = tokio::join!(reading, write.write_all(bytes));
        self.closed |= closed;
        self.parse();
    }

    /// Sends these octets, without waiting for what comes.
    pub(super) async fn put(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        tokio::task::yield_now().await;
    }

    fn parse(&mut self) {
        self.received.append(&mut Received::parse(&mut self.bytes));
    }

    /// The first frame of a kind on a stream.
    pub(super) fn got(&self, kind: u8, stream: u32) -> Option<&Received> {
        self.received.iter().find(|frame| frame.kind == kind && frame.stream == stream)
    }

    /// The status of the answer on a stream.
    pub(super) fn status(&self, stream: u32) -> Option<u16> {
        let head = self.got(HEADERS, stream)?;
        Some(head.status().unwrap_or_else(|| panic!("a status that this client can't read: {head:x?}")))
    }
}
